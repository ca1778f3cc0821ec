# SPDX-License-Identifier: Apache-2.0
"""
YUV and local contrast: every band normalised on its own, written straight into strips.

A strip holds bands of similar height side by side, each at a multiple of the pooling stride, so
that a network reads a few large arrays; windows that straddle two bands are never looked at.
Engines that are faster on small arrays get a strip for each band.

Source
    algorithms.md A3 (IROS08-DBN text; EBLearn code); measurements.md sections 1.2 and 3.
"""

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from perception.contrast_loops import set_colour, smoothed
from perception.errors import ImageError
from perception.pyramid import COLUMN_STRIDE, WINDOW_COLUMNS, WINDOW_ROWS, Band, Pyramid
from perception.sheet import inside_columns, lay_sheet, shifted
from perception.sheet_loops import fill_between
from perception.types import Float, Image

ContrastMode = Literal['divisive_mean_16', 'lcn']

KERNEL_SIZE, KERNEL_SIGMA = 16, 4.0
MARGIN = KERNEL_SIZE // 2
DOUBT = 1.0  # c of the divisive normaliser, grey levels
CHROMA_GAIN = 1 / 64
STRIP_OVERHEAD = 300  # what one more call of the network costs, as windows


@dataclass(frozen=True)
class Receptive:
    """
    Receptive field of a network in band pixels, and its vertical stride.

    The labelled window is always 12 x 25 at column stride 4; a larger field sees more context
    around it, and every band is cut that much larger.
    """

    rows: int = WINDOW_ROWS
    columns: int = WINDOW_COLUMNS
    row_stride: int = 1

    @property
    def margin(self) -> tuple[int, int]:
        """Context rows and columns on each side of the labelled window."""
        return (self.rows - WINDOW_ROWS) // 2, (self.columns - WINDOW_COLUMNS) // 2


@dataclass(frozen=True)
class Strip:
    """Size of a strip, and where its bands start: (position of the band, x)."""

    height: int
    width: int
    places: tuple[tuple[int, int], ...]


@lru_cache(maxsize=32)
def pack_strips(
    bands: tuple[Band, ...], receptive: Receptive, packed: bool = True
) -> tuple[Strip, ...]:
    """Bands into strips with the least work for a network, or each into its own."""
    rows, columns = (2 * m for m in receptive.margin)
    widths = [_align(band.width + columns) for band in bands]
    cuts = _cuts(bands, widths, receptive) if packed else tuple(range(len(bands) + 1))
    return tuple(_strip(range(i, j), bands, widths, rows) for i, j in pairwise(cuts))


def _cuts(bands: tuple[Band, ...], widths: list[int], field: Receptive) -> tuple[int, ...]:
    """Where strips begin and end, by a dynamic programme over windows and calls."""
    def cost(i: int, j: int) -> int:
        rows = (max(b.height for b in bands[i:j]) - WINDOW_ROWS) // field.row_stride + 1
        return rows * ((sum(widths[i:j]) - field.columns) // COLUMN_STRIDE + 1) + STRIP_OVERHEAD

    best: list[tuple[int, tuple[int, ...]]] = [(0, ())]
    for j in range(1, len(bands) + 1):
        best.append(min((best[i][0] + cost(i, j), (*best[i][1], i)) for i in range(j)))
    return (*best[-1][1], len(bands))


def _strips_of(
    outputs: list[Float], bands: tuple[Band, ...], receptive: Receptive
) -> tuple[Strip, ...]:
    """Strips that gave these outputs: by their number, one a band unless packed."""
    return pack_strips(bands, receptive, len(outputs) < len(bands))


def _align(width: int) -> int:
    return -(-width // COLUMN_STRIDE) * COLUMN_STRIDE


def _strip(members: range, bands: tuple[Band, ...], widths: list[int], rows: int) -> Strip:
    starts = np.cumsum([0, *(widths[k] for k in members)])
    places = tuple((k, int(x)) for k, x in zip(members, starts, strict=False))
    return Strip(max(bands[k].height for k in members) + rows, int(starts[-1]), places)


def bgr_to_yuv(image: Image) -> Image:
    """(H, W, 3) BGR or (H, W) grey uint8 -> (H, W, 3) YUV uint8, chroma 128 where grey."""
    if image.ndim == 2:
        neutral = np.full_like(image, 128)
        return np.asarray(cv2.merge([image, neutral, neutral]), np.uint8)
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2YUV), np.uint8)


def band_strips(
    image: Image, pyramid: Pyramid, mode: ContrastMode, receptive: Receptive | None = None,
    packed: bool = True,
) -> list[Float]:
    """
    Cut, level, scale and normalise all bands of an image.

    Parameters
    ----------
    image : (H, W, 3) uint8 BGR, or (H, W) uint8
        Rectified image of ``pyramid.camera``.
    mode : 'divisive_mean_16' or 'lcn'
        How Y is normalised; U and V are centred and scaled.
    receptive : Receptive, optional
        Receptive field of the network that will read the strips; default 12 x 25.
    packed : bool
        Bands side by side in few strips, or one strip a band.

    Returns
    -------
    list of (1, 3, h, w) float32
        Normalised Y, U, V; pixels outside the image are 0. See ``pack_strips`` for the layout.

    Raises
    ------
    ImageError
        The image has another size than the camera.
    """
    camera = pyramid.camera
    if image.shape[:2] != (camera.height, camera.width):
        raise ImageError(
            f'image is {image.shape[1]}x{image.shape[0]}, its camera says '
            f'{camera.width}x{camera.height}; record the matching CameraInfo'
        )
    receptive = receptive or Receptive()
    bands = _normalized_bands(image, pyramid, receptive, mode)
    strips = []
    for strip in pack_strips(pyramid.bands, receptive, packed):
        tensor = np.zeros((1, 3, strip.height, strip.width), np.float32)
        for position, x in strip.places:
            band = bands[position]
            tensor[0, :, :band.shape[1], x:x + band.shape[2]] = band
        strips.append(tensor)
    return strips


def gather(outputs: list[Float], pyramid: Pyramid, receptive: Receptive) -> Float:
    """
    Network outputs of the strips -> one row a window.

    Parameters
    ----------
    outputs : list of (F, h', w') float32
        One array a strip.

    Returns
    -------
    (N, F) float32
        In the order of ``pyramid.windows``.
    """
    columns = np.empty((outputs[0].shape[0], len(pyramid.grid.band)), np.float32)
    for strip, output in zip(_strips_of(outputs, pyramid.bands, receptive), outputs, strict=True):
        for position, x in strip.places:
            band, first = pyramid.bands[position], x // COLUMN_STRIDE
            n_rows = -(-band.rows // receptive.row_stride)
            place = columns[:, pyramid.grid.slices[position]].reshape(-1, n_rows, band.columns)
            place[:] = output[:, :n_rows, first:first + band.columns]
    return columns.T


def gather_some(
    outputs: list[Float], pyramid: Pyramid, receptive: Receptive, index: NDArray[np.intp]
) -> Float:
    """The rows ``index`` (n,) of what ``gather`` gives, without moving the others: (n, F)."""
    strip, place = _window_places(_strips_of(outputs, pyramid.bands, receptive), pyramid.bands,
                                  receptive)
    strip, place = strip[index], place[index]
    rows = np.empty((len(index), outputs[0].shape[0]), np.float32)
    for number, output in enumerate(outputs):
        here = np.flatnonzero(strip == number)
        rows[here] = output.reshape(len(output), -1).take(place[here], 1).T
    return rows


@lru_cache(maxsize=8)
def _window_places(
    strips: tuple[Strip, ...], bands: tuple[Band, ...], receptive: Receptive
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Strip of every window, and its flat place in the strip's output, (N,) each."""
    parts: list[tuple[int, NDArray[np.intp], NDArray[np.intp]]] = []
    for number, strip in enumerate(strips):
        width = (strip.width - receptive.columns) // COLUMN_STRIDE + 1
        for position, x in strip.places:
            band = bands[position]
            row, column = np.mgrid[0:-(-band.rows // receptive.row_stride), 0:band.columns]
            place = (row * width + x // COLUMN_STRIDE + column).ravel()
            parts.append((position, np.full(place.size, number), place))
    parts.sort(key=lambda part: part[0])
    return (np.concatenate([part[1] for part in parts]),
            np.concatenate([part[2] for part in parts]))


def _mips(image: Image, largest_scale: float) -> list[Image]:
    """
    YUV of an image, halved again and again by area, down to the coarsest band.

    A fourth channel says nothing, but OpenCV warps four channels twice as fast as three.
    """
    mips = [np.asarray(cv2.cvtColor(bgr_to_yuv(image), cv2.COLOR_BGR2BGRA), np.uint8)]
    while 2 ** len(mips) <= largest_scale and min(mips[-1].shape[:2]) >= 4:
        height, width = mips[-1].shape[:2]
        half = cv2.resize(mips[-1], (width // 2, height // 2), interpolation=cv2.INTER_AREA)
        mips.append(np.asarray(half, np.uint8))
    return mips


def _normalized_bands(
    image: Image, pyramid: Pyramid, receptive: Receptive, mode: ContrastMode
) -> dict[int, Float]:
    """
    Each band with the network's context, (3, h, w) float32, by its position.

    On the way each has the kernel's context around it, cut off at the end: so bands lie side by
    side and one call normalises many, without one seeing the next.
    """
    mips = _mips(image, max(band.scale for band in pyramid.bands))
    pad_y, pad_x = (side + MARGIN for side in receptive.margin)
    affines = shifted(pyramid.image_from_band, (-pad_x, -pad_y))
    sizes = tuple((b.height + 2 * pad_y, b.width + 2 * pad_x) for b in pyramid.bands)
    rows = lay_sheet(sizes)
    first, last = inside_columns(affines[rows.band], rows.row, pyramid.camera)
    found: dict[int, Float] = {}
    for strip in pack_strips(pyramid.bands, receptive):
        members = [position for position, _ in strip.places]
        sheet = lay_sheet(tuple(sizes[k] for k in members))
        canvas, mask = np.zeros((*sheet.size, 4), np.uint8), np.zeros(sheet.size, np.uint8)
        for k, place in zip(members, sheet.places, strict=True):
            _warp(mips, affines[k], pyramid.bands[k].scale, canvas[place])
            of_band = slice(rows.first_row[k], rows.first_row[k] + sizes[k][0])
            fill_between(first[of_band], last[of_band], mask[place])
        planes = _normalized(canvas, mask, mode, sheet.places)
        found |= {k: planes[:, MARGIN:place[0].stop - MARGIN,
                            place[1].start + MARGIN:place[1].stop - MARGIN]
                  for k, place in zip(members, sheet.places, strict=True)}
    return found


def _warp(mips: list[Image], affine: Float, scale: float, out: Image) -> None:
    """Bilinear warp from the mip just finer than the band, levelling included, into ``out``."""
    level = min(int(np.log2(max(scale, 1.0))), len(mips) - 1)
    factor = 2.0 ** level
    reduced = affine / factor
    reduced[:, 2] += 0.5 / factor - 0.5  # pixel centres are whole numbers at every level
    cv2.warpAffine(
        mips[level], reduced, out.shape[1::-1], out, borderMode=cv2.BORDER_REPLICATE,
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
    )


def _normalized(
    canvas: Image, mask: Image, mode: ContrastMode, places: tuple[tuple[slice, slice], ...]
) -> Float:
    """Y, U and V of a sheet of YUV bands, (3, height, width) float32; masked pixels are 0."""
    y = cv2.extractChannel(canvas, 0)
    y = cv2.bitwise_and(y, y, mask=mask)
    planes = np.empty((3, *mask.shape), np.float32)
    if mode == 'divisive_mean_16':
        planes[0] = normalize_divisive_mean(y, None if mask.all() else mask)
    else:  # the least deviation is a matter of each band
        planes[0] = 0
        for place in places:
            planes[0][place] = normalize_lcn(y[place], mask[place])
    set_colour(canvas, mask, CHROMA_GAIN, planes)
    return planes


def normalize_divisive_mean(luminance: Image, mask: Image | None = None) -> Float:
    """
    Divide luminance by its local mean.

    Parameters
    ----------
    luminance : (h, w) uint8
        Masked pixels must be 0.
    mask : (h, w) uint8, optional
        255 where the pixel is real; others take no part in any mean.

    Returns
    -------
    (h, w) float32
        (Y - mean) / (mean + 1): Y / mean, centred so that a flat patch gives exactly 0.

    Source
        algorithms.md A3. Differs: centred; the paper leaves kernel and constant open.
    """
    mean = _local_mean(luminance, mask)
    difference = cv2.subtract(luminance, mean, dtype=cv2.CV_32F)
    cv2.add(mean, DOUBT, dst=mean)
    return np.asarray(cv2.divide(difference, mean, dst=difference), np.float32)


def normalize_lcn(luminance: Image, mask: Image | None = None) -> Float:
    """
    Subtract the local mean and divide by the local standard deviation.

    Parameters, masks and shape as ``normalize_divisive_mean``. The divisor is never below the
    mean deviation of the patch, nor below one grey level.

    Source
        algorithms.md A3 (EBLearn, Torch). Differs: variance about the local mean of its pixel.
    """
    mean = _local_mean(luminance, mask)
    squares = np.square(luminance, dtype=np.float32)
    deviation = np.sqrt(np.maximum(_local_mean(squares, mask) - np.square(mean), 0))
    real = deviation if mask is None else deviation[mask > 0]
    floor = max(float(real.mean()) if real.size else 0.0, 1.0)
    difference = cv2.subtract(luminance, mean, dtype=cv2.CV_32F)
    return np.asarray(difference / np.maximum(deviation, floor), np.float32)


@lru_cache(maxsize=1)
def _kernel() -> Float:
    """16 taps of a Gaussian, summing to 1, centred between taps 7 and 8."""
    x = np.arange(KERNEL_SIZE) - (KERNEL_SIZE - 1) / 2
    taps = np.exp(-0.5 * (x / KERNEL_SIGMA) ** 2)
    return np.asarray(taps / taps.sum(), np.float32)


def _local_mean(values: Float | Image, mask: Image | None) -> Float:
    """Weighted mean over the 16 x 16 neighbourhood, of real pixels only."""
    mean = smoothed(values.astype(np.float32), _kernel())
    if mask is not None:
        weight = smoothed(mask.astype(np.float32), _kernel())
        cv2.divide(mean, cv2.max(weight, 1e-3), scale=255.0, dst=mean)
    return np.asarray(mean, np.float32)
