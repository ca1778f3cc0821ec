# SPDX-License-Identifier: Apache-2.0
"""Compiled loops over parts of windows, and the view these make."""

import numpy as np
from numba import types

from perception.compiled import BOOL, F4, F8, I4, I8, compiled, given
from perception.types import Cells, Float, Index, Mask

SUPER_GROUND, FOOTLINE, CLASSES = 0, 2, 5  # of a histogram, here as loops read no other module
BLOCKING, FOOT, SURE_GROUND = 0.5, 0.6, 0.5  # least probabilities to block, to stand, to be seen
FOOT_WEIGHT = 0.5
FOOT_BINS, BESIDE = 10, 2  # distance bins of a foot; bearing bins where it is the same obstacle
BEHIND_POINTS = 1.05  # a depth point hides what lies farther than this times its distance
MIN_POINTS = 3  # depth points in a bearing bin that make an obstacle

Parts = tuple[Cells, Float, Float, Float]
View = tuple[Float, Mask]

_GIVEN_PARTS = types.Tuple((given(I8, 1), given(F8, 1), given(F8, 1), given(F8, 1)))
_VIEW = types.Tuple((given(F8, 3), given(BOOL, 2)))
_VIEW_MADE = types.Tuple((F8[:, :, ::1], BOOL[:, ::1]))


@compiled(F8[:, ::1], given(F8, 2), given(F8, 1), types.UniTuple(F8, 2))
def window_values(
    probabilities: Float, extent: Float, limits: tuple[float, float]
) -> Float:
    """
    What windows add, each value times its weight, and the weight.

    Parameters
    ----------
    probabilities : (N, 5) float64
    extent : (N,) float64
        Of a row over its distance; the weight is its cube, inverted.
    limits : float, float
        Least extent, and the extent above which a foot counts as an obstacle.

    Returns
    -------
    (N, 6) float64
    """
    values = np.empty((len(extent), CLASSES + 1))
    for i in range(len(extent)):
        e = max(extent[i], limits[0])
        weight, vague = 1.0 / (e * e * e), extent[i] > limits[1]
        for k in range(CLASSES):
            values[i, k] = weight * probabilities[i, k]
        if vague:
            foot = probabilities[i, FOOTLINE]
            values[i, FOOTLINE + 1] = weight * (probabilities[i, FOOTLINE + 1] + foot)
            values[i, FOOTLINE] = 0
        values[i, CLASSES] = weight
    return values


@compiled(types.Tuple((F8[:, ::1], types.UniTuple(I8, 3))), _GIVEN_PARTS, given(F8, 1),
          given(F8, 2), types.UniTuple(F8, 2))
def add_parts(
    parts: Parts, ring: Float, values: Float, columns: tuple[float, float]
) -> tuple[Float, tuple[int, int, int]]:
    """
    Add the weighted values of windows to the cells of their parts.

    Parameters
    ----------
    parts : tuple
        As of ``footprint_loops.split``.
    ring : (M,) float64
        Distance bin of each part.
    values : (N, K) float64
        Of each window, as of ``window_values``.
    columns : float, float
        Bearing opposite to which the first column of a whole turn begins; their width [rad].

    Returns
    -------
    (K, (B + 2) R) float64, rows of zeros before and after; B, R, and the column that the first
    one stands for
    """
    window, share, bearing, _ = parts
    column, turn, per_turn = np.empty(len(window), np.int64), 2 * np.pi, 0.5 / np.pi
    first, end, bins = np.int64(1 << 40), np.int64(0), np.int64(0)
    for i in range(len(window)):
        angle = bearing[i] - columns[0] + np.pi
        column[i] = np.int64((angle - turn * np.floor(angle * per_turn)) / columns[1])
        first, end = min(first, column[i]), max(end, column[i] + 1)
        bins = max(bins, np.int64(ring[i]) + 1)
    sums = np.zeros((values.shape[1], (end - first + 2) * bins))
    for i in range(len(window)):
        cell = np.uint64((column[i] - first + 1) * bins + np.int64(ring[i]))
        for k in range(values.shape[1]):
            sums[np.uint64(k), cell] += share[i] * values[np.uint64(window[i]), np.uint64(k)]
    return sums, (int(end - first), int(bins), int(first))


@compiled(types.void, given(F8, 1), I8, F8[::1], F8[:, ::1], I8)
def _sum_around(own: Float, begin: int, down: Float, to: Float, row: int) -> None:
    """Sums of the cells of a row, which begins there, and of their 8 neighbours."""
    n, one, two = np.uint64(to.shape[1]), np.uint64(1), np.uint64(2)
    here, sums = np.uint64(begin), to[row]
    above, below = here - n, here + n
    for i in range(n):
        down[i + one] = own[above + i] + own[here + i] + own[below + i]
    for i in range(n):
        sums[i] = down[i] + down[i + one] + down[i + two]


@compiled(_VIEW_MADE, given(F8, 2), types.UniTuple(I8, 2), F8)
def normalized(own: Float, shape: tuple[int, int], least: float) -> View:
    """
    Weighted means over each cell and its 8 neighbours, where there is weight.

    Parameters
    ----------
    own : (K + 1, (B + 2) R) float64
        Sums, as of ``add_parts``, the last of weights.
    shape : int, int
        B and R.
    least : float
        Weight of a known cell, as a share of the greatest.

    Returns
    -------
    (K, B, R) float64 and, where it is known, (B, R) bool
    """
    (bearings, bins), last = shape, len(own) - 1
    total, known = np.empty(shape), np.empty(shape, np.bool_)
    means, down = np.empty((last, bearings, bins)), np.zeros(bins + 2)
    for b in range(bearings):
        _sum_around(own[last], (b + 1) * bins, down, total, b)
    weights, limit = total.reshape(-1), least * total.max()
    seen = known.reshape(-1)
    for i in range(len(weights)):
        seen[i] = weights[i] > limit
        weights[i] = weights[i] if seen[i] else 1.0
    for k in range(last):
        for b in range(bearings):
            _sum_around(own[k], (b + 1) * bins, down, means[k], b)
        plane = means[k].reshape(-1)
        for i in range(len(weights)):
            plane[i] /= weights[i]
    return means, known


@compiled(F8[:, ::1], given(F8, 1), given(F8, 2), F8, types.UniTuple(F8, 2), I8)
def shadows(
    bearing: Float, ray: Float, height_m: float, columns: tuple[float, float], bearings: int
) -> Float:
    """
    Where the shadow of depth points begins and ends.

    Parameters
    ----------
    bearing : (M,) float64 [rad]
        Of the points; those outside the bins are left out.
    ray : (3, M) float64 [m]
        From the camera.
    height_m : float
        Of the camera above the ground.
    columns : float, float
        Where the first bearing bin begins, and the width of a bin [rad].

    Returns
    -------
    (2, bearings) float64 [m]
        Distance of the nearest point times ``BEHIND_POINTS``, and where sight clears; infinity
        and 0 where too few points make an obstacle.
    """
    shadow, count = np.zeros((2, bearings)), np.zeros(bearings, np.int64)
    shadow[0], turn, per_turn = np.inf, 2 * np.pi, 0.5 / np.pi
    for i in range(len(bearing)):
        angle = bearing[i] - columns[0]
        bin_ = (angle - turn * np.floor(angle * per_turn)) / columns[1]
        if not bin_ < bearings:
            continue
        here = np.uint64(bin_)
        count[here] += 1
        distance = np.sqrt(ray[0, i] * ray[0, i] + ray[1, i] * ray[1, i])
        shadow[0, here] = min(shadow[0, here], distance)
        shadow[1, here] = max(shadow[1, here], distance * height_m / max(-ray[2, i], 0.0))
    for b in range(bearings):
        shadow[0, b] = BEHIND_POINTS * shadow[0, b] if count[b] >= MIN_POINTS else np.inf
    return shadow


@compiled(BOOL[:, ::1], _VIEW, given(F8, 2), given(F8, 1), I4[:, ::1])
def _clear(view: View, shadow: Float, distance_m: Float, begin: Index) -> Mask:
    """Seen ground (B, R); ``begin`` (B, R) becomes where the run of each foot begins, else R."""
    (p, known), (bearings, bins) = view, view[1].shape
    seen = np.zeros((bearings, bins), np.bool_)
    for b in range(bearings):
        hidden, open_, left, right = False, 0, max(b - 1, 0), min(b + 1, bearings - 1)
        for r in range(bins):
            begin[b, r] = bins
            if known[b, r]:
                standing = p[FOOTLINE, b, r] + p[FOOTLINE + 1, b, r] + p[FOOTLINE + 2, b, r]
                blocks = standing >= BLOCKING
                hidden |= blocks
                open_ = open_ if blocks else r + 1
                begin[b, r] = open_ if p[FOOTLINE, b, r] > FOOT else bins
                surely = min(p[SUPER_GROUND, left, r], p[SUPER_GROUND, b, r],
                             p[SUPER_GROUND, right, r]) > SURE_GROUND
                behind = shadow[0, b] < distance_m[r] < shadow[1, b]
                seen[b, r] = not (blocks or behind or (hidden and not surely))
    return seen


@compiled(BOOL[:, ::1], I4[:, ::1])
def _stands(begin: Index) -> Mask:
    """Feet (B, R) near where their run, and those beside it, begin."""
    bearings, bins = begin.shape
    feet: Mask = begin < bins
    for b in range(bearings):
        mine = feet[b]
        for k in range(max(b - BESIDE, 0), min(b + BESIDE + 1, bearings)):
            other = begin[k]
            for r in range(len(mine)):
                mine[r] &= other[r] >= np.int32(r) - np.int32(FOOT_BINS)
    return feet


@compiled(I8[::1], given(BOOL, 2))
def _set_cells(mask: Mask) -> Cells:
    """Flat cells that are set, in order; each is written, and kept or written over."""
    flat, cells, k = mask.reshape(-1), np.empty(mask.size + 1, np.int64), np.uint32(0)
    for i in range(len(flat)):
        cells[k] = i
        k += np.uint32(flat[i])
    return cells[:k].copy()


@compiled(types.UniTuple(I8[::1], 2), _VIEW, given(F8, 2), given(F8, 1))
def sight(view: View, shadow: Float, distance_m: Float) -> tuple[Cells, Cells]:
    """
    Cells of ground that is seen, and of feet next to the open ground before them.

    Parameters
    ----------
    view : (5, B, R) float64 and (B, R) bool
        Class probabilities over bearing and distance, and where they are known.
    shadow : (2, B) float64 [m]
        As of ``shadows``.
    distance_m : (R,) float64
        Of each distance bin.

    Returns
    -------
    (G,) and (F,) int64
        Flat cells, in order.
    """
    begin = np.empty(view[1].shape, np.int32)
    clear = _clear(view, shadow, distance_m, begin)
    return _set_cells(clear), _set_cells(_stands(begin))


@compiled(types.Tuple((F8[:, ::1], F4[:, ::1])), given(F8, 3), types.UniTuple(given(I8, 1), 2),
          given(F8, 1), given(F8, 2), given(F8, 1))
def evidence(
    probabilities: Float, cells: tuple[Cells, Cells], bearing: Float, reach: Float, foot: Float
) -> tuple[Float, Float]:
    """
    Points on the ground and their weighted histograms.

    Parameters
    ----------
    probabilities : (5, B, R) float64
        Over bearing and distance.
    cells : (G,) and (F,) int64
        As of ``sight``.
    bearing : (B,) float64 [rad]
    reach : (2, R) float64
        Distance [m] and weight of each distance bin.
    foot : (3,) float64 [m]
        Of the camera on the ground.

    Returns
    -------
    (G + F, 3) float64 [m] and (G + F, 5) float32
    """
    bins, seen, cos, sin = reach.shape[1], len(cells[0]), np.cos(bearing), np.sin(bearing)
    xyz = np.empty((seen + len(cells[1]), 3))
    histogram = np.zeros((len(xyz), CLASSES), np.float32)
    for i in range(len(xyz)):
        cell = np.uint32(cells[0][i] if i < seen else cells[1][i - seen])
        b, r = cell // np.uint32(bins), cell % np.uint32(bins)
        weight = np.float32(reach[1, r])
        xyz[i, 0] = foot[0] + reach[0, r] * cos[b]
        xyz[i, 1] = foot[1] + reach[0, r] * sin[b]
        xyz[i, 2] = foot[2]
        if i < seen:
            for k in range(CLASSES):
                histogram[i, k] = np.float32(probabilities[k, b, r]) * weight
        else:
            p = probabilities[FOOTLINE, b, r]
            histogram[i, FOOTLINE] = np.float32(FOOT_WEIGHT * (p * p)) * weight
    return xyz, histogram
