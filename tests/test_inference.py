# SPDX-License-Identifier: Apache-2.0
"""Inference: the shipped networks keep the contract; damaged ones are refused in one line."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from perception.errors import NetworkError
from perception.inference import (
    WEIGHTS,
    classify,
    linear_maps,
    load_network,
    network_path,
    read_manifest,
)
from perception.types import CLASSES

SHIPPED = ('default', 'lagr2008')


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Shipped network copied to where a test may damage it."""
    for suffix in ('.onnx', '.json'):
        shutil.copy(WEIGHTS / f'lagr2008{suffix}', tmp_path / f'mine{suffix}')
    return tmp_path / 'mine.onnx'


def edit_manifest(path: Path, **changes: object) -> None:
    manifest = path.with_suffix('.json')
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | changes))


def refused(path: str | Path) -> str:
    with pytest.raises(NetworkError) as caught:
        load_network(path)
    message = str(caught.value)
    assert '\n' not in message
    return message


@pytest.mark.parametrize('name', SHIPPED)
def test_output_size_follows_receptive_field_and_strides(name: str) -> None:
    network = load_network(name)
    spec = network.spec
    height, width = spec.rows + 11, spec.columns + 37
    strip = np.random.default_rng(0).standard_normal((1, 3, height, width)).astype(np.float32)
    (features,) = network.features([strip])
    assert features.shape == (spec.features, 11 // spec.row_stride + 1, 37 // 4 + 1)
    assert features.dtype == np.float32
    assert np.isfinite(features).all()


def test_lagr_sizes_of_the_paper() -> None:
    (features,) = load_network('lagr2008').features([np.zeros((1, 3, 36, 505), np.float32)])
    assert features.shape == (100, 25, 121)


@pytest.mark.parametrize('name', SHIPPED)
def test_feature_does_not_depend_on_place_in_the_strip(name: str) -> None:
    network = load_network(name)
    spec, stride = network.spec, network.spec.row_stride
    strip = np.random.default_rng(1).standard_normal(
        (1, 3, spec.rows + 4, spec.columns + 40)).astype(np.float32)
    (whole,) = network.features([strip])
    row, column = 4 // stride, 7
    window = strip[:, :, row * stride:row * stride + spec.rows,
                   4 * column:4 * column + spec.columns]
    (alone,) = network.features([np.ascontiguousarray(window)])
    np.testing.assert_allclose(whole[:, row, column], alone[:, 0, 0], atol=2e-5)


def test_classify_by_hand() -> None:
    features = np.array([[1.0, 2.0], [0.0, 0.0]], np.float32)
    weight = np.array([[0, 0], [1, 0], [0, 1], [1, 1], [-1, 0]], np.float32)
    bias = np.array([0, 0, 0, 0, np.log(4)], np.float32)
    expected = np.exp([[0, 1, 2, 3, np.log(4) - 1], [0, 0, 0, 0, np.log(4)]])
    expected /= expected.sum(axis=1, keepdims=True)
    probabilities = classify(features, weight, bias)
    np.testing.assert_allclose(probabilities, expected, rtol=1e-5)
    assert probabilities.dtype == np.float32


def test_a_linear_layer_on_maps_is_that_on_their_windows() -> None:
    """Whether channels come first in memory or last."""
    rng = np.random.default_rng(5)
    weight = rng.standard_normal((5, 8)).astype(np.float32)[:, :-1]
    first = rng.standard_normal((7, 3, 11)).astype(np.float32)
    last = np.ascontiguousarray(first.transpose(1, 2, 0)).transpose(2, 0, 1)
    for found in linear_maps([first, last], weight):
        assert found.shape == (5, 3, 11)
        np.testing.assert_allclose(found[:, 2, 6], weight @ first[:, 2, 6], atol=1e-5)
        np.testing.assert_allclose(found, np.einsum('kf,fij->kij', weight, first), atol=1e-5)


def test_classify_survives_large_logits() -> None:
    features = np.array([[1e4, -1e4]], np.float32)
    weight = np.eye(5, 2, dtype=np.float32)
    probabilities = classify(features, weight, np.zeros(5, np.float32))
    np.testing.assert_array_equal(probabilities, [[1, 0, 0, 0, 0]])


def test_network_classifies_with_the_manifest_of_its_file() -> None:
    network = load_network('lagr2008')
    features = np.random.default_rng(2).standard_normal((7, 100)).astype(np.float32)
    raw = json.loads((WEIGHTS / 'lagr2008.json').read_text())
    logits = features @ np.array(raw['classifier_weight']).T + raw['classifier_bias']
    assert (network.classify(features).argmax(1) == logits.argmax(1)).all()


def test_path_and_name_give_the_same_network(copy: Path) -> None:
    assert network_path('lagr2008') == WEIGHTS / 'lagr2008.onnx'
    assert load_network(copy).spec.classes == CLASSES


def test_unknown_name_lists_the_shipped_ones() -> None:
    assert 'default, lagr2008' in refused('lagr2009')


def test_missing_file_is_named(tmp_path: Path) -> None:
    assert str(tmp_path / 'none.onnx') in refused(tmp_path / 'none.onnx')


def test_file_cut_in_half(copy: Path) -> None:
    data = copy.read_bytes()
    copy.write_bytes(data[:len(data) // 2])
    message = refused(copy)
    assert str(copy) in message
    assert 'damaged' in message


def test_cut_file_with_a_fresh_checksum_is_refused_by_the_engine(copy: Path) -> None:
    data = copy.read_bytes()[:2000]
    copy.write_bytes(data)
    edit_manifest(copy, sha256=hashlib.sha256(data).hexdigest())
    message = refused(copy)
    assert str(copy) in message
    assert 'ONNX Runtime cannot load it' in message


def test_manifest_missing(copy: Path) -> None:
    copy.with_suffix('.json').unlink()
    message = refused(copy)
    assert 'mine.json' in message
    assert 'lagr export' in message


@pytest.mark.parametrize('text', ['', '{"name": "x"', '[]', '{"name": 3}'])
def test_manifest_that_is_none(copy: Path, text: str) -> None:
    copy.with_suffix('.json').write_text(text)
    assert 'mine.json' in refused(copy)


def test_unknown_manifest_key_is_named(copy: Path) -> None:
    edit_manifest(copy, colour='blue')
    assert 'colour' in refused(copy)


def test_manifest_with_other_receptive_field(copy: Path) -> None:
    edit_manifest(copy, rows=14)
    message = refused(copy)
    assert 'promises' in message
    assert str(copy) in message


def test_manifest_with_other_stride(copy: Path) -> None:
    edit_manifest(copy, row_stride=2)
    assert 'promises' in refused(copy)


def test_receptive_field_that_cannot_be_centred(copy: Path) -> None:
    edit_manifest(copy, columns=26)
    assert 'odd columns' in refused(copy)


def test_classifier_of_another_size(copy: Path) -> None:
    edit_manifest(copy, classifier_bias=[0.0] * 4)
    assert 'classifier_bias' in refused(copy)


def test_other_classes(copy: Path) -> None:
    edit_manifest(copy, classes=['ground', 'obstacle'])
    assert 'super_ground' in refused(copy)


def test_other_tensors_are_refused(copy: Path) -> None:
    renamed = copy.read_bytes().replace(b'bands', b'bonds')
    copy.write_bytes(renamed)
    edit_manifest(copy, sha256=hashlib.sha256(renamed).hexdigest())
    message = refused(copy)
    assert 'bands' in message
    assert 'lagr export' in message or 'export a network' in message


def test_unknown_engine() -> None:
    with pytest.raises(NetworkError, match='onnxruntime'):
        load_network('default', engine='abacus')  # type: ignore[arg-type]


def test_read_manifest_shapes() -> None:
    spec = read_manifest(WEIGHTS / 'default.onnx')
    assert spec.weight.shape == (5, spec.features)
    assert spec.bias.shape == (5,)
    assert spec.receptive.rows == spec.rows
