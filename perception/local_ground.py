# SPDX-License-Identifier: Apache-2.0
"""
Heights of points above the ground around them, and what that makes of the points.

Ground is a grid of low percentiles, not one plane: so hillsides and dips come out right.

Source
    near_to_far_probe.md. Differs from algorithms.md A5, which filters moments.
"""

from functools import lru_cache

import numpy as np

from perception.camera import levelled_base_from_camera
from perception.config import SupervisorConfig
from perception.ground_loops import levelled, lower, lowest_ground, told_apart
from perception.types import DepthGrid, Float, GroundPlane, Index, Mask

MATCH_NOISE_PX = 0.35
NOISE_BIAS = 1.3  # a 15th percentile, and the lowest of nine, in standard deviations
PLANE_SLACK_M = 0.3  # ground may leave the plane by this, plus the slope times the distance


def point_heights(grid: DepthGrid, planes: list[GroundPlane], config: SupervisorConfig) -> Float:
    """
    Height of each grid point above the ground around it.

    Parameters
    ----------
    planes : list of GroundPlane
        The first levels the grid of cells; further ones (dips) serve cells with few points.

    Returns
    -------
    (h, w) float32 [m]
        NaN where there is no point, or it is farther than ``config.max_range_m``.
    """
    side = _side(config)
    measures = np.array([grid.focal_baseline, grid.focal_baseline / config.max_range_m,
                         planes[0].height_m, side], np.float32)
    disparity = np.ascontiguousarray(grid.disparity, np.float32)
    z, cell, histogram = levelled(disparity, *_levelled_rays(grid, planes[0], config), measures,
                                  2 * side * side)
    ground = _local_ground(histogram, _noise(grid, planes[0]), config)
    known = np.isfinite(ground)
    if len(planes) > 1 and not known.all():
        unknown = ~np.isnan(z)
        unknown[unknown] = ~known[cell[unknown]]
        z[unknown] = _above_nearest(grid.points_optical[unknown], planes)
    lower(z, cell, np.where(known, ground, np.float32(0)))
    return z


def tell_apart(
    height: Float, grid: DepthGrid, plane: GroundPlane, config: SupervisorConfig
) -> tuple[Mask, Mask, Mask]:
    """
    Ground, obstacles and their feet among points (h, w) of these heights [m]: bool masks.

    Feet have no obstacle point below them in the image, and are low enough to stand on the
    ground. They lie at the height that makes an obstacle, as the lowest pixels of an obstacle
    mask do. A lone point is noise.
    """
    limits = np.array([0.5 * config.obstacle_m, config.obstacle_m, config.max_obstacle_m,
                       2 * config.obstacle_m, grid.focal_baseline, _noise(grid, plane)],
                      np.float32)
    disparity = np.ascontiguousarray(grid.disparity, np.float32)
    ground, obstacle, feet = told_apart(height, disparity, limits)
    return ground, obstacle, feet


def _noise(grid: DepthGrid, plane: GroundPlane) -> float:
    """Standard deviation of a point's height per metre of depth: sigma_Z h / Z^2."""
    return MATCH_NOISE_PX * plane.height_m / grid.focal_baseline


def _levelled_rays(
    grid: DepthGrid, plane: GroundPlane, config: SupervisorConfig
) -> tuple[Float, Float]:
    """
    Terms of each column and of each row, (3, w) and (3, h) float32, that add up to rays.

    Forward and left in cells, up in metres, per metre of depth.
    """
    u, v = grid.uv
    across = (u - grid.camera.cx) / grid.camera.fx
    down = (v - grid.camera.cy) / grid.camera.fy
    per_m = 1 / config.cell_m
    turn = levelled_base_from_camera(plane)[:3, :3] * [[per_m], [per_m], [1]]
    return ((turn[:, :1] * across).astype(np.float32),
            (turn[:, 1:2] * down + turn[:, 2:]).astype(np.float32))


def _above_nearest(points: Float, planes: list[GroundPlane]) -> Float:
    """Height of points (n, 3) above the plane that is nearest to each, (n,) [m]."""
    above = np.stack([points @ plane.normal_offset[0] + plane.height_m for plane in planes])
    return np.asarray(np.take_along_axis(above, np.abs(above).argmin(0)[None], 0)[0])


def _side(config: SupervisorConfig) -> int:
    """Cells from the camera to the edge of the local-ground grid."""
    return int(np.ceil(config.max_range_m / config.cell_m)) + 1


def _local_ground(histogram: Index, noise: float, config: SupervisorConfig) -> Float:
    """
    Ground height of each cell, (cells,) float32 [m]; infinite where nothing is known.

    A low percentile of noisy points lies below them by about their deviation, which is ``noise``
    times the distance: that is added back. What the plane does not make plausible counts as
    unknown (a false match in the sky is no ground).
    """
    settings = np.array([config.min_points, config.ground_percentile / 100, PLANE_SLACK_M,
                         config.max_slope, NOISE_BIAS * noise])
    return lowest_ground(histogram, _cell_distances(config), settings).ravel()


@lru_cache(maxsize=8)
def _cell_distances(config: SupervisorConfig) -> Float:
    """Distance [m] of each local-ground cell, (side, 2 side) float64, read-only."""
    side = _side(config)
    distance: Float = np.hypot(*np.mgrid[0:side, -side:side]) * config.cell_m
    distance.flags.writeable = False
    return distance
