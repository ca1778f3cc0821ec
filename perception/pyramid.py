# SPDX-License-Identifier: Apache-2.0
"""
Distance-normalised pyramid: bands of the image in which things keep their size over distance.

Source
    IROS08-DBN Fig. 3, reconstructed in algorithms.md A2.2; port rule of architecture.md.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from perception.box_loops import BITS, integral_of_bands, sums_at
from perception.errors import GroundPlaneError
from perception.horizon import image_from_levelled, invert_affine
from perception.sheet import Sheet, box_sums, count, cut, inside_columns, lay_sheet
from perception.sheet_loops import fill_between, lengths, share_outside, windows_on_ground
from perception.types import Camera, Float, GroundPlane, Image, Index, Integral, Mask

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
    """
    Every window of a set of bands: ``band`` is the position in the tuple of bands.

    ``slices`` are the windows of each band; ``corner`` is the first pixel's (row, column) on the
    sheet, (2, N); ``first`` the same with rows counted over all bands, and columns in the band.
    """

    band: NDArray[np.int64]
    row: NDArray[np.int64]
    column: NDArray[np.int64]
    slices: tuple[slice, ...]
    corner: NDArray[np.int64]
    first: NDArray[np.int64]

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
    sheet, left = sheet_of(bands), COLUMN_STRIDE * column
    return WindowGrid(band_, row, column, tuple(slices), np.stack([row, sheet.left[band_] + left]),
                      np.stack([sheet.first_row[band_] + row, left]))


@lru_cache(maxsize=32)
def sheet_of(bands: tuple[Band, ...]) -> Sheet:
    """Layout of the sheet for these bands."""
    return lay_sheet(tuple((band.height, band.width) for band in bands))


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

    @cached_property
    def valid(self) -> Mask:
        """Windows that lie in the image by at least 70 %, (N,) bool."""
        valid: Mask = self.outside <= MAX_OUTSIDE
        return valid

    @property
    def depth(self) -> Float:
        """Depth of the ground point, (N,) [m]; NaN above the horizon."""
        return self.ground_optical[:, 2]

    @cached_property
    def distance(self) -> Float:
        """Distance of the ground point from the camera, (N,) [m]; NaN above the horizon."""
        return lengths(self.ground_optical)


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
    def image_from_band(self) -> Float:
        """Affine of each band from its pixels to image pixels, levelling in, (B, 2, 3) float64."""
        levelled, bands = image_from_levelled(self.plane), self.bands
        affine = np.empty((len(bands), 2, 3))
        affine[..., :2] = np.array([band.scale for band in bands])[:, None, None] * levelled[:, :2]
        # on the footline at the image's middle column, as A2.4 has it
        affine[..., 2] = levelled[:, 2]
        affine[:, 1, 2] += np.array([b.offset_px for b in bands]) / np.cos(self.plane.roll_rad)
        centre = np.array([((band.width - 1) / 2, band.footline_row) for band in bands])
        affine[..., 2] -= np.einsum('bij,bj->bi', affine[..., :2], centre)
        return affine

    @cached_property
    def band_from_image(self) -> Float:
        """Inverse of each affine of ``image_from_band``, (B, 2, 3) float64."""
        return invert_affine(self.image_from_band)

    @cached_property
    def windows(self) -> Windows:
        """Every window with its place in the image and on the ground."""
        grid, camera, plane = self.grid, self.camera, self.plane
        uv, ground = windows_on_ground(
            grid.centre, grid.band, self.image_from_band, np.array([
                [camera.fx, camera.fy, camera.cx, camera.cy],
                [plane.p1, plane.p0, plane.p3, plane.focal_baseline]], float))
        return Windows(grid.band, grid.row, grid.column, uv, _outside(self), ground)


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
    mask = np.zeros(size, np.uint8)
    fill_between(*inside_columns(affine, np.arange(size[0]), camera), mask)
    return mask


def _outside(pyramid: Pyramid) -> Float:
    """Share of each window outside the image, (N,) float32."""
    sheet, (top, left) = sheet_of(pyramid.bands), pyramid.grid.first
    inside = inside_columns(pyramid.image_from_band.take(sheet.band, 0), sheet.row, pyramid.camera)
    return share_outside(inside, top, left, (WINDOW_ROWS, WINDOW_COLUMNS))


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
        Neighbourhood of the window centre in band pixels, within the window; default all of it.

    Returns
    -------
    (N, C) float32
        In [0, 1], in the order of ``pyramid.windows``; outside the image counts as 0.
    """
    on_sheet = cut(masks, _grid_from_band(pyramid, step), sheet_of(pyramid.bands))
    sums = box_sums(on_sheet, pyramid.grid.corner + np.array(_box(size)[:2])[:, None], size)
    return np.asarray(sums.astype(np.float32) * np.float32(1 / (size[0] * size[1])))


def _grid_from_band(pyramid: Pyramid, step: int) -> Float:
    """Affine of each band to a grid ``step`` times coarser than the image, (B, 2, 3)."""
    return (pyramid.image_from_band - [0, 0, (step - 1) / 2]) / step  # see DepthGrid


def _box(size: tuple[int, int]) -> tuple[int, int, int, int]:
    """First row and column in a window of (rows, columns) about its centre, and these."""
    return WINDOW_ROWS // 2 - size[0] // 2, WINDOW_COLUMNS // 2 - size[1] // 2, *size


def sheet_integral(codes: Image, step: int, uv: Float, pyramid: Pyramid) -> Integral:
    """What ``sums_around`` needs of bits (h, w) uint8, as of ``window_shares``, and of points."""
    sheet = sheet_of(pyramid.bands)
    return integral_of_bands(codes, _grid_from_band(pyramid, step).astype(np.float32),
                             sheet.spans, count(uv, pyramid.band_from_image, sheet))


def sums_around(
    integral: Integral, pyramid: Pyramid, size: tuple[int, int] = (WINDOW_ROWS, WINDOW_COLUMNS)
) -> tuple[Float, Index]:
    """Shares that each bit has of each window, (4, N) float32, and points in it, (N,) int32."""
    sums = sums_at(integral, pyramid.grid.corner, _box(size))
    return sums[:BITS].astype(np.float32) * np.float32(1 / (size[0] * size[1])), sums[BITS]


def window_counts(uv: Float, pyramid: Pyramid, size: tuple[int, int] = (5, 13)) -> Float:
    """
    How many image points lie around each window centre.

    Parameters
    ----------
    uv : (M, 2) float
        Image pixels.
    size : (rows, columns)
        Neighbourhood in band pixels, odd and within the window; the default is +-2 rows, +-6
        columns.

    Returns
    -------
    (N,) float32
        Counts in the order of ``pyramid.windows``.
    """
    none = np.zeros((1, 1), np.uint8)
    return sums_around(sheet_integral(none, 1, uv, pyramid), pyramid, size)[1].astype(np.float32)
