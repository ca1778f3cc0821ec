# SPDX-License-Identifier: Apache-2.0
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scenes import CAMERA, plane

from perception.camera import (
    ground_points,
    levelled_base_from_camera,
    pixel_rays,
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
