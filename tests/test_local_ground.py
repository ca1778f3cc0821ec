# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from scenes import plane

from perception.camera import levelled_base_from_camera, transform
from perception.config import SupervisorConfig
from perception.local_ground import point_heights, tell_apart
from perception.types import Camera, DepthGrid, GroundPlane

CAMERA = Camera(84, 60, 60.0, 55.0, 40.0, 20.0)  # small, looking far aside and down
FOCAL_BASELINE = 40.0
CONFIG = SupervisorConfig(max_range_m=8.0, cell_m=0.7, min_points=3, ground_percentile=30.0)
GROUND = GroundPlane.from_normal(plane(0.9, 0.2, 0.08).normal_offset[0], 0.9, CAMERA,
                                 FOCAL_BASELINE)


def grid_of(disparity):
    return DepthGrid(np.asarray(disparity, np.float32), CAMERA, FOCAL_BASELINE, 2)


def rough(seed):
    """A grid with bumps, noise, holes and points that are too far."""
    rng = np.random.default_rng(seed)
    v, u = np.mgrid[:30, :42] * 2 + 0.5
    disparity = GROUND.disparity(u, v) * rng.uniform(0.9, 1.3, u.shape)
    disparity[rng.random(u.shape) < 0.2] = np.nan
    disparity[8:18, 15:22] = FOCAL_BASELINE / 3.5  # a wall
    return grid_of(np.where(disparity > 2, disparity, np.nan))


def naive_heights(grid):
    """Point by point, cell by cell, as point_heights says it."""
    base_from_camera = levelled_base_from_camera(GROUND)
    points = transform(base_from_camera, grid.points_optical)
    near = grid.disparity >= np.float32(FOCAL_BASELINE / 8.0)
    side = int(np.ceil(8.0 / 0.7)) + 1
    row = np.clip(np.floor(points[..., 0] / 0.7), 0, side - 1)
    column = np.clip(np.floor(points[..., 1] / 0.7) + side, 0, 2 * side - 1)
    ground = np.full((side, 2 * side), np.inf)
    for r, c in np.ndindex(*ground.shape):
        here = near & (row == r) & (column == c) & (np.abs(points[..., 2]) < 1.5)
        levels = np.sort(np.floor((points[here][:, 2] + 1.5) / 0.05))
        if len(levels) < 3:
            continue
        low = -1.5 + 0.05 * (levels[max(int(np.ceil(0.3 * len(levels))), 1) - 1] + 0.5)
        away = 0.7 * np.hypot(r, c - side)
        if abs(low) <= 0.3 + CONFIG.max_slope * away:
            ground[r, c] = low + 1.3 * 0.35 * GROUND.height_m / FOCAL_BASELINE * away
    height = np.full(grid.disparity.shape, np.nan)
    for v, u in zip(*np.nonzero(near), strict=True):
        r, c = int(row[v, u]), int(column[v, u])
        lowest = ground[max(r - 1, 0):r + 2, max(c - 1, 0):c + 2].min()
        height[v, u] = points[v, u, 2] - (lowest if np.isfinite(lowest) else 0)
    return height


def naive_masks(height, depth):
    ground, obstacle, feet = (np.zeros(height.shape, bool) for _ in range(3))
    for v, u in np.ndindex(*height.shape):
        noise = 0.35 * GROUND.height_m / FOCAL_BASELINE * depth[v, u]
        ground[v, u] = abs(height[v, u]) <= 0.125
        obstacle[v, u] = max(3 * noise, 0.25) < height[v, u] < 2.0
    for v, u in np.argwhere(obstacle):
        below = v + 1 < len(height) and obstacle[v + 1, u]
        feet[v, u] = (not below and obstacle[max(v - 5, 0):v, u].all() and height[v, u] < 0.5)
    return ground, obstacle, feet


@pytest.mark.parametrize('seed', range(3))
def test_points_are_told_apart_as_by_their_naive_twin(seed):
    grid = rough(seed)
    height = point_heights(grid, [GROUND], CONFIG)
    assert height.dtype == np.float32
    twin = naive_heights(grid)
    same = np.isclose(height, twin, atol=1e-5, equal_nan=True)
    assert same.mean() > 0.99  # a point on the border of a cell or a bin
    assert 100 < np.isfinite(height).sum() < height.size / 1.2
    for mask, naive in zip(tell_apart(height, grid, GROUND, CONFIG),
                           naive_masks(height, grid.depth), strict=True):
        assert mask.any()
        np.testing.assert_array_equal(mask, naive)


def test_where_nothing_is_known_the_plane_is_the_ground():
    """In the last row of cells, too: two points high up, more than 8 m ahead on the ground."""
    disparity = np.full((30, 42), np.nan, np.float32)
    disparity[0, 20:22] = FOCAL_BASELINE / 7.9
    grid = grid_of(disparity)
    points = transform(levelled_base_from_camera(GROUND), grid.points_optical)[0, 20:22]
    assert points[:, 0].min() > 8.05
    height = point_heights(grid, [GROUND], CONFIG.model_copy(update={'cell_m': 0.5}))
    np.testing.assert_allclose(height[0, 20:22], points[:, 2], atol=1e-5)


def test_two_points_in_a_dip_are_measured_from_its_plane():
    lower = GroundPlane.from_normal(GROUND.normal_offset[0], 1.2, CAMERA, FOCAL_BASELINE)
    disparity = np.full((30, 42), np.nan, np.float32)
    disparity[22, 12:14] = lower.disparity(25.5, 44.5)
    height = point_heights(grid_of(disparity), [GROUND, lower], CONFIG)
    assert np.abs(height[22, 12:14]).max() < 0.05
    above = point_heights(grid_of(disparity), [GROUND], CONFIG)
    np.testing.assert_allclose(above[22, 12], -0.3, atol=0.01)
