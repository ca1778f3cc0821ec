# SPDX-License-Identifier: Apache-2.0
"""
Compiled loops of the semi-global matcher: how unlike two pixels, and two blocks, are.

The picture is cut into groups of rows, and a group is laid out askew: lane l of step s is row l in
column s - l, plus some offset. So the neighbour to the left is the same lane one step before, and
the neighbour above is the lane before, one step before. Every lane of a step can then be worked
on at once, whichever way a path runs. A volume (steps, disparities * LANES) holds all lanes of
disparity 0, then all lanes of disparity 1, and so on.
"""

import numpy as np
from numba import types
from numpy.typing import NDArray

from perception.compiled import I2, I8, U1, compiled, given
from perception.types import Image

Sums = NDArray[np.int16]

LANES = 32
SOME = 16  # disparities
SLOPE, GREY, STEP = 0, 3 * LANES, 6 * LANES  # in a step: value, low, high of slope and of grey

_WIDTH = (SOME + 1) * LANES  # of a row of sums, with room for the shifted ones
_GIVEN, _LINE, _ROWS = given(U1, 1), U1[::1], U1[:, ::1]
_SUMS, _VOLUME = I2[::1], I2[:, ::1]


@compiled(types.void, types.UniTuple(given(U1, 1), 3), I8, _LINE, inlined=True)
def _slopes(rows: tuple[Image, Image, Image], cap: int, slope: Image) -> None:
    """Sobel gradient along the middle row, clipped to +-cap, plus cap; the ends stay."""
    above, own, below = rows
    low, high = np.int16(-cap), np.int16(cap)
    for x in range(1, len(own) - 1):
        a = np.int16(np.int16(above[x + 1]) - np.int16(above[x - 1]))
        b = np.int16(np.int16(own[x + 1]) - np.int16(own[x - 1]))
        c = np.int16(np.int16(below[x + 1]) - np.int16(below[x - 1]))
        value = np.int16(np.int16(a + b) + np.int16(b + c))
        value = value if value > low else low
        value = value if value < high else high
        slope[x] = np.uint8(np.int16(value + high))


@compiled(types.void, given(U1, 1), _LINE, _LINE, _LINE, inlined=True)
def _widen(row: Image, before: Image, inner: Image, after: Image) -> None:
    """Copy a row and repeat its ends."""
    for x in range(len(before)):
        before[x] = row[0]
    for x in range(len(row)):
        inner[x] = row[x]
    for x in range(len(after)):
        after[x] = row[-1]


@compiled(types.void, given(U1, 2), I8, I8, U1[:, :, ::1])
def prefilter(image: Image, cap: int, top: int, planes: Image) -> None:
    """
    Clipped gradient along rows, and the grey values, with the edges repeated all around.

    Parameters
    ----------
    image : (h, w) uint8
    cap : int
        Largest gradient; it is 2 cap in the plane, and no gradient is cap.
    top : int
        Rows repeated above.
    planes : (2, H, W) uint8
        Written to; the same number of columns is repeated left and right.
    """
    h, w = image.shape
    slope = np.full(w, cap, np.uint8)
    start = (planes.shape[2] - w) // 2
    for row in range(planes.shape[1]):
        y = min(max(row - top, 0), h - 1)
        if row <= top + y:  # below the picture the last row stays
            _slopes((image[max(y - 1, 0)], image[y], image[min(y + 1, h - 1)]), cap, slope)
        one, two = planes[0, row], planes[1, row]
        _widen(slope, one[:start], one[start:], one[start + w:])
        _widen(image[y], two[:start], two[start:], two[start + w:])


@compiled(types.void, I8, _ROWS, inlined=True)
def _bound(s: int, strip: Image) -> None:
    """Least and largest value half a pixel around; both halves are rounded up."""
    for plane in range(2):
        for lane in range(LANES):
            k = np.uint64(GREY * plane + lane)
            a, b, c = strip[s - 1, k], strip[s, k], strip[s + 1, k]
            low, high = a if a < c else c, a if a > c else c
            low, high = low if low < b else b, high if high > b else b
            middle = np.uint16(np.uint16(b) + np.uint16(1))
            strip[s, k + np.uint64(LANES)] = (np.uint16(low) + middle) >> np.uint16(1)
            strip[s, k + np.uint64(2 * LANES)] = (np.uint16(high) + middle) >> np.uint16(1)


@compiled(types.void, _ROWS)
def bound(strip: Image) -> None:
    """
    Fill in the low and high of every step but the first and the last.

    Parameters
    ----------
    strip : (n, STEP) uint8
        Values of slope and grey are given.
    """
    for s in range(1, len(strip) - 1):
        _bound(s, strip)


@compiled(U1, U1, U1, U1, U1, U1, U1, inlined=True)
def _gap(
    u: np.uint8, u_low: np.uint8, u_high: np.uint8, v: np.uint8, v_low: np.uint8, v_high: np.uint8
) -> np.uint8:
    """How far each value is outside the other's range, the smaller of both."""
    zero = np.uint8(0)
    over = np.uint8(u - v_high) if u > v_high else zero
    under = np.uint8(v_low - u) if v_low > u else zero
    one = over if over > under else under
    over = np.uint8(v - u_high) if v > u_high else zero
    under = np.uint8(u_low - v) if u_low > v else zero
    other = over if over > under else under
    return one if one < other else other


@compiled(types.void, types.UniTuple(I8, 3), _GIVEN, _GIVEN, _LINE, inlined=True)
def _compare(at: tuple[int, ...], left: Image, right: Image, gaps: Image) -> None:
    """Compare a step of the left with some of the right; ``at``: where all three start."""
    one, other, first = np.uint64(at[0]), np.uint64(at[1]), np.uint64(at[2])
    low, high, grey = np.uint64(LANES), np.uint64(2 * LANES), np.uint64(GREY)
    for d in range(SOME):
        for lane in range(LANES):
            a, b = one + np.uint64(lane), other + np.uint64(d * STEP + lane)
            slope = _gap(left[a], left[a + low], left[a + high],
                         right[b], right[b + low], right[b + high])
            a, b = a + grey, b + grey
            light = _gap(left[a], left[a + low], left[a + high],
                         right[b], right[b + low], right[b + high])
            gaps[first + np.uint64(d * LANES + lane)] = np.uint8(slope + (light >> np.uint8(2)))


@compiled(types.void, types.UniTuple(I8, 4), _GIVEN, _SUMS, inlined=True)
def _slide(at: tuple[int, ...], gaps: Image, across: Sums) -> None:
    """Sum along a row, one step on; ``at``: gaps that enter and leave, sum before and after."""
    new, old = np.uint64(at[0]), np.uint64(at[1])
    before, after = np.uint64(at[2]), np.uint64(at[3])
    for n in range(SOME * LANES):
        k = np.uint64(n)
        change = np.int16(np.int16(gaps[new + k]) - np.int16(gaps[old + k]))
        across[after + k] = np.int16(across[before + k] + change)


@compiled(types.void, types.UniTuple(I8, 6), given(I2, 1), types.uint16, _SUMS, inlined=True)
def _add(at: tuple[int, ...], rows: Sums, shift: np.uint16, total: Sums) -> None:
    """Add five rows, then divide by 2 ** shift; ``at``: where each begins, and the sum."""
    a, b, c = np.uint64(at[0]), np.uint64(at[1]), np.uint64(at[2])
    d, e, out = np.uint64(at[3]), np.uint64(at[4]), np.uint64(at[5])
    for n in range(SOME * LANES):
        k = np.uint64(n)
        two, more = np.int16(rows[a + k] + rows[b + k]), np.int16(rows[c + k] + rows[d + k])
        value = np.uint16(np.int16(two + more) + rows[e + k])  # up to 16 bits
        total[out + k] = np.int16(value >> (shift & np.uint16(15)))


@compiled(I8, I8, I8, I8, inlined=True)
def _row(first: int, j: int, block: int) -> int:
    """Where row j of the block begins, j lanes further; beyond the block there are zeros."""
    row, ring = first + j, block + 1
    row = row - ring if row >= ring else row
    return row * _WIDTH + j if j < block else ring * _WIDTH


@compiled(types.void, types.UniTuple(I8, 3), _SUMS, types.uint16, _SUMS, inlined=True)
def _block(at: tuple[int, ...], across: Sums, shift: np.uint16, costs: Sums) -> None:
    """Add up the rows of a block, five at a time; ``at``: first row, block, where the sum goes."""
    first, block, out = at
    begin = first * _WIDTH
    for j in range(1, max(block, 2), 4):
        rows = (begin, _row(first, j, block), _row(first, j + 1, block),
                _row(first, j + 2, block), _row(first, j + 3, block))
        if j + 4 >= block:
            _add((*rows, out), across, shift, costs)
        else:  # two rows more than there are keep what was added so far
            begin = (block + 2 + j // 4 % 2) * _WIDTH
            _add((*rows, begin), across, np.uint16(0), across)


@compiled(types.void, I8, I8, types.UniTuple(_GIVEN, 2), types.uint16, _VOLUME)
def _some_costs(
    first: int, block: int, strips: tuple[Image, Image], shift: np.uint16, costs: Sums
) -> None:
    """Costs of SOME disparities; their working memory stays in the first cache."""
    (steps, size), (left, right), ring = costs.shape, strips, block + 1
    gaps = np.zeros(ring * SOME * LANES, np.uint8)
    across, all_costs = np.zeros((ring + 3) * _WIDTH, np.int16), costs.reshape(costs.size)
    row = 0
    for s in range(steps + 2 * block - 2):
        after, before = row + 1 if row + 1 < ring else 0, row - 1 if row else block
        start = len(right) - STEP * (s + size // LANES + 1 - first)
        new, old = row * SOME * LANES, after * SOME * LANES
        _compare(((s + 1) * STEP, start, new), left, right, gaps)
        _slide((new, old, before * _WIDTH, row * _WIDTH), gaps, across)
        t = s - 2 * block + 2
        if t >= 0:
            at = (after + 1 if after + 1 < ring else 0), block, t * size + first * LANES
            _block(at, across, shift, all_costs)
        row = after


@compiled(types.void, given(U1, 2), given(U1, 2), I8, I8, _VOLUME)
def block_costs(left: Image, right: Image, block: int, shift: int, costs: Sums) -> None:
    """
    Dissimilarity of the blocks around each pixel, for every disparity.

    Parameters
    ----------
    left, right : (n, STEP) uint8
        Strips; the right one is mirrored: later steps lie further left. Lane 0 of the left one is
        half a block above and left of lane 0 of the costs.
    block : int [px]
        Side.
    shift : int
        How many binary places are cut off.
    costs : (steps, disparities * LANES) int16
        Written to, for a multiple of SOME disparities; the last block - 1 lanes mean nothing.

    Source
        Birchfield and Tomasi 1998, on gradients and a quarter of the grey values; summed.
    """
    one, other = left.reshape(left.size), right.reshape(right.size)
    for first in range(0, costs.shape[1] // LANES, SOME):
        _some_costs(first, block, (one, other), np.uint16(shift), costs)


@compiled(types.void, I8, given(I2, 1), _VOLUME, inlined=True)
def _mask(t: int, masks: Sums, costs: Sums) -> None:
    """Clear a step where the mask is zero."""
    for n in range(costs.shape[1]):
        k = np.uint64(n)
        costs[t, k] = np.int16(costs[t, k] & masks[k])


@compiled(types.void, I8, I2, _SUMS, inlined=True)
def _set(lane: int, value: np.int16, masks: Sums) -> None:
    """Set one lane for every disparity."""
    for k in range(lane, len(masks), LANES):
        masks[k] = value


@compiled(types.void, I8, I8, _VOLUME)
def clear_outside(columns: int, rows: int, costs: Sums) -> None:
    """
    Clear the costs of lanes that are left or right of the columns to match.

    Parameters
    ----------
    columns, rows : int
        How many columns and lanes count; steps = columns + rows - 1.
    costs : (steps, disparities * LANES) int16
    """
    masks = np.zeros(costs.shape[1], np.int16)
    for t in range(len(costs)):
        if t < rows:
            _set(t, np.int16(-1), masks)
        if t >= columns:
            _set(t - columns, np.int16(0), masks)
        if t < rows - 1 or t >= columns:
            _mask(t, masks, costs)
