# SPDX-License-Identifier: Apache-2.0
"""
What is known of the ground where the robot was: points that stereo saw, or the robot felt.

Points live in odom on one flat ground, z = 0 (see ``hindsight.levelled_pose``).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perception.places_loops import (
    GONE,
    borne_out,
    cells_in_view,
    closed_masks,
    first_in_voxels,
    noted,
)
from perception.pyramid import Pyramid, sheet_integral, sums_around
from perception.supervisor import CENTRE, PointLabels, occlusion_edges
from perception.teacher_loops import point_codes
from perception.types import (
    FOOTLINE,
    GROUND,
    OBSTACLE,
    UNLABELED,
    DepthGrid,
    Float,
    Image,
    Mask,
)

SEEN_GROUND, SEEN_OBSTACLE, SEEN_LOW, DRIVEN, BUMPED = KINDS = tuple(range(5))
NOTE_FROM_M, NOTE_TO_M = 3.0, 8.0  # there stereo is sharp; what comes nearer was noted before
LOW = 1.4  # seen obstacles below this times the least height are doubtful
VOXEL_M, SPOT_M = 0.2, 0.3  # thinning; a spot of ground is what points vote on
MIN_VOTES, MAX_DISSENT = 3, 0.3  # points an obstacle needs; standing points that flat ground bears
STEP = 4  # image pixels of a mask cell: about a voxel at 15 m
FRONT_M = 1.0  # points closer than this before an old camera are left out
MIN_FEET = 2  # mask cells
MIN_CENTRE, MIN_WINDOW = 0.6, 0.5  # share of centre and of window that must be known
SURE_WINDOW = 0.6  # share of a ground window known to be ground that makes it proof
PURE, MAX_LOW = 0.05, 0.5  # obstacle share of ground windows; share of doubtful cells
FELT_SHARE = 0.6  # of a window's centre that was driven over or bumped into
BUMP_TOP_M = 0.8  # what stops the robot is at least about this high


@dataclass(frozen=True)
class Places:
    """Points of one stretch of the drive: ``xyz`` (n, 3) float32 [m], ``kind`` (n,) uint8."""

    travelled_m: float
    xyz: Float
    kind: NDArray[np.uint8]


def seen_places(
    points: PointLabels, grid: DepthGrid, odom_from_camera: Float, obstacle_m: float
) -> tuple[Float, NDArray[np.uint8]]:
    """
    Depth points of a frame as places, one for each voxel and kind.

    Parameters
    ----------
    odom_from_camera : (4, 4) float64
        Levelled pose.
    obstacle_m : float
        Height that makes an obstacle [m].

    Returns
    -------
    xyz (n, 3) float32 [m], kind (n,) uint8
    """
    u, v = grid.uv
    lens, disparity = grid.camera, np.ascontiguousarray(grid.disparity, np.float32)
    codes = point_codes(points.ground, points.obstacle, occlusion_edges(disparity), points.height,
                        LOW * obstacle_m)
    across, down = ((axis - centre) / focal for axis, centre, focal in (
        (u, lens.cx, lens.fx), (v, lens.cy, lens.fy)))
    xyz, kind = noted(disparity, codes, across.astype(np.float32), down.astype(np.float32),
                      np.ascontiguousarray(odom_from_camera[:3], float),
                      (grid.focal_baseline, NOTE_FROM_M, NOTE_TO_M))
    first = first_in_voxels(xyz, kind, 1 / VOXEL_M)
    return xyz.take(first, 0), kind.take(first)


def driven_places(
    before: Float, now: Float, width_m: float
) -> tuple[Float, NDArray[np.uint8]]:
    """Track between two robot poses (4, 4), as points a voxel apart."""
    steps = max(int(np.ceil(np.linalg.norm(now[:2, 3] - before[:2, 3]) / VOXEL_M)), 1)
    part = np.arange(1, steps + 1)[:, None] / steps
    middle = before[:2, 3] + part * (now[:2, 3] - before[:2, 3])
    aside = _across(width_m)
    left = now[:2, 1] / np.linalg.norm(now[:2, 1])
    xy = (middle[:, None] + aside[:, None] * left).reshape(-1, 2)
    return _flat(xy, DRIVEN)


def bumped_places(
    odom_from_base: Float, width_m: float, ahead_m: float
) -> tuple[Float, NDArray[np.uint8]]:
    """Upright sheet of points across the robot's front, for something it ran into."""
    aside, up = np.meshgrid(_across(width_m), np.arange(0.1, BUMP_TOP_M, VOXEL_M / 2))
    forward, left = (axis / np.linalg.norm(axis) for axis in odom_from_base[:2, :2].T)
    xy = odom_from_base[:2, 3] + ahead_m * forward + aside.reshape(-1, 1) * left
    xyz, kind = _flat(xy, BUMPED)
    xyz[:, 2] = up.ravel()
    return xyz, kind


def _across(width_m: float) -> Float:
    return np.linspace(-width_m / 2, width_m / 2, max(int(np.ceil(width_m / VOXEL_M)), 1) + 1)


def _flat(xy: Float, kind: int) -> tuple[Float, NDArray[np.uint8]]:
    xyz = np.zeros((len(xy), 3), np.float32)
    xyz[:, :2] = xy
    return xyz, np.full(len(xy), kind, np.uint8)


def agreed(xyz: Float, kind: NDArray[np.uint8]) -> Mask:
    """
    Points that the other points on their spot of ground bear out, (n,) bool.

    Obstacles need ``MIN_VOTES`` and the majority; ground bears few standing points; doubtful
    points count where the ground is not flat. What was felt needs no vote.
    """
    return borne_out(xyz, kind, (1 / SPOT_M, MIN_VOTES, MAX_DISSENT))


@dataclass(frozen=True)
class ViewLabels:
    """
    Labels of all windows of a kept view: ``label`` (N,) uint8 class or 255.

    ``felt`` (N,) bool: driven over or bumped into, not only seen. ``proof`` (N,) bool: ground or a
    foot beyond doubt. The body of an obstacle is none: it stands nearer than the ground behind it.
    """

    label: NDArray[np.uint8]
    felt: Mask
    proof: Mask


def label_view(
    places: list[Places], since_m: float, odom_from_camera: Float, pyramid: Pyramid
) -> ViewLabels:
    """
    Label the windows of a kept view.

    Parameters
    ----------
    places : list of Places
        All since the view was taken; seen ground counts from ``since_m`` on only (the rest was
        known the last time), while all obstacles hide what is behind them.
    odom_from_camera : (4, 4) float64
        Levelled pose of the view.
    """
    xyz = np.concatenate([np.empty((0, 3), np.float32), *(p.xyz for p in places)])
    kind = np.concatenate([np.empty(0, np.uint8), *(p.kind for p in places)])
    known = np.repeat(np.array([p.travelled_m < since_m for p in places], bool),
                      [len(p.kind) for p in places])
    kind[(kind == SEEN_GROUND) & known] = GONE
    kind[~agreed(xyz, kind)] = GONE
    camera = pyramid.camera
    codes = closed_masks(*_mask_cells(xyz, kind, odom_from_camera, pyramid),
                         (-(-camera.height // STEP), -(-camera.width // STEP)))
    hidden = codes & (1 << SEEN_OBSTACLE | 1 << BUMPED) > 0
    codes[hidden] &= ~np.uint8(1 << SEEN_GROUND | 1 << DRIVEN)
    return _labels(codes, pyramid)


def _mask_cells(
    xyz: Float, kind: NDArray[np.uint8], odom_from_camera: Float, pyramid: Pyramid
) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Flat mask cell of each point in view, and its kind."""
    lens = pyramid.camera
    cell, kind = cells_in_view(
        xyz, kind, np.ascontiguousarray(odom_from_camera[:3], np.float32),
        np.array([lens.fx, lens.fy, lens.cx, lens.cy, lens.width, lens.height, STEP, FRONT_M],
                 np.float32))
    return cell, kind


def _labels(codes: Image, pyramid: Pyramid) -> ViewLabels:
    """
    Label windows by what is known around their centres.

    Whole windows, as the supervisor takes them, would wait for ever: the upper half of one on the
    ground at 20 m looks at the ground at 60 m. Half of it must be known all the same.
    """
    integral = sheet_integral(codes, STEP, _feet(codes, SEEN_OBSTACLE), pyramid)
    (ground, standing, low, _), feet = sums_around(integral, pyramid, CENTRE)
    whole, _ = sums_around(integral, pyramid)
    known = ground + standing
    label = np.full(len(known), UNLABELED, np.uint8)
    label[(known >= MIN_CENTRE) & (standing > 0.5 * known)] = OBSTACLE
    flat = (standing <= PURE * known) & (low <= MAX_LOW) & (feet == 0)
    open_ = (whole[SEEN_GROUND] >= MIN_WINDOW) & (whole[SEEN_OBSTACLE] <= PURE)
    label[(known >= MIN_CENTRE) & flat & open_] = GROUND
    label[(feet >= MIN_FEET) & (known >= MIN_CENTRE / 2)] = FOOTLINE
    label, felt = _with_felt(label, codes, pyramid)
    proof = felt | (label == FOOTLINE) | (label == OBSTACLE) | (
        (label == GROUND) & (whole[SEEN_GROUND] >= SURE_WINDOW))
    return ViewLabels(label, felt, proof)


def _feet(codes: Image, kind: int) -> Float:
    """Image pixels (M, 2) of the lowest cells of a kind."""
    mask = codes & (1 << kind) > 0
    mask[:-1] &= ~mask[1:]
    v, u = np.divmod(np.flatnonzero(mask), mask.shape[1])
    return np.stack([u, v + 0.5], -1) * STEP + (STEP - 1) / 2


def _with_felt(
    label: NDArray[np.uint8], codes: Image, pyramid: Pyramid
) -> tuple[NDArray[np.uint8], Mask]:
    """A bump outdoes what was seen; driving makes ground of what was not known, or ground."""
    felt = np.asarray(codes >> DRIVEN, np.uint8)
    if not felt.any():
        return label, np.zeros(len(label), bool)
    integral = sheet_integral(felt, STEP, _feet(codes, BUMPED), pyramid)
    (share, bump, *_), feet = sums_around(integral, pyramid, CENTRE)
    bumped = (bump >= FELT_SHARE) | (feet >= MIN_FEET)
    driven = (share >= FELT_SHARE) & ~bumped & ((label == UNLABELED) | (label == GROUND))
    label = np.where(bumped, FOOTLINE, np.where(driven, GROUND, label)).astype(np.uint8)
    return label, bumped | driven
