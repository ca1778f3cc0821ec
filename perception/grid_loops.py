# SPDX-License-Identifier: Apache-2.0
"""Compiled loops of the cost grid: points sorted into it, and evidence to cost."""

import numpy as np
from numba import types
from numpy.typing import NDArray

from perception.compiled import BOOL, F4, F8, I4, I8, compiled, given
from perception.types import Float, Index

UNKNOWN, FREE, LETHAL = -1, 0, 100
SPREAD = 16  # sums of what lies outside: additions to one wait for each other
BLOCK = 1024  # points at once: what is worked out of them stays in the first-level cache



@compiled(types.void, given(I4, 1), types.UniTuple(I8, 5), I4[::1])
def _fill_ring_cells(cell: Index, rings: tuple[int, int, int, int, int], cells: Index) -> None:
    """
    Planning cells (n,) of points from the last number of ``rings`` on.

    These are the angular cells, the internal cells for one of them, the first ring, the one after
    the last, and the first point. Cells count from a ring before the first; points outside share
    some after the ring that follows the last.
    """
    angles, fine, start, stop, first = rings
    outside = np.int32((stop - start + 2) * angles)
    per_fine, per_ring = 1.0 / fine, 1.0 / (fine * angles)  # quicker than to divide integers
    of_fine, wide, begin = np.int32(angles * fine), np.int32(angles), np.uint64(first)
    for i in range(np.uint64(len(cells))):
        internal = cell[begin + i]
        fine_ring = np.int32((internal + 0.5) * per_ring)
        angle = np.int32((internal - fine_ring * of_fine + 0.5) * per_fine)
        ring = np.int32((fine_ring + 0.5) * per_fine)
        flat = (ring - np.int32(start - 1)) * wide + angle
        inside = (ring >= start) & (ring < stop)
        cells[i] = flat if inside else outside + np.int32(i % SPREAD)


@compiled(I4[::1], given(I4, 1), types.UniTuple(I8, 3))
def ring_cells(cell: Index, shape: tuple[int, int, int]) -> Index:
    """
    Planning cells that points lie in.

    Parameters
    ----------
    cell : (N,) int32
        Internal cell of each point, in the map.
    shape : int, int, int
        Rings and angular cells of the planning map, and internal cells for one of them.

    Returns
    -------
    (N,) int32
    """
    cells = np.empty(len(cell), np.int32)
    _fill_ring_cells(cell, (shape[1], shape[2], 0, shape[0], 0), cells)
    cells -= np.int32(shape[1])
    return cells


@compiled(F8[:, ::1], given(I4, 1), given(F4, 2), I8)
def summed(cells: Index, values: Float, size: int) -> Float:
    """
    Sums of values in cells.

    Parameters
    ----------
    cells : (N,) int32
        Cell of each value, below ``size``.
    values : (K, N) float32

    Returns
    -------
    (K, size) float64
    """
    sums = np.zeros((len(values), size))
    for k in range(len(values)):
        row, own = values[k], sums[k]
        for i in range(len(cells)):
            own[np.uint32(cells[i])] += row[i]
    return sums


@compiled(types.void, given(F8, 1), BOOL, F8[::1])
def _add_beside(row: Float, wrap: bool, sums: Float) -> None:
    """Each value (W,) and the two beside it."""
    left, right = (row[-1], row[0]) if wrap else (0.0, 0.0)
    sums[0], sums[-1] = left + row[0] + row[1], row[-2] + row[-1] + right
    before, after, inner = row[:-2], row[2:], sums[1:-1]
    for i in range(len(inner)):
        inner[i] = before[i] + row[i + 1] + after[i]


@compiled(types.void, given(F8, 2), F8[::1])
def _add_rows(rows: Float, sums: Float) -> None:
    """Sum of three rows (3, W)."""
    above, row, below = rows[0], rows[1], rows[2]
    for i in range(len(sums)):
        sums[i] = above[i] + row[i] + below[i]


@compiled(F8[:, :, ::1], given(F8, 3), BOOL)
def neighbour_sums(values: Float, wrap: bool) -> Float:
    """
    Sum of each cell and its 8 neighbours; exact for zeros, as nothing is subtracted.

    Parameters
    ----------
    values : (K, H, W) float64
        W >= 2.
    wrap : bool
        The columns close a circle; else nothing lies beyond the border, as beyond the rows.

    Returns
    -------
    (K, H, W) float64
    """
    planes, height, width = values.shape
    sums, across = np.empty(values.shape), np.zeros((height + 2, width))
    for k in range(planes):
        for h in range(height):
            _add_beside(values[k, h], wrap, across[h + 1])
        for h in range(height):
            _add_rows(across[h:h + 3], sums[k, h])
    return sums


@compiled(types.void, given(F8, 2), I8, given(F8, 1), F8[::1])
def _fill_scores(sums: Float, begin: int, settings: Float, to: Float) -> None:
    """S of A7 (n,) from the weighted and the plain sums of cells from the first on."""
    weighted, plain, first = sums[0], sums[1], np.uint64(begin)
    gain, doubt = settings[0], settings[1]
    for i in range(np.uint64(len(to))):
        total = plain[first + i] + doubt
        to[i] = gain * weighted[first + i] / (total if total > 0 else 1.0)


@compiled(F8[::1], given(F8, 2), given(F8, 1))
def scores(sums: Float, settings: Float) -> Float:
    """Score of each column of ``sums`` (2, N): the weighted and the plain sum; (N,) float64."""
    result = np.empty(sums.shape[1])
    _fill_scores(sums, 0, settings, result)
    return result


@compiled(types.void, given(F8, 1), given(F8, 1), F8, types.int8[::1])
def _fill_costs(score: Float, plain: Float, least: float, to: NDArray[np.int8]) -> None:
    """Nav2 values (n,) of cells; no branches, so that many are done at once."""
    for i in range(len(to)):
        s = score[i]
        graded = np.rint(((-1.0 if s < -1 else 1.0 if s > 1 else s) + 1) * 97 / 2) + 1
        value = np.int32(FREE if s <= -1 else LETHAL if s >= 1 else graded)
        to[i] = value if plain[i] >= least else UNKNOWN


@compiled(types.int8[::1], given(F8, 2), given(F8, 1))
def costs(sums: Float, settings: Float) -> NDArray[np.int8]:
    """
    Nav2 values of cells.

    Parameters
    ----------
    sums : (2, N) float64
        Weighted and plain sum of each cell's histogram.
    settings : (3,) float64
        Gain, doubt and the least evidence of a known cell.

    Returns
    -------
    (N,) int8
    """
    result = np.empty(sums.shape[1], np.int8)
    _fill_costs(scores(sums, settings), sums[1], settings[2], result)
    return result


@compiled(types.void, given(F8, 1), F8[::1])
def _take_worse(alone: Float, score: Float) -> None:
    """Put the score (n,) of cells alone where it speaks of an obstacle, and more so."""
    for i in range(len(score)):
        score[i] = alone[i] if (alone[i] > 0) & (alone[i] > score[i]) else score[i]


@compiled(types.void, given(F8, 2), I8, BOOL, F8[:, ::1], F8[:, ::1])
def _sum_around(own: Float, begin: int, wrap: bool, down: Float, around: Float) -> None:
    """Sums (2, W) of the cells of a row, which begins there, and of their neighbours."""
    n, one, two = np.uint64(around.shape[1]), np.uint64(1), np.uint64(2)
    row = np.uint64(begin)
    above, below = row - n, row + n
    for k in range(2):
        values, sums, to = own[k], down[k], around[k]
        for i in range(n):
            sums[i + one] = values[above + i] + values[row + i] + values[below + i]
        sums[0] = sums[n] if wrap else 0.0
        sums[n + one] = sums[one] if wrap else 0.0
        for i in range(n):
            to[i] = sums[i] + sums[i + one] + sums[i + two]


@compiled(types.int8[::1], given(F8, 2), types.UniTuple(I8, 2), types.UniTuple(BOOL, 2),
          given(F8, 1))
def around_costs(
    own: Float, shape: tuple[int, int], ways: tuple[bool, bool], settings: Float
) -> NDArray[np.int8]:
    """
    Nav2 values of cells by the evidence of each and its 8 neighbours.

    Parameters
    ----------
    own : (2, (H + 2) W or more) float64
        Weighted and plain sum of each cell's histogram, with a row of zeros before and after.
    shape : int, int
        H and W.
    ways : bool, bool
        Whether the columns close a circle, and whether a cell's own evidence counts alone where
        it speaks more of an obstacle.
    settings : (3,) float64
        As of ``costs``.

    Returns
    -------
    (H W,) int8
    """
    (height, width), (wrap, alone) = shape, ways
    result = np.empty(height * width, np.int8)
    down, around, score = np.empty((2, width + 2)), np.empty((2, width)), np.empty((2, width))
    here, mine = score[0], score[1]
    for h in range(height):
        begin = (h + 1) * width
        _sum_around(own, begin, wrap, down, around)
        _fill_scores(around, 0, settings, here)
        if alone:
            _fill_scores(own, begin, settings, mine)
            _take_worse(mine, here)
        _fill_costs(here, around[1], settings[2], result[h * width:(h + 1) * width])
    return result


@compiled(types.void, given(F8, 2), F8, types.UniTuple(I8, 5), I4[::1])
def _fill_window_cells(
    points: Float, step: float, window: tuple[int, int, int, int, int], cells: Index
) -> None:
    """Cells (n,) of a window of the grid for points from the last number of ``window`` on."""
    left, top, width, height, first = window
    (right, bottom), wide = (float(left + width), float(top + height)), np.int32(width)
    x, y, outside, per_m = points[0], points[1], np.int32((height + 2) * width), 1 / step
    begin, west, south = np.uint64(first), float(left), float(top)
    for i in range(np.uint64(len(cells))):
        column, row = np.floor(x[begin + i] * per_m), np.floor(y[begin + i] * per_m)
        inside = (row >= south) & (row < bottom) & (column >= west) & (column < right)
        cell = np.int32(row - south + 1) * wide + np.int32(column - west)
        cells[i] = cell if inside else outside + np.int32(i % SPREAD)


@compiled(types.void, given(F4, 2), given(F4, 1), I8, F4[:, ::1])
def _reduce(planes: Float, weights: Float, first: int, sums: Float) -> None:
    """Weighted and plain sums (2, n) over the classes (5, N), of points from ``first`` on."""
    begin, n = np.uint64(first), np.uint64(sums.shape[1])
    a, b, c, d, e = planes[0], planes[1], planes[2], planes[3], planes[4]
    weighted, plain, w = sums[0], sums[1], weights
    for i in range(n):
        p, q, r, s, t = a[begin + i], b[begin + i], c[begin + i], d[begin + i], e[begin + i]
        weighted[i] = p * w[0] + q * w[1] + r * w[2] + s * w[3] + t * w[4]
        plain[i] = p + q + r + s + t


@compiled(types.void, given(I4, 1), given(F4, 2), F8[:, ::1])
def _scatter(cells: Index, values: Float, sums: Float) -> None:
    """Add values (2, n) to the sums (2, C) of their cells."""
    weighted, plain = values[0], values[1]
    to_weighted, to_plain = sums[0], sums[1]
    for i in range(np.uint64(values.shape[1])):
        cell = np.uint32(cells[i])
        to_weighted[cell] += weighted[i]
        to_plain[cell] += plain[i]


_POINTS = types.Tuple((given(F8, 2), given(F4, 2), given(I4, 1)))
_WINDOW = types.Tuple((F8, types.UniTuple(I8, 4)))


@compiled(types.UniTuple(F8[:, ::1], 2), _POINTS, given(F4, 1), types.UniTuple(I8, 4), _WINDOW)
def grid_sums(
    points: tuple[Float, Float, Index], weights: Float, rings: tuple[int, int, int, int],
    window: tuple[float, tuple[int, int, int, int]],
) -> tuple[Float, Float]:
    """
    Sums of evidence in planning cells, and in a window of the grid.

    Parameters
    ----------
    points : tuple
        Points (3, N) float64 [m] in the axes of the grid, histograms (5, N) float32, and
        internal cells (N,) int32 of the map.
    weights : (5,) float32
        Of the classes.
    rings : int, int, int, int
        Angular cells of the planning map, internal cells for one of them, the first ring, and
        the one after the last.
    window : float and four int
        Width of a grid cell [m]; first column and row, counted from the origin; width, height.

    Returns
    -------
    (2, (rings + 2) x angles + SPREAD) and (2, (height + 2) x width + SPREAD) float64
        Weighted and plain sums, with a row of zeros before and after; then what lies outside, in
        ``SPREAD`` parts, as additions to one would wait for each other.
    """
    (xyz, planes, cell), (step, (left, top, width, height)) = points, window
    angles, fine, start, stop = rings
    far = np.zeros((2, (stop - start + 2) * angles + SPREAD))
    near = np.zeros((2, (height + 2) * width + SPREAD))
    cells = np.empty(BLOCK, np.int32)
    for first in range(0, len(cell), BLOCK):
        sums = np.empty((2, min(BLOCK, len(cell) - first)), np.float32)
        mine = cells[:sums.shape[1]]
        _reduce(planes, weights, first, sums)
        _fill_ring_cells(cell, (angles, fine, start, stop, first), mine)
        _scatter(mine, sums, far)
        _fill_window_cells(xyz, step, (left, top, width, height, first), mine)
        _scatter(mine, sums, near)
    return far, near


@compiled(types.int8[:, ::1], given(types.int8, 1), given(I4, 2))
def sampled(cost: NDArray[np.int8], cell: Index) -> NDArray[np.int8]:
    """Cost (M,) of the cell that each place (H, W) shows, (H, W)."""
    grid = np.empty(cell.shape, np.int8)
    for row in range(len(cell)):
        shown, to = cell[row], grid[row]
        for i in range(len(shown)):
            to[i] = cost[np.uint32(shown[i])]  # without a sign: none is taken from the end
    return grid
