# SPDX-License-Identifier: Apache-2.0
"""Compiled loops of the polar map: cells of points, and points that share a cell."""

import numpy as np
from numba import types

from perception.compiled import F4, F8, I4, I8, compiled, given
from perception.types import Cells, Float, Index

Part = tuple[Float, Float, Index, Cells]

OUTSIDE, CLASSES = -1, 5

_PART = types.Tuple((given(F8, 2), given(F4, 2), given(I4, 1), given(I8, 1)))
_MERGED = types.Tuple((F8[:, ::1], F4[:, ::1], I4[::1], I8[::1]))


@compiled(I8[::1], given(F4, 1), given(F4, 1), given(F4, 1), given(F4, 1))
def flat_cells(x: Float, y: Float, angle: Float, layout: Float) -> Cells:
    """
    Flat internal cell of points, -1 beyond the map or NaN.

    Parameters
    ----------
    x, y : (N,) float32 [m]
        Relative to the map centre.
    angle : (N,) float32 [rad]
        Their direction, -pi to pi.
    layout : (10,) float32
        As of ``polar_geometry.loop_layout``.

    Returns
    -------
    (N,) int64
    """
    start, growth, constant, cell_m, last, per_rad, turn, max_radius, rings, fine = layout
    cells = np.empty(len(x), np.int64)
    angles = np.int64(turn * fine)
    for i in range(len(x)):
        radius = np.sqrt(x[i] * x[i] + y[i] * y[i])
        if radius >= start:
            ring = (-start / radius + np.float32(1)) * growth + constant
        else:
            ring = min(radius / cell_m, last)
        t = angle[i] * per_rad
        if t < 0:
            t += turn
        if t >= turn:
            t = np.float32(0)
        inside = radius <= max_radius and ring < rings
        cells[i] = np.int64(ring * fine) * angles + np.int64(t * fine) if inside else OUTSIDE
    return cells


@compiled(I8, given(I8, 1), I8, I4[::1], I4[::1])
def _part_newest(cell: Cells, first: int, slot: Index, order: Index) -> int:
    """
    Points of a part that are the newest of their cells, then the rest from the end backwards.

    Without a branch on what is newest: it would be guessed wrong every other time.
    """
    kept, rest = 0, len(cell) - 1
    for i in range(len(cell)):
        newest = (slot[cell[i]] == first + i) & (cell[i] >= 0)
        order[kept if newest else rest] = i
        kept += newest
        rest -= 1 - newest
    return kept


@compiled(types.void, _PART, given(I4, 1), I8, _MERGED)
def _copy(part: Part, index: Index, begin: int, merged: Part) -> None:
    """The points of a part that ``index`` names, into the merged ones from ``begin`` on."""
    points, planes, counter, cell = part
    to_points, to_planes, to_counter, to_cell = merged
    for row in range(points.shape[0]):
        for k in range(len(index)):
            to_points[row, begin + k] = points[row, index[k]]
    for row in range(planes.shape[0]):
        for k in range(len(index)):
            to_planes[row, begin + k] = planes[row, index[k]]
    for k in range(len(index)):
        to_counter[begin + k], to_cell[begin + k] = counter[index[k]], cell[index[k]]


@compiled(types.void, _PART, given(I4, 1), given(I4, 1), _MERGED)
def _add_older(part: Part, index: Index, slot: Index, merged: Part) -> None:
    """Add the points that ``index`` names, backwards, to the newest of their cells."""
    _, planes, counter, cell = part
    _, sums, counts, _ = merged
    for i in index[::-1]:
        if cell[i] >= 0:
            k = slot[cell[i]]
            counts[k] += counter[i]
            for plane in range(CLASSES):
                sums[plane, k] += planes[plane, i]


@compiled(_MERGED, _PART, _PART, I4[::1])
def merge(older: Part, newer: Part, slot: Index) -> Part:
    """
    Leave one point in each cell: evidence and counters add up, the newest coordinates stay.

    Parameters
    ----------
    older, newer : tuple
        Points (3, N) float64, planes (5, N) float32, counter (N,) int32, cell (N,) int64. Points
        of negative cells are left out; of points in one cell the last is the newest.
    slot : (C + 1,) int32
        Room for a number for each cell, and one for what is in none.

    Returns
    -------
    The same four of the merged points, in the order of their last update.
    """
    first, last = len(older[3]), len(older[3]) + len(newer[3])
    for i in range(first):
        slot[older[3][i]] = i  # -1 is the last
    for i in range(last - first):
        slot[newer[3][i]] = first + i
    order = np.empty(last, np.int32)
    middle = _part_newest(older[3], 0, slot, order[:first])
    count = middle + _part_newest(newer[3], first, slot, order[first:])
    merged = (np.empty((3, count)), np.empty((CLASSES, count), np.float32),
              np.empty(count, np.int32), np.empty(count, np.int64))
    _copy(older, order[:middle], 0, merged)
    _copy(newer, order[first:first + count - middle], middle, merged)
    for k in range(count):
        slot[merged[3][k]] = k
    _add_older(older, order[middle:first], slot, merged)
    _add_older(newer, order[first + count - middle:], slot, merged)
    return merged


@compiled(types.void, given(F4, 2), given(F8, 1), I8[::1])
def leave_out(planes: Float, height: Float, cell: Cells) -> None:
    """
    Take points without weight, or without a height, out of their cells.

    Parameters
    ----------
    planes : (5, N) float32
        Evidence of each point, >= 0.
    height : (N,) float64 [m]
    cell : (N,) int64
        Internal cell of each point; becomes -1.
    """
    total = np.zeros(len(cell), np.float32)
    for k in range(len(planes)):
        row = planes[k]
        for i in range(len(row)):
            total[i] += row[i]
    for i in range(len(cell)):
        cell[i] = cell[i] if total[i] > 0 and np.isfinite(height[i]) else OUTSIDE


@compiled(types.Tuple((F4[:, ::1], I8[::1])), given(F4, 2), given(I8, 1), F4, F4)
def fade(planes: Float, cell: Cells, factor: float, least: float) -> tuple[Float, Cells]:
    """
    Let evidence fade, and forget what has all but gone.

    Parameters
    ----------
    planes : (5, N) float32
        Evidence of each point.
    cell : (N,) int64
        Internal cell of each point.
    factor, least : float
        Evidence is multiplied by the one; a point with less than the other leaves its cell.

    Returns
    -------
    (5, N) float32 and (N,) int64, -1 for what is forgotten
    """
    faded, place = np.empty(planes.shape, np.float32), np.empty(len(cell), np.int64)
    total = np.zeros(len(cell), np.float32)
    for k in range(len(planes)):
        row, to = planes[k], faded[k]
        for i in range(len(row)):
            to[i] = row[i] * factor
            total[i] += to[i]
    for i in range(len(cell)):
        place[i] = cell[i] if total[i] >= least else OUTSIDE
    return faded, place
