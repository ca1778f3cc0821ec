# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scenes import CAMERA, plane

from perception import bag_encode as encode
from perception.bag_poses import pose_matrix
from perception.camera import (
    ground_points,
    level_from_camera,
    levelled_base_from_camera,
    normal_offset_from_pose,
    pixel_rays,
    plane_pose,
    project,
    transform,
)


@given(st.floats(-300, 900), st.floats(-200, 700), st.floats(0.3, 200))
def test_project_inverts_pixel_rays(u, v, depth):
    uv = np.array([[u, v]])
    np.testing.assert_allclose(project(pixel_rays(uv, CAMERA) * depth, CAMERA), uv, atol=1e-7)


def test_project_by_hand_and_nan_behind():
    uv = project(np.array([[1.0, 0.5, 4.0], [1.0, 0.5, -4.0], [1.0, 1.0, 0.0]]), CAMERA)
    np.testing.assert_allclose(uv[0], [249.5 + 362 / 4, 196 + 356 / 8])
    assert np.isnan(uv[1:]).all()


def test_ground_points_lie_on_the_plane_and_project_back():
    ground = plane()
    uv = np.array([[40.0, 300.0], [260.0, 210.0], [500.0, 379.0]])
    points = ground_points(uv, ground)
    normal, offset = ground.normal_offset
    np.testing.assert_allclose(points @ normal + offset, 0, atol=1e-9)
    np.testing.assert_allclose(project(points, CAMERA), uv, atol=1e-6)


def test_ground_points_are_nan_at_and_above_the_horizon():
    ground = plane()
    above = float(ground.row(100.0)) - np.array([0.5, 50.0])
    assert np.isnan(ground_points(np.stack([np.full(2, 100.0), above], -1), ground)).all()


def test_levelled_base_puts_ground_at_zero_and_camera_above_origin():
    ground = plane(height_m=1.3, pitch=0.2, roll=-0.1)
    base_from_camera = levelled_base_from_camera(ground)
    np.testing.assert_allclose(base_from_camera[:3, 3], [0, 0, 1.3], atol=1e-12)
    points = ground_points(np.array([[100.0, 350.0], [400.0, 250.0]]), ground)
    on_base = transform(base_from_camera, points)
    np.testing.assert_allclose(on_base[:, 2], 0, atol=1e-9)
    assert (on_base[:, 0] > 0).all()
    assert on_base[0, 1] > 0 > on_base[1, 1]  # left of the image is left of the robot
    np.testing.assert_allclose(np.linalg.det(base_from_camera[:3, :3]), 1)


TILTS = {'height_m': st.floats(0.2, 3.0), 'pitch': st.floats(-0.3, 0.6),
         'roll': st.floats(-0.4, 0.4)}


@given(**TILTS)
def test_pose_of_a_plane_gives_its_normal_and_height_back(height_m, pitch, roll):
    ground = plane(height_m, pitch, roll)
    pose = plane_pose(ground)
    normal, offset = normal_offset_from_pose(pose)
    np.testing.assert_allclose(normal, ground.normal_offset[0], atol=1e-9)
    assert offset == pytest.approx(height_m)
    np.testing.assert_allclose(pose @ level_from_camera(normal, offset), np.eye(4), atol=1e-9)


@given(**TILTS)
def test_pose_of_a_plane_survives_the_quaternion_of_a_message(height_m, pitch, roll):
    ground = plane(height_m, pitch, roll)
    message = encode.pose(plane_pose(ground))
    matrix = pose_matrix(message.position, message.orientation)
    normal, offset = normal_offset_from_pose(matrix)
    np.testing.assert_allclose(normal, ground.normal_offset[0], atol=1e-9)
    assert offset == pytest.approx(height_m)


def test_pose_of_a_plane_by_hand():
    """Camera 2 m up, 30 degrees down: its foot is 2 cos 30 below and 1 m ahead of it."""
    sin, cos = 0.5, np.sqrt(0.75)
    pose = plane_pose(plane(height_m=2.0, pitch=np.pi / 6, roll=0.0))
    np.testing.assert_allclose(pose[:3, 3], [0, 2 * cos, 2 * sin], atol=1e-9)
    np.testing.assert_allclose(pose[:3, 0], [0, -sin, cos], atol=1e-9)  # ahead on the ground
    np.testing.assert_allclose(pose[:3, 1], [-1, 0, 0], atol=1e-9)  # left
    np.testing.assert_allclose(pose[:3, 2], [0, -cos, -sin], atol=1e-9)  # up
    np.testing.assert_array_equal(pose[3], [0, 0, 0, 1])


def test_pose_of_a_plane_puts_its_points_at_zero_height():
    ground = plane(roll=-0.2)
    points = ground_points(np.array([[40.0, 300.0], [260.0, 240.0], [500.0, 379.0]]), ground)
    on_plane = transform(np.linalg.inv(plane_pose(ground)), points)
    np.testing.assert_allclose(on_plane[:, 2], 0, atol=1e-9)
    # roll positive = right side down; here the left one: the foot lies left of the camera's axis
    assert plane_pose(ground)[0, 3] < 0 < plane_pose(plane(roll=0.2))[0, 3]
