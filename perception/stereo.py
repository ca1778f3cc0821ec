# SPDX-License-Identifier: Apache-2.0
"""Disparity from a rectified pair, or the same grid from a depth image."""

from functools import lru_cache
from typing import Any

import cv2
import numpy as np

from perception.config import StereoConfig
from perception.errors import CalibrationError, ImageError
from perception.types import Camera, DepthGrid, Float, Frame, Image, Mask

MIN_TEXTURE, MIN_SHARE, MAX_STEP_PX, MAX_RANGE_PX = 2.0, 0.8, 0.75, 1.5
NEAR_PX, NEAR_SHARE = 1.0, 0.1  # a row is near where a tenth of it has this disparity
DEPTH_BASELINE_M = 0.12  # gives a depth camera disparities of the usual size


def depth_grid(frame: Frame, config: StereoConfig) -> DepthGrid | None:
    """
    Measure depth on a grid ``config.scale`` times coarser than the image.

    Parameters
    ----------
    frame : Frame
        A rectified stereo pair, or an image with registered depth.
    config : StereoConfig
        Matching parameters.

    Returns
    -------
    DepthGrid or None
        None for a camera alone.

    Raises
    ------
    ImageError
        The two images differ in size.
    CalibrationError
        The baseline is not positive.
    """
    if frame.depth is not None:
        return _grid_from_depth(frame, config.scale)
    if frame.right is None:
        return None
    if frame.right.shape[:2] != frame.image.shape[:2]:
        raise ImageError(
            f'right image is {frame.right.shape[1]}x{frame.right.shape[0]}, left is '
            f'{frame.image.shape[1]}x{frame.image.shape[0]}; both must be of one size'
        )
    if not frame.baseline_m or not 0 < frame.baseline_m < 10:
        raise CalibrationError(
            f'stereo baseline {frame.baseline_m} m; P of the right CameraInfo must carry '
            '-fx * baseline with a baseline between 0 and 10 m'
        )
    disparity = match(to_grey(frame.image), to_grey(frame.right), config, frame.camera)
    return DepthGrid(disparity, frame.camera, frame.camera.fx * frame.baseline_m, config.scale)


def to_grey(image: Image) -> Image:
    """(H, W, 3) BGR or (H, W) uint8 -> (H, W) uint8."""
    if image.ndim == 2:
        return image
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), np.uint8)


def match(
    left: Image, right: Image, config: StereoConfig, camera: Camera | None = None
) -> Float:
    """
    Semi-global matching with left-right and speckle checks.

    Parameters
    ----------
    left, right : (H, W) uint8
        Rectified: rows correspond.
    camera : Camera, optional
        Lets the sub-pixel step undo what a slightly tilted right eye does to columns.

    Returns
    -------
    (H // scale, W // scale) float32
        Disparity in pixels of the full image; NaN = no match.

    Source
        measurements.md 3.3: half-resolution three-way SGBM is six times cheaper than full
        resolution, and less noisy.
    """
    size = (left.shape[1] // config.scale, left.shape[0] // config.scale)
    if min(size) < 2 * config.block_px:
        raise ImageError(f'image {left.shape[1]}x{left.shape[0]} is too small to match; '
                         'lower stereo.scale or use larger images')
    if config.scale > 1:
        crop = (slice(0, size[1] * config.scale), slice(0, size[0] * config.scale))
        left, right = (np.asarray(cv2.resize(image[crop], size, interpolation=cv2.INTER_AREA),
                                  np.uint8) for image in (left, right))
    raw = _matcher(config, size[0]).compute(left, right)
    # OpenCV returns 16ths; a disparity below one 16th of a pixel is no match
    disparity = raw.astype(np.float32) * np.float32(1 / 16)
    disparity[raw <= 0] = np.nan
    if config.refine_px:
        below = slice(_first_near_row(disparity, config.refine_px), None)
        disparity[below] = refine_subpixel(
            left[below], right[below], disparity[below], config.refine_px,
            camera and _reduced(camera, config.scale, below.start))
    return np.asarray(disparity * np.float32(config.scale), np.float32)


def _first_near_row(disparity: Float, window_px: int) -> int:
    """Row from which on things are near enough to gain by refinement, less one window."""
    near = cv2.reduce((disparity >= NEAR_PX).view(np.uint8), 1, cv2.REDUCE_SUM, dtype=cv2.CV_32S)
    rows = np.flatnonzero(near > NEAR_SHARE * disparity.shape[1])
    return max(int(rows[0]) - window_px, 0) if len(rows) else 0


def _reduced(camera: Camera, scale: int, top: int) -> Camera:
    """Intrinsics of the image reduced ``scale`` times by area, without its first rows."""
    shift = (scale - 1) / 2
    return Camera(camera.width // scale, camera.height // scale - top, camera.fx / scale,
                  camera.fy / scale, (camera.cx - shift) / scale,
                  (camera.cy - shift) / scale - top)


def refine_subpixel(
    left: Image, right: Image, disparity: Float, window_px: int, camera: Camera | None = None
) -> Float:
    """
    Remove the matcher's pixel locking by one Lucas-Kanade step.

    Semi-global matching pulls disparities towards whole pixels, by up to 0.2 px and 0.03 px on
    average. Where the surface is smooth, the window's mean disparity is corrected by what aligns
    the two images over the window, together with one row error for the whole image. A row error
    comes from a tilted right eye, which shifts columns too: that is corrected with ``camera``.

    Parameters
    ----------
    left, right : (h, w) uint8
        The pair at matching resolution.
    disparity : (h, w) float32 [px]
        NaN = none.
    window_px : int
        Side of the window, odd.
    camera : Camera, optional
        Intrinsics at matching resolution.

    Returns
    -------
    (h, w) float32 [px]
        Unchanged at edges, where points are scarce, and where the step exceeds 0.75 px.

    Source
        Lucas and Kanade 1981; the row error is eliminated over all windows (Schur complement).
    """
    size = (window_px, window_px)
    valid = np.isfinite(disparity)
    share = cv2.boxFilter(valid.view(np.uint8), cv2.CV_32F, size)
    mean = cv2.boxFilter(_filled(disparity, 0), -1, size)
    mean /= np.maximum(share, 1e-6)
    smooth = _is_smooth(disparity, valid, size) & (share > MIN_SHARE)
    step, row_error = _align_windows(left, _along_rows(right, mean), smooth, size)
    smooth &= np.abs(step) < MAX_STEP_PX
    refined = disparity.copy()
    np.clip(step, -0.5, 0.5, out=step)
    step += mean
    cv2.copyTo(step, smooth.view(np.uint8), refined)
    if camera is not None:
        refined += _tilt_shift(mean, row_error, camera)
    return refined


def _filled(disparity: Float, value: float) -> Float:
    """Disparities with this value where there is none."""
    return np.asarray(cv2.patchNaNs(disparity.copy(), value))


def _align_windows(
    left: Image, warped: Float, smooth: Mask, size: tuple[int, int]
) -> tuple[Float, float]:
    """Disparity step of each window (h, w) [px], and the row error [px] common to all."""
    error = left - warped
    error -= cv2.boxFilter(error, -1, size)
    both = left + warped
    across, down = np.zeros_like(both), np.zeros_like(both)
    np.subtract(both[:, 2:], both[:, :-2], out=across[:, 1:-1])
    np.subtract(both[2:], both[:-2], out=down[1:-1])
    across *= np.float32(0.25)
    down *= np.float32(0.25)
    row_error = _row_error(across, down, error, smooth, size)
    error += np.float32(row_error) * down
    mismatch = cv2.boxFilter(across * error, -1, size)
    texture = cv2.boxFilter(np.square(across), -1, size)
    mismatch /= -np.maximum(texture, MIN_TEXTURE)
    return mismatch, row_error


def _row_error(
    across: Float, down: Float, error: Float, smooth: Mask, size: tuple[int, int]
) -> float:
    """One vertical shift [px] for all smooth blocks, each with a horizontal shift of its own."""
    blocks = (smooth.shape[1] // size[0], smooth.shape[0] // size[1])
    if min(blocks) < 1:
        return 0.0
    crop = (slice(0, blocks[1] * size[1]), slice(0, blocks[0] * size[0]))

    def mean(values: Float) -> Float:
        reduced = cv2.resize(values[crop], blocks, interpolation=cv2.INTER_AREA)
        return np.asarray(reduced, np.float32)

    used = np.nonzero(mean(smooth.astype(np.float32)) > MIN_SHARE)
    xx, xy, yy, xe, ye = (
        mean(one * other)[used] for one, other in
        ((across, across), (across, down), (down, down), (across, error), (down, error)))
    xx = np.maximum(xx, MIN_TEXTURE)
    own = float((yy - xy * xy / xx).sum())
    if own <= MIN_TEXTURE:
        return 0.0
    return float(np.clip(-float((ye - xy * xe / xx).sum()) / own, -1, 1))


def _tilt_shift(disparity: Float, row_error: float, camera: Camera) -> Float:
    """Column shift x y / (1 + y^2) of a row error that stems from a tilted right eye [px]."""
    h, w = disparity.shape
    y = (np.arange(h, dtype=np.float32) - camera.cy) / camera.fy
    shift = np.arange(w, dtype=np.float32) - np.float32(camera.cx) - disparity
    shift *= (row_error / camera.fx * y / (1 + y * y)).astype(np.float32)[:, None]
    return shift


def _along_rows(image: Image, disparity: Float) -> Float:
    """Image (h, w) read at (u - disparity, v), float32."""
    h, w = disparity.shape
    u = np.arange(w, dtype=np.float32) - disparity
    return np.asarray(cv2.remap(image.astype(np.float32), u, _row_numbers(h, w), cv2.INTER_LINEAR,
                                borderMode=cv2.BORDER_REPLICATE), np.float32)


@lru_cache(maxsize=8)
def _row_numbers(height: int, width: int) -> Float:
    """Row of each pixel, (height, width) float32, to be read only."""
    return np.repeat(np.arange(height, dtype=np.float32)[:, None], width, 1)


def _is_smooth(disparity: Float, valid: Mask, size: tuple[int, int]) -> Mask:
    """Where the disparities of a window stay within 1.5 px: no edge, no steep wall."""
    kernel = np.ones(size, np.uint8)
    highest = cv2.dilate(_filled(disparity, -1e3), kernel)
    highest -= cv2.erode(_filled(disparity, 1e3), kernel)
    return np.asarray(valid & (highest < MAX_RANGE_PX))


@lru_cache(maxsize=8)
def _matcher(config: StereoConfig, width: int) -> Any:
    """SGBM for images of this width; the search never exceeds the image."""
    search = max(16, min(config.disparities_px // config.scale, width // 2) // 16 * 16)
    area = config.block_px ** 2
    return cv2.StereoSGBM.create(
        0, search, config.block_px, 8 * area, 32 * area, config.left_right_px,
        config.prefilter_cap, config.uniqueness_percent, config.speckle_px, 1,
        cv2.STEREO_SGBM_MODE_SGBM_3WAY,
    )


def _grid_from_depth(frame: Frame, step: int) -> DepthGrid:
    """
    Registered depth as disparities: the nearest valid value of each step x step cell.

    The nearest and not the mean: a mean across an edge would be a point in the air.
    """
    depth, camera = frame.depth, frame.camera
    if depth is None or depth.shape != (camera.height, camera.width):
        size = 'none' if depth is None else f'{depth.shape[1]}x{depth.shape[0]}'
        raise ImageError(f'depth image is {size}, its camera says '
                         f'{camera.width}x{camera.height}; use depth registered to the image')
    h, w = camera.height // step, camera.width // step
    usable = np.where(np.isfinite(depth) & (depth > 0), depth, np.inf)
    cells = usable[:h * step, :w * step].reshape(h, step, w, step)
    nearest = cells.min(axis=(1, 3)).astype(np.float32)
    focal_baseline = camera.fx * DEPTH_BASELINE_M
    disparity = np.where(np.isfinite(nearest), np.float32(focal_baseline) / nearest, np.nan)
    return DepthGrid(disparity.astype(np.float32), camera, focal_baseline, step)
