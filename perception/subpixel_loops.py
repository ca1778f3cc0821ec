# SPDX-License-Identifier: Apache-2.0
"""
Compiled loops of the sub-pixel step of stereo.

Windows are ``n`` pixels wide and high and see a mirrored image beyond the border. Rows pass
through them one by one. The rows of a window lie in two blocks: sums from the top of the newer
and to the bottom of the older add up to it, so nothing is subtracted and no rounding piles up.

Short loops that follow each other are apart on purpose: one that writes two rows of one array,
or more than two arrays, is not turned into vector instructions.
"""

import numpy as np
from numba import types
from numpy.typing import NDArray

from perception.compiled import F4, F8, I8, U1, compiled, given
from perception.types import Float, Image

Columns = NDArray[np.uint32]

MIN_TEXTURE, MIN_SHARE, MAX_STEP_PX = 2.0, 0.8, 0.75

_U4 = types.uint32
_ROW, _ROWS, _STACK, _MASK = F4[::1], F4[:, ::1], F4[:, :, ::1], U1[:, ::1]


@compiled(I8, I8, I8)
def _mirrored(index: int, size: int) -> int:
    """Index in the image of one beyond its border; the border itself is not doubled."""
    while size > 1 and not 0 <= index < size:
        index = -index if index < 0 else 2 * size - 2 - index
    return index if size > 1 else 0


@compiled(types.void, _ROW, _ROW)
def _add(total: Float, row: Float) -> None:
    for x in range(total.size):
        total[x] += row[x]


@compiled(types.void, _ROWS)
def _sum_upwards(block: Float) -> None:
    """Rows become sums from themselves to the bottom of their block, and a block begins."""
    n = len(block) - 2
    for i in range(n - 1):
        _add(block[n - 2 - i], block[n - 1 - i])
    for x in range(block.shape[1]):
        block[n + 1, x] = 0


@compiled(types.void, _ROWS, I8, I8, _ROWS)
def _neighbour_sums(lines: Float, n: int, part: int, sums: Float) -> None:
    """Sums of ``n`` neighbours in the first line, by fours; the second line is scratch."""
    w, quads = sums.shape[1], n // 4 * 4
    for x in range(w + n - 4):
        lines[1, x] = (lines[0, x] + lines[0, x + 1]) + (lines[0, x + 2] + lines[0, x + 3])
    for x in range(w):
        sums[part, x] = 0
    for first in range(0, quads, 4):
        start = np.uint64(first)
        for x in range(np.uint64(w)):
            sums[part, x] += lines[1, x + start]
    for first in range(quads, n):
        start = np.uint64(first)
        for x in range(np.uint64(w)):
            sums[part, x] += lines[0, x + start]


@compiled(types.void, _ROWS, I8, _STACK, _ROWS, _ROWS)
def _window_sums(rows: Float, step: int, blocks: Float, lines: Float, sums: Float) -> None:
    """
    Rows (k, w) enter their windows; the sums of these (k, w) are complete after ``n`` steps.

    Blocks (k, n + 2, w) begin as zeros: rows, a row of zeros, and the sum since the block began.
    """
    w, n = rows.shape[1], blocks.shape[1] - 2
    before, place = n // 2, step % n
    start = np.uint64(before)
    for part in range(len(rows)):
        for x in range(w):
            blocks[part, n + 1, x] += rows[part, x]
        for x in range(w):
            blocks[part, place, x] = rows[part, x]
        for x in range(np.uint64(w)):
            lines[0, x + start] = blocks[part, n + 1, x] + blocks[part, place + 1, x]
        for x in range(before):
            lines[0, x] = lines[0, before + _mirrored(x - before, w)]
        for x in range(before + w, w + n - 1):
            lines[0, x] = lines[0, before + _mirrored(x - before, w)]
        _neighbour_sums(lines, n, part, sums)
        if place == n - 1:
            _sum_upwards(blocks[part])


@compiled(types.void, given(F4, 2), I8, _ROWS, _MASK)
def average(disparity: Float, n: int, means: Float, smooth: Image) -> None:
    """
    Mean disparity of each window; where too few are known, nothing is smooth.

    Parameters
    ----------
    disparity : (h, w) float32 [px]
        NaN = none.
    n : int
        Side of the window, odd.
    means : (h, w) float32 [px]
        Written to; 0 where there is none.
    smooth : (h, w) uint8
        Set to 0 where less than 0.8 of the window is known.
    """
    h, w = disparity.shape
    blocks, lines = np.zeros((2, n + 2, w), np.float32), np.empty((2, w + n - 1), np.float32)
    rows, sums = np.empty((2, w), np.float32), np.empty((2, w), np.float32)
    least = np.float32(MIN_SHARE * n * n)
    for step in range(h + n - 1):
        v, y = _mirrored(step - n // 2, h), step - n + 1
        for x in range(w):
            there = disparity[v, x] == disparity[v, x]
            rows[0, x] = disparity[v, x] if there else np.float32(0)
            rows[1, x] = np.float32(1) if there else np.float32(0)
        _window_sums(rows, step, blocks, lines, sums)
        if y < 0:
            continue
        for x in range(w):
            means[y, x] = sums[0, x] / (sums[1, x] if sums[1, x] > 0 else np.float32(1))
        for x in range(w):
            smooth[y, x] &= sums[1, x] > least


@compiled(types.void, _STACK, given(U1, 2), I8, _ROWS, _U4[::1])
def _warp(fields: Float, right: Image, v: int, lines: Float, first: Columns) -> None:
    """Row of the right image read at (u - disparity), into the third line (w + 1)."""
    w = right.shape[1]
    last = np.float32(w - 1)
    for x in range(w):
        u = np.float32(x) - fields[0, v, x]
        u = u if u > 0 else np.float32(0)
        u = u if u < last else last
        first[x] = np.uint32(np.int32(u))
        lines[1, x] = u - np.float32(np.int32(u))
    for x in range(w):
        lines[0, x] = right[v, x]
    lines[0, w] = right[v, w - 1]
    for x in range(w):
        value, following = lines[0, first[x]], lines[0, first[x] + np.uint32(1)]
        lines[2, x] = value + lines[1, x] * (following - value)


@compiled(types.void, given(U1, 2), given(U1, 2), I8, _STACK)
def compare(left: Image, right: Image, n: int, fields: Float) -> None:
    """
    Compare the images where the mean disparities put them over each other.

    Parameters
    ----------
    left, right : (h, w) uint8
        The pair.
    n : int
        Side of the window, odd.
    fields : (3, h, w) float32
        Mean disparities [px]. Written to: sums of the images [grey levels], and left minus right
        less its mean over the window.
    """
    h, w = left.shape
    blocks, lines = np.zeros((1, n + 2, w), np.float32), np.empty((2, w + n - 1), np.float32)
    rows, sums = np.empty((1, w), np.float32), np.empty((1, w), np.float32)
    warped, first = np.empty((3, w + 1), np.float32), np.empty(w, np.uint32)
    share = np.float32(1 / (n * n))
    for step in range(h + n - 1):
        v = _mirrored(step - n // 2, h)
        _warp(fields, right, v, warped, first)
        for x in range(w):
            fields[1, v, x] = np.float32(left[v, x]) + warped[2, x]
            rows[0, x] = np.float32(left[v, x]) - warped[2, x]
        _window_sums(rows, step, blocks, lines, sums)
        for x in range(w if 0 <= step - n // 2 < h else 0):
            fields[2, v, x] = rows[0, x]
        for x in range(w if step >= n - 1 else 0):
            fields[2, step - n + 1, x] -= sums[0, x] * share


@compiled(types.void, given(F4, 3), I8, _ROWS)
def _slopes(fields: Float, v: int, slopes: Float) -> None:
    """Gradients (2, w) of the mean of the images along a row, and down across it."""
    _, h, w = fields.shape
    above, below = max(v - 1, 0), min(v + 1, h - 1)
    share = np.float32(0.25 if 0 < v < h - 1 else 0)
    for x in range(1, w - 1):
        slopes[0, x] = np.float32(0.25) * (fields[1, v, x + 1] - fields[1, v, x - 1])
    slopes[0, 0] = slopes[0, w - 1] = 0
    for x in range(w):
        slopes[1, x] = share * (fields[1, below, x] - fields[1, above, x])


@compiled(types.UniTuple(F8, 2), _ROWS, I8, I8)
def _of_block(columns: Float, start: int, n: int) -> tuple[float, float]:
    """What a smooth block says of the row error, its own horizontal shift eliminated."""
    xx = xy = yy = xe = ye = smooth = np.float32(0)
    for x in range(start, start + n):
        xx += columns[0, x]
        xy += columns[1, x]
        yy += columns[2, x]
        xe += columns[3, x]
        ye += columns[4, x]
        smooth += columns[5, x]
    if smooth <= MIN_SHARE * n * n:
        return 0.0, 0.0
    texture = max(float(xx), MIN_TEXTURE * n * n)
    return float(yy - xy * xy / texture), float(ye - xy * xe / texture)


@compiled(F8, given(F4, 3), given(U1, 2), I8)
def row_error(fields: Float, smooth: Image, n: int) -> float:
    """
    One vertical shift [px] for all smooth blocks, each with a horizontal shift of its own.

    Parameters
    ----------
    fields : (3, h, w) float32
        As of ``compare``.
    smooth : (h, w) uint8
        0 or 1; a block counts where more than 0.8 of it are smooth.
    n : int
        Side of a block.
    """
    _, h, w = fields.shape
    columns, slopes = np.zeros((6, w), np.float32), np.empty((2, w), np.float32)
    own = common = 0.0
    for v in range(h - h % n):
        _slopes(fields, v, slopes)
        for x in range(w):
            columns[0, x] += slopes[0, x] * slopes[0, x]
            columns[1, x] += slopes[0, x] * slopes[1, x]
            columns[2, x] += slopes[1, x] * slopes[1, x]
        for x in range(w):
            columns[3, x] += slopes[0, x] * fields[2, v, x]
            columns[4, x] += slopes[1, x] * fields[2, v, x]
            columns[5, x] += np.float32(smooth[v, x])
        for start in range(0, w - n + 1 if v % n == n - 1 else 0, n):
            squares, products = _of_block(columns, start, n)
            own += squares
            common += products
        if v % n == n - 1:
            columns[:] = 0
    return min(max(-common / own, -1.0), 1.0) if own > MIN_TEXTURE * n * n else 0.0


@compiled(types.void, given(F4, 3), given(U1, 2), given(F4, 1), given(F8, 1), I8, _ROWS)
def correct(
    fields: Float, smooth: Image, tilt: Float, shifts: Float, n: int, disparity: Float
) -> None:
    """
    Move smooth disparities to what aligns the images over their windows.

    Parameters
    ----------
    fields, smooth
        As of ``compare`` and ``average``.
    tilt : (h,) float32
        Column shift that each row needs, per pixel right of the centre.
    shifts : (2,) float64 [px]
        Row error, and column of the centre.
    n : int
        Side of the window, odd.
    disparity : (h, w) float32 [px]
        Written to.
    """
    _, h, w = fields.shape
    blocks, lines = np.zeros((2, n + 2, w), np.float32), np.empty((2, w + n - 1), np.float32)
    rows, sums = np.empty((2, w), np.float32), np.empty((2, w), np.float32)
    slopes = np.empty((2, w), np.float32)
    down, centre = np.float32(shifts[0]), np.float32(shifts[1])
    floor, most, half = np.float32(MIN_TEXTURE * n * n), np.float32(MAX_STEP_PX), np.float32(0.5)
    for step in range(h + n - 1):
        v, y = _mirrored(step - n // 2, h), step - n + 1
        _slopes(fields, v, slopes)
        for x in range(w):
            rows[0, x] = slopes[0, x] * (fields[2, v, x] + down * slopes[1, x])
            rows[1, x] = slopes[0, x] * slopes[0, x]
        _window_sums(rows, step, blocks, lines, sums)
        for x in range(w if y >= 0 else 0):
            move = -sums[0, x] / (sums[1, x] if sums[1, x] > floor else floor)
            moves = (smooth[y, x] > 0) & (abs(move) < most)
            move = move if move > -half else -half
            move = move if move < half else half
            pixels = move + fields[0, y, x] if moves else disparity[y, x]
            disparity[y, x] = pixels + (np.float32(x) - centre - fields[0, y, x]) * tilt[y]
