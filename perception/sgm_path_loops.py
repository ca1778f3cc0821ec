# SPDX-License-Identifier: Apache-2.0
"""
Compiled loops of the semi-global matcher: costs along paths, and the disparity they agree on.

Volumes are laid out askew, see sgm_cost_loops.
"""

import numpy as np
from numba import types
from numpy.typing import NDArray

from perception.compiled import I2, I4, I8, compiled, given

Costs = NDArray[np.int16]
Keys = NDArray[np.int32]

LANES = 32
NONE = -16  # no match, in 16ths of a pixel
FAR = 30000  # above every sum of three paths
_PLACES = 10  # binary places of a disparity

_TWO, _THREE, _FOUR = np.uint64(2 * LANES), np.uint64(3 * LANES), np.uint64(4 * LANES)
_FIRST = 2 * LANES  # path costs start and end with this many that never win
_GIVEN, _LINE, _ROWS = given(I2, 1), I2[::1], I2[:, ::1]
_AT = types.UniTuple(I8, 3)


@compiled(I2, types.UniTuple(I2, 3), I2, types.UniTuple(I2, 2), inlined=True)
def _onward(
    near: tuple[np.int16, ...], least: np.int16, penalties: tuple[np.int16, np.int16]
) -> np.int16:
    """Least cost to come from the disparity below, from the same, from above, or from any."""
    below, same, above = near
    small, large = penalties
    beside = np.int16((below if below < above else above) + small)
    best = np.int16((same if same < beside else beside) - least)
    return best if best < large else large


@compiled(types.void, _AT, types.UniTuple(_GIVEN, 2), _GIVEN, types.UniTuple(_LINE, 2), _GIVEN,
          inlined=True)
def _step(
    at: tuple[int, ...], before: tuple[Costs, Costs], costs: Costs, after: tuple[Costs, Costs],
    penalties: Costs
) -> None:
    """
    One step of a path, every lane and disparity (four at a time: it is the faster for it).

    Before and after: the path and its least of each lane. ``at``: where the step starts in
    ``costs``, its size, and 1 if the path comes from the lane before, else 0.
    """
    start, shift, one = np.uint64(at[0]), np.uint64(at[2]), np.uint64(LANES)
    path, least = before
    new_path, new_least = after
    both = penalties[0], penalties[1]
    for lane in range(LANES):
        new_least[LANES + lane] = FAR
    for group in range(at[1] // (4 * LANES)):
        for lane in range(LANES):
            i, k = np.uint64(LANES + lane), np.uint64(4 * group * LANES + lane)
            j, m = np.uint64(_FIRST) + k - shift, np.uint64(_FIRST) + k
            low, k = least[i - shift], k + start
            a, b, c = path[j - one], path[j], path[j + one]
            d, e, f = path[j + _TWO], path[j + _THREE], path[j + _FOUR]
            a = np.int16(costs[k] + _onward((a, b, c), low, both))
            b = np.int16(costs[k + one] + _onward((b, c, d), low, both))
            c = np.int16(costs[k + _TWO] + _onward((c, d, e), low, both))
            d = np.int16(costs[k + _THREE] + _onward((d, e, f), low, both))
            new_path[m], new_path[m + one], new_path[m + _TWO], new_path[m + _THREE] = a, b, c, d
            a, c, low = a if a < b else b, c if c < d else d, new_least[i]
            a = a if a < c else c
            new_least[i] = low if low < a else a


@compiled(types.void, _AT, _GIVEN, _GIVEN, _LINE, inlined=True)
def _add(at: tuple[int, ...], one: Costs, two: Costs, sums: Costs) -> None:
    """Add up two paths."""
    first = np.uint64(at[0])
    for n in range(at[1]):
        k = np.uint64(_FIRST + n)
        sums[first + np.uint64(n)] = np.int16(one[k] + two[k])


@compiled(types.UniTuple(_LINE, 2), I8)
def _begin(size: int) -> tuple[Costs, Costs]:
    """Costs before the first step: zeros, between ones that never win; and the least of each."""
    path, least = np.full(size + 2 * _FIRST, FAR, np.int16), np.zeros(2 * LANES, np.int16)
    path[_FIRST:_FIRST + size] = 0
    return path, least


@compiled(types.void, I8, given(I2, 2), _LINE, _LINE, inlined=True)
def _enter(column: int, last_row: Costs, down: Costs, least: Costs) -> None:
    """Let the path from above begin with a pixel of the row above lane 0."""
    count = last_row.shape[1] - 1
    for d in range(count):
        down[_FIRST - 1 + d * LANES] = last_row[column, d]
    least[LANES - 1] = last_row[column, count]


@compiled(types.void, I8, I8, types.UniTuple(_GIVEN, 2), _ROWS, inlined=True)
def _leave(column: int, lane: int, path: tuple[Costs, Costs], last_row: Costs) -> None:
    """Keep a pixel of the path from above that leaves the last row."""
    down, least = path
    count = last_row.shape[1] - 1
    for d in range(count):
        last_row[column, d] = down[_FIRST + d * LANES + lane]
    last_row[column, count] = least[LANES + lane]


@compiled(types.void, _AT, types.Tuple((_GIVEN, _LINE)), types.UniTuple(_LINE, 4),
          types.UniTuple(_LINE, 4), _GIVEN, _ROWS, inlined=True)
def _two_steps(
    at: tuple[int, ...], volumes: tuple[Costs, Costs], before: tuple[Costs, ...],
    after: tuple[Costs, ...], penalties: Costs, last_row: Costs
) -> None:
    """One step of both paths; ``at``: which, its size, and how many lanes count."""
    t, size, rows = at
    costs, sums = volumes
    across, least, down, least_down = before
    new_across, new_least, new_down, new_least_down = after
    down[_FIRST + size - 1] = FAR  # else taken for a disparity beyond the search
    if t < len(last_row):
        _enter(t, last_row, down, least_down)
    _step((t * size, size, 0), (across, least), costs, (new_across, new_least), penalties)
    _step((t * size, size, 1), (down, least_down), costs, (new_down, new_least_down), penalties)
    _add((t * size, size, 0), new_across, new_down, sums)
    if t >= rows - 1:
        _leave(t - rows + 1, rows - 1, (new_down, new_least_down), last_row)


@compiled(types.void, given(I2, 2), I8, _GIVEN, _ROWS, _ROWS)
def forward(costs: Costs, rows: int, penalties: Costs, last_row: Costs, sums: Costs) -> None:
    """
    Add up the paths from the left and from above.

    Parameters
    ----------
    costs : (steps, disparities * LANES) int16
        Zero outside the picture.
    rows : int
        How many lanes count, below LANES.
    penalties : (2,) int16
        For a change of disparity by one, and by more.
    last_row : (columns, disparities + 1) int16
        Path costs of the row above, and the least of each pixel; replaced by the last lane's.
    sums : (steps, disparities * LANES) int16
        Written to.
    """
    size = costs.shape[1]
    volumes = costs.reshape(costs.size), sums.reshape(sums.size)
    even, odd = (*_begin(size), *_begin(size)), (*_begin(size), *_begin(size))
    for t in range(len(costs)):
        at = t, size, rows
        if t & 1:  # a choice of arrays would take longer than the step
            _two_steps(at, volumes, odd, even, penalties, last_row)
        else:
            _two_steps(at, volumes, even, odd, penalties, last_row)


@compiled(types.void, I8, _GIVEN, _GIVEN, _LINE, _LINE, inlined=True)
def _finish(start: int, path: Costs, sums: Costs, total: Costs, best: Costs) -> None:
    """Add the last path to the sums, and the least of each lane."""
    one = np.uint64(LANES)
    for lane in range(LANES):
        best[lane] = FAR
    for group in range((len(total) - 2 * LANES) // (4 * LANES)):
        for lane in range(LANES):
            i, k = np.uint64(lane), np.uint64(4 * group * LANES + lane)
            s, j, k = k + np.uint64(start), k + np.uint64(_FIRST), k + one
            a, b = np.int16(path[j] + sums[s]), np.int16(path[j + one] + sums[s + one])
            c = np.int16(path[j + _TWO] + sums[s + _TWO])
            d = np.int16(path[j + _THREE] + sums[s + _THREE])
            total[k], total[k + one], total[k + _TWO], total[k + _THREE] = a, b, c, d
            a, c, low = a if a < b else b, c if c < d else d, best[i]
            a = a if a < c else c
            best[i] = low if low < a else a


@compiled(types.void, _GIVEN, I8, _LINE, inlined=True)
def _limit(best: Costs, percent: int, limit: Costs) -> None:
    """What only the best and its neighbours may be below."""
    share = np.float32(100 - percent)
    for i in range(LANES):
        bound = np.ceil(np.float32(100) * np.float32(best[i]) / share)
        limit[i] = np.int16(np.int32(min(bound, np.float32(32767))))


@compiled(types.void, _GIVEN, _GIVEN, _GIVEN, _LINE, _LINE, inlined=True)
def _find(total: Costs, best: Costs, limit: Costs, where: Costs, rivals: Costs) -> None:
    """Where the best is, the first if there are several, and how many are below the limit."""
    one, zero, beside = np.int16(1), np.int16(0), np.uint64(LANES)
    for lane in range(LANES):
        where[lane], rivals[lane] = FAR, 0
    for group in range((len(total) - 2 * LANES) // (4 * LANES)):
        n = np.int16(4 * group)
        n1, n2, n3 = np.int16(n + 1), np.int16(n + 2), np.int16(n + 3)
        for lane in range(LANES):
            i, k = np.uint64(lane), np.uint64((4 * group + 1) * LANES + lane)
            a, b, c, d = total[k], total[k + beside], total[k + _TWO], total[k + _THREE]
            low, top, first = best[i], limit[i], where[i]
            place = n3 if d == low else np.int16(FAR)
            place = n2 if c == low else place
            place = n1 if b == low else place
            place = n if a == low else place
            where[i] = first if first < place else place
            two = np.int16((one if a < top else zero) + (one if b < top else zero))
            more = np.int16((one if c < top else zero) + (one if d < top else zero))
            rivals[i] = np.int16(np.int16(rivals[i] + two) + more)


@compiled(types.void, _GIVEN, _GIVEN, _LINE, _LINE, inlined=True)
def _beside(total: Costs, where: Costs, before: Costs, after: Costs) -> None:
    """Sums one disparity below and above the best; FAR at the ends of the search."""
    for i in range(LANES):
        k = np.uint64(np.int64(where[i]) * LANES + i)
        before[i], after[i] = total[k], total[k + _TWO]


@compiled(types.void, types.UniTuple(_GIVEN, 6), _LINE, inlined=True)
def _sixteenths(found: tuple[Costs, ...], values: Costs) -> None:
    """Where a parabola through the three sums is least, cut to 16ths; NONE where rivals are."""
    best, limit, where, rivals, before, after = found
    far, one, eight, half = np.int16(FAR), np.float32(1), np.float32(8), np.float32(0.5)
    for lane in range(LANES):
        i = np.uint64(lane)
        a, b, c, top = before[i], best[i], after[i], limit[i]
        own = np.int16(a < top) + np.int16(b < top) + np.int16(c < top)
        low, high = np.float32(a), np.float32(c)
        bend = low + high - np.float32(2) * np.float32(b)
        part = np.int32(eight * (low - high) / (bend if bend > one else one) + half)
        part = part if a < far else np.int32(0)
        part = part if c < far else np.int32(0)
        value = np.int16(np.int32(16) * np.int32(where[i]) + part)
        values[i] = value if rivals[i] == own else np.int16(NONE)


@compiled(types.void, types.UniTuple(I8, 2), types.UniTuple(_LINE, 8), types.UniTuple(_ROWS, 2),
          inlined=True)
def _keep(at: tuple[int, int], marks: tuple[Costs, ...], answers: tuple[Costs, Costs]) -> None:
    """Pick a disparity for each lane of step ``at[0]``; ``at[1]``: uniqueness."""
    t, percent = at
    total, best, limit, where, rivals, before, after, values = marks
    raw, least = answers
    _limit(best, percent, limit)
    _find(total, best, limit, where, rivals)
    _beside(total, where, before, after)
    _sixteenths((best, limit, where, rivals, before, after), values)
    for i in range(max(0, t - raw.shape[1] + 1), min(len(raw), t + 1)):
        least[i, t - i] = best[i]
        raw[i, t - i] = values[i]


@compiled(types.void, given(I2, 2), given(I2, 2), _GIVEN, I8, _ROWS, _ROWS)
def backward(
    costs: Costs, sums: Costs, penalties: Costs, percent: int, raw: Costs, least: Costs
) -> None:
    """
    Add the path from the right, and pick the best disparity of each pixel.

    Parameters
    ----------
    costs, sums : (steps, disparities * LANES) int16
        As for ``forward``.
    penalties : (2,) int16
    percent : int
        How much lower than all but its neighbours the best sum must be.
    raw : (rows, columns) int16 [px / 16]
        Written to; NONE where another disparity is as good.
    least : (rows, columns) int16
        Written to: sum of the paths.
    """
    size = costs.shape[1]
    all_costs, all_sums = costs.reshape(costs.size), sums.reshape(sums.size)
    marks = (np.full(size + 2 * LANES, FAR, np.int16), np.zeros(LANES, np.int16),
             np.zeros(LANES, np.int16), np.zeros(LANES, np.int16), np.zeros(LANES, np.int16),
             np.zeros(LANES, np.int16), np.zeros(LANES, np.int16), np.zeros(LANES, np.int16))
    total, best = marks[0], marks[1]
    even, odd = _begin(size), _begin(size)
    for back in range(len(costs)):
        t = len(costs) - 1 - back
        if back & 1:
            _step((t * size, size, 0), odd, all_costs, even, penalties)
            _finish(t * size, even[0], all_sums, total, best)
        else:
            _step((t * size, size, 0), even, all_costs, odd, penalties)
            _finish(t * size, odd[0], all_sums, total, best)
        _keep((t, percent), marks, (raw, least))


@compiled(types.void, I8, given(I2, 2), I8, I4[::1], _ROWS, inlined=True)
def _check(y: int, least: Costs, tolerance: int, seen: Keys, raw: Costs) -> None:
    """Check a row; ``seen`` (columns + disparities + 2): sum and disparity as one number."""
    columns = raw.shape[1]
    start = len(seen) - columns - 1
    for x in range(len(seen)):
        seen[x] = 2147483647
    for x in range(columns):
        d = (int(raw[y, x]) + 8) >> 4
        place = x + start - d
        key = np.int32((int(least[y, x]) << _PLACES) | d)
        old = seen[place]
        key = key if d >= 0 else old
        seen[place] = key if key < old else old
    for x in range(columns):
        d = (int(raw[y, x]) + 8) >> 4
        apart = (int(seen[x + start - d]) & ((1 << _PLACES) - 1)) - d
        raw[y, x] = raw[y, x] if -tolerance <= apart <= tolerance else NONE


@compiled(types.void, given(I2, 2), I8, I8, _ROWS)
def check(least: Costs, search: int, tolerance: int, raw: Costs) -> None:
    """
    Drop what the right picture sees otherwise: another pixel there has a lower sum.

    Parameters
    ----------
    least : (h, columns) int16
        Sum of the paths.
    search : int
        Disparities are below this, at most 1023.
    tolerance : int [px]
        Larger differences are dropped.
    raw : (h, columns) int16 [px / 16]
        Written to.
    """
    seen = np.empty(raw.shape[1] + search + 2, np.int32)
    for y in range(len(raw)):
        _check(y, least, tolerance, seen, raw)
