# SPDX-License-Identifier: Apache-2.0
"""
All bands of a pyramid side by side on one sheet, so that one call measures all their windows.

What is measured within a window never reaches the next band.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from perception.sheet_loops import columns_inside
from perception.types import Camera, Float, Image

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
    x, y = np.rint(np.einsum('bij,mj->ibm', affines[..., :2], uv) + affines[..., 2].T[..., None])
    inside = (x >= 0) & (y >= 0) & (x < sheet.widths[:, None]) & (y < sheet.heights[:, None])
    place = y * sheet.size[1] + (x + sheet.left[:, None])
    hits = np.bincount(place[inside].astype(np.intp), minlength=sheet.size[0] * sheet.size[1])
    return hits.astype(np.float32).reshape(sheet.size)


def box_sums(canvas: Float | Image, first: Count, size: tuple[int, int]) -> NDArray[Any]:
    """
    Sums over boxes on a sheet.

    Parameters
    ----------
    canvas : (height, width) float32 of whole numbers, or (height, width, C) uint8
    first : (2, N) int
        First row and column of each box; all of it lies on the sheet.
    size : (rows, columns)

    Returns
    -------
    (N, C) int32 or float32
        Exact.
    """
    depth = cv2.CV_32S if canvas.dtype == np.uint8 else cv2.CV_32F
    integral = cv2.integral(canvas, sdepth=depth).reshape(-1, *canvas.shape[2:] or (1,))
    width = canvas.shape[1] + 1
    top = first[0] * width + first[1]
    bottom = top + size[0] * width
    sums = integral.take(bottom + size[1], 0)
    sums -= integral.take(bottom, 0)
    sums -= integral.take(top + size[1], 0)
    sums += integral.take(top, 0)
    return np.asarray(sums)


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
    each = np.ascontiguousarray(np.broadcast_to(affine, (len(row), 2, 3)), float)
    return columns_inside(each, row.astype(np.int64), (camera.width, camera.height))


def fill_between(first: Float, last: Float, out: Image) -> None:
    """Set row by row to 255 what lies from the first to the last column; ``out`` (h, w) is 0."""
    if first.max() <= 0 and last.min() >= out.shape[1] - 1:
        out[:] = 255
        return
    x = np.arange(out.shape[1], dtype=np.float32)
    inside = x >= first[:, None]
    inside &= x <= last[:, None]
    np.multiply(inside.view(np.uint8), np.uint8(255), out=out)
