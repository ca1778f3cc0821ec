# SPDX-License-Identifier: Apache-2.0
"""Compiled loops over bands and their windows: where they lie in the image and on the ground."""

import numpy as np
from numba import types

from perception.compiled import F4, F8, I8, U1, compiled, given
from perception.types import Cells, Float, Image

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


@compiled(types.void, given(F4, 1), given(F4, 1), types.Array(U1, 2, 'A'))
def fill_between(first: Float, last: Float, out: Image) -> None:
    """Set row by row to 255 what lies from the first to the last column; ``out`` (h, w) uint8."""
    width = out.shape[1]
    for row in range(len(first)):
        begin, end = max(first[row], np.float32(0)), min(last[row] + np.float32(1),
                                                         np.float32(width))
        for i in range(np.int64(begin), np.int64(end)):
            out[row, i] = 255


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
    share, (first, last), (rows, columns) = np.empty(len(top), np.float32), inside, size
    most, least = np.empty(len(first), np.float32), np.empty(len(first), np.float32)
    for row in range(len(first) - rows + 1):  # between these a box from here is inside
        most[row], least[row] = first[row], last[row]
        for k in range(row + 1, row + rows):
            most[row], least[row] = max(most[row], first[k]), min(least[row], last[k])
    for i in range(len(top)):
        if most[top[i]] <= left[i] and left[i] + columns - 1 <= least[top[i]]:
            share[i] = 0
            continue
        counted = np.float32(0)
        for row in range(top[i], top[i] + size[0]):
            end = min(inside[1][row] + np.float32(1), np.float32(left[i] + size[1]))
            counted += max(end - max(inside[0][row], np.float32(left[i])), np.float32(0))
        share[i] = np.float32(1) - counted / np.float32(size[0] * size[1])
    return share


@compiled(F8[::1], given(F8, 2))
def lengths(vectors: Float) -> Float:
    """Lengths of vectors (N, 3) float64, (N,)."""
    length = np.empty(len(vectors))
    for i in range(len(vectors)):
        x, y, z = vectors[i, 0], vectors[i, 1], vectors[i, 2]
        length[i] = np.sqrt(x * x + y * y + z * z)
    return length


@compiled(types.UniTuple(F8[:, ::1], 2), given(F8, 2), given(I8, 1), given(F8, 3), given(F8, 2))
def windows_on_ground(
    centre: Float, band: Cells, affine: Float, camera: Float
) -> tuple[Float, Float]:
    """
    Where the centres of windows lie.

    Parameters
    ----------
    centre : (N, 2) float64
        Column and row in their bands.
    band : (N,) int64
        The band of each.
    affine : (B, 2, 3) float64
        Image pixels from band pixels.
    camera : (2, 4) float64
        fx, fy, cx and cy; then what turns a pixel into the disparity of the ground plane: factors
        of its column and row, a constant, and depth times disparity.

    Returns
    -------
    (N, 2) float64 [px] in the image, and (N, 3) float64 [m] on the ground in the optical frame:
    NaN at and above the horizon.
    """
    uv, ground = np.empty((len(band), 2)), np.empty((len(band), 3))
    for i in range(len(band)):
        b, x, y = band[i], centre[i, 0], centre[i, 1]
        u = affine[b, 0, 0] * x + affine[b, 0, 1] * y + affine[b, 0, 2]
        v = affine[b, 1, 0] * x + affine[b, 1, 1] * y + affine[b, 1, 2]
        disparity = camera[1, 1] * v + camera[1, 0] * u + camera[1, 2]
        depth = camera[1, 3] / disparity if disparity > 0 else np.nan
        uv[i, 0], uv[i, 1] = u, v
        ground[i, 0] = (u - camera[0, 2]) / camera[0, 0] * depth
        ground[i, 1] = (v - camera[0, 3]) / camera[0, 1] * depth
        ground[i, 2] = depth
    return uv, ground
