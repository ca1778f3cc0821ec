# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes import texture
from scipy.ndimage import label as connected

from perception.errors import ConfigError, ImageError, NetworkError
from perception.superpixels import (
    SuperpixelConfig,
    average_labels,
    cover,
    levels,
    majority_vote,
    segment,
    softmax_average,
)
from perception.types import UNLABELED

SHAPE = (13, 22)
METHODS = ('felzenszwalb', 'slic')
CONFIG = SuperpixelConfig()
CASES = settings(max_examples=25, deadline=None, derandomize=True)
seeds = st.integers(0, 10_000)


def colours(shape, seed=0):
    """Textured BGR picture with a dark left third, not symmetric in anything."""
    image = np.stack([texture(shape, seed + k) for k in range(3)], -1) // 4 + 150
    image[:, :shape[1] // 3] -= np.array([140, 120, 90], image.dtype)
    return image.astype(np.uint8)


def problem(seed, classes=4, count=9):
    """Softmaxes, labels with void, segments of which some numbers are not in use."""
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.linspace(0.3, 2, classes), SHAPE)
    labels = rng.integers(0, classes + 1, SHAPE).astype(np.uint8)
    labels[labels == classes] = UNLABELED
    segments = rng.integers(0, count, SHAPE).astype(np.int32)
    segments[segments == 4] = 7
    labels[segments == 2] = UNLABELED
    return np.moveaxis(probabilities, -1, 0).astype(np.float32), labels, segments


def entropy(distribution):
    return -sum(p * np.log(p) for p in distribution if p > 0)


def naive_mean(probabilities, segments, k):
    total, size = np.zeros(len(probabilities)), 0
    for i, j in np.argwhere(segments == k):
        total += probabilities[:, i, j]
        size += 1
    return total / size, size


def naive_cover(probabilities, stack, doubt_px):
    """Pixel by pixel, the component of least entropy among those that hold it."""
    uniform = np.full(len(probabilities), 1 / len(probabilities))
    found = {}
    for level, segments in enumerate(stack):
        for k in np.unique(segments):
            mean, size = naive_mean(probabilities, segments, k)
            found[level, k] = entropy((size * mean + doubt_px * uniform) / (size + doubt_px)), mean
    label, confidence = np.zeros(SHAPE, int), np.zeros(SHAPE)
    for place in np.ndindex(*SHAPE):
        holding = [found[level, s[place]] for level, s in enumerate(stack)]
        mean = min(holding, key=lambda pair: pair[0])[1]
        label[place], confidence[place] = mean.argmax(), mean.max()
    return label, confidence


# segment and levels

@pytest.mark.parametrize('method', METHODS)
@pytest.mark.parametrize('shrink', [1, 2, 3])
def test_segments_are_connected_and_numbered_from_0(method, shrink):
    config = replace(CONFIG, shrink=shrink, n_segments=30, scale_px=15.0)
    segments = segment(colours((61, 94)), method, config)
    assert segments.shape == (61, 94)
    assert segments.dtype == np.int32
    numbers = np.unique(segments)
    assert numbers.tolist() == list(range(len(numbers)))
    assert len(numbers) > 5
    for k in numbers:
        assert connected(segments == k, np.ones((3, 3)))[1] == 1


@pytest.mark.parametrize('method', METHODS)
def test_segments_stop_at_an_edge(method):
    image = np.full((40, 62, 3), (30, 60, 90), np.uint8)
    image[:, 24:] = (200, 120, 40)
    segments = segment(image, method, replace(CONFIG, n_segments=12, sigma_px=0.0))
    assert not set(segments[:, :24].ravel()) & set(segments[:, 24:].ravel())
    if method == 'felzenszwalb':
        assert segments.max() == 1


@pytest.mark.parametrize('method', METHODS)
def test_segmenting_is_repeatable_and_leaves_the_picture_alone(method):
    image = colours((45, 70))
    before = image.copy()
    first = segment(image, method)
    np.testing.assert_array_equal(segment(image[::-1][::-1], method), first)  # any strides
    np.testing.assert_array_equal(image, before)


@CASES
@given(st.integers(1, 9), st.integers(1, 9), st.sampled_from(METHODS), st.integers(1, 4), seeds)
def test_any_size_can_be_cut(height, width, method, shrink, seed):
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)
    segments = segment(image, method, replace(CONFIG, shrink=shrink, min_size_px=1))
    assert segments.shape == (height, width)
    assert np.unique(segments).tolist() == list(range(segments.max() + 1))


def test_pixels_take_the_segment_of_the_nearest_reduced_pixel():
    image = np.zeros((5, 7, 3), np.uint8)
    image[2:4, 4:6] = 250  # reduced pixel (1, 2) of 3 x 4
    config = SuperpixelConfig(scale_px=1.0, sigma_px=0.0, min_size_px=1)
    segments = segment(image, config=config)
    ours = np.argwhere(segments == segments[2, 4])
    rows, columns = (np.arange(5) + 0.5) * 3 / 5, (np.arange(7) + 0.5) * 4 / 7
    expected = [(i, j) for i in range(5) for j in range(7)
                if (int(rows[i]), int(columns[j])) == (1, 2)]
    assert ours.tolist() == [list(place) for place in expected]
    assert expected == [(2, 3), (2, 4)]


def test_levels_run_from_fine_to_coarse():
    image = colours((60, 94))
    stack = levels(image, replace(CONFIG, levels=4, min_size_px=2, finest_px=5.0))
    assert stack.shape == (4, 60, 94)
    assert stack.dtype == np.int32
    counts = [int(s.max()) + 1 for s in stack]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > 2 * counts[-1] > 0
    third = segment(image, config=replace(
        CONFIG, min_size_px=2, scale_px=5 + 2 / 3 * (CONFIG.coarsest_px - 5)))
    np.testing.assert_array_equal(stack[2], third)  # linearly spread


# majority vote

def test_majority_vote_by_hand():
    labels = np.array([[2, 2, 0, 255, 255], [1, 255, 1, 255, 3], [1, 0, 0, 255, 3]], np.uint8)
    segments = np.array([[0, 0, 0, 1, 1], [2, 2, 2, 1, 3], [2, 2, 2, 1, 3]], np.int32)
    expected = [[2, 2, 2, 255, 255], [0, 0, 0, 255, 3], [0, 0, 0, 255, 3]]
    labels[1, 0] = 0  # segment 2: 0, void, 1, 1, 0, 0
    np.testing.assert_array_equal(majority_vote(labels, segments, 4), expected)
    labels[1, 1] = 1  # three against three: the lower class
    np.testing.assert_array_equal(majority_vote(labels, segments, 4), expected)


@CASES
@given(seeds)
def test_majority_vote_is_its_naive_twin(seed):
    _, labels, segments = problem(seed)
    ours = majority_vote(labels, segments, 4)
    assert ours.dtype == np.uint8
    for k in np.unique(segments):
        votes = [int(v) for v in labels[segments == k] if v != UNLABELED]
        winner = min(set(votes), key=lambda c: (-votes.count(c), c)) if votes else UNLABELED
        assert set(ours[segments == k]) == {winner}


@CASES
@given(seeds)
def test_a_second_vote_changes_nothing_and_names_of_segments_do_not_matter(seed):
    _, labels, segments = problem(seed)
    once = majority_vote(labels, segments, 4)
    np.testing.assert_array_equal(majority_vote(once, segments, 4), once)
    renamed = np.random.default_rng(seed).permutation(9).astype(np.int64)[segments]
    np.testing.assert_array_equal(majority_vote(labels, renamed, 4), once)


def test_255_classes_leave_room_for_void():
    labels = np.array([[254, 254, 7, 255]], np.uint8)
    segments = np.array([[0, 0, 0, 1]], np.int32)
    assert majority_vote(labels, segments, 255).tolist() == [[254, 254, 254, 255]]


# softmax average

def test_softmax_average_by_hand():
    probabilities = np.array([[[0.9, 0.3, 0.2]], [[0.1, 0.7, 0.8]]], np.float32)
    segments = np.array([[0, 0, 1]], np.int32)
    mean = softmax_average(probabilities, segments)
    assert mean.dtype == np.float32
    np.testing.assert_allclose(mean, [[[0.6, 0.6, 0.2]], [[0.4, 0.4, 0.8]]], atol=1e-6)
    label, confidence = average_labels(probabilities, segments)
    assert label.tolist() == [[0, 0, 1]]  # pixel 1 alone would be 1
    np.testing.assert_allclose(confidence, [[0.6, 0.6, 0.8]], atol=1e-6)


@CASES
@given(seeds)
def test_softmax_average_is_its_naive_twin(seed):
    probabilities, _, segments = problem(seed)
    ours = softmax_average(probabilities, segments)
    for k in np.unique(segments):
        mean = naive_mean(probabilities, segments, k)[0]
        np.testing.assert_allclose(ours[:, segments == k], mean[:, None] + np.zeros(
            (segments == k).sum()), atol=1e-6)
    label, confidence = average_labels(probabilities, segments)
    np.testing.assert_array_equal(label, ours.argmax(0))
    np.testing.assert_array_equal(confidence, ours.max(0))
    np.testing.assert_allclose(ours.sum(0), 1, atol=1e-5)
    np.testing.assert_allclose(softmax_average(ours, segments), ours, atol=1e-6)  # idempotent


def test_the_mean_of_a_whole_picture_is_exact():
    probabilities = np.empty((2, 360, 480), np.float32)
    probabilities[0], probabilities[1] = 0.1, 0.9
    mean = softmax_average(probabilities, np.zeros((360, 480), np.int32))
    np.testing.assert_allclose(mean, probabilities, rtol=1e-7)  # single precision drifts by 1e-3


# cover

def family():
    """Two leaves in a middle component in a picture that is surely class 0, and its softmaxes."""
    fine, middle = np.zeros((3, 8), np.int32), np.zeros((3, 8), np.int32)
    fine[1, 3:5], fine[1, 5:7], middle[1, 3:7] = 1, 2, 1
    first = np.array([0.98, 0.2, 0.7])[fine]
    return np.stack([first, 1 - first]).astype(np.float32), [fine, middle, np.zeros_like(fine)]


def parent_only(costs):
    """The released mincover.c on a path from root to leaf: which level a pixel takes."""
    taken = len(costs) - 1
    for level in range(len(costs) - 2, -1, -1):
        if costs[level] < costs[level + 1]:
            taken = level
    return taken


def test_cover_keeps_the_minimum_along_the_path_where_the_released_code_loses_it():
    probabilities, stack = family()
    root = (20 * 0.98 + 2 * 0.2 + 2 * 0.7) / 24  # 0.8917
    costs = [entropy((p, 1 - p)) for p in (0.2, 0.45, root)]
    np.testing.assert_allclose(costs, [0.5004, 0.6881, 0.3430], atol=1e-4)
    assert parent_only(costs) == 0  # its leaf is purer than the middle, so it is called class 1
    label, confidence = cover(probabilities, stack, doubt_px=0.0)
    assert label.dtype == np.uint8
    assert confidence.dtype == np.float32
    assert not label.any()
    expected = np.where(stack[1] == 1, root, 0.98)
    np.testing.assert_allclose(confidence, expected, atol=1e-6)


def test_cover_keeps_a_pure_leaf_in_an_impure_picture():
    probabilities, stack = family()
    probabilities[:, 1, 3:5] = [[0.03], [0.97]]
    label, confidence = cover(probabilities, stack, doubt_px=0.0)
    np.testing.assert_array_equal(label, stack[0] == 1)
    np.testing.assert_allclose(confidence[1, 3:5], 0.97, atol=1e-6)


def test_doubt_lets_many_pixels_speak_louder_than_two():
    probabilities, stack = family()
    probabilities[:, 1, 3:5] = [[0.03], [0.97]]
    label, confidence = cover(probabilities, stack, doubt_px=2.0)  # leaf at 0.735, root at 0.84
    assert not label.any()
    root = (20 * 0.98 + 2 * 0.03 + 2 * 0.7) / 24
    np.testing.assert_allclose(confidence[1, 3:5], root, atol=1e-6)


@CASES
@given(seeds, st.sampled_from([0.0, 0.7, 30.0]))
def test_cover_is_its_naive_twin_in_any_order(seed, doubt_px):
    probabilities, _, segments = problem(seed)
    stack = [segments, segments // 2, segments // 4]
    label, confidence = naive_cover(probabilities, stack, doubt_px)
    for order in (stack, stack[::-1], [*stack, *stack], np.stack(stack)):
        ours = cover(probabilities, order, doubt_px)
        np.testing.assert_array_equal(ours[0], label)
        np.testing.assert_allclose(ours[1], confidence, atol=1e-6)


@CASES
@given(seeds, st.sampled_from([0.0, 5.0]))
def test_the_cover_of_one_level_is_its_average(seed, doubt_px):
    probabilities, _, segments = problem(seed)
    ours, average = cover(probabilities, [segments], doubt_px), average_labels(
        probabilities, segments)
    for one, other in zip(ours, average, strict=True):
        np.testing.assert_array_equal(one, other)


@CASES
@given(seeds)
def test_splitting_a_component_leaves_a_part_that_is_as_pure(seed):
    """Entropy is concave, so without doubt no coarse component wins all of its pixels."""
    probabilities, _, segments = problem(seed)
    confidence = cover(probabilities, [segments, np.zeros_like(segments)], 0.0)[1]
    whole = softmax_average(probabilities, np.zeros_like(segments)).max(0)
    assert (confidence != whole).any()


def test_single_pixels_win_a_cover_only_without_doubt():
    probabilities, _, segments = problem(3)
    pixels = np.arange(segments.size, dtype=np.int32).reshape(SHAPE)
    stack, coarse = [pixels, segments // 4], average_labels(probabilities, segments // 4)
    alone = cover(probabilities, stack, 0.0)[1] == probabilities.max(0)
    assert alone.mean() > 0.6
    for one, other in zip(cover(probabilities, stack, 100.0), coarse, strict=True):
        np.testing.assert_array_equal(one, other)


def test_certain_pixels_cost_nothing():
    probabilities = np.zeros((3, 2, 5), np.float32)
    probabilities[2] = 1
    label, confidence = cover(probabilities, np.zeros((1, 2, 5), np.int32))
    assert (label == 2).all()
    assert (confidence == 1).all()


# bad input

@pytest.mark.parametrize('image', [
    np.zeros((4, 6), np.uint8), np.zeros((4, 6, 4), np.uint8), np.zeros((4, 6, 3), np.float32),
    np.zeros((0, 6, 3), np.uint8), np.zeros((4, 0, 3), np.uint8),
], ids=['grey', 'four', 'float', 'no rows', 'no columns'])
def test_bad_images_are_refused(image):
    for cut in (segment, levels):
        with pytest.raises(ImageError, match=r'image is .*; give \(H, W, 3\) uint8 BGR'):
            cut(image)


def test_unknown_methods_are_refused():
    with pytest.raises(ConfigError, match='no method watershed; choose felzenszwalb or slic'):
        segment(colours(SHAPE), 'watershed')


@pytest.mark.parametrize(('change', 'message'), [
    ({'shrink': 0}, 'shrink is 0, must be > 0'), ({'scale_px': float('nan')}, 'scale_px is nan'),
    ({'sigma_px': -0.1}, 'sigma_px is -0.1, must be >= 0.0'), ({'levels': 0}, 'levels is 0'),
    ({'coarsest_px': 1.0}, 'coarsest_px is 1.0, must be >= 25.0'),
])
def test_bad_parameters_are_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        SuperpixelConfig(**change)


@pytest.mark.parametrize(('segments', 'message'), [
    (np.zeros((13, 21), np.int32), r'are \(13, 21\), what they cut is \(13, 22\)'),
    (np.zeros(SHAPE, np.float32), 'float32; give whole numbers'),
    (np.full(SHAPE, -1, np.int32), 'run from -1 to -1; number them from 0'),
    (np.full(SHAPE, 286, np.int32), 'run from 286 to 286; .*fewer than the 286 pixels'),
])
def test_bad_segments_are_refused(segments, message):
    probabilities, labels, _ = problem(1)
    for use in (lambda: majority_vote(labels, segments, 4),
                lambda: cover(probabilities, [segments]),
                lambda: softmax_average(probabilities, segments),
                lambda: average_labels(probabilities, segments)):
        with pytest.raises(ImageError, match=message):
            use()


def test_bad_labels_are_refused():
    _, labels, segments = problem(1)
    with pytest.raises(ImageError, match='labels are int64; give uint8'):
        majority_vote(labels.astype(np.int64), segments, 4)
    with pytest.raises(ImageError, match='label 3 of 3 classes; give more classes'):
        majority_vote(labels, segments, 3)
    with pytest.raises(ImageError, match=r'segments are \(0, 5\)'):
        majority_vote(np.zeros((0, 5), np.uint8), np.zeros((0, 5), np.int32), 4)


@pytest.mark.parametrize('wrong', [np.nan, np.inf, -0.5, 4.0], ids=str)
def test_what_is_no_softmax_is_refused(wrong):
    probabilities, _, segments = problem(1)
    probabilities[1, 2, 3] = wrong
    segments[2, 3] = 4  # alone
    for use in (softmax_average, average_labels, lambda p, s: cover(p, [s])):
        with pytest.raises(NetworkError, match='give the softmax, not the logits'):
            use(probabilities, segments)


def test_bad_probabilities_and_stacks_are_refused():
    probabilities, _, segments = problem(1)
    with pytest.raises(NetworkError, match=r'are \(13, 22\) float32; give \(C, H, W\) float'):
        softmax_average(probabilities[0], segments)
    with pytest.raises(NetworkError, match='int64; give'):
        softmax_average(probabilities.astype(int), segments)
    with pytest.raises(ImageError, match='the stack holds no segmentation; give one or more'):
        cover(probabilities, [])
    with pytest.raises(ConfigError, match=r'doubt_px is -1\.0, must be >= 0'):
        cover(probabilities, [segments], -1.0)
