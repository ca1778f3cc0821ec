# SPDX-License-Identifier: Apache-2.0
"""
Window labels from stereo or depth: the near-range teacher.

Heights are taken above the local ground (a grid of low percentiles), not above one plane: that
labels hillsides and dips right. Purity gates leave mixed windows and bleeding edges unlabelled.

Source
    IROS08-DBN (five categories, feet, soft targets), algorithms.md A5. Differs: the local-ground
    grid and the gates of near_to_far_probe.md take the place of the moments filter.
"""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from perception.camera import levelled_base_from_camera
from perception.config import SupervisorConfig
from perception.pyramid import (
    MAX_OUTSIDE,
    Pyramid,
    on_sheet,
    shares_on_sheet,
    window_counts,
    window_shares,
)
from perception.types import (
    CLASSES,
    FOOTLINE,
    GROUND,
    OBSTACLE,
    SUPER_GROUND,
    SUPER_OBSTACLE,
    UNLABELED,
    DepthGrid,
    Float,
    GroundPlane,
    Image,
    Mask,
)

HEIGHT_BIN_M, LOWEST_M, HIGHEST_M = 0.05, -1.5, 1.5
MATCH_NOISE_PX = 0.35
NOISE_BIAS = 1.3  # a 15th percentile, and the lowest of nine, in standard deviations
FOOT_RUN = 6  # obstacle points above each other that make a foot
PLANE_SLACK_M = 0.3  # ground may leave the plane by this, plus the slope times the distance
CENTRE, MAX_RAISED = (5, 13), 0.02  # rows and columns about a window's centre; share of them
OCCLUSION_JUMP = 0.12  # relative disparity step that marks an occlusion edge


@dataclass(frozen=True)
class WindowLabels:
    """
    Labels of the N windows of a pyramid.

    ``label`` (N,) uint8 class or 255; ``target`` (N, 5) float32 soft target, rows of zeros where
    unlabelled.
    """

    label: NDArray[np.uint8]
    target: Float

    @property
    def labeled(self) -> Mask:
        """(N,) bool."""
        labeled: Mask = self.label != UNLABELED
        return labeled


@dataclass(frozen=True)
class PointLabels:
    """
    Grid points told apart: boolean masks (h, w), heights (h, w) float32 [m] over local ground.

    ``feet`` are the lowest obstacle points of a column, where something stands on the ground.
    """

    ground: Mask
    obstacle: Mask
    feet: Mask
    height: Float


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
    height = np.full(grid.disparity.shape, np.nan, np.float32)
    limit = np.float32(grid.focal_baseline / config.max_range_m)
    near = grid.disparity >= limit
    rows = np.flatnonzero(near.any(1))
    if not len(rows):
        return height
    below = slice(rows[0], None)  # the sky above costs time and says nothing
    near = near[below]
    # what is not near is computed as if it stood at the limit, and left out at the end
    depth = np.float32(grid.focal_baseline) / np.fmax(grid.disparity[below], limit)
    forward, left, z = points = _levelled_rays(grid, planes[0], below, 1 / config.cell_m)
    points *= depth
    z += np.float32(planes[0].height_m)
    cell = _cells(forward, left, config)
    noise = MATCH_NOISE_PX * planes[0].height_m / grid.focal_baseline
    ground = _local_ground(cell, z, near, noise, config)
    known = np.isfinite(ground)
    if len(planes) > 1 and not known.all():
        unknown = near & ~known.take(cell)
        z[unknown] = _above_nearest(grid.points_optical[below][unknown], planes)
    z -= np.where(known, ground, np.float32(0)).take(cell, mode='wrap')  # all are inside
    cv2.copyTo(z, near.view(np.uint8), height[below])
    return height


def _levelled_rays(
    grid: DepthGrid, plane: GroundPlane, rows: slice, cells_per_m: float
) -> Float:
    """Forward and left in cells, up in metres, per metre of depth: (3, h, w) float32."""
    u, v = grid.uv
    across = (u - grid.camera.cx) / grid.camera.fx
    down = (v[rows] - grid.camera.cy) / grid.camera.fy
    turn = levelled_base_from_camera(plane)[:3, :3] * [[cells_per_m], [cells_per_m], [1]]
    of_row = np.stack([np.ones((3, len(down))), turn[:, 1:2] * down + turn[:, 2:]], -1)
    of_column = np.stack([turn[:, :1] * across, np.ones((3, len(across)))], 1)
    return np.asarray(of_row.astype(np.float32) @ of_column.astype(np.float32), np.float32)


def _above_nearest(points: Float, planes: list[GroundPlane]) -> Float:
    """Height of points (n, 3) above the plane that is nearest to each, (n,) [m]."""
    above = np.stack([points @ plane.normal_offset[0] + plane.height_m for plane in planes])
    return np.asarray(np.take_along_axis(above, np.abs(above).argmin(0)[None], 0)[0])


def _side(config: SupervisorConfig) -> int:
    """Cells from the camera to the edge of the local-ground grid."""
    return int(np.ceil(config.max_range_m / config.cell_m)) + 1


def _cells(row: Float, column: Float, config: SupervisorConfig) -> NDArray[np.intp]:
    """Flat local-ground cell of points so many cells ahead and to the left; uses both up."""
    side = _side(config)
    column += np.float32(side)
    for axis, last in ((row, side - 1), (column, 2 * side - 1)):
        np.clip(np.floor(axis), np.float32(0), np.float32(last), out=axis)
    row *= np.float32(2 * side)
    row += column
    return row.astype(np.intp)


def _local_ground(
    cell: NDArray[np.intp], z: Float, near: Mask, noise: float, config: SupervisorConfig
) -> Float:
    """
    Ground height of each cell [m]: lowest of a low percentile over 3 x 3 cells.

    A low percentile of noisy points lies below them by about their deviation, which is ``noise``
    times the distance: that is added back. Infinite where all nine cells hold too few points, or
    none that the plane makes plausible (a false match in the sky is no ground).
    """
    distance, bins = _cell_distances(config), int((HIGHEST_M - LOWEST_M) / HEIGHT_BIN_M)
    counted = np.flatnonzero(near & (z >= LOWEST_M) & (z < HIGHEST_M))
    level = z.ravel().take(counted)
    level -= np.float32(LOWEST_M)
    level /= np.float32(HEIGHT_BIN_M)
    place = cell.ravel().take(counted)
    place *= bins
    place += np.minimum(level.astype(np.intp), bins - 1)
    histogram = np.bincount(place, minlength=distance.size * bins).reshape(-1, bins)
    total = histogram.sum(1)
    full = np.flatnonzero(total >= config.min_points)
    running = np.cumsum(histogram.take(full, 0).T, 0, np.int32)  # bin by bin, all cells at once
    below = running < np.maximum(total.take(full) * (config.ground_percentile / 100), 1)
    lowest = LOWEST_M + (np.count_nonzero(below, 0) + 0.5) * HEIGHT_BIN_M
    away = distance.ravel().take(full)
    plausible = np.abs(lowest) <= PLANE_SLACK_M + config.max_slope * away
    low = np.full(distance.shape, np.inf, np.float32)
    low.ravel()[full] = np.where(plausible, lowest + NOISE_BIAS * noise * away, np.inf)
    return np.asarray(cv2.erode(low, np.ones((3, 3), np.uint8)).ravel(), np.float32)


@lru_cache(maxsize=8)
def _cell_distances(config: SupervisorConfig) -> Float:
    """Distance [m] of each local-ground cell, (side, 2 side) float64, read-only."""
    side = _side(config)
    distance: Float = np.hypot(*np.mgrid[0:side, -side:side]) * config.cell_m
    distance.flags.writeable = False
    return distance


def label_points(
    grid: DepthGrid, planes: list[GroundPlane], config: SupervisorConfig
) -> PointLabels:
    """
    Tell ground, obstacles and their feet apart.

    Ground is within half of ``obstacle_m``; an obstacle is higher than ``obstacle_m`` and than
    three times the stereo noise there, and lower than ``max_obstacle_m``; the rest is nothing.
    """
    height = point_heights(grid, planes, config)
    least = np.maximum(3 * _height_noise(grid, planes[0]), config.obstacle_m)
    with np.errstate(invalid='ignore'):
        ground = np.abs(height) <= 0.5 * config.obstacle_m
        obstacle = height > least
        obstacle &= height < config.max_obstacle_m
    return PointLabels(ground, obstacle, _feet(obstacle, height, config), height)


def _height_noise(grid: DepthGrid, plane: GroundPlane) -> Float:
    """Standard deviation of a point's height [m]: sigma_Z h / Z, sigma_Z = Z^2 / (f B) 0.35 px."""
    return grid.depth * np.float32(MATCH_NOISE_PX * plane.height_m / grid.focal_baseline)


def _feet(obstacle: Mask, height: Float, config: SupervisorConfig) -> Mask:
    """
    Obstacle points with none below them in the image, low enough to stand on the ground.

    They lie at the height that makes an obstacle, as the lowest pixels of an obstacle mask do.
    """
    lowest = obstacle.copy()
    lowest[:-1] &= ~obstacle[1:]
    for above in range(1, FOOT_RUN):  # a lone point is noise
        lowest[above:] &= obstacle[:-above]
    with np.errstate(invalid='ignore'):
        feet: Mask = lowest & (height < 2 * config.obstacle_m)
    return feet


def supervise(
    points: PointLabels, grid: DepthGrid, pyramid: Pyramid, config: SupervisorConfig
) -> WindowLabels:
    """
    Label the windows that the points cover.

    Returns
    -------
    WindowLabels
        Unlabelled beyond range, where few points are valid, and on occlusion edges.
    """
    sure = ~occlusion_edges(grid.disparity)
    with np.errstate(invalid='ignore'):
        raised = points.height > 0.5 * config.obstacle_m
    masks = (points.ground & sure, points.obstacle & sure, raised)
    sheet = on_sheet(_stacked(*masks), grid.step, pyramid)
    columns, rows = grid.uv
    v, u = np.divmod(np.flatnonzero(points.feet), len(columns))
    feet_uv = np.stack([columns[u], rows[v]], -1)
    label = _labels(shares_on_sheet(sheet, pyramid)[:, :2], feet_uv, pyramid, config)
    # ground windows lose their label where anything rises at their centre: a foot is likely
    around = shares_on_sheet(sheet, pyramid, CENTRE)[:, 2]
    label[(label <= GROUND) & (around > MAX_RAISED)] = UNLABELED
    return WindowLabels(label, soft_targets(label, config.soft_target))


def _stacked(*masks: Mask) -> Image:
    """Masks (h, w) as the channels of one picture, (h, w, C) uint8."""
    return np.asarray(cv2.merge([mask.view(np.uint8) for mask in masks]), np.uint8)


def occlusion_edges(disparity: Float) -> Mask:
    """
    Points at a step of the disparity, where the matcher's block bleeds the near side outwards.

    This is what poisons far ground seen past an obstacle.
    """
    filled = cv2.patchNaNs(disparity.copy(), 0)
    kernel = np.ones((3, 3), np.uint8)
    high, low = cv2.dilate(filled, kernel), cv2.erode(filled, kernel)
    least = OCCLUSION_JUMP * high
    least += 1
    step: Mask = np.subtract(high, low, out=high) > least
    return np.asarray(cv2.dilate(step.view(np.uint8), kernel) > 0)


def labels_from_masks(
    ground: Mask, obstacle: Mask, feet_uv: Float, step: int, pyramid: Pyramid,
    config: SupervisorConfig,
) -> WindowLabels:
    """
    Five-class labels of windows from labelled points.

    Parameters
    ----------
    ground, obstacle : (h, w) bool
        On a grid ``step`` times coarser than the image; neither = undecided.
    feet_uv : (M, 2) float
        Image pixels where an obstacle meets the ground.

    Returns
    -------
    WindowLabels
        Footline where feet stand at the window's centre; super classes where pure; nothing where
        less than ``min_valid`` is decided.

    Source
        algorithms.md A5 rule set.
    """
    shares = window_shares(_stacked(ground, obstacle), step, pyramid)
    label = _labels(shares, feet_uv, pyramid, config)
    return WindowLabels(label, soft_targets(label, config.soft_target))


def _labels(
    shares: Float, feet_uv: Float, pyramid: Pyramid, config: SupervisorConfig
) -> NDArray[np.uint8]:
    """Labels (N,) from the shares (N, 2) of ground and obstacle in each window, and from feet."""
    feet = window_counts(feet_uv, pyramid)
    decided = shares[:, 0] + shares[:, 1]
    part = shares[:, 1] / np.maximum(decided, 1e-6)
    label = np.where(part > 0.5, np.uint8(OBSTACLE), np.uint8(GROUND))
    label[part >= config.min_purity] = SUPER_OBSTACLE
    label[part <= 1 - config.min_purity] = SUPER_GROUND
    label[feet >= config.min_feet] = FOOTLINE
    doubtful = (feet > 0) & (feet < config.min_feet) & (label <= GROUND)
    outside = pyramid.windows.outside
    scarce = (decided < config.min_valid * (1 - outside)) | (outside > MAX_OUTSIDE)
    label[doubtful | scarce] = UNLABELED
    return label


def soft_targets(label: Image, confidence: float) -> Float:
    """
    Labels (N,) -> probabilities (N, 5) float32: the rest goes to the neighbours in order.

    The order is super-ground, ground, footline, obstacle, super-obstacle; 255 gives zeros.
    """
    return np.asarray(_target_table(confidence).take(label, 0), np.float32)


@lru_cache(maxsize=8)
def _target_table(confidence: float) -> Float:
    """Soft target of each label value, (256, 5) float32, read-only."""
    table = np.zeros((256, len(CLASSES)), np.float32)
    for k in range(len(CLASSES)):
        neighbours = [j for j in (k - 1, k + 1) if 0 <= j < len(CLASSES)]
        table[k, neighbours] = (1 - confidence) / len(neighbours)
        table[k, k] = confidence
    table.flags.writeable = False
    return table
