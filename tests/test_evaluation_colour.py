# SPDX-License-Identifier: Apache-2.0
"""The colour histogram of windows, and the softmax fitted on it."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from perception.errors import NetworkError
from perception.evaluation.colour import BINS, CHROMA_BINS, colour_features
from perception.evaluation.softmax import Softmax, fit_softmax, load_softmax, save_softmax
from perception.pyramid import build_pyramid
from perception.types import Camera, GroundPlane

CAMERA = Camera(512, 384, 365.0, 371.0, 251.5, 187.0)
PLANE = GroundPlane.from_normal(np.array([0.0, -1.0, 0.0]), 0.95, CAMERA, 43.8)


def test_histogram_of_one_colour_is_one_bin_of_each_kind() -> None:
    image = np.full((384, 512, 3), (30, 200, 60), np.uint8)  # BGR: a bright green
    pyramid = build_pyramid(PLANE)
    features = colour_features(image, pyramid)
    whole = pyramid.windows.outside < 1e-6
    assert features.shape == (len(whole), BINS)
    y, u, v = cv2.cvtColor(image[:1, :1], cv2.COLOR_BGR2YUV)[0, 0]
    assert u < 108  # the lowest bin of U, and of V
    assert v < 108
    assert 120 <= y < 160  # the fourth bin of Y
    expected = np.zeros(BINS)
    expected[[0, CHROMA_BINS + 3]] = 1
    np.testing.assert_allclose(features[whole], np.tile(expected, (whole.sum(), 1)), atol=1e-6)


def test_squares_of_each_kind_sum_to_the_share_inside() -> None:
    rng = np.random.default_rng(3)
    image = rng.integers(0, 256, (384, 512, 3), np.uint8)
    pyramid = build_pyramid(PLANE)
    features = colour_features(image, pyramid)
    inside = 1 - pyramid.windows.outside
    np.testing.assert_allclose((features[:, :CHROMA_BINS] ** 2).sum(1), inside, atol=0.01)
    np.testing.assert_allclose((features[:, CHROMA_BINS:] ** 2).sum(1), inside, atol=0.01)


def test_grey_image_has_one_chroma_bin() -> None:
    image = np.tile(np.linspace(0, 255, 512).astype(np.uint8), (384, 1))
    features = colour_features(image, build_pyramid(PLANE))
    assert np.flatnonzero(features[:, :CHROMA_BINS].any(0)).tolist() == [12]


def _gaussians(count: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    label = rng.choice(5, count, p=[0.5, 0.2, 0.1, 0.1, 0.1]).astype(np.uint8)
    centre = rng.normal(0, 3, (5, 4))
    return centre[label] * [1, 100, 0.01, 1] + rng.normal(0, 1, (count, 4)) * [1, 100, 0.01, 1], \
        label


def test_softmax_learns_and_does_not_mind_scale() -> None:
    features, label = _gaussians(2000)
    fitted = fit_softmax(features, label)
    probability = fitted.probabilities(features)
    np.testing.assert_allclose(probability.sum(1), 1, atol=1e-5)
    assert (probability.argmax(1) == label).mean() > 0.9
    scaled = fit_softmax(features * 1e3, label)
    np.testing.assert_allclose(scaled.probabilities(features * 1e3), probability, atol=1e-2)


def test_softmax_is_at_a_minimum() -> None:
    features, label = _gaussians(300)
    fitted = fit_softmax(features, label, decay=0.01)
    ground = label < 2

    def loss(weight: np.ndarray) -> float:
        picked = Softmax(weight, fitted.bias).probabilities(features)[np.arange(300), label]
        penalty = 0.01 * ((weight * features.std(0)) ** 2).sum()
        families = np.log(picked[ground]).mean() + np.log(picked[~ground]).mean()
        return float(-families / 2 + penalty)

    assert 0 < ground.sum() < 300
    best = loss(fitted.weight)
    for row, column in ((0, 0), (2, 1), (4, 3)):
        for sign in (-1, 1):
            moved = fitted.weight.copy()
            moved[row, column] += sign * 0.05 / features.std(0)[column]
            assert loss(moved) > best


def test_weights_survive_the_file(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    stored = Softmax(rng.normal(0, 1, (5, 7)), rng.normal(0, 1, 5))
    save_softmax(tmp_path / 'c.npz', stored)
    np.testing.assert_allclose(load_softmax(tmp_path / 'c.npz').weight, stored.weight, atol=1e-6)


def test_missing_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match=r'gone\.npz'):
        load_softmax(tmp_path / 'gone.npz')
