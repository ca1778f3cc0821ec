# SPDX-License-Identifier: Apache-2.0
"""Compiled loops over disparities: the matcher's 16ths as pixels, and where they are smooth."""

import numpy as np
from numba import types
from numpy.typing import NDArray

from perception.compiled import F4, I2, I8, U1, compiled, given
from perception.types import Float, Image

MAX_RANGE_PX = 1.5
NEAR_PX, NEAR_SHARE = 1.0, 0.1  # a row is near where a tenth of it has this disparity
FAR_PX = 1e3

_ROWS = F4[:, ::1]


@compiled(I8, given(I2, 2), _ROWS)
def to_pixels(raw: NDArray[np.int16], disparity: Float) -> int:
    """
    Pixels from the 16ths of the matcher; the first row that holds near things, 0 = none does.

    Parameters
    ----------
    raw : (h, w) int16 [px / 16]
        Below one 16th = no match.
    disparity : (h, w) float32 [px]
        Written to; NaN = no match.
    """
    first = -1
    for y in range(len(raw)):
        near = 0
        for x in range(raw.shape[1]):
            pixels = np.float32(raw[y, x]) * np.float32(1 / 16)
            disparity[y, x] = pixels if raw[y, x] > 0 else np.float32(np.nan)
        for x in range(raw.shape[1]):
            near += disparity[y, x] >= np.float32(NEAR_PX)
        if first < 0 and near > NEAR_SHARE * raw.shape[1]:
            first = y
    return max(first, 0)


@compiled(types.void, given(F4, 2), I8, I8, _ROWS)
def _column_ends(disparity: Float, first: int, last: int, ends: Float) -> None:
    """Highest and lowest disparity (2, w) of each column from the first row to the last."""
    for x in range(ends.shape[1]):
        ends[0, x], ends[1, x] = np.float32(-FAR_PX), np.float32(FAR_PX)
    for row in range(first, last + 1, 4):
        row1, row2, row3 = min(row + 1, last), min(row + 2, last), min(row + 3, last)
        for x in range(ends.shape[1]):
            high, low = ends[0, x], ends[1, x]
            a, b = disparity[row, x], disparity[row1, x]
            c, d = disparity[row2, x], disparity[row3, x]
            high, low = a if a > high else high, a if a < low else low
            high, low = b if b > high else high, b if b < low else low
            high, low = c if c > high else high, c if c < low else low
            ends[0, x], ends[1, x] = d if d > high else high, d if d < low else low


@compiled(types.void, _ROWS, I8)
def _neighbour_max(lines: Float, n: int) -> None:
    """Highest of ``n`` neighbours, from each on to the right; the second line is scratch."""
    size, here, there = 1, 0, 1
    while size < n:
        step = min(size, n - size)
        for x in range(np.uint64(lines.shape[1] - step)):
            a, b = lines[here, x], lines[here, x + np.uint64(step)]
            lines[there, x] = a if a > b else b
        size += step
        here, there = there, here
    for x in range(lines.shape[1] if here else 0):
        lines[0, x] = lines[1, x]


@compiled(types.void, given(F4, 2), I8, U1[:, ::1])
def mark_smooth(disparity: Float, n: int, smooth: Image) -> None:
    """
    Where a disparity is, and those in its window stay within 1.5 px: no edge, no steep wall.

    Parameters
    ----------
    disparity : (h, w) float32 [px]
        NaN = none.
    n : int
        Side of the window, odd.
    smooth : (h, w) uint8
        Written to: 0 or 1.
    """
    h, w = disparity.shape
    lines, ends = np.empty((2, w + n - 1), np.float32), np.empty((2, w), np.float32)
    start = np.uint64(n // 2)
    for y in range(h):
        _column_ends(disparity, max(y - n // 2, 0), min(y - n // 2 + n, h) - 1, ends)
        for part in range(2):
            sign = np.float32(1 - 2 * part)
            for x in range(w + n - 1):
                lines[0, x] = np.float32(-FAR_PX)
            for x in range(np.uint64(w)):
                lines[0, x + start] = sign * ends[part, x]
            _neighbour_max(lines, n)
            for x in range(w):
                ends[part, x] = lines[0, x]
        for x in range(w):
            there = disparity[y, x] == disparity[y, x]
            smooth[y, x] = there & (ends[0, x] + ends[1, x] < np.float32(MAX_RANGE_PX))
