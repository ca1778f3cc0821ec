# SPDX-License-Identifier: Apache-2.0
"""The input of farabet2013: octaves by hand, patches of zero mean and unit deviation."""

import cv2
import numpy as np
import pytest
from scenes import texture

from perception.laplacian import (
    LEAST_DEVIATION,
    PATCH,
    bgr_to_yuv_float,
    laplacian_yuv,
    normalize_patches,
    padded,
)

TAPS = np.array([1, 4, 6, 4, 1]) / 16  # Burt and Adelson, a = 0.375


def picture(height, width, seed=0):
    return np.dstack([texture((height, width), seed + k) for k in range(3)])


def naive_normalized(x):
    """The two formulas of the docstring, pixel by pixel."""
    half = PATCH // 2
    def patch(values, i, j):
        return np.pad(values, half, mode='symmetric')[i:i + PATCH, j:j + PATCH]
    cells = list(np.ndindex(x.shape))
    v = x - np.reshape([patch(x, i, j).mean() for i, j in cells], x.shape)
    sd = np.sqrt(np.reshape([(patch(v, i, j) ** 2).mean() for i, j in cells], x.shape))
    return v / np.maximum(sd, max(sd.mean(), LEAST_DEVIATION))


def test_normalized_as_the_slow_twin_says():
    x = texture((21, 34)).astype(np.float32)
    np.testing.assert_allclose(normalize_patches(x), naive_normalized(x), atol=2e-4)


def test_a_thin_line_by_hand():
    """One bright column: v = 15 - 1 on it, -1 up to 7 columns beside it, 0 farther away."""
    x = np.zeros((40, 61), np.float32)
    x[:, 30] = 15.0
    out = normalize_patches(x)
    assert not out[:, :16].any() and not out[:, 45:].any()
    v = np.where(np.abs(np.arange(61) - 30) <= 7, -1.0, 0.0)
    v[30] = 14.0
    deviation = np.sqrt([(np.pad(v, 7, mode='symmetric')[j:j + 15] ** 2).mean()
                         for j in range(61)])
    assert deviation[30] == pytest.approx(np.sqrt((14**2 + 14) / 15))
    np.testing.assert_allclose(out[20], v / np.maximum(deviation, deviation.mean()), atol=1e-4)


def test_gain_and_offset_of_the_light_do_not_matter():
    x = texture((50, 70)).astype(np.float32)
    np.testing.assert_allclose(normalize_patches(0.4 * x + 31), normalize_patches(x), atol=2e-3)


def test_a_flat_image_is_zero():
    for scale in laplacian_yuv(np.full((32, 48, 3), 77, np.uint8), 3):
        np.testing.assert_allclose(scale, 0, atol=5e-2)


@pytest.mark.parametrize(('size', 'shapes'), [
    ((48, 64), [(48, 64), (24, 32), (12, 16)]), ((45, 67), [(48, 68), (24, 34), (12, 17)])])
def test_every_scale_exists(size, shapes):
    pyramid = laplacian_yuv(picture(*size), 3)
    assert [scale.shape for scale in pyramid] == [(3, *shape) for shape in shapes]
    assert all(scale.dtype == np.float32 and scale.flags.c_contiguous for scale in pyramid)


def test_one_scale_is_the_normalized_image():
    image = picture(30, 44)
    (scale,) = laplacian_yuv(image, 1)
    yuv = bgr_to_yuv_float(image)
    for k in range(3):
        np.testing.assert_allclose(scale[k], normalize_patches(yuv[..., k].copy()), atol=1e-5)


def test_octaves_by_hand():
    """Scale 0 is the image less its blurred half, 1 the half less its half, 2 what is left."""
    image = picture(48, 64)
    y = bgr_to_yuv_float(image)[..., 0]
    def half(x):
        return cv2.sepFilter2D(x, -1, TAPS, TAPS)[::2, ::2]
    def double(x, shape):
        zeros = np.zeros(shape, np.float32)
        zeros[::2, ::2] = x
        return cv2.sepFilter2D(zeros, -1, 2 * TAPS, 2 * TAPS)
    one = half(y)
    two = half(one)
    expected = [y - double(one, y.shape), one - double(two, one.shape), two]
    for scale, level in zip(laplacian_yuv(image, 3), expected, strict=True):
        inner = (slice(12, -12), slice(12, -12)) if len(level) > 24 else slice(None)
        # another border of the pyramid changes the mean deviation a little
        np.testing.assert_allclose(scale[0][inner], normalize_patches(level)[inner], atol=0.05)


def test_yuv_by_hand_and_grey_has_no_colour():
    bgr = np.full((4, 6, 3), (200, 100, 50), np.uint8)
    luminance = 0.299 * 50 + 0.587 * 100 + 0.114 * 200
    y, u, v = bgr_to_yuv_float(bgr)[2, 3]
    assert y == pytest.approx(luminance, abs=0.01)
    assert u - 0.5 == pytest.approx(0.492 * (200 - luminance), abs=0.02)
    assert v - 0.5 == pytest.approx(0.877 * (50 - luminance), abs=0.02)
    grey = laplacian_yuv(texture((32, 48)), 3)
    assert abs(grey[0][1:]).max() < 1e-2
    assert abs(grey[0][0]).max() > 1


def test_padding_mirrors_at_the_bottom_and_right():
    image = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    whole = padded(image, 4)
    assert whole.shape == (4, 4, 3)
    np.testing.assert_array_equal(whole[:2, :3], image)
    np.testing.assert_array_equal(whole[2], whole[1])
    np.testing.assert_array_equal(whole[:, 3], whole[:, 2])
    assert padded(whole, 4) is whole
