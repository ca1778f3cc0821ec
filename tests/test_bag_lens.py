# SPDX-License-Identifier: Apache-2.0
"""CameraInfo to camera and rectification maps, against formulas written out by hand."""

from typing import Any

import cv2
import numpy as np
import pytest
from drives import CAMERA, info_message
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from perception.bag_lens import (
    Lens,
    Maps,
    calibration_from_info,
    camera_from_info,
    rectify,
    rectify_maps,
)
from perception.errors import CalibrationError
from perception.types import Camera

BIG = Camera(200, 120, 150.0, 140.0, 90.0, 66.0, 'cam')
K_RAW = np.array([[160.0, 0, 104], [0, 150, 55], [0, 0, 1]])
R = Rotation.from_euler('xyz', [0.02, -0.03, 0.015]).as_matrix()


def plumb_bob(x: float, y: float, d: list[float]) -> tuple[float, float]:
    k1, k2, p1, p2, k3 = d
    r2 = x * x + y * y
    radial = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3
    return (x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
            y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y)


def rational(x: float, y: float, d: list[float]) -> tuple[float, float]:
    k1, k2, p1, p2, k3, k4, k5, k6 = d
    r2 = x * x + y * y
    radial = (1 + k1 * r2 + k2 * r2**2 + k3 * r2**3) / (1 + k4 * r2 + k5 * r2**2 + k6 * r2**3)
    return (x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
            y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y)


def equidistant(x: float, y: float, d: list[float]) -> tuple[float, float]:
    r = np.hypot(x, y)
    a = np.arctan(r)
    bent = a * (1 + d[0] * a**2 + d[1] * a**4 + d[2] * a**6 + d[3] * a**8)
    return (x * bent / r, y * bent / r)


MODELS = {
    'plumb_bob': (plumb_bob, [-0.2, 0.05, 0.003, -0.002, 0.01]),
    'rational_polynomial': (rational, [0.1, -0.05, 0.002, 0.001, 0.01, 0.3, 0.02, -0.01]),
    'equidistant': (equidistant, [0.05, -0.02, 0.01, -0.004]),
}


@pytest.mark.parametrize('model', MODELS)
def test_rectified_pixel_shows_what_the_raw_pixel_saw(model: str) -> None:
    """A dot where the model puts one rectified pixel comes out at that pixel."""
    distort, d = MODELS[model]
    u, v = 143, 31
    ray = R.T @ [(u - BIG.cx) / BIG.fx, (v - BIG.cy) / BIG.fy, 1]
    x, y = distort(ray[0] / ray[2], ray[1] / ray[2], d)
    u_raw, v_raw = K_RAW[0, 0] * x + K_RAW[0, 2], K_RAW[1, 1] * y + K_RAW[1, 2]
    rows, columns = np.mgrid[:120, :200]
    raw = np.exp(-((columns - u_raw) ** 2 + (rows - v_raw) ** 2) / 8).astype(np.float32)
    info = info_message(
        width=200, height=120, k=K_RAW.ravel(), r=R.ravel(), d=np.array(d), distortion_model=model,
        p=np.hstack([BIG.K, np.zeros((3, 1))]).ravel(),
    )
    camera, maps = camera_from_info(info)
    assert (camera.fx, camera.fy, camera.cx, camera.cy) == (150.0, 140.0, 90.0, 66.0)
    assert maps is not None
    result = rectify(raw, maps)
    weights = result / result.sum()
    centre = (weights * columns).sum(), (weights * rows).sum()
    np.testing.assert_allclose(centre, (u, v), atol=0.15)
    assert np.hypot(u_raw - u, v_raw - v) > 3  # the lens does move this pixel


def test_nearest_takes_the_nearest_raw_pixel() -> None:
    """Shift of 0.7 columns to the left and 0.3 rows: column + 1, same row."""
    camera = Camera(6, 4, 5.0, 5.0, 2.0, 1.0)
    lens = Lens(np.array([[5.0, 0, 2.7], [0, 5, 1.3], [0, 0, 1]]))
    depth = np.arange(24, dtype=np.float32).reshape(4, 6) + 1
    result = rectify(depth, rectify_maps(lens, camera), nearest=True)
    np.testing.assert_array_equal(result[:, :5], depth[:, 1:])
    assert (result[:, 5] == 0).all()


def naive_reading(image: NDArray[Any], u: NDArray[Any], v: NDArray[Any]) -> NDArray[Any]:
    """Bilinear in float64, with zeros around the image."""
    padded = np.pad(image.astype(float), 1)
    result = np.zeros(u.shape)
    for place in np.ndindex(u.shape):
        column, row = int(np.floor(u[place])), int(np.floor(v[place]))
        if -1 <= column < image.shape[1] and -1 <= row < image.shape[0]:
            x, y = u[place] - column, v[place] - row
            part = padded[row + 1:row + 3, column + 1:column + 3]
            result[place] = [1 - y, y] @ part @ [1 - x, x]
    return result


def test_reading_against_a_naive_twin() -> None:
    """Grey and colour, into the border, far beyond it and NaN, from an image of another size."""
    rng = np.random.default_rng(5)
    raw = rng.integers(0, 256, (13, 17, 3)).astype(np.uint8)
    u = rng.uniform(-3, 20, (24, 31)).astype(np.float32)
    v = rng.uniform(-3, 16, (24, 31)).astype(np.float32)
    u[0, :5], v[0, :5] = (0, 16, -1, 3.25, 40000), (0, 12, 2.5, -1, -90000)
    grey, colour = rectify(raw[..., 0], Maps(u, v)), rectify(raw, Maps(u, v))
    assert np.abs(grey - naive_reading(raw[..., 0], u, v)).max() < 1
    for channel in range(3):  # OpenCV 4 reads at 32nds of a pixel: of 255 levels, 4 each way
        error = np.abs(colour[..., channel] - naive_reading(raw[..., channel], u, v))
        assert error.max() < 9
        assert np.median(error) < 0.6
    u[1, 1] = np.nan
    assert rectify(raw[..., 0], Maps(u, v))[1, 1] == 0


def test_rectified_camera_needs_no_maps() -> None:
    camera, maps = camera_from_info(info_message())
    assert camera == CAMERA
    assert maps is None


@pytest.mark.parametrize('changes', [
    {'d': np.array([0.0, 0, 1e-3, 0, 0])}, {'r': R.ravel()},
    {'k': np.array([41.0, 0, 22.5, 0, 38, 17.25, 0, 0, 1])},
])
def test_raw_camera_needs_maps(changes: dict[str, NDArray[Any]]) -> None:
    assert camera_from_info(info_message(**changes))[1] is not None


def test_camera_calibrated_alone() -> None:
    """Without P and R, K stands for P."""
    info = info_message(p=np.zeros(12), r=np.zeros(9))
    assert camera_from_info(info) == (CAMERA, None)


def test_binning_and_region_of_interest() -> None:
    """
    Crop from (10, 4), 24 x 20, then 2 x 4 pixels become one.

    Column 22.5 of the full image is 12.5 of the crop, whose edge is at -0.5: (12.5 + 0.5) / 2
    - 0.5 = 6; row 17.25 -> 13.25 -> 13.75 / 4 - 0.5 = 2.9375.
    """
    info = info_message(binning_x=2, binning_y=4)
    info.roi.x_offset, info.roi.y_offset, info.roi.width, info.roi.height = 10, 4, 24, 20
    info.p[3] = -10.0
    calibration = calibration_from_info(info)
    assert calibration.camera == Camera(12, 5, 20.0, 9.5, 6.0, 2.9375, 'left_optical')
    assert calibration.tx == -5.0  # the baseline, 0.25 m, stays
    assert calibration.undistorted


def test_binning_agrees_with_an_averaged_image() -> None:
    full = np.zeros((32, 48), np.float32)
    full[16:18, 22:24] = 1  # centre of light at column 22.5, row 16.5: the principal point
    k = np.array([40.0, 0, 22.5, 0, 38, 16.5, 0, 0, 1])
    info = info_message(binning_x=2, binning_y=2, k=k, p=np.zeros(12))
    camera = calibration_from_info(info).camera
    small = cv2.resize(full, (24, 16), interpolation=cv2.INTER_AREA)
    assert small[int(camera.cy), int(camera.cx)] == 1
    assert (camera.cx, camera.cy) == (11, 8)


@pytest.mark.parametrize(('changes', 'text'), [
    ({'width': 0}, '/info: CameraInfo of size 0 x 32; calibrate the camera'),
    ({'k': np.zeros(9), 'p': np.zeros(12)}, r'/info: uncalibrated camera \(K and P are all zero'),
    ({'k': np.full(9, np.nan)}, '/info: K holds NaN or infinity'),
    ({'d': np.array([np.inf, 0, 0, 0])}, '/info: D holds NaN or infinity'),
    ({'k': np.array([-40.0, 0, 22, 0, 38, 17, 0, 0, 1])}, r'/info: focal length K\[0\] = -40 px'),
    ({'p': np.array([40.0, 0, 22, 0, 0, 0, 17, 0, 0, 0, 1, 0])}, r'focal length P\[5\] = 0 px'),
    ({'p': np.array([40.0, 0, 220, 0, 0, 38, 17, 0, 0, 0, 1, 0])}, r'principal point \(220, 17\)'),
    ({'d': np.ones(5), 'distortion_model': 'magic'}, "unknown distortion_model 'magic'; use"),
    ({'d': np.ones(3)}, "3 distortion values for 'plumb_bob'"),
    ({'d': np.ones(2), 'distortion_model': 'equidistant'}, "2 distortion values for 'equidist"),
])
def test_refused_calibration(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(CalibrationError, match=text):
        calibration_from_info(info_message(**changes), '/info')
