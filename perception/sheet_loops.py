# SPDX-License-Identifier: Apache-2.0
"""Compiled loops over the rows of bands: which part of them the image holds."""

import numpy as np
from numba import types

from perception.compiled import F4, F8, I8, compiled, given
from perception.types import Cells, Float

FAR = 1e9  # a column beyond every image, which float32 holds exactly


@compiled(types.UniTuple(F4[::1], 2), given(F8, 3), given(I8, 1), types.UniTuple(F8, 2))
def columns_inside(affine: Float, row: Cells, size: tuple[float, float]) -> tuple[Float, Float]:
    """
    First and last column of band rows that lie in the image, as of ``sheet.inside_columns``.

    Parameters
    ----------
    affine : (n, 2, 3) float64
        Image pixels from band pixels, one a row.
    row : (n,) int64
        Row in its band.
    size : float, float
        Width and height of the image [px].

    Returns
    -------
    (n,), (n,) float32
    """
    first, last = np.empty(len(row), np.float32), np.empty(len(row), np.float32)
    for i in range(len(row)):
        begin, end = -FAR, FAR
        for axis in range(2):
            slope = affine[i, axis, 0]
            # a pixel reaches half a pixel beyond its centre
            low = -0.5 - (affine[i, axis, 1] * row[i] + affine[i, axis, 2])
            high = size[axis] - 0.5 - (affine[i, axis, 1] * row[i] + affine[i, axis, 2])
            low, high = low / slope, high / slope
            low = -FAR if np.isnan(low) else low  # a row along the very border is in
            high = FAR if np.isnan(high) else high
            begin = max(begin, min(low, high))
            end = min(end, max(low, high))
        first[i] = np.ceil(min(begin, FAR))
        last[i] = np.floor(max(end, -FAR))
    return first, last


@compiled(F4[::1], types.UniTuple(given(F4, 1), 2), given(I8, 1), given(I8, 1),
          types.UniTuple(I8, 2))
def share_outside(
    inside: tuple[Float, Float], top: Cells, left: Cells, size: tuple[int, int]
) -> Float:
    """
    Share of boxes that lies outside the image.

    Parameters
    ----------
    inside : (n,), (n,) float32
        First and last column of each row that lie in the image.
    top, left : (N,) int64
        First row and column of each box.
    size : int, int
        Rows and columns of a box.

    Returns
    -------
    (N,) float32
    """
    share = np.empty(len(top), np.float32)
    for i in range(len(top)):
        counted = np.float32(0)
        for row in range(top[i], top[i] + size[0]):
            end = min(inside[1][row] + np.float32(1), np.float32(left[i] + size[1]))
            counted += max(end - max(inside[0][row], np.float32(left[i])), np.float32(0))
        share[i] = np.float32(1) - counted / np.float32(size[0] * size[1])
    return share
