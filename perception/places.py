# SPDX-License-Identifier: Apache-2.0
"""
What is known of the ground where the robot was: points that stereo saw, or the robot felt.

Points live in odom on one flat ground, z = 0 (see ``hindsight.levelled_pose``).
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from perception.pyramid import Pyramid, window_counts, window_shares
from perception.supervisor import CENTRE, PointLabels, occlusion_edges
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
    with np.errstate(invalid='ignore'):
        near = (grid.depth >= NOTE_FROM_M) & (grid.depth <= NOTE_TO_M)
        high = points.height > LOW * obstacle_m
    near &= ~occlusion_edges(grid.disparity)
    masks = {SEEN_GROUND: points.ground, SEEN_OBSTACLE: points.obstacle & high,
             SEEN_LOW: points.obstacle & ~high}
    parts = [grid.points_optical[mask & near] for mask in masks.values()]
    kind = np.repeat(np.array(list(masks), np.uint8), [len(part) for part in parts])
    xyz = np.concatenate(parts) @ odom_from_camera[:3, :3].T + odom_from_camera[:3, 3]
    return _thinned(xyz.astype(np.float32), kind)


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


def _thinned(xyz: Float, kind: NDArray[np.uint8]) -> tuple[Float, NDArray[np.uint8]]:
    """One point of each kind in a voxel."""
    if not len(xyz):
        return xyz, kind
    cell = np.floor(xyz * np.float32(1 / VOXEL_M)).astype(np.int64)
    cell -= cell.min(0)
    span = cell.max(0) + 1
    key = ((cell[:, 0] * span[1] + cell[:, 1]) * span[2] + cell[:, 2]) * len(KINDS) + kind
    first = np.unique(key, return_index=True)[1]
    return xyz[first], kind[first]


def agreed(xyz: Float, kind: NDArray[np.uint8]) -> Mask:
    """
    Points that the other points on their spot of ground bear out, (n,) bool.

    Obstacles need ``MIN_VOTES`` and the majority; ground bears few standing points; doubtful
    points count where the ground is not flat. What was felt needs no vote.
    """
    if not len(xyz):
        return np.zeros(0, bool)
    spot = np.floor(xyz[:, :2] * np.float32(1 / SPOT_M)).astype(np.int64)
    spot -= spot.min(0)
    key = spot[:, 0] * (spot[:, 1].max() + 1) + spot[:, 1]
    ground, standing, low = (np.bincount(key, kind == k, key.max() + 1)[key]
                             for k in (SEEN_GROUND, SEEN_OBSTACLE, SEEN_LOW))
    stands = (standing >= MIN_VOTES) & (standing > ground)
    flat = standing + low <= MAX_DISSENT * ground
    return np.asarray(np.choose(kind, [flat, stands, ~flat, True, True]), bool)


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
    shape = (-(-pyramid.camera.height // STEP), -(-pyramid.camera.width // STEP))
    keep = [(p.kind != SEEN_GROUND) | (p.travelled_m >= since_m) for p in places]
    xyz = np.concatenate([np.empty((0, 3), np.float32),
                          *(p.xyz[k] for p, k in zip(places, keep, strict=True))])
    kind = np.concatenate([np.empty(0, np.uint8),
                           *(p.kind[k] for p, k in zip(places, keep, strict=True))])
    borne = agreed(xyz, kind)
    cell, kind = _mask_cells(xyz[borne], kind[borne], odom_from_camera, pyramid)
    masks = _masks(cell, kind, shape)
    hidden = masks[SEEN_OBSTACLE] | masks[BUMPED]
    masks[SEEN_GROUND] &= ~hidden
    masks[DRIVEN] &= ~hidden
    return _labels(masks, pyramid)


def _mask_cells(
    xyz: Float, kind: NDArray[np.uint8], odom_from_camera: Float, pyramid: Pyramid
) -> tuple[NDArray[np.intp], NDArray[np.uint8]]:
    """Flat mask cell of each point in view, and its kind."""
    camera = pyramid.camera
    columns = -(-camera.width // STEP)
    turn, origin = (part.astype(np.float32) for part in (odom_from_camera[:3, :3],
                                                         odom_from_camera[:3, 3]))
    x, y, z = ((xyz - origin) @ turn).T
    ahead = z > FRONT_M
    x, y, z, kind = x[ahead], y[ahead], z[ahead], kind[ahead]
    u, v = camera.fx * x / z + camera.cx, camera.fy * y / z + camera.cy
    inside = (u >= 0) & (v >= 0) & (u < camera.width) & (v < camera.height)
    cell = (v[inside].astype(np.intp) // STEP) * columns + u[inside].astype(np.intp) // STEP
    return cell, kind[inside]


def _masks(
    cell: NDArray[np.intp], kind: NDArray[np.uint8], shape: tuple[int, int]
) -> dict[int, Mask]:
    """Cells that hold points of each kind, (h, w) bool; gaps of one cell are closed."""
    flat = np.zeros((len(KINDS), shape[0] * shape[1]), np.uint8)
    flat[kind, cell] = 1
    kernel = np.ones((3, 3), np.uint8)
    return {k: cv2.morphologyEx(flat[k].reshape(shape), cv2.MORPH_CLOSE, kernel) > 0
            for k in KINDS}


def _labels(masks: dict[int, Mask], pyramid: Pyramid) -> ViewLabels:
    """
    Label windows by what is known around their centres.

    Whole windows, as the supervisor takes them, would wait for ever: the upper half of one on the
    ground at 20 m looks at the ground at 60 m. Half of it must be known all the same.
    """
    seen = _stacked(masks, SEEN_GROUND, SEEN_OBSTACLE, SEEN_LOW)
    ground, standing, low = window_shares(seen, STEP, pyramid, CENTRE).T
    whole = window_shares(seen, STEP, pyramid).T
    feet = _feet_counts(masks[SEEN_OBSTACLE], pyramid)
    known = ground + standing
    label = np.full(len(known), UNLABELED, np.uint8)
    label[(known >= MIN_CENTRE) & (standing > 0.5 * known)] = OBSTACLE
    flat = (standing <= PURE * known) & (low <= MAX_LOW) & (feet == 0)
    open_ = (whole[SEEN_GROUND] >= MIN_WINDOW) & (whole[SEEN_OBSTACLE] <= PURE)
    label[(known >= MIN_CENTRE) & flat & open_] = GROUND
    label[(feet >= MIN_FEET) & (known >= MIN_CENTRE / 2)] = FOOTLINE
    label, felt = _with_felt(label, masks, pyramid)
    proof = felt | (label == FOOTLINE) | (label == OBSTACLE) | (
        (label == GROUND) & (whole[SEEN_GROUND] >= SURE_WINDOW))
    return ViewLabels(label, felt, proof)


def _stacked(masks: dict[int, Mask], *kinds: int) -> Image:
    return np.stack([masks[kind].view(np.uint8) for kind in kinds], -1)


def _feet_counts(obstacle: Mask, pyramid: Pyramid) -> Float:
    """Lowest cells of obstacles about each window's centre, (N,)."""
    lowest = obstacle.copy()
    lowest[:-1] &= ~obstacle[1:]
    v, u = np.nonzero(lowest)
    return window_counts(np.stack([u, v + 0.5], -1) * STEP + (STEP - 1) / 2, pyramid)


def _with_felt(
    label: NDArray[np.uint8], masks: dict[int, Mask], pyramid: Pyramid
) -> tuple[NDArray[np.uint8], Mask]:
    """A bump outdoes what was seen; driving makes ground of what was not known, or ground."""
    felt = np.zeros(len(label), bool)
    if not (masks[DRIVEN].any() or masks[BUMPED].any()):
        return label, felt
    shares = window_shares(_stacked(masks, DRIVEN, BUMPED), STEP, pyramid, CENTRE).T
    bumped = (shares[1] >= FELT_SHARE) | (_feet_counts(masks[BUMPED], pyramid) >= MIN_FEET)
    driven = (shares[0] >= FELT_SHARE) & ~bumped & ((label == UNLABELED) | (label == GROUND))
    label = np.where(bumped, FOOTLINE, np.where(driven, GROUND, label)).astype(np.uint8)
    return label, bumped | driven
