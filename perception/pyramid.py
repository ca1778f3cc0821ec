# SPDX-License-Identifier: Apache-2.0
"""
Distance-normalised pyramid: bands of the image in which things keep their size over distance.

Source
    IROS08-DBN Fig. 3, reconstructed in algorithms.md A2.2; port rule of architecture.md.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from perception.camera import ground_points
from perception.errors import GroundPlaneError
from perception.horizon import apply_affine, image_from_levelled, invert_affine
from perception.types import Camera, Float, GroundPlane, Image, Mask

WINDOW_ROWS, WINDOW_COLUMNS, COLUMN_STRIDE = 12, 25, 4
CONTEXT_COLUMNS = WINDOW_COLUMNS - COLUMN_STRIDE
FOCAL_HEIGHT = 346.5  # f x camera height of the LAGR camera at 512 px width [px m]
LAGR_WIDTHS = (484, 352, 256, 184, 136, 96, 72)  # displayed band widths, Fig. 3
LAGR_SPAN, LAGR_IMAGE = 484, 512  # every band spans 484 of 512 image columns
FIRST_HEIGHT, HEIGHT = 36, 20
DENSE_BANDS, DENSE_FIRST, DENSE_LAST = 24, 500, 36
TOP_PX, FIRST_TOP_PX = 13.1, 27.4  # top edge above the horizon at g = 1
MAX_OUTSIDE = 0.3  # windows with a larger share outside the image are void

Preset = Literal['bands7', 'bands24']


@dataclass(frozen=True)
class Band:
    """
    One row of the pyramid.

    ``scale`` image pixels make one band pixel; ``footline_row`` of the band lies ``offset_px``
    image pixels below the horizon; ``columns`` windows stand side by side.
    """

    index: int
    scale: float
    height: int
    columns: int
    footline_row: float
    offset_px: float

    @property
    def width(self) -> int:
        """Columns that the windows cover: four each, and the context of the last."""
        return COLUMN_STRIDE * self.columns + CONTEXT_COLUMNS

    @property
    def rows(self) -> int:
        """Window rows at stride 1."""
        return self.height - WINDOW_ROWS + 1

    def image_from_band(self, plane: GroundPlane) -> Float:
        """Affine (2, 3) float64 from band pixels (x, y) to image pixels (u, v), levelling in."""
        levelled = image_from_levelled(plane)
        linear = levelled[:, :2]
        # on the footline at the image's middle column, as A2.4 has it
        origin = levelled[:, 2] + [0.0, self.offset_px / np.cos(plane.roll_rad)]
        centre = np.array([(self.width - 1) / 2, self.footline_row])
        return np.column_stack([self.scale * linear, origin - self.scale * linear @ centre])

    def distance_range_m(self, focal_height: float) -> tuple[float, float]:
        """Ground distance of the lowest and the highest window-centre row [m]."""
        half = WINDOW_ROWS // 2
        below = [self.offset_px + self.scale * (row + half - self.footline_row)
                 for row in (self.rows - 1, 0)]
        near, far = (focal_height / px if px > 0 else np.inf for px in below)
        return near, far


@lru_cache(maxsize=32)
def make_bands(preset: Preset, image_width: int, g: float) -> tuple[Band, ...]:
    """
    Bands of a camera whose focal length x height is ``g`` times LAGR's.

    Bands that would need up-sampling (scale < 1) are left out.
    """
    rows = _lagr_rows() if preset == 'bands7' else _dense_rows()
    bands = []
    for index, (scale, height, offset) in enumerate(rows):
        ported = g * scale
        if ported < 1 - 1e-9:
            continue
        columns = round(LAGR_SPAN / LAGR_IMAGE * image_width / (COLUMN_STRIDE * ported))
        if columns >= 1:
            bands.append(Band(index, ported, height, columns, height / 2, g * offset))
    return tuple(bands)


def _lagr_rows() -> list[tuple[float, int, float]]:
    """Scale, height, footline offset at g = 1 of the seven bands (A2.2)."""
    scales = [LAGR_SPAN / width for width in LAGR_WIDTHS]
    return [(scales[0], FIRST_HEIGHT, -8.9)] + [(s, HEIGHT, 10.5 * s - 13.1) for s in scales[1:]]


def _dense_rows() -> list[tuple[float, int, float]]:
    """The 24 bands of the slides' sizes (architecture.md, dense preset)."""
    widths = np.geomspace(DENSE_FIRST, DENSE_LAST, DENSE_BANDS)
    heights = np.rint(np.linspace(FIRST_HEIGHT, HEIGHT, DENSE_BANDS)).astype(int)
    tops = [FIRST_TOP_PX] + [TOP_PX] * (DENSE_BANDS - 1)
    scales = DENSE_FIRST / widths
    return [(float(s), int(h), float(h / 2 * s - top))
            for s, h, top in zip(scales, heights, tops, strict=True)]


@dataclass(frozen=True)
class WindowGrid:
    """Every window of a set of bands: ``band`` is the position in the tuple of bands."""

    band: NDArray[np.int64]
    row: NDArray[np.int64]
    column: NDArray[np.int64]
    slices: tuple[slice, ...]

    @cached_property
    def centre(self) -> Float:
        """Window centres in band pixels (x, y), (N, 2) float64."""
        return np.stack([COLUMN_STRIDE * self.column + WINDOW_COLUMNS // 2,
                         self.row + WINDOW_ROWS // 2], -1).astype(float)


@lru_cache(maxsize=32)
def window_grid(bands: tuple[Band, ...], row_stride: int) -> WindowGrid:
    """Windows of the bands, band by band, row by row, every ``row_stride`` rows."""
    parts, slices, start = [], [], 0
    for position, band in enumerate(bands):
        rows, columns = np.mgrid[0:band.rows:row_stride, 0:band.columns]
        slices.append(slice(start, start + rows.size))
        start += rows.size
        parts.append((np.full(rows.size, position), rows.ravel(), columns.ravel()))
    band_, row, column = (np.concatenate(p) for p in zip(*parts, strict=True))
    return WindowGrid(band_, row, column, tuple(slices))


@dataclass(frozen=True)
class Windows:
    """
    All windows of one pyramid, N in total.

    ``band`` (N,) position of the band; ``row``, ``column`` (N,) place in the band; ``uv`` (N, 2)
    image pixel of the centre; ``outside`` (N,) share of the window outside the image;
    ``ground_optical`` (N, 3) ground point under the centre [m], NaN at and above the horizon.
    """

    band: NDArray[np.int64]
    row: NDArray[np.int64]
    column: NDArray[np.int64]
    uv: Float
    outside: Float
    ground_optical: Float

    @property
    def valid(self) -> Mask:
        """Windows that lie in the image by at least 70 %, (N,) bool."""
        valid: Mask = self.outside <= MAX_OUTSIDE
        return valid

    @property
    def depth(self) -> Float:
        """Depth of the ground point, (N,) [m]; NaN above the horizon."""
        return self.ground_optical[:, 2]

    @property
    def distance(self) -> Float:
        """Distance of the ground point from the camera, (N,) [m]; NaN above the horizon."""
        distance: Float = np.linalg.norm(self.ground_optical, axis=1)
        return distance


@dataclass(frozen=True)
class Pyramid:
    """Geometry of the bands over one image: which image pixels each band shows."""

    bands: tuple[Band, ...]
    plane: GroundPlane
    row_stride: int = 1

    @property
    def camera(self) -> Camera:
        """Camera of the plane."""
        return self.plane.camera

    @cached_property
    def grid(self) -> WindowGrid:
        """Windows in band coordinates."""
        return window_grid(self.bands, self.row_stride)

    @cached_property
    def image_from_band(self) -> tuple[Float, ...]:
        """One (2, 3) affine a band."""
        return tuple(band.image_from_band(self.plane) for band in self.bands)

    @cached_property
    def band_from_image(self) -> tuple[Float, ...]:
        """One (2, 3) affine a band, the inverse of ``image_from_band``."""
        return tuple(invert_affine(affine) for affine in self.image_from_band)

    @cached_property
    def windows(self) -> Windows:
        """Every window with its place in the image and on the ground."""
        grid = self.grid
        uv = np.empty((len(grid.band), 2))
        for affine, part in zip(self.image_from_band, grid.slices, strict=True):
            uv[part] = apply_affine(affine, grid.centre[part])
        return Windows(grid.band, grid.row, grid.column, uv, _outside(self),
                       ground_points(uv, self.plane))


def scale_factor(camera: Camera, height_m: float) -> float:
    """The port rule's g = f x camera height / 346.5 px m (metres stay, pixels scale)."""
    return camera.fy * height_m / FOCAL_HEIGHT


def build_pyramid(
    plane: GroundPlane, preset: Preset = 'bands7', *, g: float | None = None, row_stride: int = 1
) -> Pyramid:
    """
    Lay the bands over the image.

    Parameters
    ----------
    plane : GroundPlane
        Gives the horizon, the roll, and (unless ``g`` is given) the camera height.
    preset : 'bands7' or 'bands24'
        LAGR's seven bands, or the dense 24.
    g : float, optional
        Scale of the bands; a smoothed value keeps them from being rebuilt at every frame.
    row_stride : int
        Every how many band rows the network has a window.

    Raises
    ------
    GroundPlaneError
        The camera is so low or coarse that no band is left.
    """
    camera = plane.camera
    g = scale_factor(camera, plane.height_m) if g is None else g
    bands = make_bands(preset, camera.width, round(float(g), 6))
    if not bands:
        raise GroundPlaneError(
            f'pyramid: f x camera height = {g * FOCAL_HEIGHT:.0f} px m leaves no band; '
            'check the calibration or use a larger image'
        )
    return Pyramid(bands, plane, row_stride)


def inside_mask(affine: Float, size: tuple[int, int], camera: Camera) -> Image:
    """Which pixels of a band of ``size`` (height, width) lie in the image: uint8, 255 or 0."""
    y, x = np.arange(size[0])[:, None], np.arange(size[1])[None]
    u = affine[0, 0] * x + (affine[0, 1] * y + affine[0, 2])
    v = affine[1, 0] * x + (affine[1, 1] * y + affine[1, 2])
    half = 0.5  # a pixel reaches half a pixel beyond its centre
    inside = (u >= -half) & (u <= camera.width - half) & (v >= -half) & (v <= camera.height - half)
    return np.asarray(inside.view(np.uint8) * np.uint8(255), np.uint8)


def _outside(pyramid: Pyramid) -> Float:
    """Share of each window outside the image, (N,) float32."""
    share = np.empty(len(pyramid.grid.band), np.float32)
    for position, band in enumerate(pyramid.bands):
        size = (band.height, band.width)
        mask = inside_mask(pyramid.image_from_band[position], size, pyramid.camera)
        if mask.all():
            share[pyramid.grid.slices[position]] = 0
            continue
        box = cv2.boxFilter(mask, cv2.CV_32F, (WINDOW_COLUMNS, WINDOW_ROWS))
        share[pyramid.grid.slices[position]] = 1 - at_centres(box, band, pyramid.row_stride) / 255
    return share


def at_centres(values: Float, band: Band, row_stride: int) -> Float:
    """Values (height, width, ...) of a band at its window centres, flattened to (n, ...)."""
    top, left = WINDOW_ROWS // 2, WINDOW_COLUMNS // 2
    picked = values[top:top + band.rows:row_stride, left::COLUMN_STRIDE][:, :band.columns]
    return picked.reshape(-1, *values.shape[2:])


def window_shares(
    masks: Image, step: int, pyramid: Pyramid,
    size: tuple[int, int] = (WINDOW_ROWS, WINDOW_COLUMNS),
) -> Float:
    """
    Share of each window that each mask covers.

    Parameters
    ----------
    masks : (h, w, C) uint8, values 0 or 1, C <= 4
        On a grid ``step`` times coarser than the image (see DepthGrid).
    size : (rows, columns)
        Neighbourhood of the window centre in band pixels; default the whole window.

    Returns
    -------
    (N, C) float32
        In [0, 1], in the order of ``pyramid.windows``; outside the image counts as 0.
    """
    shares = np.empty((len(pyramid.grid.band), masks.shape[2]), np.float32)
    shift = (step - 1) / 2
    for position, band in enumerate(pyramid.bands):
        affine = pyramid.image_from_band[position].copy()
        affine[:, 2] -= shift
        warped = cv2.warpAffine(
            masks, affine / step, (band.width, band.height),
            flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP,
        ).reshape(band.height, band.width, -1)
        box = cv2.boxFilter(warped, cv2.CV_32F, size[::-1], borderType=cv2.BORDER_CONSTANT)
        box = box.reshape(band.height, band.width, -1)
        shares[pyramid.grid.slices[position]] = at_centres(box, band, pyramid.row_stride)
    return shares


def window_counts(uv: Float, pyramid: Pyramid, size: tuple[int, int] = (5, 13)) -> Float:
    """
    How many image points lie around each window centre.

    Parameters
    ----------
    uv : (M, 2) float
        Image pixels.
    size : (rows, columns)
        Neighbourhood in band pixels, odd; the default is +-2 rows, +-6 columns.

    Returns
    -------
    (N,) float32
        Counts in the order of ``pyramid.windows``.
    """
    counts = np.empty(len(pyramid.grid.band), np.float32)
    for position, band in enumerate(pyramid.bands):
        xy = np.rint(apply_affine(pyramid.band_from_image[position], uv)).astype(int)
        inside = np.all((xy >= 0) & (xy < (band.width, band.height)), axis=1)
        cells = xy[inside, 1] * band.width + xy[inside, 0]
        hits = np.bincount(cells, minlength=band.height * band.width).astype(np.float32)
        box = cv2.boxFilter(hits.reshape(band.height, band.width), -1, size[::-1],
                            normalize=False, borderType=cv2.BORDER_CONSTANT)
        counts[pyramid.grid.slices[position]] = at_centres(box, band, pyramid.row_stride)
    return counts
