# SPDX-License-Identifier: Apache-2.0
"""Compiled loops of the cost grid: points sorted into it, and evidence to cost."""

import numpy as np
from numba import types
from numpy.typing import NDArray

from perception.compiled import BOOL, F4, F8, I4, I8, compiled, given
from perception.types import Cells, Float, Index

UNKNOWN, FREE, LETHAL = -1, 0, 100
SPREAD = 16  # sums of what lies outside: additions to one wait for each other


@compiled(I4[::1], given(F8, 2), F8, types.UniTuple(I8, 4))
def window_cells(points: Float, step: float, window: tuple[int, int, int, int]) -> Index:
    """
    Cells of a window of the grid that points lie in.

    Parameters
    ----------
    points : (3, N) float64 [m]
        In the axes of the grid.
    step : float
        Width of a cell [m].
    window : int, int, int, int
        First column and row, counted from the origin; width and height.

    Returns
    -------
    (N,) int32
        Flat; width x height for points outside.
    """
    (left, top, width, height), x, y = window, points[0], points[1]
    cells = np.empty(len(x), np.int32)
    for i in range(len(x)):
        column, row = np.floor(x[i] / step) - left, np.floor(y[i] / step) - top
        inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        cells[i] = np.int64(row) * width + np.int64(column) if inside else height * width
    return cells


@compiled(I4[::1], given(I8, 1), types.UniTuple(I8, 2), types.UniTuple(I8, 2))
def ring_cells(cell: Cells, shape: tuple[int, int], rings: tuple[int, int]) -> Index:
    """
    Planning cells that points lie in.

    Parameters
    ----------
    cell : (N,) int64
        Internal cell of each point.
    shape : int, int
        Angular cells of the planning map, and internal cells for one of them.
    rings : int, int
        First ring, and the one after the last.

    Returns
    -------
    (N,) int32
        Flat, counted from the first ring; one past the last for points outside.
    """
    angles, others = shape[0], (rings[1] - rings[0]) * shape[0]
    # divisions of integers take several times longer than products
    per_fine, per_ring = 1.0 / shape[1], 1.0 / (shape[0] * shape[1])
    cells = np.empty(len(cell), np.int32)
    for i in range(len(cell)):
        fine_ring = np.int64((cell[i] + 0.5) * per_ring)
        angle = np.int64((cell[i] - fine_ring * angles * shape[1] + 0.5) * per_fine)
        ring = np.int64((fine_ring + 0.5) * per_fine)
        inside = (ring >= rings[0]) & (ring < rings[1])
        cells[i] = (ring - rings[0]) * angles + angle if inside else others
    return cells


@compiled(F8[:, ::1], given(I4, 1), given(F4, 2), I8)
def summed(cells: Index, values: Float, size: int) -> Float:
    """
    Sums of values in cells.

    Parameters
    ----------
    cells : (N,) int32
        Cell of each value, at most ``size``, which is none of them.
    values : (K, N) float32

    Returns
    -------
    (K, size) float64
    """
    sums, own = np.empty((len(values), size)), np.empty(size + SPREAD)
    for k in range(len(values)):
        row = values[k]
        own[:] = 0
        for i in range(len(cells)):
            # no branch, as it would often be guessed wrong, nor one sum of all that is outside
            own[cells[i] + (i % SPREAD if cells[i] == size else 0)] += row[i]
        sums[k] = own[:size]
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


@compiled(F8, F8, F8, given(F8, 1))
def score(weighted: float, total: float, settings: Float) -> np.float64:
    """S of A7 from the weighted and the plain sum of a histogram; settings as of ``costs``."""
    gain, doubt, _ = settings
    total += doubt
    if not total > 0:
        total = 1.0
    return np.float64(gain * weighted / total)


@compiled(F8[::1], given(F8, 2), given(F8, 1))
def scores(sums: Float, settings: Float) -> Float:
    """Score of each column of ``sums`` (2, N): the weighted and the plain sum; (N,) float64."""
    result = np.empty(sums.shape[1])
    for i in range(len(result)):
        result[i] = score(sums[0, i], sums[1, i], settings)
    return result


@compiled(types.int8[::1], given(F8, 2), given(F8, 2), given(F8, 1))
def costs(sums: Float, own: Float, settings: Float) -> NDArray[np.int8]:
    """
    Nav2 values of cells.

    Parameters
    ----------
    sums : (2, N) float64
        Weighted and plain sum of each cell's histogram and of its neighbours'.
    own : (2, N) float64
        The same without neighbours: it counts where it speaks more of an obstacle.
    settings : (3,) float64
        Gain, doubt and the least evidence of a known cell.

    Returns
    -------
    (N,) int8
    """
    result = np.empty(sums.shape[1], np.int8)
    for i in range(len(result)):
        if not sums[1, i] >= settings[2]:
            result[i] = UNKNOWN
            continue
        s = score(sums[0, i], sums[1, i], settings)
        alone = score(own[0, i], own[1, i], settings)
        if alone > 0:
            s = max(s, alone)
        if s <= -1:
            result[i] = FREE
        elif s >= 1:
            result[i] = LETHAL
        else:
            result[i] = np.int8(np.rint((s + 1) * 97 / 2) + 1)
    return result


@compiled(types.int8[:, ::1], given(types.int8, 1), given(I4, 2))
def sampled(cost: NDArray[np.int8], cell: Index) -> NDArray[np.int8]:
    """Cost (M,) of the cell that each place (H, W) shows, (H, W)."""
    grid = np.empty(cell.shape, np.int8)
    for row in range(len(cell)):
        shown, to = cell[row], grid[row]
        for i in range(len(shown)):
            to[i] = cost[np.uint32(shown[i])]  # without a sign: none is taken from the end
    return grid
