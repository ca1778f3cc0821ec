# SPDX-License-Identifier: Apache-2.0
"""Compiled loops that split windows into parts."""

import numpy as np
from numba import types

from perception.compiled import F8, I8, compiled, given
from perception.types import Cells, Float

MAX_PARTS = 4

Windows = tuple[Float, Float, Float, Float]
Parts = tuple[Cells, Float, Float, Float]

# where the middles of so many parts lie in a whole of length one
_MIDDLES = np.array([[(part + 0.5) / max(parts, 1) - 0.5 for part in range(MAX_PARTS)]
                     for parts in range(MAX_PARTS + 1)])
_WINDOWS = types.UniTuple(given(F8, 1), 4)
_PARTS = types.Tuple((I8[::1], F8[::1], F8[::1], F8[::1]))


@compiled(I8, F8)
def _parts(cells: float) -> int:
    """Points that cover so many times their spacing; one for NaN."""
    count = 1
    for more in range(1, MAX_PARTS):  # without a branch: it would often be guessed wrong
        count += cells > more
    return count


@compiled(F8, F8, given(F8, 1))
def _ring(radius: float, layout: Float) -> float:
    """Ring index of a radius [m], continuous; that of the last constant ring for NaN."""
    start, growth, constant, cell_m, last = layout[0], layout[1], layout[2], layout[3], layout[4]
    if radius >= start:
        return float((-start / radius + 1) * growth + constant)
    near = radius / cell_m
    return float(near if near < last else last)


@compiled(_PARTS, _WINDOWS, given(F8, 1), F8)
def split(windows: Windows, layout: Float, spacing: float) -> Parts:
    """
    Split windows into lattices of parts.

    Parameters
    ----------
    windows : tuple
        Bearing [rad], distance [m], extent of a row over the distance, and width [rad], (N,)
        float64 each.
    layout : (10,) float64
        As of ``polar_geometry.loop_layout``.
    spacing : float
        Cells from part to part.

    Returns
    -------
    window (M,) int64, and its share, bearing [rad] and distance [m], (M,) float64 each.
    """
    bearings, distances, extents, widths = windows
    shape, total = np.empty((len(bearings), 2), np.int64), 0
    for i in range(len(bearings)):
        near, far = distances[i] / (1 + extents[i] / 2), distances[i] / (1 - extents[i] / 2)
        shape[i, 0] = _parts((_ring(far, layout) - _ring(near, layout)) / spacing)
        shape[i, 1] = _parts(widths[i] * layout[5] / spacing)
        total += shape[i, 0] * shape[i, 1]
    window, share = np.empty(total, np.int64), np.empty(total)
    bearing, distance = np.empty(total), np.empty(total)
    k = 0
    for i in range(len(bearings)):
        rows, columns = shape[i, 0], shape[i, 1]
        each = 1.0 / (rows * columns)
        for row in range(rows):
            away = distances[i] / (1 + _MIDDLES[rows, row] * extents[i])
            for column in range(columns):
                window[k], share[k], distance[k] = i, each, away
                bearing[k] = bearings[i] + _MIDDLES[columns, column] * widths[i]
                k += 1
    return window, share, bearing, distance
