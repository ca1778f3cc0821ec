# SPDX-License-Identifier: Apache-2.0
"""sensor_msgs/CameraInfo -> camera, lens and rectification maps."""

from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from perception.errors import CalibrationError
from perception.lens_loops import Fractions, Places, read_between
from perception.types import Camera, Float

MAX_SENSOR_PIXELS = 200_000_000
_FISHEYE = ('equidistant', 'fisheye')
_PINHOLE = ('', 'plumb_bob', 'rational_polynomial', 'thin_prism')


@dataclass(frozen=True)
class Lens:
    """Raw camera: ``K`` (3, 3) [px], distortion ``D`` of ``model``, ``R`` raw -> rectified."""

    K: Float
    D: Float = field(default_factory=lambda: np.zeros(5))
    R: Float = field(default_factory=lambda: np.eye(3))
    model: str = 'plumb_bob'


@dataclass(frozen=True)
class Calibration:
    """One CameraInfo: the rectified ``camera`` (P), the raw ``lens``, and Tx = P[0, 3] [px m]."""

    camera: Camera
    lens: Lens
    tx: float

    @property
    def undistorted(self) -> bool:
        """True where raw pixels are rectified pixels already."""
        lens = self.lens
        return (
            not np.any(lens.D)
            and np.allclose(lens.R, np.eye(3))
            and np.allclose(lens.K, self.camera.K, rtol=1e-6)
        )


@dataclass(frozen=True, eq=False)
class Maps:
    """Raw column ``u`` and row ``v``, float32 [px], of each rectified pixel (H, W)."""

    u: Float
    v: Float
    _fixed: dict[tuple[int, ...], tuple[Places, Fractions]] = field(default_factory=dict)

    def fixed(self, size: tuple[int, ...]) -> tuple[Places, Fractions]:
        """Places and 256ths in a raw image of this height and width, as of ``read_between``."""
        if size not in self._fixed:
            h, w = size
            fixed = np.rint(np.nan_to_num(np.stack([self.u, self.v]), nan=-9) * np.float32(256))
            u, v = np.clip(fixed, -1024, 256 * (max(size) + 1)).astype(np.int32)
            column, row = (u >> 8) + 1, (v >> 8) + 1
            inside = (column >= 0) & (column <= w) & (row >= 0) & (row <= h)
            places = np.where(inside, row * (w + 1) + column, (h + 1) * (w + 1))
            fractions = u & 255 | (v & 255) << 8
            self._fixed[size] = places.astype(np.uint32), fractions.astype(np.uint16)
        return self._fixed[size]


def calibration_from_info(info: Any, topic: str = 'camera_info') -> Calibration:
    """
    Read a sensor_msgs/CameraInfo, its binning and region of interest applied.

    Parameters
    ----------
    info : sensor_msgs/CameraInfo
        An empty P (a camera calibrated alone) means K; an empty R means no rotation.
    topic : str
        Named in errors.

    Raises
    ------
    CalibrationError
        Zero size, uncalibrated, NaN or absurd numbers, unknown distortion model.

    Convention
        Binning averages pixels, so the centre of a binned pixel lies between its parts:
        c' = (c + 0.5) / binning - 0.5.
    """
    K = np.array(info.k, float).reshape(3, 3)
    P = np.array(info.p, float).reshape(3, 4)
    R = np.array(info.r, float).reshape(3, 3)
    D = np.array(info.d, float)
    if not P.any():
        P[:, :3] = K
    if not K.any():
        K = P[:, :3].copy()
    _check(topic, info, {'K': K, 'P': P, 'D': D, 'R': R})
    crop, size = _crop(info)
    K, P = crop @ K, crop @ P
    fx, fy, cx, cy = (float(v) for v in (P[0, 0], P[1, 1], P[0, 2], P[1, 2]))
    camera = Camera(*size, fx, fy, cx, cy, info.header.frame_id)
    _check_centre(topic, camera)
    lens = Lens(K, D, R if R.any() else np.eye(3), info.distortion_model)
    return Calibration(camera, lens, float(P[0, 3]))


def camera_from_info(info: Any, topic: str = 'camera_info') -> tuple[Camera, Maps | None]:
    """Rectified camera of a CameraInfo, and the maps from its raw images (None = not needed)."""
    calibration = calibration_from_info(info, topic)
    if calibration.undistorted:
        return calibration.camera, None
    return calibration.camera, rectify_maps(calibration.lens, calibration.camera)


def rectify_maps(lens: Lens, camera: Camera) -> Maps:
    """Where in the raw image each pixel of ``camera`` is seen."""
    size = (camera.width, camera.height)
    make = cv2.fisheye.initUndistortRectifyMap if lens.model in _FISHEYE else (
        cv2.initUndistortRectifyMap)
    distortion = lens.D[:4] if lens.model in _FISHEYE else lens.D
    try:
        maps = make(lens.K, distortion, lens.R, camera.K, size, cv2.CV_32FC1)
    except cv2.error as error:
        text = ' '.join(str(error).split())
        raise CalibrationError(
            f'{camera.frame_id or "camera"}: its lens cannot be rectified ({text}); calibrate it'
        ) from None
    return Maps(np.asarray(maps[0], np.float32), np.asarray(maps[1], np.float32))


def rectify(image: NDArray[Any], maps: Maps, *, nearest: bool = False) -> NDArray[Any]:
    """Image (H, W), or (H, W, 3) bytes, through the maps; outside = 0. Depth needs ``nearest``."""
    if nearest:
        return np.asarray(cv2.remap(image, maps.u, maps.v, cv2.INTER_NEAREST))
    if image.dtype != np.uint8:
        return np.asarray(cv2.remap(image, maps.u, maps.v, cv2.INTER_LINEAR))
    if image.ndim == 2:
        return read_between(np.ascontiguousarray(image), *maps.fixed(image.shape))
    # four channels take half as long as three
    image = cv2.cvtColor(image, cv2.COLOR_BGR2BGRA)
    image = cv2.remap(image, maps.u, maps.v, cv2.INTER_LINEAR)
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGRA2BGR))


def _check(topic: str, info: Any, matrices: dict[str, Float]) -> None:
    remedy = 'calibrate the camera and record its CameraInfo'
    K, P, D = matrices['K'], matrices['P'], matrices['D']
    if not info.width or not info.height:
        raise CalibrationError(
            f'{topic}: CameraInfo of size {info.width} x {info.height}; {remedy}'
        )
    if info.width * info.height > MAX_SENSOR_PIXELS:
        raise CalibrationError(f'{topic}: CameraInfo of {info.width} x {info.height} is absurd; '
                               f'{remedy}')
    if not K.any():
        raise CalibrationError(f'{topic}: uncalibrated camera (K and P are all zero); {remedy}')
    for name, matrix in matrices.items():
        if not np.isfinite(matrix).all():
            raise CalibrationError(f'{topic}: {name} holds NaN or infinity; {remedy}')
    for name, value in (('K[0]', K[0, 0]), ('K[4]', K[1, 1]), ('P[0]', P[0, 0]),
                        ('P[5]', P[1, 1])):
        if value <= 0:
            raise CalibrationError(f'{topic}: focal length {name} = {value:g} px; {remedy}')
    model = info.distortion_model
    if D.any() and model not in _PINHOLE + _FISHEYE:
        known = ', '.join(m for m in _PINHOLE + _FISHEYE if m)
        raise CalibrationError(f'{topic}: unknown distortion_model {model!r}; use {known}')
    if len(D) and (len(D) < 4 if model in _FISHEYE else len(D) not in (4, 5, 8, 12, 14)):
        raise CalibrationError(f'{topic}: {len(D)} distortion values for {model!r}; {remedy}')


def _check_centre(topic: str, camera: Camera) -> None:
    """A principal point far outside the image is a mistake, not a lens."""
    if abs(camera.cx - camera.width / 2) > camera.width or (
        abs(camera.cy - camera.height / 2) > camera.height
    ):
        raise CalibrationError(
            f'{topic}: principal point ({camera.cx:g}, {camera.cy:g}) lies far outside the '
            f'{camera.width} x {camera.height} image; does the calibration fit this size?'
        )


def _crop(info: Any) -> tuple[Float, tuple[int, int]]:
    """Full-resolution pixels -> image pixels (3, 3), and the image's (width, height)."""
    bx, by = max(1, info.binning_x), max(1, info.binning_y)
    roi = info.roi
    width, height = roi.width or info.width, roi.height or info.height
    crop = np.array([
        [1 / bx, 0, (0.5 - roi.x_offset) / bx - 0.5],
        [0, 1 / by, (0.5 - roi.y_offset) / by - 0.5],
        [0, 0, 1.0],
    ])
    return crop, (width // bx, height // by)
