# SPDX-License-Identifier: Apache-2.0
"""Compiled loops of the polar map: cells of points, points that share a cell, sums of cells."""

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


@compiled(types.UniTuple(I8, 2), given(I8, 1), given(I8, 1), I4[::1], I4[::1])
def _newest(older: Cells, newer: Cells, slot: Index, source: Index) -> tuple[int, int]:
    """Last point of each cell, in order, into ``source``: how many are of older, and of both."""
    first = len(older)
    for i in range(first):
        if older[i] >= 0:
            slot[older[i]] = i
    for i in range(len(newer)):
        if newer[i] >= 0:
            slot[newer[i]] = first + i
    count = 0
    for i in range(first):
        if older[i] >= 0 and slot[older[i]] == i:
            source[count] = i
            count += 1
    middle = count
    for i in range(len(newer)):
        if newer[i] >= 0 and slot[newer[i]] == first + i:
            source[count] = i
            count += 1
    return middle, count


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


@compiled(types.void, _PART, types.UniTuple(I8, 2), I4[::1], I4[::1], _MERGED)
def _add_older(
    part: Part, own: tuple[int, int], slot: Index, source: Index, merged: Part
) -> None:
    """Add the points of a part to the newest of their cells, but those among its ``own``."""
    _, planes, counter, cell = part
    _, sums, counts, _ = merged
    for i in range(len(cell)):
        if cell[i] < 0:
            continue
        k = slot[cell[i]]
        if own[0] <= k < own[1] and source[k] == i:
            continue
        counts[k] += counter[i]
        for plane in range(planes.shape[0]):
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
    slot : (C,) int32
        Room for a number for each cell; what it holds does not matter.

    Returns
    -------
    The same four of the merged points, in the order of their last update.
    """
    source = np.empty(len(older[3]) + len(newer[3]), np.int32)
    middle, count = _newest(older[3], newer[3], slot, source)
    merged = (np.empty((3, count)), np.empty((CLASSES, count), np.float32),
              np.empty(count, np.int32), np.empty(count, np.int64))
    _copy(older, source[:middle], 0, merged)
    _copy(newer, source[middle:count], middle, merged)
    for k in range(count):
        slot[merged[3][k]] = k
    _add_older(older, (0, middle), slot, source, merged)
    _add_older(newer, (middle, count), slot, source, merged)
    return merged


@compiled(types.void, given(I8, 1), types.UniTuple(I8, 2), I8, given(F4, 2), F8[:, ::1])
def add_to_cells(
    cell: Cells, shape: tuple[int, int], first: int, values: Float, sums: Float
) -> None:
    """
    Add values of points to the planning cells they lie in.

    Parameters
    ----------
    cell : (N,) int64
        Internal cell of each point.
    shape : int, int
        Angular cells of the planning map, and internal cells for one of them.
    first : int
        Planning cell that the first column of ``sums`` stands for.
    values : (K, N) float32
        Numbers to add.
    sums : (K, M) float64
        Added to; points of other cells are left out.
    """
    angles, fine = shape
    per_ring = 1.0 / (angles * fine)
    for i in range(len(cell)):
        ring = np.int64((cell[i] + 0.5) * per_ring)  # a division of integers takes longer
        place = ring // fine * angles + (cell[i] - ring * angles * fine) // fine - first
        if 0 <= place < sums.shape[1]:
            for k in range(values.shape[0]):
                sums[k, place] += values[k, i]


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
    faded, place, total = np.empty(planes.shape, np.float32), cell.copy(), np.zeros(
        len(cell), np.float32)
    for k in range(planes.shape[0]):
        for i in range(len(cell)):
            faded[k, i] = planes[k, i] * factor
            total[i] += faded[k, i]
    for i in range(len(cell)):
        if total[i] < least:
            place[i] = OUTSIDE
    return faded, place
