# SPDX-License-Identifier: Apache-2.0
"""Compiled loop that reads a grey picture between its pixels."""

import numpy as np
from numba import types
from numpy.typing import NDArray

from perception.compiled import U1, compiled, given
from perception.types import Image

Places = NDArray[np.uint32]
Fractions = NDArray[np.uint16]

_U2, _U4 = types.uint16, types.uint32
_BYTE, _ONE, _TWO, _THREE = np.uint32(255), np.uint32(8), np.uint32(16), np.uint32(24)


@compiled(_U4[::1], given(U1, 2))
def _neighbours(image: Image) -> Places:
    """Each pixel, that right of it and the two below in one word, from (-1, -1) on; 0 at last."""
    h, w = image.shape
    packed = np.empty((h + 1) * (w + 1) + 1, np.uint32)
    packed[-1] = 0
    above, below = np.zeros(w + 2, np.uint32), np.zeros(w + 2, np.uint32)
    one, byte = np.uint64(1), np.uint32(8)
    for y in range(h + 1):
        start = np.uint64(y * (w + 1))
        for x in range(w):
            above[x + 1] = below[x + 1]
        for x in range(w):
            below[x + 1] = image[min(y, h - 1), x] if y < h else 0
        for x in range(np.uint64(w + 1)):
            upper = above[x] | above[x + one] << byte
            lower = below[x] | below[x + one] << byte
            packed[start + x] = upper | lower << np.uint32(16)
    return packed


@compiled(U1[:, ::1], given(U1, 2), given(_U4, 2), given(_U2, 2))
def read_between(image: Image, places: Places, fractions: Fractions) -> Image:
    """
    Pixels at places given in 256ths, bilinear.

    Parameters
    ----------
    image : (h, w) uint8
        Taken to lie among zeros.
    places : (H, W) uint32
        (row + 1) (w + 1) + column + 1 of the pixel to the left and above, which may lie outside
        by one; (h + 1) (w + 1) reads 0.
    fractions : (H, W) uint16
        What is left, in 256ths: of the column in the low byte, of the row in the high one.

    Returns
    -------
    (H, W) uint8
    """
    packed = _neighbours(image)
    result = np.empty(fractions.shape, np.uint8)
    words = np.empty(fractions.shape[1], np.uint32)
    share, half = np.float32(1 / 256), np.float32(0.5)
    for y in range(len(result)):
        for x in range(len(words)):
            words[x] = packed[places[y, x]]
        for x in range(len(words)):
            a, b = np.float32(words[x] & _BYTE), np.float32(words[x] >> _ONE & _BYTE)
            c, d = np.float32(words[x] >> _TWO & _BYTE), np.float32(words[x] >> _THREE)
            across = np.float32(fractions[y, x] & np.uint16(255)) * share
            down = np.float32(fractions[y, x] >> np.uint16(8)) * share
            upper, lower = a + (b - a) * across, c + (d - c) * across
            result[y, x] = np.uint8(np.int32(upper + (lower - upper) * down + half))
    return result
