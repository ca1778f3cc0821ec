# SPDX-License-Identifier: Apache-2.0
"""Truth of windows and points from hand-made depth and obstacle masks."""

import numpy as np
import pytest

from perception.camera import project
from perception.evaluation.truth import (
    TruthFrame,
    centre_range,
    decide_windows,
    feet_uv,
    ground_tilt_rad,
    window_truth,
)
from perception.pyramid import build_pyramid
from perception.types import Camera, GroundPlane

CAMERA = Camera(512, 384, 365.0, 371.0, 251.5, 187.0)
HEIGHT_M = 0.95
# optical x, y, z -> world: forward along +y, so left is -x
WORLD_FROM_OPTICAL = np.array([[1.0, 0, 0], [0, 0, 1.0], [0, -1.0, 0]])


def _pose() -> np.ndarray:
    pose = np.eye(4)
    pose[:3, :3] = WORLD_FROM_OPTICAL
    pose[:3, 3] = 7.0, -3.0, HEIGHT_M
    return pose


def _flat_truth() -> TruthFrame:
    """A level camera over flat ground, sky above the horizon."""
    v = np.arange(CAMERA.height)[:, None] * np.ones(CAMERA.width)
    below = v > CAMERA.cy
    depth = np.where(below, HEIGHT_M * CAMERA.fy / np.where(below, v - CAMERA.cy, 1), np.nan)
    obstacle = np.where(below, 0, 255).astype(np.uint8)
    return TruthFrame(0, CAMERA, obstacle, depth, _pose(), np.array([7.0, -3.0]))


def _plane() -> GroundPlane:
    return GroundPlane.from_normal(np.array([0.0, -1.0, 0.0]), HEIGHT_M, CAMERA, 43.8)


def _with_wall(truth: TruthFrame, depth_m: float, columns: slice) -> TruthFrame:
    """A 1.5 m high wall across some columns."""
    top, foot = (CAMERA.cy + CAMERA.fy * y / depth_m for y in (HEIGHT_M - 1.5, HEIGHT_M))
    rows = slice(int(np.ceil(top)), int(foot) + 1)
    truth.obstacle[rows, columns] = 1
    truth.depth[rows, columns] = depth_m
    return truth


def test_feet_are_the_lowest_pixels_of_each_region() -> None:
    mask = np.zeros((7, 9), bool)
    mask[1:5, 2:4] = True
    mask[2, 3] = False  # a hole in a region makes no foot
    mask[0, 7] = mask[6, 7] = True  # two regions over one another make two
    assert {tuple(foot) for foot in feet_uv(mask)} == {(2, 4), (3, 4), (7, 0), (7, 6)}


def test_no_obstacle_no_feet() -> None:
    assert feet_uv(np.zeros((3, 5), bool)).shape == (0, 2)


@pytest.mark.parametrize(('free', 'standing', 'foot', 'obstacle', 'decided'), [
    (0.5, 0.5, False, True, True),
    (0.55, 0.45, False, False, False),  # mixed, no foot: left out
    (0.55, 0.45, True, True, True),
    (0.96, 0.04, False, False, True),
    (1.0, 0.0, True, True, True),  # a foot wins over an empty window
    (0.2, 0.2, False, True, False),  # fewer than half decided
    (0.0, 0.0, False, False, False),
    (0.3, 0.3, False, True, True),  # shares are of the decided pixels
])
def test_window_rule(
    free: float, standing: float, foot: bool, obstacle: bool, decided: bool
) -> None:
    got, known = decide_windows(np.array([free]), np.array([standing]), np.array([foot]))
    assert known[0] == decided
    if decided:
        assert got[0] == obstacle


def test_range_is_on_the_ground_from_the_robot() -> None:
    truth = _flat_truth()
    point = np.array([[2.0, HEIGHT_M, 8.0]])  # 2 m right, 8 m ahead
    uv = project(point, CAMERA)
    expected = np.hypot(2.0, 8.0)
    assert centre_range(truth, uv)[0] == pytest.approx(expected, rel=0.02)
    assert np.isnan(centre_range(truth, np.array([[100.0, 20.0], [-40.0, 300.0]]))).all()


def test_flat_ground_windows_are_all_ground() -> None:
    pyramid = build_pyramid(_plane())
    truth = window_truth(_flat_truth(), pyramid)
    windows = pyramid.windows
    on_plane = np.hypot(windows.ground_optical[:, 0], windows.ground_optical[:, 2])
    scored = truth.decided & (on_plane < 40) & (windows.outside < 0.01)
    assert scored.sum() > 500
    assert not truth.obstacle[scored].any()
    np.testing.assert_allclose(truth.range_m[scored], on_plane[scored], rtol=0.1)


def test_wall_makes_windows_obstacles_at_its_own_range() -> None:
    pyramid = build_pyramid(_plane())
    truth = window_truth(_with_wall(_flat_truth(), 15.0, slice(300, 420)), pyramid)
    u, v = pyramid.windows.uv.T
    foot_row = CAMERA.cy + CAMERA.fy * HEIGHT_M / 15.0
    on_wall = (np.abs(u - 360) < 20) & (np.abs(v - foot_row + 6) < 3) & truth.decided
    assert on_wall.sum() > 5
    assert truth.obstacle[on_wall].all()
    expected = np.hypot(15.0, (u[on_wall] - CAMERA.cx) / CAMERA.fx * 15.0)
    np.testing.assert_allclose(truth.range_m[on_wall], expected, rtol=0.01)
    left = (u < 230) & truth.decided & (truth.range_m < 40)
    assert not truth.obstacle[left].any()


def test_points_and_tilt_of_a_slope() -> None:
    truth = _flat_truth()
    tilt = 0.07
    turn = np.eye(4)
    turn[:3, :3] = [[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]]
    sloped = TruthFrame(0, CAMERA, truth.obstacle, truth.depth, turn @ _pose(),
                        (turn @ _pose())[:2, 3])
    assert ground_tilt_rad(truth) == pytest.approx(0.0, abs=1e-6)
    assert ground_tilt_rad(sloped) == pytest.approx(tilt, abs=1e-6)
    row, column = 300, 77
    depth = HEIGHT_M * CAMERA.fy / (row - CAMERA.cy)
    expected = [7.0 + (column - CAMERA.cx) / CAMERA.fx * depth, -3.0 + depth, 0.0]
    np.testing.assert_allclose(truth.points_world()[row, column], expected, atol=1e-9)
