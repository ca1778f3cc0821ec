# SPDX-License-Identifier: Apache-2.0
"""Scene networks: files that keep the contract, and labels that can be computed by hand."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx_files import (
    CLASSES,
    COLOURS,
    convolution,
    manifest,
    nearest_colour,
    quick_scene_network,
    write_scene_network,
)

from perception.errors import NetworkError
from perception.scene import (
    fitted_shape,
    label_scene,
    labels_from_scores,
    softmax_planes,
    upsample,
)

GROUND, GRASS, OBSTACLE, SKY = range(4)


@pytest.fixture(scope='module')
def network(tmp_path_factory):
    return quick_scene_network(write_scene_network(tmp_path_factory.mktemp('net') / 'tiny.onnx'))


def painted(height=52, width=76):
    """Sky above, an obstacle on the left, grass on the right: blocks of 4 x 4 pixels."""
    image = np.empty((height, width, 3), np.uint8)
    image[:] = COLOURS[SKY][::-1]
    image[20:] = COLOURS[GRASS][::-1]
    image[12:40, :28] = COLOURS[OBSTACLE][::-1]
    return image


def test_labels_by_hand(network):
    labels = label_scene(network, painted())
    assert labels.label.shape == labels.confidence.shape == (52, 76)
    assert (labels.label.dtype, labels.confidence.dtype) == (np.uint8, np.float32)
    assert [labels.label[v, u] for v, u in ((5, 5), (5, 60), (30, 8), (48, 8), (30, 60))] == [
        SKY, SKY, OBSTACLE, GRASS, GRASS]
    assert labels.confidence.min() > 0.25
    assert labels.confidence[30, 60] > 0.99


def test_logits_of_a_block_are_those_of_its_mean_colour(network):
    weight, bias = nearest_colour()
    image = painted()
    logits = network.logits(image)
    assert logits.shape == (4, 13, 19)
    block = image[12:16, 40:44].reshape(-1, 3).mean(0)
    by_hand = 16 * weight[:, :, 0, 0] @ block + bias
    np.testing.assert_allclose(logits[:, 3, 10], by_hand, rtol=1e-5)


@pytest.mark.parametrize('size', [(49, 73), (52, 76), (50, 76)])
def test_odd_sizes_are_mirrored_up_and_cut_again(network, size):
    """The labels of a smaller image are those of the larger one, cut."""
    image = painted()
    small = image[:size[0], :size[1]]
    assert network.logits(small).shape == (4, 13, 19)
    dense = network.dense(small)
    assert dense.shape == (4, *size)
    np.testing.assert_array_equal(dense.argmax(0), network.dense(image).argmax(0)[:size[0],
                                                                                 :size[1]])


def test_grey_images_are_taken(network):
    assert (label_scene(network, np.full((40, 60), 70, np.uint8)).label == GROUND).all()


def test_an_input_width_scales_the_image(network, tmp_path):
    path = write_scene_network(tmp_path / 'sized.onnx', input_width=64)
    small = painted(48, 64)
    large = small.repeat(3, 0).repeat(3, 1)
    sized = quick_scene_network(path)
    np.testing.assert_allclose(sized.logits(large), network.logits(small), atol=1e-4)
    label = label_scene(sized, large).label
    assert label.shape == (144, 192)
    assert [label[v, u] for v, u in ((10, 150), (75, 20), (135, 150))] == [SKY, OBSTACLE, GRASS]


def test_shapes_are_kept_as_far_as_multiples_allow():
    assert fitted_shape((360, 480, 3), 480, 8) == (360, 480)
    assert fitted_shape((544, 1024), 512, 8) == (272, 512)
    assert fitted_shape((375, 1242), 480, 8) == (144, 480)
    assert fitted_shape((3, 1000), 110, 8) == (8, 112)


@pytest.mark.parametrize('scales', [1, 3])
def test_the_pyramid_goes_in_scale_by_scale(tmp_path, scales):
    path = write_scene_network(tmp_path / 'pyramid.onnx', preprocess='laplacian_yuv',
                               scales=scales)
    network = quick_scene_network(path)
    assert network.dense(painted(50, 77)).shape == (4, 50, 77)


def test_superpixels_average_over_segments(network):
    """A speck on a wall is outvoted by its segment."""
    image = painted(80, 120)
    image[40:60, :60] = COLOURS[OBSTACLE][::-1]
    for method in ('felzenszwalb', 'slic'):
        labels = label_scene(network, image, method)
        assert labels.label.shape == (80, 120)
        assert labels.label[50, 30] == OBSTACLE
        assert labels.confidence.dtype == np.float32
        assert 0 < labels.confidence.min() <= labels.confidence.max() <= 1 + 1e-6


def test_upsampled_by_hand():
    """Half-pixel centres: 2 -> 4 gives a, (3 a + b) / 4, (a + 3 b) / 4, b."""
    row = upsample(np.array([[[0.0, 8.0]]], np.float32), (1, 4))
    np.testing.assert_allclose(row, [[[0, 2, 6, 8]]])
    column = upsample(np.array([[[0.0], [6.0]]], np.float32), (6, 3))[0, :, 1]
    np.testing.assert_allclose(column, [0, 0, 2, 4, 6, 6], atol=1e-6)


def test_upsampled_as_torch_does():
    torch = pytest.importorskip('torch', reason='torch is not installed: pip install -e .[train]')
    logits = np.random.default_rng(0).standard_normal((5, 9, 14)).astype(np.float32)
    for shape in ((36, 56), (35, 50), (9, 14), (13, 17)):
        theirs = torch.nn.functional.interpolate(
            torch.from_numpy(logits)[None], size=shape, mode='bilinear', align_corners=False)
        np.testing.assert_allclose(upsample(logits, shape), theirs[0].numpy(), atol=1e-4)


@given(st.integers(0, 10_000), st.floats(-50, 50))
def test_labels_and_confidence_are_those_of_the_softmax(seed, offset):
    scores = np.random.default_rng(seed).normal(offset, 8, (6, 3, 5)).astype(np.float32)
    labels, probabilities = labels_from_scores(scores), softmax_planes(scores)
    np.testing.assert_array_equal(labels.label, scores.argmax(0))
    np.testing.assert_allclose(labels.confidence, probabilities.max(0), rtol=1e-4)
    np.testing.assert_allclose(probabilities.sum(0), 1, rtol=1e-5)


def test_scores_that_are_no_numbers_give_void():
    scores = np.zeros((3, 2, 4), np.float32)
    scores[2] = 5
    scores[1, 0, 1], scores[0, 1, 3], scores[2, 1, 0] = np.nan, np.inf, np.nan
    labels = labels_from_scores(scores)
    np.testing.assert_array_equal(labels.label, [[2, 255, 2, 2], [255, 2, 2, 255]])
    assert (labels.confidence[labels.label == 255] == 0).all()
    assert (labels.confidence[labels.label == 2] > 0.98).all()


def refused(path):
    with pytest.raises(NetworkError) as caught:
        quick_scene_network(path)
    message = str(caught.value)
    assert '\n' not in message
    return message


@pytest.mark.parametrize(('changes', 'text'), [
    ({'sha256': '0' * 64}, 'sha256 differs'),
    ({'stride': 8, 'multiple': 8},
     'logits of a 96x128 image are (4, 24, 32), its manifest promises (4, 12, 16)'),
    ({'classes': ['a', 'b', 'a', 'c']}, 'one name twice'),
    ({'colours': [[0, 0, 0]]}, '1 colours for 4 classes'),
    ({'colours': [[0, 0, 256]] * 4}, 'values must be 0 to 255'),
    ({'multiple': 6}, 'multiple must be one of the stride, 4'),
    ({'preprocess': 'rgb'}, "preprocess: Input should be 'bgr' or 'laplacian_yuv'"),
    ({'preprocess': 'laplacian_yuv'}, 'does not take laplacian_yuv of an image'),
    ({'task': 'features'}, 'task: '), ({'epoch': 3}, 'epoch: Extra inputs'),
])
def test_a_manifest_that_does_not_fit_is_named(tmp_path, changes, text):
    path = write_scene_network(tmp_path / 'bad.onnx')
    stored = json.loads(path.with_suffix('.json').read_text())
    path.with_suffix('.json').write_text(json.dumps(stored | changes))
    assert text in refused(path)


def test_missing_and_damaged_files_are_named(tmp_path):
    path = tmp_path / 'none.onnx'
    assert f'{path}: no manifest none.json beside it' in refused(path)
    path.with_suffix('.json').write_text('{')
    assert 'none.json' in refused(path)
    write_scene_network(path)
    path.write_bytes(b'no network')
    path.with_suffix('.json').write_text(json.dumps(manifest(path)))
    assert 'ONNX Runtime cannot load it' in refused(path)


def test_a_network_of_fewer_classes_than_promised_is_refused(tmp_path):
    path = tmp_path / 'short.onnx'
    weight, bias = nearest_colour(COLOURS[:3])
    path.write_bytes(convolution(weight, bias, ('image',)))
    path.with_suffix('.json').write_text(json.dumps(manifest(path)))
    assert f'promises ({len(CLASSES)}, 24, 32)' in refused(path)
