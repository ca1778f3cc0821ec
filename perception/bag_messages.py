# SPDX-License-Identifier: Apache-2.0
"""ROS 2 image messages -> arrays; no cv_bridge, no copy where the pixels lie ready."""

from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from perception.errors import ImageError
from perception.types import Float

# encoding -> dtype, channels, OpenCV conversion to BGR (None: keep)
_RAW: dict[str, tuple[str, int, int | None]] = {
    'mono8': ('u1', 1, None),
    '8UC1': ('u1', 1, None),
    'bgr8': ('u1', 3, None),
    '8UC3': ('u1', 3, None),
    'rgb8': ('u1', 3, cv2.COLOR_RGB2BGR),
    'bgra8': ('u1', 4, cv2.COLOR_BGRA2BGR),
    '8UC4': ('u1', 4, cv2.COLOR_BGRA2BGR),
    'rgba8': ('u1', 4, cv2.COLOR_RGBA2BGR),
    'yuv422': ('u1', 2, cv2.COLOR_YUV2BGR_UYVY),
    'uyvy': ('u1', 2, cv2.COLOR_YUV2BGR_UYVY),
    'yuv422_yuy2': ('u1', 2, cv2.COLOR_YUV2BGR_YUY2),
    'yuyv': ('u1', 2, cv2.COLOR_YUV2BGR_YUY2),
    'bayer_rggb8': ('u1', 1, cv2.COLOR_BayerRGGB2BGR),
    'bayer_bggr8': ('u1', 1, cv2.COLOR_BayerBGGR2BGR),
    'bayer_gbrg8': ('u1', 1, cv2.COLOR_BayerGBRG2BGR),
    'bayer_grbg8': ('u1', 1, cv2.COLOR_BayerGRBG2BGR),
    'mono16': ('u2', 1, None),
    '16UC1': ('u2', 1, None),
    '32FC1': ('f4', 1, None),
}
MAX_PIXELS = 16_000_000  # a larger image takes seconds and gigabytes, and shows nothing more
LONGEST_SIDE = 32766  # OpenCV warps no longer ones
_DEPTH_HEADER_BYTES = 12  # compressed_depth_image_transport: int32 format, float32 A, float32 B


def image_from_message(message: Any, topic: str = 'image') -> NDArray[Any]:
    """
    Pixels of a sensor_msgs/Image or CompressedImage.

    Parameters
    ----------
    message : sensor_msgs/Image or sensor_msgs/CompressedImage
        ``step`` and ``is_bigendian`` are honoured.
    topic : str
        Named in errors.

    Returns
    -------
    (H, W, 3) uint8 BGR, (H, W) uint8 grey, or depth: (H, W) uint16 [mm] or float32 [m]
        May be a read-only view of the message. mono16 keeps its upper eight bits.

    Raises
    ------
    ImageError
        Unknown encoding, zero or absurd size, too small a step, too few bytes, damaged JPEG or
        PNG.
    """
    if hasattr(message, 'format'):
        return _decompress(message, topic)
    layout = _RAW.get(message.encoding)
    if layout is None:
        raise ImageError(
            f'{topic}: unknown encoding {message.encoding!r}; publish one of {", ".join(_RAW)}'
        )
    dtype, channels, conversion = layout
    pixels = _pixels(message, topic, dtype, channels)
    if conversion is not None:
        return np.asarray(cv2.cvtColor(pixels, conversion))
    if message.encoding == 'mono16':
        return (pixels >> 8).astype(np.uint8)
    return pixels


def depth_from_pixels(pixels: NDArray[Any], topic: str = 'depth') -> Float:
    """
    Depth in metres.

    Parameters
    ----------
    pixels : (H, W) uint16 [mm] or float32 [m]
        As REP 118 has it: 0, NaN and infinity (also below zero) mean no measurement.

    Returns
    -------
    (H, W) float32 [m]
        NaN = none.

    Raises
    ------
    ImageError
        The pixels are no depth.
    """
    if pixels.ndim != 2 or pixels.dtype.kind not in 'uf' or pixels.itemsize == 1:
        raise ImageError(
            f'{topic}: {pixels.dtype} {pixels.shape} is no depth image; need 16UC1 mm or 32FC1 m'
        )
    millimetres = pixels.dtype.kind == 'u'
    depth = pixels.astype(np.float32) * np.float32(1e-3 if millimetres else 1.0)
    depth[~((depth > 0) & (depth < np.inf))] = np.nan
    return depth


def grey(image: NDArray[Any]) -> NDArray[Any]:
    """Grey (H, W) uint8 of a BGR or grey image."""
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)) if image.ndim == 3 else image


def _pixels(message: Any, topic: str, dtype: str, channels: int) -> NDArray[Any]:
    height, width, step = message.height, message.width, message.step
    if not height or not width:
        raise ImageError(f'{topic}: image of size {width} x {height}; check the camera driver')
    _check_area(width, height, topic)
    if channels == 2 and width % 2:
        raise ImageError(f'{topic}: {message.encoding} needs an even width, not {width}')
    row = width * channels * int(dtype[1])
    if step < row:
        raise ImageError(
            f'{topic}: step {step} is less than {row} bytes, the row of {width} '
            f'{message.encoding} pixels; fix the publisher'
        )
    if len(message.data) < step * height:
        raise ImageError(
            f'{topic}: {len(message.data)} bytes of image data, need {step * height} '
            f'({height} rows of {step}); fix the publisher'
        )
    order: Literal['>', '<'] = '>' if message.is_bigendian else '<'
    rows = np.frombuffer(message.data, np.uint8, step * height).reshape(height, step)[:, :row]
    pixels = rows.view(np.dtype(dtype).newbyteorder(order))
    pixels = np.ascontiguousarray(pixels, dtype=dtype)
    return pixels.reshape(height, width, channels) if channels > 1 else pixels


def _decompress(message: Any, topic: str) -> NDArray[Any]:
    data = np.frombuffer(message.data, np.uint8)
    if 'compressedDepth' in message.format:
        return _decompress_depth(message, data, topic)
    image = _decoded(data)
    if image is None:
        raise ImageError(
            f'{topic}: {data.size} bytes of format {message.format!r} are no readable JPEG or PNG'
            '; record the topic again'
        )
    _check_area(image.shape[1], image.shape[0], topic)
    return _as_bgr(image, message.format, topic)


def _decoded(data: NDArray[np.uint8]) -> NDArray[Any] | None:
    """Pixels of a JPEG or PNG; None where it is damaged, or too large even for OpenCV."""
    try:
        image = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if data.size else None
    except cv2.error:
        return None
    return None if image is None else np.asarray(image)


def _check_area(width: int, height: int, topic: str) -> None:
    """Refuse what no stage can take in time."""
    is_large = width * height > MAX_PIXELS
    if is_large or max(width, height) > LONGEST_SIDE:
        limit = f'{MAX_PIXELS / 1e6:g} megapixels' if is_large else f'{LONGEST_SIDE} pixels a side'
        raise ImageError(f'{topic}: image of {width} x {height} is larger than {limit}; set the '
                         'camera to a lower resolution, or resize it before')


def _as_bgr(image: NDArray[Any], form: str, topic: str) -> NDArray[Any]:
    """Colours in BGR order, alpha dropped; grey and 16-bit single channels stay."""
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[..., 0]
    if image.ndim == 3 and image.shape[2] == 4:
        image = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGRA2BGR))
    if image.dtype == np.uint16 and (image.ndim == 3 or 'mono16' in form):
        image = (image >> 8).astype(np.uint8)
    if image.dtype not in (np.uint8, np.uint16):
        raise ImageError(f'{topic}: {image.dtype} pixels in {form!r}; publish JPEG or PNG')
    return image


def _decompress_depth(message: Any, data: NDArray[np.uint8], topic: str) -> NDArray[Any]:
    """PNG behind a short header; 32FC1 is stored as quantised inverse depth."""
    image = _decoded(data[_DEPTH_HEADER_BYTES:])
    if image is None or image.dtype != np.uint16:
        raise ImageError(
            f'{topic}: {message.format!r} holds no 16-bit PNG; set the depth transport to png'
        )
    _check_area(image.shape[1], image.shape[0], topic)
    if not message.format.startswith('32FC1'):
        return image
    a, b = np.frombuffer(data[4:_DEPTH_HEADER_BYTES].tobytes(), '<f4')
    stored = image.astype(np.float32)
    depth = np.full(stored.shape, np.nan, np.float32)
    np.divide(a, stored - b, out=depth, where=stored > 0)
    return depth
