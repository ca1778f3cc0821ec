# SPDX-License-Identifier: Apache-2.0
"""The int8 file of a network: what is in it, what it says, and what is refused."""

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from command import lagr

onnx = pytest.importorskip('onnx')
pytest.importorskip('torch')

from onnx import numpy_helper  # noqa: E402
from onnx_files import write_scene_network  # noqa: E402

from perception.errors import DataSetError, NetworkError  # noqa: E402
from perception.inference import WEIGHTS, load_network, read_manifest  # noqa: E402
from perception.scene import load_scene_network  # noqa: E402
from perception.training.calibration_feeds import Feeds, read_feeds  # noqa: E402
from perception.training.quantize import layers, quantize, split  # noqa: E402

TOLD = {'what': ['noise'], 'licence': 'Apache-2.0'}
SIZES = ((28, 92), (34, 73), (28, 92), (23, 61))


def strips(seed: int = 0) -> list[Feeds]:
    """Smooth noise of about the size of normalised bands, each picture of another shape."""
    rng = np.random.default_rng(seed)
    small = rng.normal(0, 0.5, (len(SIZES), 5, 7, 3)).astype(np.float32)
    large = [cv2.resize(one, size[::-1]).transpose(2, 0, 1) for one, size in zip(small, SIZES)]
    return [[{'bands': np.ascontiguousarray(one[None])}] for one in large]


@pytest.fixture(scope='module')
def source(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped network, copied."""
    folder = tmp_path_factory.mktemp('network')
    for suffix in ('.onnx', '.json'):
        shutil.copy(repository / 'perception' / 'weights' / f'default{suffix}', folder)
    return folder / 'default.onnx'


@pytest.fixture(scope='module')
def int8(source: Path) -> Path:
    """Its int8 file, made from noise."""
    out = source.with_name('default_int8.onnx')
    first = layers(source)[0]
    quantize(source, out, [strips(), strips(1)], TOLD, [first], ('minmax', 'percentile'))
    return out


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Folder of five pictures in the colours that the tiny scene network knows."""
    folder, rng = tmp_path / 'pictures', np.random.default_rng(5)
    folder.mkdir()
    for k in range(5):
        small = rng.integers(0, 256, (3, 5, 3), np.uint8)
        cv2.imwrite(str(folder / f'{k}.png'), cv2.resize(small, (40, 24)))
    return folder


def initialisers(path: Path) -> dict[str, np.ndarray]:
    return {one.name: numpy_helper.to_array(one) for one in onnx.load(path).graph.initializer}


def test_all_roundings_are_symmetric_and_biases_stay_float(source: Path, int8: Path) -> None:
    graph, values = onnx.load(int8).graph, initialisers(int8)
    roundings = [node for node in graph.node
                 if node.op_type in ('QuantizeLinear', 'DequantizeLinear')]
    convolutions = [node for node in graph.node if node.op_type == 'Conv']
    assert len(convolutions) == 9
    # eight layers read a rounded tensor (two nodes) and stored int8 weights (one node)
    assert len(roundings) == 8 * 3
    for node in roundings:
        zero = values[node.input[2]]
        assert zero.dtype == np.int8
        assert not zero.any()
    made = {node.output[0]: node for node in graph.node}
    before = initialisers(source)
    for node in convolutions[1:]:
        weight = made[node.input[1]]
        assert values[weight.input[0]].dtype == np.int8
        assert values[weight.input[1]].shape == values[weight.input[0]].shape[:1]
        np.testing.assert_array_equal(values[node.input[2]], before[node.input[2]])
    assert convolutions[0].input[1] in before  # the layer that was to stay in float32


def test_the_manifest_tells_what_was_done(source: Path, int8: Path) -> None:
    before, spec = read_manifest(source), read_manifest(int8)
    assert (spec.name, spec.precision, spec.scores) == ('default_int8', 'int8', {})
    assert spec.sha256 == hashlib.sha256(int8.read_bytes()).hexdigest()
    assert (spec.licence, spec.features, spec.rows) == ('Apache-2.0', 64, 22)
    np.testing.assert_array_equal(spec.weight, before.weight)
    told = spec.data['calibration']
    assert {key: told[key] for key in TOLD} == TOLD
    assert (told['pictures'], told['quantized_from']) == (8, before.sha256)
    assert told['layers_in_f32'] == layers(source)[:1]
    assert min(told['difference'], key=told['difference'].get) == told['method']
    assert set(told['difference']) == {'minmax', 'percentile'}
    assert {'first_seed', 'worlds'} <= set(spec.data)  # what the weights learned from


@pytest.mark.parametrize('engine', ['onnxruntime', 'openvino'])
def test_int8_features_are_close_to_those_in_float32(
    source: Path, int8: Path, engine: str
) -> None:
    if engine != 'onnxruntime':
        pytest.importorskip(engine)
    before = load_network(source, 'onnxruntime')
    after = load_network(source, engine, precision='int8')
    assert after.spec == read_manifest(int8)
    bands = strips(7)[0][0]['bands']
    (wanted,), (found,) = (network.features([bands]) for network in (before, after))
    assert 1e-4 < np.abs(found - wanted).mean() / np.abs(wanted).mean() < 0.05


def test_scene_networks_are_quantised_on_pictures(
    tmp_path: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_scene_network(tmp_path / 'tiny.onnx')
    out = tmp_path / 'new' / 'tiny_int8.onnx'
    code = lagr('quantize', '--network', str(path), '--calibrate', str(pictures), '--out',
                str(out), '--pictures', '4', '--licence', 'CC0')
    assert code == 0, capsys.readouterr().err
    assert sorted(one.name for one in out.parent.iterdir()) == ['tiny_int8.json', 'tiny_int8.onnx']
    before, after = (load_scene_network(one, engine='onnxruntime') for one in (path, out))
    told = after.spec.data['calibration']
    assert (told['what'], told['licence'], told['pictures']) == (['pictures'], 'CC0', 4)
    assert told['command'].startswith('lagr quantize --network')
    image = cv2.imread(str(pictures / '1.png'))
    found, wanted = (network.logits(image) for network in (after, before))
    assert 0 < np.abs(found - wanted).mean() < 0.02 * np.abs(wanted).mean()
    assert '<- taken' in capsys.readouterr().out


def test_pictures_are_spread_and_the_last_of_each_source_judge(pictures: Path) -> None:
    path = write_scene_network(pictures.parent / 'tiny.onnx')
    feeds = read_feeds(path, pictures, 3)
    wanted = [cv2.imread(str(pictures / f'{k}.png')).transpose(2, 0, 1) for k in (0, 2, 4)]
    np.testing.assert_array_equal([one[0]['image'][0] for one in feeds], wanted)
    numbered = [[{'k': np.float32(k)}] for k in range(13)]
    fit, judge = split([numbered[:5], numbered[5:]])
    assert [int(one[0]['k']) for one in judge] == [4, 11, 12]
    assert [int(one[0]['k']) for one in fit] == [0, 1, 2, 3, *range(5, 11)]
    fit, judge = split([[one] for one in numbered[:4]])  # four sources of one picture
    assert [len(fit), int(judge[0][0]['k'])] == [3, 3]


def damaged(path: Path) -> Path:
    """A file that is no network, with a manifest that says it is."""
    path.write_bytes(b'no network')
    told = {'sha256': hashlib.sha256(b'no network').hexdigest()}
    manifest = path.with_suffix('.json')
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), **told}))
    return path


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    """The one line that the command ends with, exit code 1."""
    assert lagr('quantize', *map(str, arguments)) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if 'lagr: error' in line]
    return line


def test_what_cannot_be_done_is_named_in_one_line(
    tmp_path: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = write_scene_network(tmp_path / 'tiny.onnx'), tmp_path / 'tiny_int8.onnx'
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'file').write_text('')
    usual = ('--network', path, '--calibrate', pictures)
    foreign = damaged(write_scene_network(tmp_path / 'foreign.onnx'))
    for arguments, words in {
        ('--network', path, '--calibrate', tmp_path / 'empty', '--out', out): 'empty: no picture',
        ('--network', path, '--calibrate', tmp_path / 'file', '--out', out):
            'file: not a bag, or a folder of pictures',
        ('--network', 'default', '--calibrate', pictures, '--out', out): 'pictures: not a bag; ',
        (*usual, '--pictures', '2', '--out', out): '2 pictures to calibrate with, 4 are needed',
        (*usual, '--out', tmp_path / 'tiny.onnx'): 'tiny.onnx: must end in _int8.onnx',
        (*usual, '--out', tmp_path / 'file' / 'tiny_int8.onnx'): 'cannot be written',
        (*usual, '--keep', 'c9', '--out', out): "no layer 'c9' to keep; it has",
        ('--network', foreign, '--calibrate', pictures, '--out', out): 'foreign.onnx: ONNX Runtim',
        ('--network', tmp_path / 'file.onnx', '--calibrate', pictures, '--out', out): 'no file',
    }.items():
        assert words in refusal(capsys, *arguments)
    assert not out.exists()


@pytest.mark.parametrize('name', ['default', 'lagr2008', 'scene'])
def test_shipped_int8_files_were_made_from_the_shipped_networks(name: str) -> None:
    before, after = (json.loads((WEIGHTS / f'{stem}.json').read_text())
                     for stem in (name, f'{name}_int8'))
    told = after['data']['calibration']
    assert told['quantized_from'] == before['sha256']
    digest = hashlib.sha256((WEIGHTS / f'{name}_int8.onnx').read_bytes()).hexdigest()
    assert (after['sha256'], after['precision']) == (digest, 'int8')
    changed = {'name', 'sha256', 'precision', 'scores', 'data'}
    assert {key: value for key, value in after.items() if key not in changed} == {
        key: value for key, value in before.items() if key not in changed}
    assert all(one.startswith(('clear', 'autumn')) for one in told['what'])
    assert (WEIGHTS / f'{name}_int8.md').read_text().count('SPDX') == 1


def test_an_int8_file_is_not_quantised_again(int8: Path) -> None:
    with pytest.raises(NetworkError, match='made for int8; give the file made for f32'):
        quantize(int8, int8, [strips()], TOLD)


def test_a_network_without_a_layer_to_quantise_is_refused(source: Path, tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match='no convolution to quantise; use the file as it is'):
        quantize(source, tmp_path / 'a_int8.onnx', [strips()], TOLD, layers(source))


@pytest.mark.parametrize('sources', [(), ([],), ([[]] * 3,)])
def test_too_few_pictures_are_refused(sources: Sequence[Sequence[Feeds]]) -> None:
    with pytest.raises(DataSetError, match='pictures to calibrate with, 4 are needed'):
        split(sources)
