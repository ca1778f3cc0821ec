# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from scenes import CAMERA, FOCAL_BASELINE, plane, plane_grid, with_wall

from perception.camera import project
from perception.config import SupervisorConfig
from perception.pyramid import build_pyramid
from perception.supervisor import (
    label_points,
    labels_from_masks,
    point_heights,
    soft_targets,
    supervise,
)
from perception.types import (
    FOOTLINE,
    GROUND,
    OBSTACLE,
    SUPER_GROUND,
    SUPER_OBSTACLE,
    UNLABELED,
    DepthGrid,
)

CONFIG = SupervisorConfig()
GROUND_PLANE = plane(roll=0.0)


def box_scene(depth_m=6.0, height_m=1.0, u=(220, 330)):
    """Level ground and a box front of that height; rows from exact projection (grid, foot)."""
    grid = plane_grid(GROUND_PLANE)
    normal, offset = GROUND_PLANE.normal_offset
    # the point of the ground at that depth in the middle column, and the one above it
    foot_y = -(offset + normal[2] * depth_m) / normal[1]
    top = np.array([0, foot_y, depth_m]) + normal * height_m
    foot = project(np.array([0, foot_y, depth_m]), CAMERA)[1]
    top_row = project(top, CAMERA)[1]
    wall = with_wall(grid, depth_m, slice(u[0] // 2, u[1] // 2), round(top_row / 2),
                     round(foot / 2))
    return wall, foot


def test_heights_over_flat_ground_are_zero_and_beyond_range_nan():
    grid = plane_grid(GROUND_PLANE)
    height = point_heights(grid, [GROUND_PLANE], CONFIG)
    near = grid.depth <= 11.5
    # noiseless ground looks lower than the noise allowance: at most 0.13 m at 11 m
    assert np.nanmax(np.abs(height[near])) < 0.125
    assert np.nanmax(np.abs(height[grid.depth < 4])) < 0.05
    assert np.isnan(height[grid.depth > 12.5]).all()


def test_heights_of_a_box_by_hand():
    grid, foot = box_scene(6.0, 1.0)
    height = point_heights(grid, [GROUND_PLANE], CONFIG)
    column = height[:round(foot / 2), 135]
    front = column[np.isfinite(column)]
    assert front.max() == pytest.approx(1.0, abs=0.1)
    assert front.min() < 0.15


def test_a_hillside_is_ground_where_one_plane_would_see_an_obstacle():
    normal, offset = GROUND_PLANE.normal_offset
    steeper = plane(1.05, 0.09 + 0.055, 0.0)  # rises 5.5 cm a metre against the first plane
    grid = plane_grid(steeper)
    points = label_points(grid, [GROUND_PLANE], CONFIG)
    above = grid.points_optical @ normal + offset
    hill = (above > 0.3) & (grid.depth < 11) & (grid.depth > 5)
    assert hill.sum() > 300
    assert points.ground[hill].mean() > 0.95
    assert points.obstacle[hill].mean() < 0.01


def test_false_matches_in_the_sky_are_neither_ground_nor_teachers():
    grid = plane_grid(GROUND_PLANE)
    disparity = grid.disparity.copy()
    disparity[5:12, 100:130] = grid.focal_baseline / 8.0  # near, but 4 m up
    points = label_points(DepthGrid(disparity, CAMERA, FOCAL_BASELINE, 2), [GROUND_PLANE], CONFIG)
    assert not points.ground[5:12, 100:130].any()
    assert not points.obstacle[5:12, 100:130].any()


def test_feet_lie_where_the_box_meets_the_ground():
    grid, foot = box_scene()
    points = label_points(grid, [GROUND_PLANE], CONFIG)
    rows, columns = np.nonzero(points.feet)
    assert len(rows) >= 40
    at_quarter = foot - 0.25 * CAMERA.fy / 6.0  # lower points of the box are no obstacle yet
    assert np.abs(rows * 2 - at_quarter).max() < 6
    assert columns.min() >= 109
    assert columns.max() <= 166


def test_labels_of_a_box_in_front():
    grid, foot = box_scene(6.0, 1.3)
    points = label_points(grid, [GROUND_PLANE], CONFIG)
    pyramid = build_pyramid(GROUND_PLANE)
    labels = supervise(points, grid, pyramid, CONFIG)
    windows = pyramid.windows
    on_box = (np.abs(windows.uv[:, 0] - 275) < 20) & (windows.band >= 5)
    assert set(labels.label[on_box & (np.abs(windows.uv[:, 1] - foot + 15) < 8)]) == {FOOTLINE}
    far_left = (windows.uv[:, 0] < 110) & (windows.distance < 9) & labels.labeled
    assert far_left.sum() > 5
    assert set(labels.label[far_left]) <= {SUPER_GROUND, GROUND}


def masks(shape, top, bottom):
    ground = np.zeros(shape, bool)
    ground[bottom:] = True
    obstacle = np.zeros(shape, bool)
    obstacle[top:bottom] = True
    return ground, obstacle


def test_five_classes_from_exact_masks():
    pyramid = build_pyramid(GROUND_PLANE)
    edge = round(float(GROUND_PLANE.row(0.0, FOCAL_BASELINE / 10.0)) / 2)
    ground, obstacle = masks((190, 260), 0, edge)
    feet = np.stack([np.arange(0, 520, 2.0), np.full(260, 2.0 * edge)], -1)
    result = labels_from_masks(ground, obstacle, feet, 2, pyramid, CONFIG)
    windows, inside = pyramid.windows, pyramid.windows.outside == 0
    scale = np.array([b.scale for b in pyramid.bands])[windows.band]
    above = (2 * edge - windows.uv[:, 1]) / scale  # band rows above the foot
    assert set(result.label[inside & (np.abs(above) < 1.5)]) == {FOOTLINE}
    assert set(result.label[inside & (above > 8)]) == {SUPER_OBSTACLE}
    assert set(result.label[inside & (above < -6.5)]) == {SUPER_GROUND}
    assert set(result.label[inside & (above > 3.5) & (above < 4.5)]) == {OBSTACLE}
    assert set(result.label[inside & (above < -3.5) & (above > -4.5)]) == {GROUND}


def test_undecided_windows_stay_unlabeled():
    pyramid = build_pyramid(GROUND_PLANE)
    ground = np.zeros((190, 260), bool)
    ground[:, ::2] = True  # half of each window decided, less than min_valid
    result = labels_from_masks(ground, np.zeros_like(ground), np.zeros((0, 2)), 2, pyramid, CONFIG)
    near = pyramid.windows.band >= 5
    assert (result.label[near] == UNLABELED).mean() > 0.95
    assert not result.target[~result.labeled].any()


def test_soft_targets_by_hand():
    target = soft_targets(np.array([0, 2, 4, 255], np.uint8), 0.9)
    np.testing.assert_allclose(target, [
        [0.9, 0.1, 0, 0, 0], [0, 0.05, 0.9, 0.05, 0], [0, 0, 0, 0.1, 0.9], [0] * 5], atol=1e-6)


def test_empty_grid_gives_no_label():
    empty = DepthGrid(np.full((190, 260), np.nan, np.float32), CAMERA, FOCAL_BASELINE, 2)
    points = label_points(empty, [GROUND_PLANE], CONFIG)
    labels = supervise(points, empty, build_pyramid(GROUND_PLANE), CONFIG)
    assert not labels.labeled.any()
