# SPDX-License-Identifier: Apache-2.0
"""
Pictures of what the stages found in an image: label images, overlays, film strips.

Pure functions on arrays; colours and images are BGR uint8. ``zoom`` enlarges (or shrinks) the
picture before lines and text are drawn, so that they stay readable for every camera.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from perception.horizon import apply_affine
from perception.pyramid import COLUMN_STRIDE, WINDOW_COLUMNS, WINDOW_ROWS, Band, Pyramid
from perception.types import UNLABELED, Float, Image, Mask

Colour = tuple[int, int, int]

# the authors' five: bright green, dark green, magenta, dark red, bright red (algorithms.md A5)
CLASS_COLOURS: Image = np.array(
    [(0, 230, 60), (20, 120, 20), (255, 0, 255), (25, 20, 130), (30, 30, 255)], np.uint8
)
HORIZON_COLOUR: Colour = (255, 255, 0)
BAND_COLOUR: Colour = (255, 210, 130)
INK: Colour = (255, 255, 255)
SHADE: Colour = (25, 25, 25)
METRES = (5, 10, 20, 50, 100)
HIGHEST = 65500  # pixels of a JPEG
FONT = cv2.FONT_HERSHEY_SIMPLEX


def window_index(pyramid: Pyramid, valid: Mask | None = None) -> NDArray[np.int32]:
    """
    Window that speaks for each pixel: that of the band in which the pixel is most centred.

    Where that band has no valid window, the nearest other band that has one is taken.

    Parameters
    ----------
    valid : (N,) bool, optional
        Windows that may be shown; default all.

    Returns
    -------
    (H, W) int32
        Index in the order of ``pyramid.windows``; -1 where no window centre is near.
    """
    camera = pyramid.camera
    index = np.full((camera.height, camera.width), -1, np.float32)
    own = index.copy()
    numbers = np.arange(len(pyramid.grid.band), dtype=np.float32)
    if valid is not None:
        numbers = np.where(valid, numbers, np.float32(-1))
    limits = _band_limits(pyramid.bands)
    for position, (low, high) in enumerate(limits):  # far to near, so that nearer bands win
        rows = _image_rows(position, pyramid)
        tile = _warp_tiles(numbers, position, pyramid, rows)
        seen = tile >= 0
        np.copyto(index[rows], tile, where=seen)
        below = _px_below_horizon(pyramid, rows)
        np.copyto(own[rows], tile, where=seen & (below >= low) & (below < high))
    return np.where(own >= 0, own, index).astype(np.int32)


def label_images(
    labels: NDArray[np.integer], confidence: Float, index: NDArray[np.int32]
) -> tuple[Image, Image]:
    """
    Labels and confidence of the windows as images (``traversability/image``, ``/confidence``).

    Parameters
    ----------
    labels : (N,) int
        Class 0-4, or 255.
    confidence : (N,) float
        In [0, 1].
    index : (H, W) int32
        From ``window_index``.

    Returns
    -------
    label_image, confidence_image : (H, W) uint8
        0-4 or 255 = unlabelled; 0-255, 0 where unlabelled.
    """
    label_table = np.append(labels.astype(np.uint8), np.uint8(UNLABELED))
    level = np.clip(np.nan_to_num(np.asarray(confidence)), 0, 1)
    table = np.append(np.rint(level * 255).astype(np.uint8), np.uint8(0))
    table[label_table == UNLABELED] = 0
    return label_table[index], table[index]


def predicted_images(pyramid: Pyramid, probabilities: Float) -> tuple[Image, Image]:
    """Label and confidence image, (H, W) uint8 each, of the windows' class histograms."""
    index = window_index(pyramid, pyramid.windows.valid)
    return label_images(probabilities.argmax(1), probabilities.max(1), index)


def overlay(
    image: Image, label_image: Image, confidence_image: Image, *, strongest: float = 0.65
) -> Image:
    """
    Paint labels over the image, the surer the denser.

    Parameters
    ----------
    image : (H, W, 3) or (H, W) uint8
        Not changed.
    label_image, confidence_image : (H, W) uint8
        From ``label_images``.
    strongest : float
        Opacity at confidence 255.

    Returns
    -------
    (H, W, 3) uint8
    """
    picture = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR) if image.ndim == 2 else image.copy()
    labeled = label_image != UNLABELED
    touched = np.flatnonzero(labeled.any(axis=1))
    if not len(touched):
        return picture
    rows = slice(int(touched[0]), int(touched[-1]) + 1)
    colours = np.zeros((256, 3), np.uint8)
    colours[:len(CLASS_COLOURS)] = CLASS_COLOURS
    alpha = np.arange(256, dtype=np.float32) / 255 * strongest
    weight = alpha[confidence_image[rows]] * labeled[rows]
    paint = colours[label_image[rows]]
    picture[rows] = cv2.blendLinear(picture[rows], paint, 1 - weight, weight)
    return picture


def draw_geometry(picture: Image, pyramid: Pyramid, *, bands: bool = True) -> Image:
    """
    Draw horizon, band outlines and distance marks.

    Parameters
    ----------
    picture : (h, w, 3) uint8
        The camera's image at any zoom; not changed.
    bands : bool
        Draw the outline of each band's windows.

    Returns
    -------
    (h, w, 3) uint8
    """
    picture = picture.copy()
    zoom = picture.shape[1] / pyramid.camera.width
    if bands:
        for band, affine in zip(pyramid.bands, pyramid.image_from_band, strict=True):
            _outline(picture, apply_affine(affine, _corners(band)), zoom)
    u = np.array([-0.5, pyramid.camera.width - 0.5])
    _line(picture, u, np.asarray(pyramid.plane.row(u)), HORIZON_COLOUR, zoom)
    _mark_distances(picture, pyramid, zoom)
    return picture


def resize_to_width(image: Image, width: int) -> Image:
    """
    Image (H, W[, 3]) at another width, same proportions: area average or cubic.

    Narrower where it would be higher than a JPEG can be.
    """
    width = max(1, min(width, HIGHEST * image.shape[1] // image.shape[0]))
    height = max(1, round(image.shape[0] * width / image.shape[1]))
    shrinks = width < image.shape[1]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    resized: Image = cv2.resize(image, (width, height), interpolation=how)
    return resized


def film_strip(
    pictures: list[Image], *, columns: int = 4, width: int = 320, gap: int = 6
) -> Image:
    """
    Pictures side by side at one width, row by row, on dark ground.

    Returns
    -------
    (h, columns * (width + gap) + gap, 3) uint8; one empty row of frames where there is none.
    """
    frames = [resize_to_width(picture, width) for picture in pictures]
    height = max((frame.shape[0] for frame in frames), default=width // 2)
    rows = max(1, -(-len(frames) // columns))
    strip = np.full((rows * (height + gap) + gap, columns * (width + gap) + gap, 3), SHADE,
                    np.uint8)
    for number, frame in enumerate(frames):
        top = gap + number // columns * (height + gap)
        left = gap + number % columns * (width + gap)
        strip[top:top + frame.shape[0], left:left + width] = np.atleast_3d(frame)
    return strip


def draw_text(
    picture: Image, text: str, at: tuple[int, int], *, size_px: int = 14, colour: Colour = INK
) -> None:
    """Write into the picture with a dark rim; ``at`` (x, y) is the left end of the base line."""
    scale = size_px / 22  # height of Hershey capitals at scale 1
    thick = max(1, round(size_px / 12))
    cv2.putText(picture, text, at, FONT, scale, SHADE, thick + 2, cv2.LINE_AA)
    cv2.putText(picture, text, at, FONT, scale, colour, thick, cv2.LINE_AA)


def _image_rows(position: int, pyramid: Pyramid) -> slice:
    """Image rows that the tiles of one band reach."""
    rows = apply_affine(pyramid.image_from_band[position], _corners(pyramid.bands[position]))[:, 1]
    low, high = np.clip((rows.min() - 1, rows.max() + 2), 0, pyramid.camera.height)
    return slice(int(low), int(high))


def _px_below_horizon(pyramid: Pyramid, rows: slice) -> Float:
    """Distance of each pixel of these rows below the horizon line, (h, W) float32 [px]."""
    u = np.arange(pyramid.camera.width, dtype=np.float32)
    horizon = np.asarray(pyramid.plane.row(u), np.float32)
    v = np.arange(rows.start, rows.stop, dtype=np.float32)[:, None]
    below: Float = (v - horizon) * np.float32(np.cos(pyramid.plane.roll_rad))
    return below


def _band_limits(bands: tuple[Band, ...]) -> list[tuple[float, float]]:
    """Strip of each band [px below the horizon]: up to where the next is as well centred."""
    centre = [b.offset_px + b.scale * (_middle_row(b) - b.footline_row) for b in bands]
    cuts = [
        (near.scale * c_far + far.scale * c_near) / (far.scale + near.scale)
        for far, near, c_far, c_near in zip(bands, bands[1:], centre, centre[1:], strict=False)
    ]
    return list(zip([-np.inf, *cuts], [*cuts, np.inf], strict=True))


def _middle_row(band: Band) -> float:
    """Band row in the middle of its window centres."""
    return WINDOW_ROWS // 2 + (band.rows - 1) / 2


def _warp_tiles(numbers: Float, position: int, pyramid: Pyramid, rows: slice) -> Float:
    """Numbers of one band's windows spread over image rows, (h, W) float32, -1 elsewhere."""
    if rows.stop == rows.start:
        return np.empty((0, pyramid.camera.width), np.float32)
    band, stride = pyramid.bands[position], pyramid.row_stride
    part = pyramid.grid.slices[position]
    tiles = numbers[part].reshape(-1, band.columns)
    # tile (i, j) is centred on band pixel (4 j + 12, stride i + 6)
    band_from_tile = np.array([[COLUMN_STRIDE, 0, WINDOW_COLUMNS // 2],
                               [0, stride, WINDOW_ROWS // 2]], float)
    affine = pyramid.image_from_band[position]
    image_from_tile = np.column_stack(
        [affine[:, :2] @ band_from_tile[:, :2], apply_affine(affine, band_from_tile[:, 2])]
    )
    image_from_tile[1, 2] -= rows.start
    size = (pyramid.camera.width, rows.stop - rows.start)
    spread: Float = cv2.warpAffine(tiles, image_from_tile, size, flags=cv2.INTER_NEAREST,
                                   borderMode=cv2.BORDER_CONSTANT, borderValue=(-1,))
    return spread


def _corners(band: Band) -> Float:
    """Outer corners of the band's tiles, (4, 2) band pixels, around."""
    left = WINDOW_COLUMNS // 2 - COLUMN_STRIDE / 2
    right = left + COLUMN_STRIDE * band.columns
    top = WINDOW_ROWS // 2 - 0.5
    bottom = top + band.rows
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]])


def _outline(picture: Image, uv: Float, zoom: float) -> None:
    """Draw a closed, thin polygon given in image pixels."""
    points = np.rint(_zoomed(uv, zoom) * 16).astype(np.int32)
    cv2.polylines(picture, [points], True, BAND_COLOUR, 1, cv2.LINE_AA, shift=4)


def _line(picture: Image, u: Float, v: Float, colour: Colour, zoom: float) -> None:
    """Draw a line through two image pixels, with a dark rim."""
    start, end = np.rint(_zoomed(np.stack([u, v], -1), zoom)).astype(int).tolist()
    thick = 2 if picture.shape[1] >= 480 else 1
    cv2.line(picture, start, end, SHADE, thick + 2, cv2.LINE_AA)
    cv2.line(picture, start, end, colour, thick, cv2.LINE_AA)


def _mark_distances(picture: Image, pyramid: Pyramid, zoom: float) -> None:
    """Write 5 m, 10 m ... at the right border, each with a tick on its footline."""
    plane, width = pyramid.plane, pyramid.camera.width
    size = max(9, round(picture.shape[1] / 55))
    lowest_free = np.inf
    for metres in METRES:
        ticks = np.array([0.955, 0.995]) * width
        rows = np.asarray(plane.row(ticks, plane.focal_baseline / metres))
        y = _zoomed(np.array([ticks[0], rows[0]]), zoom)[1]
        if not size < y < picture.shape[0] or y > lowest_free:
            continue
        _line(picture, ticks, rows, INK, zoom)
        text = f'{metres} m'
        text_width = cv2.getTextSize(text, FONT, size / 22, 1)[0][0]
        x = round(0.95 * width * zoom) - text_width - 3
        draw_text(picture, text, (x, round(y + size / 2)), size_px=size)
        lowest_free = y - 1.9 * size


def _zoomed(uv: Float, zoom: float) -> Float:
    """Image pixels -> pixels of the zoomed picture (pixel centres are whole numbers)."""
    zoomed: Float = (np.asarray(uv) + 0.5) * zoom - 0.5
    return zoomed
