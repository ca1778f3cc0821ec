# SPDX-License-Identifier: Apache-2.0
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from perception import sgm_cost_loops, sgm_path_loops, stereo
from perception.config import StereoConfig
from perception.semi_global import Matcher

PLAIN = {'scale': 1, 'disparities_px': 16, 'speckle_px': 0, 'refine_px': 0}
PAD = 40  # wider than any search here plus a block


def config(**values):
    return StereoConfig(**{**PLAIN, **values})


def match(left, right, settings):
    return Matcher(settings, left.shape[::-1]).compute(left, right)


def texture(h, w, seed=0):
    noise = np.random.default_rng(seed).integers(0, 256, (h, w)).astype(np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 0.8)


def naive_planes(image, cap):
    """Slope and grey (2, h + .., w + ..), and the least and largest value half a pixel around."""
    own = np.pad(image.astype(int), 1, 'edge')
    across = own[:, 2:] - own[:, :-2]
    slope = np.clip(across[:-2] + 2 * across[1:-1] + across[2:], -cap, cap) + cap
    slope[:, [0, -1]] = cap
    value = np.pad(np.stack([slope, image]), ((0, 0), (PAD, PAD), (PAD, PAD)), 'edge')
    halves = [(value + np.roll(value, way, -1) + 1) // 2 for way in (-1, 1)]
    return value, np.minimum(value, np.minimum(*halves)), np.maximum(value, np.maximum(*halves))


def naive_gap(one, other):
    over = np.maximum(np.maximum(one[0] - other[2], other[1] - one[0]), 0)
    under = np.maximum(np.maximum(other[0] - one[2], one[1] - other[0]), 0)
    return np.minimum(over, under)


def naive_costs(left, right, search, settings):
    """Block costs (h, w, search) with the two penalties, divided so that sums fit 16 bits."""
    block, (h, w) = settings.block_px, left.shape
    one, other = (naive_planes(image, settings.prefilter_cap) for image in (left, right))
    most = 3 * block * block * (2 * settings.prefilter_cap + 63 + 32)
    shift = max(0, (most * 9 // 8).bit_length() - 15)
    small, large = 8 * block * block >> shift, 32 * block * block >> shift
    costs = np.empty((h, w, search), int)
    for d in range(search):
        slope, grey = naive_gap(one, [np.roll(plane, d, -1) for plane in other])
        start = PAD - block // 2
        part = (slope + grey // 4)[start:start + h + block - 1, start:start + w + block - 1]
        costs[..., d] = sliding_window_view(part, (block, block)).sum((2, 3)) >> shift
    return costs, small, large


def naive_path(costs, small, large):
    """Costs along the first axis of (n, m, search): Hirschmueller's equation, as it is printed."""
    path = costs.copy()
    for i in range(1, len(costs)):
        before = np.pad(path[i - 1], ((0, 0), (1, 1)), constant_values=99999)
        least = path[i - 1].min(-1, keepdims=True)
        choices = (before[:, 1:-1], before[:, :-2] + small, before[:, 2:] + small, least + large)
        path[i] = costs[i] + np.min(np.broadcast_arrays(*choices), 0) - least
    return path


def naive_winner(sums, percent):
    """16ths of one pixel from its sums (search,)."""
    d, last = int(np.argmin(sums)), len(sums) - 1
    away = np.abs(np.arange(last + 1) - d) > 1
    if np.any(away & (sums * (100 - percent) < sums[d] * 100)):
        return -16
    if not 0 < d < last:
        return 16 * d
    bend = max(sums[d - 1] + sums[d + 1] - 2 * sums[d], 1)
    return 16 * d + int(8 * (sums[d - 1] - sums[d + 1]) / bend + 0.5)


def naive_check(raw, least, tolerance):
    """Drop what another pixel of the row, with a lower sum, claims of the right picture."""
    for row, sums in zip(raw, least, strict=True):
        claims = {}
        for x, (value, s) in enumerate(zip(row, sums, strict=True)):
            d = (int(value) + 8) >> 4
            if d >= 0:
                claims[x - d] = min(claims.get(x - d, (99999, 0)), (int(s), d))
        for x, value in enumerate(row):
            d = (int(value) + 8) >> 4
            if d >= 0 and abs(claims[x - d][1] - d) > tolerance:
                row[x] = -16


def naive_match(left, right, settings):
    search = max(16, min(settings.disparities_px, left.shape[1] // 2) // 16 * 16)
    costs, small, large = naive_costs(left, right, search, settings)
    costs = costs[:, search:]
    down = naive_path(costs, small, large)
    turned = costs.transpose(1, 0, 2)
    onward = naive_path(turned, small, large).transpose(1, 0, 2)
    back = naive_path(turned[::-1], small, large)[::-1].transpose(1, 0, 2)
    sums = back + onward + down
    raw = np.array([[naive_winner(pixel, settings.uniqueness_percent) for pixel in row]
                    for row in sums], np.int16)
    if settings.left_right_px >= 0:
        naive_check(raw, sums.min(-1), settings.left_right_px)
    disparity = np.full(left.shape, -16, np.int16)
    disparity[:, search:] = cv2.medianBlur(raw, 3)
    return disparity


@pytest.mark.parametrize(('size', 'values'), [
    ((70, 41), {}),  # more rows than lanes
    ((61, 90), {'disparities_px': 32, 'left_right_px': 0, 'prefilter_cap': 63}),
    ((9, 37), {'block_px': 1, 'uniqueness_percent': 0, 'left_right_px': -1}),
    ((20, 40), {'block_px': 3, 'uniqueness_percent': 40}),
    ((23, 36), {'block_px': 7, 'prefilter_cap': 5}),
    ((55, 52), {'block_px': 15}),
    ((66, 50), {'block_px': 4}),
])
def test_equals_the_printed_equations(size, values):
    left, right = texture(*size), texture(*size, seed=1)
    right[:, :-7] = left[:, 7:]  # half of the rows match, the others are noise
    right[::2, 3:-3] = cv2.blur(right[::2, 3:-3], (1, 3))
    settings = config(**values)
    expected = naive_match(left, right, settings)
    np.testing.assert_array_equal(match(left, right, settings), expected)
    assert (expected > 0).any()


def test_costs_of_large_blocks_that_need_16_bits():
    ramp = np.tile(8 * np.arange(60) % 256, (40, 1)).astype(np.uint8)
    settings = config(block_px=15, prefilter_cap=63)
    costs, *_ = naive_costs(ramp, 255 - ramp, 16, settings)
    assert costs.max() << 3 > 32767  # the sum of the block, before it is divided by 8
    np.testing.assert_array_equal(match(ramp, 255 - ramp, settings),
                                  naive_match(ramp, 255 - ramp, settings))


@pytest.mark.parametrize('scale', [1, 2])
def test_a_shifted_picture_has_one_disparity(scale):
    wide = texture(72, 100)
    left, right = wide[:, :90], wide[:, 6:96]  # what is at x in the left is at x - 6 in the right
    found = match(left, right, config(scale=scale, disparities_px=16 * scale))
    assert np.all(np.abs(found[:, 16:] - 6 * 16) <= 4)
    assert np.median(found[:, 16:]) == 6 * 16
    assert np.all(found[:, :16] == -16)  # searched in part only


def test_a_half_pixel_is_between_whole_ones():
    wide = cv2.GaussianBlur(texture(40, 200), (0, 0), 1.5)
    left, right = wide[:, 10:170:2], wide[:, 15:175:2]  # 2.5 pixels
    found = match(left, right, config())
    inner = found[5:-5, 20:-5]
    assert np.median(inner) == pytest.approx(2.5 * 16, abs=2)
    assert np.mean(np.abs(inner - 40) <= 5) > 0.9


def two_layers(h, w):
    """A square of h x w pixels and 10 px before a wall of 2 px, from row 10, column 60 on."""
    wide, near = texture(40, 122), texture(h, w, seed=3)
    left, right = wide[:, :100].copy(), wide[:, 2:102].copy()
    left[10:10 + h, 60:60 + w] = near
    right[10:10 + h, 50:50 + w] = near
    return left, right


def test_what_only_one_eye_sees_has_no_disparity():
    found = match(*two_layers(20, 30), config())
    assert np.median(found[14:26, 64:86]) == 10 * 16
    assert np.median(found[14:26, 30:48]) == 2 * 16
    assert np.mean(found[14:26, 54:59] < 0) > 0.6  # hidden from the right eye, left of the square


def test_nothing_stands_out_in_an_even_picture():
    even = np.full((30, 60), 90, np.uint8)
    assert np.all(match(even, even, config()) <= 0)


@pytest.mark.parametrize(('speckle_px', 'stays'), [(0, True), (20, True), (300, False)])
def test_speckles_go(speckle_px, stays):
    found = match(*two_layers(12, 12), config(speckle_px=speckle_px))
    assert (np.median(found[14:18, 64:68]) == 10 * 16) == stays
    assert np.median(found[14:18, 30:40]) == 2 * 16


@pytest.mark.parametrize('size', [(10, 10), (12, 16), (10, 17), (1, 40), (3, 200)])
def test_small_pictures(size):
    found = match(texture(*size), texture(*size), config(disparities_px=64))
    assert found.shape == size
    assert found.dtype == np.int16


def test_the_second_pair_does_not_remember_the_first():
    left, right = texture(70, 60), texture(70, 60, seed=2)
    matcher = Matcher(config(), (60, 70))
    first = matcher.compute(left, left)
    matcher.compute(right, left)
    np.testing.assert_array_equal(matcher.compute(left, left), first)


def test_two_threads_do_not_share_memory():
    pairs = [(texture(70, 90, seed), texture(70, 90, seed + 1)) for seed in range(8)]
    expected = [stereo.match(*pair, config()) for pair in pairs]
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda pair: stereo.match(*pair, config()), pairs))
    np.testing.assert_array_equal(found, expected)


def test_views_are_taken():
    left, right = texture(40, 140)[:, ::2], texture(40, 140)[:, 1::2]
    left.flags.writeable = False
    expected = match(left.copy(), right.copy(), config())
    np.testing.assert_array_equal(match(left, right, config()), expected)


def test_both_modules_agree_on_the_layout():
    assert sgm_path_loops.LANES == sgm_cost_loops.LANES
