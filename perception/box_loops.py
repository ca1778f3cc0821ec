# SPDX-License-Identifier: Apache-2.0
"""Compiled loops that sum over boxes of a sheet: bits and counts of many pictures at once."""

import numpy as np
from numba import types

from perception.compiled import F4, F8, I4, I8, U1, compiled, given
from perception.types import Cells, Float, Image, Index, Integral

BITS, WIDTH = 4, 12  # fields of the integral: one a bit, and the counts above them

_U8 = types.uint64
_FIELDS = np.array([sum((code >> bit & 1) << WIDTH * bit for bit in range(BITS))
                    for code in range(1 << BITS)], np.uint64)


@compiled(F4[:, ::1], given(F8, 2), given(F8, 3), given(I8, 2), types.UniTuple(I8, 2))
def hits(uv: Float, affines: Float, places: Cells, size: tuple[int, int]) -> Float:
    """
    How many points fall on each pixel of each band.

    Parameters
    ----------
    uv : (M, 2) float64
        Image pixels.
    affines : (B, 2, 3) float64
        Band pixels from image pixels.
    places : (B, 3) int64
        Left column on the sheet, height and width of each band.
    size : int, int
        Height and width of the sheet.

    Returns
    -------
    (height, width) float32
    """
    found = np.zeros(size, np.float32)
    for b in range(len(affines)):
        left, height, width = places[b]
        for m in range(len(uv)):
            u, v = uv[m]
            x = np.rint(affines[b, 0, 0] * u + affines[b, 0, 1] * v + affines[b, 0, 2])
            y = np.rint(affines[b, 1, 0] * u + affines[b, 1, 1] * v + affines[b, 1, 2])
            if 0 <= x < width and 0 <= y < height:
                found[np.int64(y), left + np.int64(x)] += np.float32(1)
    return found


@compiled(_U8[:, ::1], given(U1, 2), given(F4, 2))
def integral_of(codes: Image, counts: Float) -> Integral:
    """
    Sums of all that lies above and to the left, exact in boxes of up to 4095 pixels.

    Parameters
    ----------
    codes : (h, w) uint8
        Each of the lowest ``BITS`` bits is a picture of its own.
    counts : (h, w) float32
        Whole numbers.

    Returns
    -------
    (h + 1, w + 1) uint64
        ``WIDTH`` bits for each bit of the codes, the rest for the counts. Fields run over into
        the next; differences of four corners come out right all the same.
    """
    height, width = codes.shape
    sums = np.empty((height + 1, width + 1), np.uint64)
    sums[0] = 0
    shift, last = np.uint64(BITS * WIDTH), len(_FIELDS) - 1
    for y in range(height):
        sums[y + 1, 0], running = 0, np.uint64(0)
        for x in range(width):
            running += np.uint64(np.int32(counts[y, x])) << shift | _FIELDS[codes[y, x] & last]
            sums[y + 1, x + 1] = running + sums[y, x + 1]
    return sums


@compiled(_U8[::1], given(F4, 2), I8, given(U1, 2), given(F4, 1))
def _packed(affine: Float, y: int, codes: Image, counts: Float) -> Integral:
    """Fields of one row of a band, cut out of an image of codes, with its counts."""
    of_row = np.empty(2, np.float32)
    for axis in range(2):  # as one fused step of float32, which float64 is wide enough for
        of_row[axis] = float(affine[axis, 1]) * y + float(affine[axis, 2])
    a, b, u, v = float(affine[0, 0]), float(affine[1, 0]), float(of_row[0]), float(of_row[1])
    height, width = np.float32(codes.shape[0]), np.float32(codes.shape[1])
    place = np.empty(len(counts), np.int32)
    for x in range(len(counts)):
        column, row = np.rint(np.float32(a * x + u)), np.rint(np.float32(b * x + v))
        inside = column >= 0 and row >= 0 and column < width and row < height
        flat = np.int32(row) * np.int32(width) + np.int32(column)
        place[x] = flat if inside else np.int32(-1)
    packed, seen, last = np.empty(len(counts), np.uint64), codes.reshape(-1), len(_FIELDS) - 1
    for x in range(len(counts)):
        fields = _FIELDS[seen[place[x]] & last] if place[x] >= 0 else np.uint64(0)
        packed[x] = np.uint64(np.int32(counts[x])) << np.uint64(BITS * WIDTH) | fields
    return packed


@compiled(_U8[:, ::1], given(U1, 2), given(F4, 3), given(I8, 2), given(F4, 2))
def integral_of_bands(codes: Image, affines: Float, places: Cells, counts: Float) -> Integral:
    """
    What ``integral_of`` gives of bands on a sheet, each cut out of an image, nearest pixel.

    Parameters
    ----------
    codes : (h, w) uint8
        The image, 0 outside of it.
    affines : (B, 2, 3) float32
        Pixels of it from band pixels.
    places : (B, 3) int64
        Left column on the sheet, height and width of each band.
    counts : (height, width) float32
        On the sheet.

    Returns
    -------
    (height + 1, width + 1) uint64
        For boxes within a band; anything below bands that are lower than others.
    """
    sums = np.empty((counts.shape[0] + 1, counts.shape[1] + 1), np.uint64)
    sums[0] = 0
    for y in range(len(counts)):
        running = np.uint64(0)
        for b in range(len(affines)):
            left, height, width = places[b]
            if y >= height:
                continue
            packed = _packed(affines[b], y, codes, counts[y, left:left + width])
            sums[y + 1, left] = sums[y, left] + running
            for x in range(width):
                running += packed[x]
                sums[y + 1, left + x + 1] = running + sums[y, left + x + 1]
    return sums


@compiled(I4[:, ::1], given(_U8, 2), given(I8, 2), types.UniTuple(I8, 4))
def sums_at(integral: Integral, corner: Cells, box: tuple[int, int, int, int]) -> Index:
    """
    Sums over boxes.

    Parameters
    ----------
    integral : (h + 1, w + 1) uint64
        As of ``integral_of``.
    corner : (2, N) int64
        Row and column on the sheet.
    box : int, int, int, int
        First row and column counted from the corner, rows and columns; all of it on the sheet.

    Returns
    -------
    (BITS + 1, N) int32
        One row for each bit from the lowest, and one for the counts.
    """
    sums = np.empty((BITS + 1, corner.shape[1]), np.int32)
    mask = np.uint64((1 << WIDTH) - 1)
    for n in range(corner.shape[1]):
        top, left = corner[0, n] + box[0], corner[1, n] + box[1]
        bottom, right = top + box[2], left + box[3]
        packed = (integral[bottom, right] - integral[bottom, left]
                  - integral[top, right] + integral[top, left])
        for bit in range(BITS):
            sums[bit, n] = packed & mask
            packed >>= np.uint64(WIDTH)
        sums[BITS, n] = packed
    return sums
