# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from scenes import BASELINE_M, CAMERA, plane, plane_grid, with_wall

from perception.camera import levelled_base_from_camera
from perception.config import MapConfig, MountConfig, SupervisorConfig
from perception.errors import CalibrationError
from perception.projection import (
    depth_evidence,
    frame_evidence,
    odom_from_camera,
    row_extent,
    window_evidence,
)
from perception.pyramid import build_pyramid
from perception.supervisor import label_points
from perception.types import FOOTLINE, SUPER_GROUND, SUPER_OBSTACLE, Frame

GROUND = plane(roll=0.03)
CONFIG = MapConfig()


def frame(**fields):
    image = np.zeros((CAMERA.height, CAMERA.width), np.uint8)
    return Frame(0, image, CAMERA, baseline_m=BASELINE_M, **fields)


def pose_at(x, y, yaw):
    pose = np.eye(4)
    pose[:2, :2] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]
    pose[:2, 3] = x, y
    return pose


def all_ground(pyramid):
    probabilities = np.zeros((len(pyramid.windows.band), 5), np.float32)
    probabilities[:, SUPER_GROUND] = 1
    return probabilities


def test_mount_from_transform_or_from_the_plane():
    base_from_camera = np.eye(4)
    base_from_camera[2, 3] = 0.7
    odom_from_base = pose_at(3, -2, 0.5)
    both = frame(odom_from_base=odom_from_base, base_from_camera=base_from_camera)
    np.testing.assert_allclose(odom_from_camera(both, GROUND, MountConfig()),
                               odom_from_base @ base_from_camera)
    alone = odom_from_camera(frame(), GROUND, MountConfig())
    np.testing.assert_allclose(alone, levelled_base_from_camera(GROUND))
    moved = odom_from_camera(both, GROUND, MountConfig(source='plane', x_m=0.4, yaw_rad=np.pi / 2))
    offset = odom_from_base[:3, :3] @ [0.4, 0, GROUND.height_m]
    np.testing.assert_allclose(moved[:3, 3], odom_from_base[:3, 3] + offset)


def test_a_demanded_transform_is_never_guessed():
    with pytest.raises(CalibrationError, match=r'mount\.source = tf, but no transform'):
        odom_from_camera(frame(), GROUND, MountConfig(source='tf'))


def test_row_extent_is_the_step_of_one_row_over_the_drop_below_the_horizon():
    pyramid = build_pyramid(plane(roll=0.0), g=1.1)
    windows = pyramid.windows
    extent = row_extent(pyramid)
    below = windows.uv[:, 1] - pyramid.plane.row(windows.uv[:, 0])
    seen = below > 2
    scale = np.array([b.scale for b in pyramid.bands])[windows.band]
    np.testing.assert_allclose(extent[seen], (scale / below)[seen], rtol=1e-6)


def test_ground_windows_land_on_their_ground_points_with_the_weight_of_distance():
    pyramid = build_pyramid(GROUND, g=1.1)
    pose = pose_at(10.0, 5.0, 1.0) @ levelled_base_from_camera(GROUND)
    evidence = window_evidence(pyramid, all_ground(pyramid), pose, CONFIG)
    offset = evidence.points_odom[:, :2] - pose[:2, 3]
    distance = np.hypot(*offset.T)
    bearing = np.arctan2(offset[:, 1], offset[:, 0])
    assert np.abs(bearing - 1.0).max() < np.arctan(CAMERA.width / 2 / CAMERA.fx) + 0.1
    assert distance.max() <= CONFIG.max_radius_m * 1.3
    total = evidence.histogram.sum(1)
    assert (evidence.histogram[:, SUPER_GROUND] == total).all()
    most = CONFIG.window_weight * np.minimum(1, CONFIG.distance_decay_m / distance)
    assert (total <= most + 1e-5).all()
    np.testing.assert_allclose(evidence.points_odom[:, 2], 0, atol=0.2)


def test_windows_behind_a_wall_of_points_are_dropped():
    grid = with_wall(plane_grid(GROUND), 6.0, slice(100, 160), 40, 128)
    points = label_points(grid, [GROUND], SupervisorConfig())
    pyramid = build_pyramid(GROUND, g=1.1)
    pose = levelled_base_from_camera(GROUND)
    near, far = frame_evidence(pyramid, all_ground(pyramid), pose, CONFIG, (points, grid))
    walls = near.points_odom[near.histogram[:, SUPER_OBSTACLE] > 0]
    assert len(walls) > 500
    assert np.median(walls[:, 0]) == pytest.approx(6.0, abs=0.3)
    bearing = np.arctan2(far.points_odom[:, 1], far.points_odom[:, 0])
    middle = np.median(np.arctan2(walls[:, 1], walls[:, 0]))
    behind = (np.abs(bearing - middle) < 0.05) & (far.points_odom[:, 0] > 7)
    assert not behind.any()
    assert (np.hypot(*far.points_odom[:, :2].T) > 30).any()  # beside it the view goes on


def test_depth_evidence_has_pure_classes():
    grid = with_wall(plane_grid(GROUND), 5.0, slice(100, 160), 60, 130)
    points = label_points(grid, [GROUND], SupervisorConfig())
    evidence, obstacles = depth_evidence(points, grid, np.eye(4), CONFIG)
    assert len(obstacles) == points.obstacle.sum()
    assert set(np.unique(evidence.histogram.argmax(1))) == {SUPER_GROUND, SUPER_OBSTACLE}
    assert not evidence.histogram[:, FOOTLINE].any()


def test_one_camera_gives_windows_only():
    pyramid = build_pyramid(GROUND, g=1.1)
    assert len(frame_evidence(pyramid, all_ground(pyramid), np.eye(4), CONFIG)) == 1
