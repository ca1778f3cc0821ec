# SPDX-License-Identifier: Apache-2.0
"""Image messages to arrays: every encoding, padding, byte order, and what is refused."""

from typing import Any

import cv2
import numpy as np
import pytest
from drives import picture
from numpy.typing import NDArray

from perception import bag_encode as encode
from perception.bag_messages import depth_from_pixels, grey, image_from_message
from perception.errors import ImageError

HEADER = encode.header(1, 'cam')


def image(array: NDArray[Any], encoding: str, padding: int = 0) -> Any:
    """Image message with ``padding`` bytes of 0xEE behind every row."""
    message = encode.image_message(HEADER, array, encoding)
    if padding:
        rows = message.data.reshape(message.height, message.step)
        message.data = np.pad(rows, ((0, 0), (0, padding)), constant_values=0xEE).ravel()
        message.step += padding
    return message


@pytest.mark.parametrize('padding', [0, 5])
def test_colour_encodings_become_bgr(padding: int) -> None:
    bgr = picture(1)
    alpha = np.full((*bgr.shape[:2], 1), 9, np.uint8)
    for encoding, array in {
        'bgr8': bgr,
        'rgb8': bgr[..., ::-1],
        'bgra8': np.concatenate([bgr, alpha], -1),
        'rgba8': np.concatenate([bgr[..., ::-1], alpha], -1),
    }.items():
        result = image_from_message(image(array, encoding, padding))
        np.testing.assert_array_equal(result, bgr, err_msg=encoding)
        assert result.flags.c_contiguous


@pytest.mark.parametrize('padding', [0, 3])
@pytest.mark.parametrize('encoding', ['mono8', '8UC1'])
def test_grey(encoding: str, padding: int) -> None:
    array = picture(2, channels=1)
    np.testing.assert_array_equal(image_from_message(image(array, encoding, padding)), array)


def yuv_naive(y: float, u: float, v: float) -> list[float]:
    """BT.601 video range, as OpenCV's YUV 4:2:2 codes take it; BGR."""
    c, d, e = 1.164 * (y - 16), u - 128, v - 128
    return [c + 2.018 * d, c - 0.391 * d - 0.813 * e, c + 1.596 * e]


@pytest.mark.parametrize(('encoding', 'order'), [
    ('yuv422', 'uyvy'), ('uyvy', 'uyvy'), ('yuv422_yuy2', 'yuyv'), ('yuyv', 'yuyv'),
])
def test_yuv422_byte_order(encoding: str, order: str) -> None:
    y, u, v = [60, 200, 90, 120], [100, 140], [150, 90]  # one row of four pixels, two pairs
    values = {'u': u, 'v': v}
    pairs = []
    for pair in range(2):
        luma = iter(y[2 * pair: 2 * pair + 2])
        pairs += [next(luma) if name == 'y' else values[name][pair] for name in order]
    array = np.array(pairs, np.uint8).reshape(1, 4, 2).repeat(2, 0)
    message = encode.image_message(HEADER, array, 'yuv422')
    message.encoding = encoding
    expected = [yuv_naive(y[i], u[i // 2], v[i // 2]) for i in range(4)]
    result = image_from_message(message)
    assert result.shape == (2, 4, 3)
    np.testing.assert_allclose(result[1], np.clip(expected, 0, 255), atol=2)


def test_bayer_puts_red_first() -> None:
    raw = np.zeros((8, 12), np.uint8)
    raw[0::2, 0::2] = 200  # RGGB: red where row and column are even
    message = encode.image_message(HEADER, raw, 'mono8')
    message.encoding = 'bayer_rggb8'
    blue, green, red = image_from_message(message)[4, 6]
    assert (blue, green, red) == (0, 0, 200)


@pytest.mark.parametrize('padding', [0, 6])
@pytest.mark.parametrize('big', [False, True])
@pytest.mark.parametrize(('encoding', 'dtype'), [('16UC1', 'u2'), ('32FC1', 'f4')])
def test_depth_encodings_honour_byte_order(
    encoding: str, dtype: str, big: bool, padding: int
) -> None:
    array = np.arange(35, dtype=dtype).reshape(5, 7) * 257
    message = image(array.copy(), encoding, padding)
    if big:
        row = message.data.reshape(5, -1)[:, : 7 * array.itemsize]
        row[:] = row.reshape(5, 7, -1)[..., ::-1].reshape(5, -1)
        message.is_bigendian = 1
    np.testing.assert_array_equal(image_from_message(message), array)


def test_mono16_keeps_the_upper_bits() -> None:
    array = np.array([[0x1234, 0xFF01, 0x00FF]], np.uint16)
    assert image_from_message(image(array, 'mono16')).tolist() == [[0x12, 0xFF, 0]]


def test_compressed_jpeg_and_png() -> None:
    smooth = np.add.outer(np.arange(32), np.arange(48)).astype(np.uint8) * 2
    colour = np.dstack([smooth, smooth[::-1], 255 - smooth])
    for array in (smooth, colour):
        result = image_from_message(encode.compressed_message(HEADER, array, 'png'))
        np.testing.assert_array_equal(result, array)
        result = image_from_message(encode.compressed_message(HEADER, array, 'jpeg', 95))
        assert result.shape == array.shape
        assert np.abs(result.astype(int) - array).mean() < 4
    depth = smooth.astype(np.uint16) * 100
    result = image_from_message(encode.compressed_message(HEADER, depth, 'png'))
    np.testing.assert_array_equal(result, depth)


def test_png_with_alpha_loses_it() -> None:
    array = np.dstack([picture(3), np.full((32, 48), 7, np.uint8)])
    result = image_from_message(encode.compressed_message(HEADER, array, 'png'))
    np.testing.assert_array_equal(result, array[..., :3])


def compressed_depth(stored: NDArray[np.uint16], a: float, b: float, form: str) -> Any:
    _, png = cv2.imencode('.png', stored)
    head = np.zeros(4, np.uint8).tobytes() + np.array([a, b], '<f4').tobytes()
    return encode.make('sensor_msgs/CompressedImage', header=HEADER, format=form,
                       data=np.frombuffer(head + png.tobytes(), np.uint8))


def test_compressed_depth_transport() -> None:
    stored = np.array([[0, 1000, 3000], [500, 100, 40000]], np.uint16)
    message = compressed_depth(stored, 0, 0, '16UC1; compressedDepth png')
    np.testing.assert_array_equal(image_from_message(message), stored)
    message = compressed_depth(stored, 2000.0, 0.5, '32FC1; compressedDepth')
    # depth = A / (stored - B), so the second value is 2000 / 999.5
    np.testing.assert_allclose(
        image_from_message(message)[0], [np.nan, 2.001001, 0.666778], rtol=1e-5
    )


def test_compressed_depth_that_is_none() -> None:
    message = compressed_depth(np.ones((2, 3), np.uint16), 0, 0, '16UC1; compressedDepth rvl')
    message.data = message.data[:20]
    with pytest.raises(ImageError, match=r'/depth: .*compressedDepth rvl.* set the depth transp'):
        image_from_message(message, '/depth')


def test_depth_in_metres_and_without_measurement() -> None:
    millimetres = np.array([[0, 1500, 65535]], np.uint16)
    np.testing.assert_allclose(depth_from_pixels(millimetres), [[np.nan, 1.5, 65.535]])
    metres = np.array([[np.nan, np.inf, -np.inf], [0.0, -2.0, 3.25]], np.float32)
    expected = np.full((2, 3), np.nan)
    expected[1, 2] = 3.25
    np.testing.assert_array_equal(depth_from_pixels(metres), expected)
    with pytest.raises(ImageError, match=r'/mask: uint8 \(2, 3\) is no depth image; need 16UC1'):
        depth_from_pixels(np.zeros((2, 3), np.uint8), '/mask')


def test_grey_of_colour() -> None:
    blue = np.zeros((2, 3, 3), np.uint8)
    blue[..., 0] = 100
    assert grey(blue).tolist() == [[11] * 3] * 2  # 0.114 of the blue
    assert grey(grey(blue)).shape == (2, 3)


@pytest.mark.parametrize(('changes', 'text'), [
    ({'encoding': 'bayer_x'}, r"/cam: unknown encoding 'bayer_x'; publish one of mono8"),
    ({'width': 0}, '/cam: image of size 0 x 32; check the camera driver'),
    ({'height': 0}, '/cam: image of size 48 x 0; check the camera driver'),
    ({'step': 143}, '/cam: step 143 is less than 144 bytes, the row of 48 bgr8 pixels'),
    ({'height': 33}, r'/cam: 4608 bytes of image data, need 4752 \(33 rows of 144\)'),
    ({'encoding': 'yuv422', 'width': 47}, '/cam: yuv422 needs an even width, not 47'),
])
def test_refused_images(changes: dict[str, Any], text: str) -> None:
    message = encode.image_message(HEADER, picture(), 'bgr8')
    for name, value in changes.items():
        setattr(message, name, value)
    with pytest.raises(ImageError, match=text):
        image_from_message(message, '/cam')


@pytest.mark.parametrize('data', [b'', b'\xff\xd8\xff\xe0 cut'])
def test_damaged_jpeg(data: bytes) -> None:
    message = encode.compressed_message(HEADER, picture(), 'jpeg')
    message.data = np.frombuffer(data, np.uint8)
    with pytest.raises(ImageError, match=r'/cam: \d+ bytes of format .* no readable JPEG or PNG'):
        image_from_message(message, '/cam')
