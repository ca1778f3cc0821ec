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

import numpy as np
from numpy.typing import NDArray

from perception.config import SupervisorConfig
from perception.local_ground import point_heights, tell_apart
from perception.pyramid import (
    MAX_OUTSIDE,
    WINDOW_COLUMNS,
    WINDOW_ROWS,
    Pyramid,
    sheet_integral,
    sums_around,
    window_counts,
    window_shares,
)
from perception.teacher_loops import RAISED, point_codes, steps, window_labels
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
    Index,
    Mask,
)

CENTRE, MAX_RAISED = (5, 13), 0.02  # rows and columns about a window's centre; share of them
SIZES = (WINDOW_ROWS, WINDOW_COLUMNS), CENTRE
VALUES = np.array([SUPER_GROUND, GROUND, FOOTLINE, OBSTACLE, SUPER_OBSTACLE, UNLABELED], np.uint8)
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


def label_points(
    grid: DepthGrid, planes: list[GroundPlane], config: SupervisorConfig
) -> PointLabels:
    """
    Tell ground, obstacles and their feet apart.

    Ground is within half of ``obstacle_m``; an obstacle is higher than ``obstacle_m`` and than
    three times the stereo noise there, and lower than ``max_obstacle_m``; the rest is nothing.
    """
    height = point_heights(grid, planes, config)
    return PointLabels(*tell_apart(height, grid, planes[0], config), height)


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
    codes = point_codes(points.ground, points.obstacle, edge, points.height,
                        0.5 * config.obstacle_m)
    columns, rows = grid.uv
    v, u = np.divmod(np.flatnonzero(points.feet), len(columns))
    integral = sheet_integral(codes, grid.step, np.stack([columns[u], rows[v]], -1), pyramid)
    (shares, _), (around, feet) = (sums_around(integral, pyramid, size) for size in SIZES)
    label = _labels(shares[:2], feet, pyramid, config)
    # ground windows lose their label where anything rises at their centre: a foot is likely
    label[(label <= GROUND) & (around[RAISED] > MAX_RAISED)] = UNLABELED
    return WindowLabels(label, soft_targets(label, config.soft_target))


def occlusion_edges(disparity: Float) -> Mask:
    """
    Points at a step of the disparity, where the matcher's block bleeds the near side outwards.

    This is what poisons far ground seen past an obstacle.
    """
    return steps(np.ascontiguousarray(disparity, np.float32), OCCLUSION_JUMP)


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
    shares = window_shares(np.stack([ground, obstacle], -1).view(np.uint8), step, pyramid)
    feet = window_counts(feet_uv, pyramid).astype(np.int32)
    label = _labels(np.ascontiguousarray(shares.T), feet, pyramid, config)
    return WindowLabels(label, soft_targets(label, config.soft_target))


def _labels(shares: Float, feet: Index, pyramid: Pyramid, config: SupervisorConfig) -> Image:
    """Labels (N,) from the shares (2, N) of ground and obstacle in each window, and from feet."""
    limits = np.array([config.min_purity, 1 - config.min_purity, config.min_valid,
                       config.min_feet, MAX_OUTSIDE], np.float32)
    return window_labels(shares, feet, pyramid.windows.outside, limits, VALUES)


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
