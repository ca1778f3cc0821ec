# SPDX-License-Identifier: Apache-2.0
"""
All bands of a pyramid side by side on one sheet, so that one call measures all their windows.

What is measured within a window never reaches the next band.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from perception.box_loops import BITS, hits, integral_of, sums_at
from perception.sheet_loops import columns_inside
from perception.types import Camera, Float, Image, Index

Count = NDArray[np.int64]


@dataclass(frozen=True)
class Sheet:
    """
    Where each of B bands lies: ``size`` (height, width) of the sheet, ``left`` (B,) columns.

    ``heights``, ``widths`` (B,) of the bands. All band rows, one below the other: ``band`` and
    ``row`` (R,), the first of each band at ``first_row`` (B,).
    """

    size: tuple[int, int]
    left: Count
    heights: Count
    widths: Count
    band: Count
    row: Count
    first_row: Count

    @cached_property
    def spans(self) -> Count:
        """Left column, height and width of each band, (B, 3)."""
        return np.stack([self.left, self.heights, self.widths], -1)

    @cached_property
    def places(self) -> tuple[tuple[slice, slice], ...]:
        """Rows and columns of each band."""
        spans = zip(self.left.tolist(), self.widths.tolist(), self.heights.tolist(), strict=True)
        return tuple((slice(0, height), slice(left, left + width))
                     for left, width, height in spans)


@lru_cache(maxsize=32)
def lay_sheet(sizes: tuple[tuple[int, int], ...]) -> Sheet:
    """Layout for bands of these sizes (height, width)."""
    heights, widths = (np.array(side, np.int64) for side in zip(*sizes, strict=True))
    first_row = np.cumsum(heights) - heights
    band = np.repeat(np.arange(len(sizes)), heights)
    row = np.arange(len(band)) - first_row[band]
    return Sheet((int(heights.max()), int(widths.sum())), np.cumsum(widths) - widths,
                 heights, widths, band, row, first_row)


def shifted(affines: Float, by: tuple[float, float]) -> Float:
    """Affines (B, 2, 3) whose band pixels (x, y) count from another corner, ``by`` away."""
    moved = affines.copy()
    moved[..., 2] += affines[..., :2] @ by
    return moved


def cut(image: Image, affines: Float, sheet: Sheet) -> Image:
    """
    Cut all bands out of an image, nearest pixel, black outside.

    Parameters
    ----------
    image : (H, W, C) uint8, C <= 4
    affines : (B, 2, 3) float64
        Image pixels from band pixels.

    Returns
    -------
    (height, width, C) uint8
    """
    canvas = np.zeros((*sheet.size, image.shape[2]), np.uint8)
    for affine, place in zip(affines, sheet.places, strict=True):
        band = canvas[place]
        cv2.warpAffine(image, affine, band.shape[1::-1], band,
                       flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP)
    return canvas


def count(uv: Float, affines: Float, sheet: Sheet) -> Float:
    """
    How many points fall on each band pixel.

    Parameters
    ----------
    uv : (M, 2) float
        Image pixels.
    affines : (B, 2, 3) float64
        Band pixels from image pixels.

    Returns
    -------
    (height, width) float32
    """
    return hits(np.ascontiguousarray(uv, float), affines, sheet.spans, sheet.size)


def box_sums(canvas: Float | Image, first: Count, size: tuple[int, int]) -> Index:
    """
    Sums over boxes of up to 4095 pixels on a sheet.

    Parameters
    ----------
    canvas : (height, width) float32 of whole numbers, or (height, width, C) uint8 of 0 and 1
        C <= 4.
    first : (2, N) int64
        First row and column of each box; all of it lies on the sheet.
    size : (rows, columns)

    Returns
    -------
    (N, C) int32
        Exact.
    """
    none = np.zeros(canvas.shape[:2], np.uint8)
    if canvas.ndim == 2:
        integral = integral_of(none, np.asarray(canvas, np.float32))
        return sums_at(integral, first, (0, 0, *size))[BITS:].T
    masks = np.asarray(canvas, np.uint8)
    codes = np.bitwise_or.reduce([masks[..., bit] << bit for bit in range(masks.shape[2])])
    integral = integral_of(codes, none.astype(np.float32))
    return sums_at(integral, first, (0, 0, *size))[:masks.shape[2]].T


def inside_columns(affine: Float, row: Count, camera: Camera) -> tuple[Float, Float]:
    """
    First and last column of band rows that lie in the image; no column of a band where none does.

    Parameters
    ----------
    affine : (2, 3) or (n, 2, 3) float64
        Image pixels from band pixels, one for all rows or one a row.
    row : (n,) int

    Returns
    -------
    (n,), (n,) float32
        Whole numbers, at most ``FAR``.
    """
    each = affine if affine.ndim == 3 else np.broadcast_to(affine, (len(row), 2, 3))
    return columns_inside(np.ascontiguousarray(each, float), row.astype(np.int64),
                          (camera.width, camera.height))
