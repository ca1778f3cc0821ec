# SPDX-License-Identifier: Apache-2.0
"""Compiled loops of the polar map: cells of points, and points that share a cell."""

import numpy as np
from numba import types

from perception.compiled import BOOL, F4, F8, I4, I8, compiled, given
from perception.types import Float, Index

Part = tuple[Float, Float, Index, Index]
Factor = float | np.float32

OUTSIDE, CLASSES = -1, 5

_PART = types.Tuple((given(F8, 2), given(F4, 2), given(I4, 1), given(I4, 1)))
_MERGED = types.Tuple((F8[:, ::1], F4[:, ::1], I4[::1], I4[::1]))


@compiled(types.UniTuple(F4[::1], 2), given(F8, 2), types.UniTuple(F8, 2))
def from_centre(points: Float, centre: tuple[float, float]) -> tuple[Float, Float]:
    """How far points (3, N) float64 lie from a centre (x, y), (N,) and (N,) float32 [m]."""
    x, y = np.empty(points.shape[1], np.float32), np.empty(points.shape[1], np.float32)
    for i in range(len(x)):
        x[i], y[i] = points[0, i] - centre[0], points[1, i] - centre[1]
    return x, y


@compiled(I4[::1], given(F4, 1), given(F4, 1), given(F4, 1), given(F4, 1))
def flat_cells(x: Float, y: Float, angle: Float, layout: Float) -> Index:
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
    (N,) int32
    """
    start, growth, constant, cell_m, last, per_rad, turn, max_radius, rings, fine = layout
    cells = np.empty(len(x), np.int32)
    angles = np.int32(turn * fine)
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
        cell = np.int32(ring * fine) * angles + np.int32(t * fine)
        cells[i] = cell if inside else np.int32(OUTSIDE)
    return cells


@compiled(types.void, given(I4, 1), given(F4, 1), I8, I4[::1], I4[::1])
def _note_cells(cell: Index, total: Float, first: int, slot: Index, place: Index) -> None:
    """
    Write to the slots of points that they are there, counted from ``first``.

    ``place`` (N,) becomes the slot of each: its cell, or the last one for points that are in none
    or have a negative ``total``.
    """
    outside, begin = np.int32(len(slot) - 1), np.int32(first)
    for i in range(len(cell)):
        place[i] = cell[i] if (total[i] >= 0) & (cell[i] >= 0) else outside
    for i in range(len(cell)):
        slot[np.uint32(place[i])] = begin + np.int32(i)


@compiled(F4[::1], given(F4, 2), F4, F4)
def _left_of(planes: Float, factor: float, least: float) -> Float:
    """How much more than ``least`` of the evidence of points (5, N) is left, (N,)."""
    total = np.zeros(planes.shape[1], np.float32)
    for k in range(len(planes)):
        row = planes[k]
        for i in range(len(row)):
            total[i] += row[i] * factor
    for i in range(len(total)):
        total[i] = np.float32(0) if total[i] >= least else np.float32(-1)
    return total


@compiled(I8, given(I4, 1), types.UniTuple(I8, 2), I4[::1], I4[::1])
def _part_newest(place: Index, begins: tuple[int, int], slot: Index, order: Index) -> int:
    """
    Points of a part that are the newest of their cells, then the rest from the end backwards.

    ``begins`` are the numbers that the first point has in ``slot``, and that the first newest one
    is to have among the merged ones. No branch on what is newest: it would be guessed wrong every
    other time.
    """
    first, merged = begins
    kept, rest, outside = 0, len(place) - 1, np.int32(len(slot) - 1)
    for i in range(len(place)):
        cell = np.uint32(place[i])
        there = slot[cell]
        newest = (there == first + i) & (place[i] != outside)
        slot[cell] = merged + kept if newest else there
        order[np.uint32(kept if newest else rest)] = i
        kept += newest
        rest -= 1 - newest
    return kept


@compiled(types.void, _PART, given(I4, 1), types.Tuple((I8, F4)), _MERGED)
def _copy(part: Part, index: Index, how: tuple[int, Factor], merged: Part) -> None:
    """The points that ``index`` names, into the merged ones from a first on, times a factor."""
    points, planes, counter, cell = part
    to_points, to_planes, to_counter, to_cell = merged
    begin, factor = how
    for axis in range(points.shape[0]):
        xyz, to_xyz = points[axis], to_points[axis, begin:begin + len(index)]
        for k in range(len(index)):
            to_xyz[k] = xyz[np.uint32(index[k])]
    for plane in range(CLASSES):
        row, to_row = planes[plane], to_planes[plane, begin:begin + len(index)]
        for k in range(len(index)):
            to_row[k] = row[np.uint32(index[k])] * factor
    for k in range(len(index)):
        i = np.uint32(index[k])
        to_counter[begin + k], to_cell[begin + k] = counter[i], cell[i]


@compiled(types.void, _PART, types.UniTuple(given(I4, 1), 3), F4, _MERGED)
def _add_rest(part: Part, where: tuple[Index, Index, Index], factor: Factor, merged: Part) -> None:
    """
    Add points, backwards, times a factor to the newest of their cells.

    ``where`` are the points of the part, the slot of each point of it, and the slots.
    """
    (_, planes, counter, _), (index, place, slot) = part, where
    (_, sums, counts, _), outside = merged, np.int32(len(slot) - 1)
    a, b, c, d, e = planes[0], planes[1], planes[2], planes[3], planes[4]
    to_a, to_b, to_c, to_d, to_e = sums[0], sums[1], sums[2], sums[3], sums[4]
    for i in index[::-1]:
        if place[i] != outside:
            k, j = np.uint32(slot[np.uint32(place[i])]), np.uint32(i)
            counts[k] += counter[j]
            to_a[k] += a[j] * factor
            to_b[k] += b[j] * factor
            to_c[k] += c[j] * factor
            to_d[k] += d[j] * factor
            to_e[k] += e[j] * factor


@compiled(_MERGED, _PART, _PART, I4[::1], types.UniTuple(F4, 2))
def merge(older: Part, newer: Part, slot: Index, fading: tuple[float, float]) -> Part:
    """
    Leave one point in each cell: evidence and counters add up, the newest coordinates stay.

    Parameters
    ----------
    older, newer : tuple
        Points (3, N) float64, planes (5, N) float32, counter (N,) int32, cell (N,) int32. Points
        of negative cells are left out; of points in one cell the last is the newest.
    slot : (C + 1,) int32
        Room for a number for each cell, and one for what is in none.
    fading : float, float
        Evidence of older points is first multiplied by the one; points with less than the other
        are forgotten.

    Returns
    -------
    The same four of the merged points, in the order of their last update.
    """
    first, last = len(older[3]), len(older[3]) + len(newer[3])
    (factor, least), one = fading, np.float32(1)
    place, order = np.empty(last, np.int32), np.empty(last, np.int32)
    places, orders = (place[:first], place[first:]), (order[:first], order[first:])
    _note_cells(older[3], _left_of(older[1], factor, least), 0, slot, places[0])
    _note_cells(newer[3], np.zeros(last - first, np.float32), first, slot, places[1])
    middle = _part_newest(places[0], (0, 0), slot, orders[0])
    recent = _part_newest(places[1], (first, middle), slot, orders[1])
    count = middle + recent
    merged = (np.empty((3, count)), np.empty((CLASSES, count), np.float32),
              np.empty(count, np.int32), np.empty(count, np.int32))
    _copy(older, orders[0][:middle], (0, factor), merged)
    _copy(newer, orders[1][:recent], (middle, one), merged)
    _add_rest(older, (orders[0][middle:], places[0], slot), factor, merged)
    _add_rest(newer, (orders[1][recent:], places[1], slot), one, merged)
    return merged


@compiled(BOOL, given(F4, 2), given(F8, 1), I4[::1])
def leave_out(planes: Float, height: Float, cell: Index) -> bool:
    """
    Take points without weight, or without a height, out of their cells.

    Parameters
    ----------
    planes : (5, N) float32
        Evidence of each point.
    height : (N,) float64 [m]
    cell : (N,) int32
        Internal cell of each point; becomes -1.

    Returns
    -------
    bool
        Whether all evidence is finite and at least 0.
    """
    total, least = np.zeros(len(cell), np.float32), np.zeros(len(cell), np.float32)
    for k in range(len(planes)):
        row = planes[k]
        for i in range(len(row)):
            total[i] += row[i]
            least[i] = row[i] if row[i] < least[i] else least[i]
    sound = 0
    for i in range(len(cell)):
        sound += (least[i] == 0) & (total[i] < np.float32(np.inf))
        cell[i] = cell[i] if (total[i] > 0) & (abs(height[i]) < np.inf) else np.int32(OUTSIDE)
    return sound == len(cell)
