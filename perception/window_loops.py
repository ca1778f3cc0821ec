# SPDX-License-Identifier: Apache-2.0
"""Compiled loops over windows, the parts they are split into, and the view these make."""

import numpy as np
from numba import types

from perception.compiled import BOOL, F4, F8, I8, compiled, given
from perception.types import Cells, Float, Mask

MAX_PARTS = 4
SUPER_GROUND, FOOTLINE, CLASSES = 0, 2, 5  # of a histogram, here as loops read no other module
BLOCKING, FOOT, SURE_GROUND = 0.5, 0.6, 0.5  # least probabilities to block, to stand, to be seen
FOOT_WEIGHT = 0.5
FOOT_BINS, BESIDE = 10, 2  # distance bins of a foot; bearing bins where it is the same obstacle
BEHIND_POINTS = 1.05  # a depth point hides what lies farther than this times its distance
MIN_POINTS = 3  # depth points in a bearing bin that make an obstacle

Parts = tuple[Cells, Float, Float, Float]
View = tuple[Float, Mask]

_PARTS = types.Tuple((I8[::1], F8[::1], F8[::1], F8[::1]))
_GIVEN_PARTS = types.Tuple((given(I8, 1), given(F8, 1), given(F8, 1), given(F8, 1)))
_VIEW = types.Tuple((given(F8, 3), given(BOOL, 2)))
_VIEW_MADE = types.Tuple((F8[:, :, ::1], BOOL[:, ::1]))


@compiled(I8, F8)
def _parts(cells: float) -> int:
    """Points that cover so many times their spacing; one for NaN."""
    count = 1
    while count < MAX_PARTS and cells > count:
        count += 1
    return count


@compiled(_PARTS, given(F8, 2), given(F8, 2))
def split(windows: Float, cells: Float) -> Parts:
    """
    Split windows into lattices of parts.

    Parameters
    ----------
    windows : (4, N) float64
        Bearing [rad], distance [m], extent of a row over the distance, and width [rad].
    cells : (2, N) float64
        Height and width of each window, in spacings of the parts.

    Returns
    -------
    window (M,) int64, and its share, bearing [rad] and distance [m], (M,) float64 each.
    """
    total = 0
    for i in range(windows.shape[1]):
        total += _parts(cells[0, i]) * _parts(cells[1, i])
    window, share = np.empty(total, np.int64), np.empty(total)
    bearing, distance = np.empty(total), np.empty(total)
    k = 0
    for i in range(windows.shape[1]):
        rows, columns = _parts(cells[0, i]), _parts(cells[1, i])
        for row in range(rows):
            down = (row + 0.5) / rows - 0.5
            for column in range(columns):
                aside = (column + 0.5) / columns - 0.5
                window[k], share[k] = i, 1.0 / (rows * columns)
                bearing[k] = windows[0, i] + aside * windows[3, i]
                distance[k] = windows[1, i] / (1 + down * windows[2, i])
                k += 1
    return window, share, bearing, distance


@compiled(types.Tuple((F8[:, :, ::1], I8)), _GIVEN_PARTS, given(F8, 1), given(F8, 2),
          types.UniTuple(F8, 2))
def add_parts(
    parts: Parts, ring: Float, values: Float, columns: tuple[float, float]
) -> tuple[Float, np.int64]:
    """
    Add the weighted values of windows to the cells of their parts.

    Parameters
    ----------
    parts : tuple
        As of ``split``.
    ring : (M,) float64
        Distance bin of each part.
    values : (K + 1, N) float64
        Of each window; the last is its weight.
    columns : float, float
        Bearing opposite to which the first column of a whole turn begins; their width [rad].

    Returns
    -------
    (K + 1, B, R) float64, the last of weights, and the column that the first one stands for
    """
    (window, share, bearing, _), last = parts, len(values) - 1
    column, turn = np.empty(len(window), np.int64), 2 * np.pi
    first, end, bins = np.int64(1 << 40), np.int64(0), np.int64(0)
    for i in range(len(window)):
        angle = bearing[i] - columns[0] + np.pi
        column[i] = np.int64((angle - turn * np.floor(angle / turn)) / columns[1])
        first, end = min(first, column[i]), max(end, column[i] + 1)
        bins = max(bins, np.int64(ring[i]) + 1)
    sums = np.zeros((len(values), end - first, bins))
    for i in range(len(window)):
        b, r = column[i] - first, np.int64(ring[i])
        weight = values[last, window[i]] * share[i]
        for k in range(last):
            sums[k, b, r] += weight * values[k, window[i]]
        sums[last, b, r] += weight
    return sums, first


@compiled(_VIEW_MADE, given(F8, 3), F8)
def normalized(sums: Float, least: float) -> View:
    """
    Weighted means where there is weight.

    Parameters
    ----------
    sums : (K + 1, B, R) float64
        The last of weights.
    least : float
        Weight of a known cell, as a share of the greatest.

    Returns
    -------
    (K, B, R) float64 and, where it is known, (B, R) bool
    """
    total, means = sums[-1].ravel(), sums[:-1].copy()
    known = total > least * total.max()
    for k in range(len(means)):
        plane = means[k].ravel()
        for i in range(len(total)):
            plane[i] = plane[i] / (total[i] if known[i] else 1.0)
    return means, known.reshape(sums.shape[1:])


@compiled(F8[:, ::1], given(I8, 1), given(F8, 2), F8, I8)
def shadows(column: Cells, ray: Float, height_m: float, bearings: int) -> Float:
    """
    Where the shadow of depth points begins and ends.

    Parameters
    ----------
    column : (M,) int64
        Bearing bin of each point; points outside are left out.
    ray : (3, M) float64 [m]
        From the camera.
    height_m : float
        Of the camera above the ground.

    Returns
    -------
    (2, bearings) float64 [m]
        Distance of the nearest point times ``BEHIND_POINTS``, and where sight clears; infinity
        and 0 where too few points make an obstacle.
    """
    shadow, count = np.zeros((2, bearings)), np.zeros(bearings, np.int64)
    shadow[0] = np.inf
    for i in range(len(column)):
        b = column[i]
        if not 0 <= b < bearings:
            continue
        count[b] += 1
        distance = np.sqrt(ray[0, i] * ray[0, i] + ray[1, i] * ray[1, i])
        shadow[0, b] = min(shadow[0, b], distance)
        shadow[1, b] = max(shadow[1, b], distance * height_m / max(-ray[2, i], 0.0))
    for b in range(bearings):
        shadow[0, b] = BEHIND_POINTS * shadow[0, b] if count[b] >= MIN_POINTS else np.inf
    return shadow


@compiled(BOOL[:, ::1], _VIEW, given(F8, 2), given(F8, 1), I8[:, ::1])
def _clear(view: View, shadow: Float, distance_m: Float, begin: Cells) -> Mask:
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


@compiled(BOOL[:, ::1], I8[:, ::1])
def _stands(begin: Cells) -> Mask:
    """Feet (B, R) near where their run, and those beside it, begin."""
    bearings, bins = begin.shape
    feet: Mask = begin < bins
    for b in range(bearings):
        for k in range(max(b - BESIDE, 0), min(b + BESIDE + 1, bearings)):
            for r in range(bins):
                feet[b, r] &= begin[k, r] >= r - FOOT_BINS
    return feet


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
    begin = np.empty(view[1].shape, np.int64)
    clear = _clear(view, shadow, distance_m, begin)
    return np.flatnonzero(clear), np.flatnonzero(_stands(begin))


@compiled(types.Tuple((F8[:, ::1], F4[:, ::1])), given(F8, 3), types.UniTuple(given(I8, 1), 2),
          given(F8, 2), given(F8, 2), given(F8, 1))
def evidence(
    probabilities: Float, cells: tuple[Cells, Cells], direction: Float, reach: Float, foot: Float
) -> tuple[Float, Float]:
    """
    Points on the ground and their weighted histograms.

    Parameters
    ----------
    probabilities : (5, B, R) float64
        Over bearing and distance.
    cells : (G,) and (F,) int64
        As of ``sight``.
    direction : (2, B) float64
        Cosine and sine of each bearing.
    reach : (2, R) float64
        Distance [m] and weight of each distance bin.
    foot : (3,) float64 [m]
        Of the camera on the ground.

    Returns
    -------
    (G + F, 3) float64 [m] and (G + F, 5) float32
    """
    bins, seen = reach.shape[1], len(cells[0])
    xyz = np.empty((seen + len(cells[1]), 3))
    histogram = np.zeros((len(xyz), CLASSES), np.float32)
    for i in range(len(xyz)):
        cell = cells[0][i] if i < seen else cells[1][i - seen]
        b, r = cell // bins, cell % bins
        weight = np.float32(reach[1, r])
        xyz[i, 0] = foot[0] + reach[0, r] * direction[0, b]
        xyz[i, 1] = foot[1] + reach[0, r] * direction[1, b]
        xyz[i, 2] = foot[2]
        if i < seen:
            for k in range(CLASSES):
                histogram[i, k] = np.float32(probabilities[k, b, r]) * weight
        else:
            p = probabilities[FOOTLINE, b, r]
            histogram[i, FOOTLINE] = np.float32(FOOT_WEIGHT * (p * p)) * weight
    return xyz, histogram
