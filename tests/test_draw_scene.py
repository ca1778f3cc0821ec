# SPDX-License-Identifier: Apache-2.0
import numpy as np

from perception.draw import SHADE
from perception.draw_scene import STRONGEST, confidence_image, scene_overlay, with_legend
from perception.scene import SceneLabels

PALETTE = np.array([(10, 20, 30), (200, 100, 0), (0, 0, 255)], np.uint8)


def test_paint_follows_confidence_and_void_stays_bare():
    image = np.full((3, 4, 3), 100, np.uint8)
    label = np.zeros((3, 4), np.uint8)
    label[0, 1], label[0, 2], label[0, 3] = 1, 1, 255
    confidence = np.ones((3, 4), np.float32)
    confidence[0, 2] = 0.5
    picture = scene_overlay(image, SceneLabels(label, confidence), PALETTE)
    sure = 100 + STRONGEST * (PALETTE[1].astype(float) - 100)
    half = 100 + 0.5 * STRONGEST * (PALETTE[1].astype(float) - 100)
    np.testing.assert_allclose(picture[0, 1], sure, atol=1)
    np.testing.assert_allclose(picture[0, 2], half, atol=1)
    np.testing.assert_array_equal(picture[0, 3], 100)
    assert (image == 100).all()
    grey = scene_overlay(image[..., 0], SceneLabels(label, confidence), PALETTE)
    np.testing.assert_array_equal(grey, picture)


def test_the_legend_lies_below_and_shows_every_class():
    picture = np.full((40, 200, 3), 77, np.uint8)
    names = ('smooth_ground', 'obstacle', 'sky')
    shown = with_legend(picture, names, PALETTE)
    np.testing.assert_array_equal(shown[:40], picture)
    strip = shown[40:].reshape(-1, 3)
    for colour in (*PALETTE, np.array(SHADE)):
        assert (strip == colour).all(1).sum() > 50
    other = with_legend(picture + 1, names, PALETTE)
    np.testing.assert_array_equal(other[40:], shown[40:])
    assert with_legend(picture[:, :20], names, PALETTE).shape[1] == 20


def test_confidence_fills_a_byte():
    confidence = np.array([[0.0, 0.5, 1.0, 1.0 + 1e-7]], np.float32)
    labels = SceneLabels(np.zeros((1, 4), np.uint8), confidence)
    np.testing.assert_array_equal(confidence_image(labels), [[0, 128, 255, 255]])
