# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes import CAMERA, plane, texture

from perception.contrast import (
    CHROMA_GAIN,
    MARGIN,
    Receptive,
    band_strips,
    bgr_to_yuv,
    gather,
    gather_some,
    normalize_divisive_mean,
    normalize_lcn,
    pack_strips,
)
from perception.contrast_loops import smoothed
from perception.errors import ImageError
from perception.horizon import apply_affine
from perception.inference import network_path, read_manifest
from perception.pyramid import build_pyramid

NORMALIZERS = {'divisive_mean_16': normalize_divisive_mean, 'lcn': normalize_lcn}


def naive_mean(image, mask, i, j):
    """Weighted mean over rows i-8..i+7, columns j-8..j+7, real pixels only."""
    x = np.arange(16) - 7.5
    taps = np.exp(-0.5 * (x / 4) ** 2)
    weight = np.outer(taps, taps) * (mask[i - 8:i + 8, j - 8:j + 8] > 0)
    return (weight * image[i - 8:i + 8, j - 8:j + 8]).sum() / weight.sum()


def test_divisive_mean_matches_the_naive_twin():
    image = texture((40, 61))
    mask = np.full(image.shape, 255, np.uint8)
    mask[:, :20] = 0
    image[mask == 0] = 0
    ours = normalize_divisive_mean(image, mask)
    for i, j in ((12, 25), (20, 33), (30, 50)):
        mean = naive_mean(image.astype(float), mask, i, j)
        assert ours[i, j] == pytest.approx((image[i, j] - mean) / (mean + 1), rel=1e-3, abs=1e-4)


@pytest.mark.parametrize('mode', NORMALIZERS)
def test_flat_patches_give_zero(mode):
    for level in (0, 1, 90, 255):
        flat = np.full((30, 44), level, np.uint8)
        np.testing.assert_allclose(NORMALIZERS[mode](flat), 0, atol=1e-4)


@given(st.integers(2, 3))
def test_divisive_mean_ignores_the_gain_of_the_light(gain):
    image = (texture((40, 50)) // 4 + 15).astype(np.uint8)
    dim, bright = normalize_divisive_mean(image), normalize_divisive_mean(image * np.uint8(gain))
    np.testing.assert_allclose(dim, bright, atol=0.035)  # the constant 1 is what differs


@settings(max_examples=20)
@given(st.integers(-40, 40))
def test_lcn_ignores_an_offset_of_brightness(offset):
    image = (texture((40, 50)) // 2 + 50).astype(np.uint8)
    shifted = (image.astype(int) + offset).astype(np.uint8)
    np.testing.assert_allclose(normalize_lcn(image), normalize_lcn(shifted), atol=5e-3)


def test_lcn_has_unit_deviation_where_contrast_is_high():
    noise = np.random.default_rng(0).integers(0, 256, (80, 90)).astype(np.uint8)
    interior = normalize_lcn(noise)[16:-16, 16:-16]
    assert abs(interior.mean()) < 0.02
    assert interior.std() == pytest.approx(1, abs=0.08)


def test_grey_becomes_neutral_chroma():
    yuv = bgr_to_yuv(texture((20, 31)))
    assert (yuv[..., 1:] == 128).all()
    coloured = bgr_to_yuv(np.full((4, 5, 3), (200, 100, 50), np.uint8))
    # Y = .299 R + .587 G + .114 B ; U grows with blue, V shrinks without red
    assert coloured[0, 0, 0] == pytest.approx(.299 * 50 + .587 * 100 + .114 * 200, abs=1)
    assert coloured[0, 0, 1] > 128 > coloured[0, 0, 2]


def test_strips_keep_bands_apart_at_multiples_of_the_stride():
    for preset in ('bands7', 'bands24'):
        pyramid = build_pyramid(plane(), preset, g=1.2)
        receptive = Receptive(20, 41)
        strips = pack_strips(pyramid.bands, receptive)
        seen = []
        for strip in strips:
            end = 0
            for position, x in strip.places:
                band = pyramid.bands[position]
                assert x % 4 == 0
                assert x >= end
                end = x + band.width + 16
                assert end <= strip.width
                assert band.height + 8 <= strip.height
                seen.append(position)
        assert sorted(seen) == list(range(len(pyramid.bands)))


@pytest.mark.parametrize('mode', NORMALIZERS)
def test_a_band_in_a_strip_equals_the_band_alone(mode):
    image = np.dstack([texture((CAMERA.height, CAMERA.width), k) for k in range(3)])
    pyramid = build_pyramid(plane(roll=0.0), g=1.1)
    strips = band_strips(image, pyramid, mode)
    packed = pack_strips(pyramid.bands, Receptive())
    alone = build_pyramid(plane(roll=0.0), g=1.1)
    (strip, (place, x)) = next(
        (s, place) for s, strip in enumerate(packed) for place in strip.places if place[0] == 4)
    single = type(alone)((pyramid.bands[place],), alone.plane)
    expected = band_strips(image, single, mode)[0]
    band = pyramid.bands[place]
    ours = strips[strip][0, :, :band.height, x:x + band.width]
    np.testing.assert_allclose(ours, expected[0, :, :band.height, :band.width], atol=1e-6)


def test_pixels_outside_the_image_are_zero_and_inside_are_not():
    image = np.dstack([texture((CAMERA.height, CAMERA.width), k) for k in range(3)])
    pyramid = build_pyramid(plane(), g=1.1)
    strips = band_strips(image, pyramid, 'divisive_mean_16')
    for strip, packed in zip(strips, pack_strips(pyramid.bands, Receptive()), strict=True):
        for position, x in packed.places:
            band = pyramid.bands[position]
            yy, xx = np.mgrid[:band.height, :band.width]
            uv = apply_affine(pyramid.image_from_band[position], np.stack([xx, yy], -1))
            outside = (uv[..., 0] < -0.6) | (uv[..., 0] > CAMERA.width - 0.4)
            patch = strip[0, :, :band.height, x:x + band.width]
            assert (patch[:, outside] == 0).all()
            assert np.abs(patch[0][~outside]).mean() > 0.01


def test_larger_receptive_field_sees_real_context():
    image = np.dstack([texture((CAMERA.height, CAMERA.width), k) for k in range(3)])
    pyramid = build_pyramid(plane(roll=0.0), g=1.1)
    small = band_strips(image, pyramid, 'divisive_mean_16')
    large = band_strips(image, pyramid, 'divisive_mean_16', Receptive(20, 41))
    band = pyramid.bands[0]
    inner = large[0][0, :, 4:4 + band.height, 8:8 + band.width]
    difference = np.abs(inner - small[0][0, :, :band.height, :band.width])
    assert np.mean(difference < 1e-5) > 0.99
    assert difference.max() < 0.02  # a warp may round a grey level the other way
    assert np.abs(large[0][0, 0, :4, 60:300]).mean() > 0.01


def test_gather_puts_each_output_at_its_window():
    pyramid = build_pyramid(plane(), g=1.1, row_stride=2)
    receptive = Receptive(20, 41, 2)
    outputs = []
    for strip in pack_strips(pyramid.bands, receptive):
        shape = ((strip.height - 20) // 2 + 1, (strip.width - 41) // 4 + 1)
        rows, columns = np.mgrid[:shape[0], :shape[1]]
        outputs.append(np.stack([rows * 2.0, columns]).astype(np.float32))
    table = gather(outputs, pyramid, receptive)
    np.testing.assert_array_equal(table[:, 0], pyramid.windows.row)
    first = {position: x // 4 for strip in pack_strips(pyramid.bands, receptive)
             for position, x in strip.places}
    starts = np.array([first[b] for b in pyramid.windows.band])
    np.testing.assert_array_equal(table[:, 1] - starts, pyramid.windows.column)


@pytest.mark.parametrize('preset', ['bands7', 'bands24'])
@pytest.mark.parametrize('name', ['default', 'lagr2008'])
def test_gathering_some_is_gathering_all_and_taking_some(name, preset):
    receptive = read_manifest(network_path(name)).receptive
    pyramid = build_pyramid(plane(), preset, g=1.1, row_stride=receptive.row_stride)
    rng, outputs = np.random.default_rng(0), []
    for strip in pack_strips(pyramid.bands, receptive):
        shape = ((strip.height - receptive.rows) // receptive.row_stride + 1,
                 (strip.width - receptive.columns) // 4 + 1)
        outputs.append(rng.normal(size=(3, *shape)).astype(np.float32))
    table = gather(outputs, pyramid, receptive)
    count = len(pyramid.windows.band)
    for index in (np.arange(count), rng.permutation(count)[:200], np.array([count - 1, 0, 7, 7]),
                  np.empty(0, np.intp)):
        some = gather_some(outputs, pyramid, receptive, index)
        np.testing.assert_array_equal(some, table[index])
        assert some.dtype == np.float32
    half = [output.astype(np.float16) for output in outputs]  # as kept views hold them
    some = gather_some(half, pyramid, receptive, np.arange(5, count, 11))
    np.testing.assert_array_equal(some, gather(half, pyramid, receptive)[5::11])


def test_chroma_is_centred_and_scaled():
    image = np.full((CAMERA.height, CAMERA.width, 3), (30, 90, 200), np.uint8)
    pyramid = build_pyramid(plane(), g=1.1)
    strip = band_strips(image, pyramid, 'lcn')[0]
    yuv = bgr_to_yuv(image)[0, 0].astype(float)
    middle = strip[0, :, 20, strip.shape[3] // 2]
    np.testing.assert_allclose(middle, [0, *((yuv[1:] - 128) * CHROMA_GAIN)], atol=1e-6)
    assert MARGIN == 8


def test_wrong_size_is_refused():
    with pytest.raises(ImageError, match=r'image is 100x50, its camera says 520x380'):
        band_strips(np.zeros((50, 100, 3), np.uint8), build_pyramid(plane()), 'lcn')


@pytest.mark.parametrize('shape', [(11, 29), (3, 17), (1, 1), (40, 5)])
def test_smoothing_is_a_filter_along_rows_and_columns(shape):
    taps = np.linspace(-0.2, 0.5, 16).astype(np.float32) ** 2
    values = np.random.default_rng(3).uniform(0, 255, shape).astype(np.float32)
    padded = np.pad(values.astype(float), ((8, 7), (8, 7)), mode='symmetric')
    expected = np.array([[taps @ padded[y:y + 16, x:x + 16] @ taps for x in range(shape[1])]
                         for y in range(shape[0])])
    np.testing.assert_allclose(smoothed(values, taps), expected, rtol=2e-6)
