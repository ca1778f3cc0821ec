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

import cv2
import numpy as np
from numpy.typing import NDArray

from perception.camera import levelled_base_from_camera
from perception.config import SupervisorConfig
from perception.pyramid import MAX_OUTSIDE, Pyramid, window_counts, window_shares
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
    near = grid.disparity >= grid.focal_baseline / config.max_range_m
    rows = np.flatnonzero(near.any(1))
    if not len(rows):
        return height
    below = slice(rows[0], None)  # the sky above costs time and says nothing
    near = near[below]
    depth = np.where(near, grid.focal_baseline / np.where(near, grid.disparity[below], 1), 0)
    rays = _levelled_rays(grid, planes[0], below)
    x, y, z = (depth.astype(np.float32) * ray for ray in rays)
    z += np.float32(planes[0].height_m)
    cell = _cells(x, y, config)
    noise = MATCH_NOISE_PX * planes[0].height_m / grid.focal_baseline
    ground = _local_ground(cell, z, near, noise, config).take(cell)
    unknown = near & ~np.isfinite(ground)
    z -= np.where(unknown, np.float32(0), ground)
    if len(planes) > 1 and unknown.any():
        z[unknown] = _above_nearest(grid.points_optical[below][unknown], planes)
    height[below][near] = z[near]
    return height


def _levelled_rays(
    grid: DepthGrid, plane: GroundPlane, rows: slice
) -> tuple[Float, Float, Float]:
    """Forward, left and up per metre of depth for the grid pixels of some rows, (h, w) float32."""
    u, v = grid.uv
    across = (u - grid.camera.cx) / grid.camera.fx
    down = (v[rows] - grid.camera.cy) / grid.camera.fy
    forward, left, up = (
        (row[0] * across + row[2]).astype(np.float32) + (row[1] * down).astype(np.float32)[:, None]
        for row in levelled_base_from_camera(plane)[:3, :3]
    )
    return forward, left, up


def _above_nearest(points: Float, planes: list[GroundPlane]) -> Float:
    """Height of points (n, 3) above the plane that is nearest to each, (n,) [m]."""
    above = np.stack([points @ plane.normal_offset[0] + plane.height_m for plane in planes])
    return np.asarray(np.take_along_axis(above, np.abs(above).argmin(0)[None], 0)[0])


def _side(config: SupervisorConfig) -> int:
    """Cells from the camera to the edge of the local-ground grid."""
    return int(np.ceil(config.max_range_m / config.cell_m)) + 1


def _cells(x: Float, y: Float, config: SupervisorConfig) -> NDArray[np.int32]:
    """Local-ground cell of each point: rows run forward, columns to the left."""
    side, scale = _side(config), np.float32(1 / config.cell_m)
    row = np.clip(x * scale, 0, side - 1).astype(np.int32)
    column = np.clip(y * scale + np.float32(side), 0, 2 * side - 1).astype(np.int32)
    return np.asarray(row * np.int32(2 * side) + column, np.int32)


def _local_ground(
    cell: NDArray[np.int32], z: Float, near: Mask, noise: float, config: SupervisorConfig
) -> Float:
    """
    Ground height of each cell [m]: lowest of a low percentile over 3 x 3 cells.

    A low percentile of noisy points lies below them by about their deviation, which is ``noise``
    times the distance: that is added back. Infinite where all nine cells hold too few points, or
    none that the plane makes plausible (a false match in the sky is no ground).
    """
    side, bins = _side(config), int((HIGHEST_M - LOWEST_M) / HEIGHT_BIN_M)
    counted = near & (z >= LOWEST_M) & (z < HIGHEST_M)
    level = ((z[counted] - np.float32(LOWEST_M)) / np.float32(HEIGHT_BIN_M)).astype(np.int32)
    histogram = np.bincount(cell[counted] * np.int32(bins) + np.minimum(level, bins - 1),
                            minlength=side * 2 * side * bins).reshape(-1, bins)
    running = np.cumsum(histogram, 1, dtype=np.int32)
    total = running[:, -1]
    reached = running >= np.maximum(total * (config.ground_percentile / 100), 1)[:, None]
    low = (LOWEST_M + (reached.argmax(1) + 0.5) * HEIGHT_BIN_M).reshape(side, -1)
    distance = np.hypot(*np.mgrid[0:side, -side:side]) * config.cell_m
    plausible = np.abs(low) <= PLANE_SLACK_M + config.max_slope * distance
    seen = (total >= config.min_points).reshape(side, -1) & plausible
    low = np.where(seen, low + NOISE_BIAS * noise * distance, np.inf).astype(np.float32)
    return np.asarray(cv2.erode(low, np.ones((3, 3), np.uint8)).ravel(), np.float32)


def label_points(
    grid: DepthGrid, planes: list[GroundPlane], config: SupervisorConfig
) -> PointLabels:
    """
    Tell ground, obstacles and their feet apart.

    Ground is within half of ``obstacle_m``; an obstacle is higher than ``obstacle_m`` and than
    three times the stereo noise there, and lower than ``max_obstacle_m``; the rest is nothing.
    """
    height = point_heights(grid, planes, config)
    noise = _height_noise(grid, planes[0])
    with np.errstate(invalid='ignore'):
        ground = np.abs(height) <= 0.5 * config.obstacle_m
        obstacle = height > np.maximum(config.obstacle_m, 3 * noise)
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
    edge = occlusion_edges(grid.disparity)
    ground = points.ground & ~edge
    obstacle = points.obstacle & ~edge
    columns, rows = grid.uv
    v, u = np.nonzero(points.feet)
    feet_uv = np.stack([columns[u], rows[v]], -1)
    labels = labels_from_masks(ground, obstacle, feet_uv, grid.step, pyramid, config)
    return _without_raised_ground(labels, points, grid.step, pyramid, config)


def _without_raised_ground(
    labels: WindowLabels, points: PointLabels, step: int, pyramid: Pyramid,
    config: SupervisorConfig,
) -> WindowLabels:
    """Ground windows lose their label where anything rises at their centre: a foot is likely."""
    with np.errstate(invalid='ignore'):
        raised = points.height > 0.5 * config.obstacle_m
    around = window_shares(raised[..., None].astype(np.uint8), step, pyramid, CENTRE)[:, 0]
    label = np.where((labels.label <= GROUND) & (around > MAX_RAISED), UNLABELED, labels.label)
    label = label.astype(np.uint8)
    return WindowLabels(label, soft_targets(label, config.soft_target))


def occlusion_edges(disparity: Float) -> Mask:
    """
    Points at a step of the disparity, where the matcher's block bleeds the near side outwards.

    This is what poisons far ground seen past an obstacle.
    """
    filled = np.nan_to_num(disparity, nan=0.0)
    kernel = np.ones((3, 3), np.uint8)
    high = cv2.dilate(filled, kernel)
    low = cv2.erode(filled, kernel)
    step: Mask = (high - low) > OCCLUSION_JUMP * high + 1
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
    masks = np.stack([ground, obstacle], -1).astype(np.uint8)
    shares = window_shares(masks, step, pyramid)
    feet = window_counts(feet_uv, pyramid)
    decided = shares.sum(1)
    part = shares[:, 1] / np.maximum(decided, 1e-6)
    label = np.where(part > 0.5, OBSTACLE, GROUND)
    label[part >= config.min_purity] = SUPER_OBSTACLE
    label[part <= 1 - config.min_purity] = SUPER_GROUND
    label[feet >= config.min_feet] = FOOTLINE
    doubtful = (feet > 0) & (feet < config.min_feet) & (label <= GROUND)
    outside = pyramid.windows.outside
    scarce = (decided < config.min_valid * (1 - outside)) | (outside > MAX_OUTSIDE)
    label[doubtful | scarce] = UNLABELED
    label8 = label.astype(np.uint8)
    return WindowLabels(label8, soft_targets(label8, config.soft_target))


def soft_targets(label: Image, confidence: float) -> Float:
    """
    Labels (N,) -> probabilities (N, 5) float32: the rest goes to the neighbours in order.

    The order is super-ground, ground, footline, obstacle, super-obstacle; 255 gives zeros.
    """
    table = np.zeros((256, len(CLASSES)), np.float32)
    for k in range(len(CLASSES)):
        neighbours = [j for j in (k - 1, k + 1) if 0 <= j < len(CLASSES)]
        table[k, neighbours] = (1 - confidence) / len(neighbours)
        table[k, k] = confidence
    return np.asarray(table[label], np.float32)
