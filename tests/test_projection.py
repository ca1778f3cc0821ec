# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes import BASELINE_M, CAMERA, plane, plane_grid, with_wall

from perception.camera import ground_points, levelled_base_from_camera, transform
from perception.config import MapConfig, MountConfig, SupervisorConfig
from perception.errors import CalibrationError
from perception.projection import (
    depth_evidence,
    frame_evidence,
    mount_on_plane,
    observe,
    odom_from_camera,
    place,
    row_extent,
    trusted,
    window_evidence,
)
from perception.pyramid import build_pyramid
from perception.supervisor import label_points
from perception.types import FOOTLINE, SUPER_GROUND, SUPER_OBSTACLE, Evidence, Frame, Observation

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


def mixed(pyramid, seed=0):
    """Probabilities of every class, mostly ground."""
    count = len(pyramid.windows.band)
    rng = np.random.default_rng(seed)
    return rng.dirichlet([3.0, 1.0, 1.0, 0.5, 0.5], count).astype(np.float32)


def walled():
    """Labelled depth points of a plane with a wall, and their grid."""
    grid = with_wall(plane_grid(GROUND), 6.0, slice(100, 160), 40, 128)
    return label_points(grid, [GROUND], SupervisorConfig()), grid


PYRAMID = build_pyramid(GROUND, g=1.1)
MIXED, WALLED = mixed(PYRAMID), walled()


@pytest.mark.parametrize('depth', [None, WALLED], ids=['windows', 'depth'])
@settings(derandomize=True, deadline=None)  # on the edge of a bin a window may fall to either side
@given(yaw=st.floats(-np.pi, np.pi), x=st.floats(-1e3, 1e3), y=st.floats(-1e3, 1e3))
def test_observed_then_placed_is_placed_directly(depth, yaw, x, y):
    """Seen in the camera's frame, then placed: the same wherever the robot stands and looks."""
    pose = pose_at(x, y, yaw) @ levelled_base_from_camera(GROUND)
    parts = frame_evidence(PYRAMID, MIXED, pose, CONFIG, depth)
    points = np.concatenate([part.points_odom for part in parts])
    histogram = np.concatenate([part.histogram for part in parts])
    heavy = histogram.sum(1) > 0
    placed = place(observe(PYRAMID, MIXED, CONFIG, depth), pose)
    # float32 at up to 200 m, three coordinates: 8e-6 each
    np.testing.assert_allclose(placed.points_odom, points[heavy], rtol=0, atol=3e-5)
    np.testing.assert_allclose(placed.histogram, histogram[heavy], rtol=3e-7, atol=0)


@pytest.mark.parametrize('depth', [None, WALLED], ids=['windows', 'depth'])
def test_observation_keeps_its_promises(depth):
    seen = observe(PYRAMID, MIXED, CONFIG, depth)
    for array in (seen.points_optical, seen.histogram, seen.weight):
        assert array.dtype == np.float32
        assert np.isfinite(array).all()
    np.testing.assert_allclose(seen.histogram.sum(1), 1, atol=1e-6)
    assert (seen.histogram >= 0).all()
    assert (seen.weight > 0).all()
    assert len(seen.points_optical) == len(seen.histogram) == len(seen.weight) > 1000
    assert (seen.points_optical[:, 2] > 0).all()  # all of it lies before the camera


def test_windows_are_observed_on_the_plane_itself():
    seen = observe(PYRAMID, all_ground(PYRAMID), CONFIG)
    normal, offset = GROUND.normal_offset
    height = seen.points_optical @ normal + offset
    np.testing.assert_allclose(height, 0, atol=2e-5)
    assert (seen.histogram[:, SUPER_GROUND] == 1).all()


def test_depth_points_are_observed_where_they_are():
    points, grid = WALLED
    seen = observe(PYRAMID, np.zeros_like(MIXED), CONFIG, WALLED)  # windows say nothing
    walls = seen.points_optical[seen.histogram[:, SUPER_OBSTACLE] == 1]
    np.testing.assert_allclose(walls, grid.points_optical[points.obstacle], atol=1e-4)
    np.testing.assert_array_equal(seen.weight, np.float32(CONFIG.point_weight))


def test_where_nothing_is_said_nothing_is_observed():
    seen = observe(PYRAMID, np.zeros_like(MIXED), CONFIG)
    assert (seen.points_optical.shape, seen.histogram.shape, seen.weight.shape) == (
        (0, 3), (0, 5), (0,))
    evidence = place(seen, np.eye(4))
    assert (evidence.points_odom.shape, evidence.histogram.shape) == ((0, 3), (0, 5))


def test_place_by_hand():
    """4 ahead, 1 right and 0.5 below a camera at (10, 20, 2) that looks along y."""
    seen = Observation(np.array([[1, 0.5, 4]], np.float32),
                       np.array([[0.5, 0.25, 0, 0, 0.25]], np.float32),
                       np.array([3.0], np.float32))
    pose = np.array([[1.0, 0, 0, 10], [0, 0, 1, 20], [0, -1, 0, 2], [0, 0, 0, 1]])
    evidence = place(seen, pose)
    assert evidence.points_odom.tolist() == [[11, 24, 1.5]]
    assert evidence.points_odom.dtype == np.float64
    assert evidence.histogram.tolist() == [[1.5, 0.75, 0, 0, 0.75]]


def test_mount_on_a_plane_by_hand():
    """Looking down by asin 0.6, turned left by 90 degrees: ahead is y, right is x."""
    normal = np.array([0.0, -0.8, -0.6])
    mount = mount_on_plane(normal, 1.5, MountConfig(yaw_rad=np.pi / 2, x_m=0.4, y_m=-0.2))
    np.testing.assert_allclose(mount, [[1, 0, 0, 0.4], [0, -0.6, 0.8, -0.2], [0, -0.8, -0.6, 1.5],
                                       [0, 0, 0, 1]], atol=1e-12)


@given(st.floats(0.2, 3), st.floats(-0.3, 0.6), st.floats(-0.4, 0.4), st.floats(-3.1, 3.1))
def test_mount_on_a_plane_puts_it_at_zero_and_turns_about_the_vertical(height_m, pitch, roll, yaw):
    ground = plane(height_m, pitch, roll)
    config = MountConfig(yaw_rad=yaw, x_m=0.7, y_m=-0.3)
    mount = mount_on_plane(*ground.normal_offset, config)
    np.testing.assert_allclose(mount[:3, :3] @ mount[:3, :3].T, np.eye(3), atol=1e-9)
    assert np.linalg.det(mount[:3, :3]) == pytest.approx(1)
    np.testing.assert_allclose(mount[:3, 3], [0.7, -0.3, height_m], atol=1e-9)
    assert np.arctan2(mount[1, 2], mount[0, 2]) == pytest.approx(yaw, abs=1e-9)
    rows = ground.row(np.array([40.0, 480.0]), 3.0)  # where the plane has 3 px of disparity
    points = ground_points(np.stack([[40.0, 480.0], rows], -1), ground)
    np.testing.assert_allclose(transform(mount, points)[:, 2], 0, atol=1e-8)


def test_trust_by_hand():
    """From (10, 20): 5, 12, 29.2, 30 and 100 m away, as seen from above."""
    points = np.array([[13.0, 24, 9], [10, 32, 0], [10, 49.2, 0], [40, 20, -7], [90, 80, 0]])
    pose = pose_at(10, 20, 0.7)
    pose[2, 3] = 1.2
    histogram = np.array([[4.0, 0, 0, 0, 2]] * 5, np.float32)
    evidence = trusted(Evidence(points, histogram), pose, (0.5, 0.25, 0.0))
    np.testing.assert_array_equal(evidence.histogram[:, 0], [2, 1, 1, 0, 0])
    np.testing.assert_array_equal(evidence.histogram[:, 4], [1, 0.5, 0.5, 0, 0])
    assert evidence.histogram.dtype == np.float32
    assert evidence.points_odom is points
    assert (histogram[:, 0] == 4).all()  # what came in stays


@pytest.mark.parametrize('confidence', [None, (1.0, 1.0, 1.0), [1.0] * 3])
def test_full_trust_changes_nothing(confidence):
    evidence = Evidence(np.ones((3, 3)), np.ones((3, 5), np.float32))
    assert trusted(evidence, np.eye(4), confidence) is evidence
    plain, full = observe(PYRAMID, MIXED, CONFIG, WALLED), observe(PYRAMID, MIXED, CONFIG, WALLED,
                                                                   confidence)
    for name in ('points_optical', 'histogram', 'weight'):
        np.testing.assert_array_equal(getattr(full, name), getattr(plain, name))


def test_doubted_windows_weigh_less_and_say_the_same():
    """Depth points are no answer of the classifier: they keep their weight."""
    confidence = (1.0, 0.5, 0.25)
    plain, seen = (observe(PYRAMID, MIXED, CONFIG, WALLED, c) for c in (None, confidence))
    np.testing.assert_array_equal(seen.points_optical, plain.points_optical)
    np.testing.assert_allclose(seen.histogram, plain.histogram, atol=1e-6)
    level = transform(levelled_base_from_camera(GROUND), seen.points_optical)
    distance = np.hypot(*level[:, :2].T)
    windows = np.arange(len(distance)) >= len(observe(PYRAMID, 0 * MIXED, CONFIG, WALLED).weight)
    sure = np.abs(distance - 12) > 1e-3
    sure &= np.abs(distance - 30) > 1e-3
    part = np.where(windows & (distance > 30), 0.25, np.where(windows & (distance > 12), 0.5, 1))
    np.testing.assert_allclose(seen.weight[sure], (plain.weight * part)[sure], rtol=1e-5)
    assert {0.25, 0.5, 1.0} == set(part[windows].tolist())


def test_windows_that_nobody_trusts_are_not_observed():
    near = observe(PYRAMID, MIXED, CONFIG, None, (1.0, 0.0, 0.0))
    level = transform(levelled_base_from_camera(GROUND), near.points_optical)
    assert np.hypot(*level[:, :2].T).max() < 12
    assert len(near.weight) > 10
    nothing = observe(PYRAMID, MIXED, CONFIG, None, (0.0, 0.0, 0.0))
    assert len(nothing.weight) == 0


@settings(derandomize=True, deadline=None, max_examples=25)
@given(yaw=st.floats(-np.pi, np.pi), x=st.floats(-1e3, 1e3), trust=st.floats(0.1, 0.9))
def test_doubted_then_placed_is_placed_then_doubted(yaw, x, trust):
    pose = pose_at(x, -x / 2, yaw) @ levelled_base_from_camera(GROUND)
    confidence = (trust, trust, trust)  # on the edge of a range a window may fall to either side
    parts = frame_evidence(PYRAMID, MIXED, pose, CONFIG, WALLED, confidence)
    histogram = np.concatenate([part.histogram for part in parts])
    placed = place(observe(PYRAMID, MIXED, CONFIG, WALLED, confidence), pose)
    np.testing.assert_allclose(placed.histogram, histogram[histogram.sum(1) > 0], rtol=5e-7)
