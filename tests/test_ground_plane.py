# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes import BASELINE_M, CAMERA, FOCAL_BASELINE, plane, plane_grid, stereo_pair, with_wall

from perception.config import MountConfig, PlaneConfig, StereoConfig
from perception.ground_plane import fit_plane, fit_planes, sample_points
from perception.plane_tracker import PlaneTracker, moved_plane, plane_from_mount
from perception.stereo import depth_grid
from perception.types import DepthGrid, Frame

CONFIG = PlaneConfig()
IMAGE = np.zeros((CAMERA.height, CAMERA.width), np.uint8)


def frame(stamp_s=0.0, **fields):
    return Frame(round(stamp_s * 1e9), IMAGE, CAMERA, baseline_m=BASELINE_M, **fields)


def horizon_error(found, truth):
    u = np.array([0.0, CAMERA.width - 1])
    return np.abs(found.row(u) - truth.row(u)).max()


@settings(max_examples=25, deadline=None)
@given(st.floats(0.5, 1.9), st.floats(-0.05, 0.2), st.floats(-0.12, 0.12))
def test_exact_points_give_the_horizon_to_a_tenth_of_a_pixel(height, pitch, roll):
    truth = plane(height, pitch, roll)
    fit = fit_plane(sample_points(plane_grid(truth), CONFIG), CONFIG)
    assert horizon_error(fit.plane, truth) < 0.1
    assert fit.plane.height_m == pytest.approx(height, rel=1e-3)
    assert fit.plane.roll_rad == pytest.approx(truth.roll_rad, abs=1e-4)


def test_noise_and_a_wall_move_the_horizon_by_less_than_a_pixel():
    truth = plane()
    grid = with_wall(plane_grid(truth, noise_px=0.25), 5.0, slice(60, 140), 20, 140)
    fit = fit_plane(sample_points(grid, CONFIG), CONFIG)
    assert horizon_error(fit.plane, truth) < 1.0


def test_matched_images_give_the_horizon():
    truth = plane(pitch=0.12, roll=-0.05)
    left, right = stereo_pair(truth)
    grid = depth_grid(Frame(0, left, CAMERA, right, BASELINE_M), StereoConfig())
    fit = fit_plane(sample_points(grid, CONFIG), CONFIG)
    assert horizon_error(fit.plane, truth) < 0.7


def test_fit_does_not_depend_on_the_order_of_points():
    samples = sample_points(plane_grid(plane(), noise_px=0.3), CONFIG)
    start = plane(1.1, 0.1, 0.05)
    shuffled = samples.take(np.random.default_rng(0).permutation(len(samples.u)))
    a, b = (fit_plane(s, CONFIG, start).plane for s in (samples, shuffled))
    np.testing.assert_allclose([a.p0, a.p1, a.p3], [b.p0, b.p1, b.p3], rtol=1e-9)


def test_walls_and_empty_grids_are_no_ground():
    truth = plane()
    empty = DepthGrid(np.full((190, 260), np.nan, np.float32), CAMERA, FOCAL_BASELINE, 2)
    assert fit_plane(sample_points(empty, CONFIG), CONFIG) is None
    wall = with_wall(empty, 4.0, slice(0, 260), 0, 190)
    assert fit_plane(sample_points(wall, CONFIG), CONFIG) is None
    rng = np.random.default_rng(0)
    noise = DepthGrid(rng.uniform(4, 60, (190, 260)).astype(np.float32), CAMERA, FOCAL_BASELINE, 2)
    assert fit_plane(sample_points(noise, CONFIG), CONFIG) is None
    assert fit_plane(sample_points(plane_grid(truth), CONFIG), CONFIG) is not None


def test_few_points_are_refused():
    grid = plane_grid(plane())
    disparity = grid.disparity.copy()
    disparity[:, 4:] = np.nan  # 4 of 260 columns stay
    few = DepthGrid(disparity, CAMERA, FOCAL_BASELINE, 2)
    assert fit_plane(sample_points(few, CONFIG), CONFIG) is None


def test_further_planes_lie_below_and_bushes_are_none():
    upper, lower = plane(1.0), plane(1.35)
    grid = plane_grid(upper)
    disparity = grid.disparity.copy()
    disparity[:, 150:] = plane_grid(lower).disparity[:, 150:]
    dip = DepthGrid(disparity, CAMERA, FOCAL_BASELINE, 2)
    planes = fit_planes(dip, upper, CONFIG)
    assert len(planes) == 2
    assert planes[1].height_m == pytest.approx(1.35, abs=0.03)
    hedge = with_wall(grid, 4.0, slice(100, 200), 40, 120)
    assert fit_planes(hedge, upper, CONFIG) == [upper]


def test_tracker_votes_once_then_tracks():
    tracker = PlaneTracker(CONFIG, MountConfig())
    sources = []
    for k in range(4):
        truth = plane(pitch=0.09 + 0.01 * k)
        estimate = tracker.update(plane_grid(truth, noise_px=0.2, seed=k), frame(k * 0.1))
        assert horizon_error(estimate.plane, truth) < 0.7
        sources.append(estimate.source)
    assert sources == ['hough', 'tracked', 'tracked', 'tracked']


def test_lost_plane_is_held_for_a_second_and_never_fresh():
    tracker = PlaneTracker(CONFIG, MountConfig())
    empty = DepthGrid(np.full((190, 260), np.nan, np.float32), CAMERA, FOCAL_BASELINE, 2)
    assert tracker.update(empty, frame(0.0)) is None
    tracker.update(plane_grid(plane()), frame(1.0))
    held = tracker.update(empty, frame(1.9))
    assert (held.source, held.fresh) == ('held', False)
    assert tracker.update(empty, frame(2.2)) is None


def test_fall_back_on_calibration_is_not_fresh():
    mount = MountConfig(height_m=0.8, pitch_rad=0.15, roll_rad=0.02)
    estimate = PlaneTracker(CONFIG, mount).update(None, frame())
    assert (estimate.source, estimate.fresh) == ('calibration', False)
    assert estimate.plane.height_m == pytest.approx(0.8)
    assert estimate.plane.pitch_rad == pytest.approx(np.arcsin(np.cos(0.02) * np.sin(0.15)))


def test_plane_from_the_transform_of_the_camera():
    base_from_camera = np.eye(4)
    base_from_camera[:3, :3] = [[0, 0, 1], [-1, 0, 0], [0, -1, 0]]
    base_from_camera[2, 3] = 1.2
    ground = plane_from_mount(frame(base_from_camera=base_from_camera), MountConfig())
    assert ground.height_m == pytest.approx(1.2)
    assert ground.row(100.0) == pytest.approx(CAMERA.cy)
    assert plane_from_mount(frame(), MountConfig()) is None


def test_held_plane_moves_with_the_camera():
    base_from_camera = np.eye(4)
    base_from_camera[:3, :3] = [[0, 0, 1], [-1, 0, 0], [0, -1, 0]]
    base_from_camera[2, 3] = 1.0
    before = frame(odom_from_base=np.eye(4), base_from_camera=base_from_camera)
    ground = plane_from_mount(before, MountConfig())
    nose_down = np.eye(4)
    cos, sin = np.cos(0.1), np.sin(0.1)
    nose_down[:3, :3] = [[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]]
    nose_down[2, 3] = 0.2
    now = replace(before, odom_from_base=nose_down)
    moved = moved_plane(ground, before, now)
    assert moved.pitch_rad == pytest.approx(0.1)
    assert moved.height_m == pytest.approx(0.2 + np.cos(0.1))
    assert moved_plane(ground, before, frame()) is ground


def test_pyramid_height_changes_in_steps():
    tracker = PlaneTracker(CONFIG, MountConfig())
    heights = [tracker.update(plane_grid(plane(h)), frame(k * 0.1)).scale_height_m
               for k, h in enumerate([1.0, 1.01, 1.02, 1.3, 1.3, 1.3])]
    assert heights[0] == heights[1] == heights[2] == pytest.approx(1.0, abs=0.01)
    assert heights[-1] == pytest.approx(1.3, abs=0.15)
    state = tracker.save()
    tracker.reset()
    tracker.restore(state)
    assert tracker.update(plane_grid(plane(1.3)), frame(1.0)).source == 'tracked'


def test_kitti_camera_height(data_dir):
    cv2 = pytest.importorskip('cv2')
    from perception.types import Camera

    folder = data_dir / 'stereo' / 'kitti_odom06_0-50'
    tracker, heights = PlaneTracker(CONFIG, MountConfig()), []
    for k in range(0, 51, 5):
        left, right = (cv2.imread(str(sorted((folder / side).iterdir())[k]), 0)
                       for side in ('image_left', 'image_right'))
        camera = Camera(left.shape[1], left.shape[0], 707.0912, 707.0912, 601.8873, 183.1104)
        shot = Frame(k * 10 ** 8, left, camera, right, 379.8145 / 707.0912)
        estimate = tracker.update(depth_grid(shot, StereoConfig()), shot)
        assert estimate.fresh
        heights.append(estimate.plane.height_m)
    assert np.median(heights) == pytest.approx(1.65, abs=0.10)
