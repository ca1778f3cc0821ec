# SPDX-License-Identifier: Apache-2.0
"""Compiled loops of the cost grid: points sorted into it, and evidence to cost."""

import numpy as np
from numba import types
from numpy.typing import NDArray

from perception.compiled import F4, F8, I8, compiled, given
from perception.types import Float

UNKNOWN, FREE, LETHAL = -1, 0, 100


@compiled(types.void, given(F8, 2), given(F4, 2), F8, types.UniTuple(I8, 2), F8[:, :, ::1])
def add_to_grid(
    points: Float, values: Float, step: float, corner: tuple[int, int], sums: Float
) -> None:
    """
    Add values of points to the grid cells they lie in.

    Parameters
    ----------
    points : (3, N) float64 [m]
        In the axes of the grid.
    values : (K, N) float32
        Numbers to add.
    step : float
        Width of a cell [m].
    corner : int, int
        Column and row of the first cell, counted from the origin.
    sums : (K, H, W) float64
        Added to; points outside are left out.
    """
    for i in range(points.shape[1]):
        column = np.floor(points[0, i] / step) - corner[0]
        row = np.floor(points[1, i] / step) - corner[1]
        if 0 <= row < sums.shape[1] and 0 <= column < sums.shape[2]:
            for k in range(values.shape[0]):
                sums[k, np.int64(row), np.int64(column)] += values[k, i]


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
