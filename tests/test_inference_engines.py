# SPDX-License-Identifier: Apache-2.0
"""Engines: whatever runs a network, and however bands are packed, the answer is the same."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx_files import write_scene_network
from scenes import CAMERA, plane, texture

from perception.config import load_config
from perception.contrast import band_strips, gather, gather_some
from perception.errors import ConfigError, NetworkError
from perception.inference import WEIGHTS, Network, cuda, load_network, network_path, open_session
from perception.pyramid import Pyramid, build_pyramid
from perception.scene import load_scene_network
from perception.scene_config import SceneConfig
from perception.scene_stage import check_scene
from perception.types import Float

CPU_ENGINES = ('onnxruntime', 'openvino')
openvino = pytest.importorskip('openvino', reason='pip install openvino')


@pytest.fixture(scope='module', params=['default', 'lagr2008'])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope='module')
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scene_network(tmp_path_factory.mktemp('net') / 'tiny.onnx')


def rows_of(network: Network, pyramid: Pyramid, packed: bool) -> tuple[Float, Float]:
    """Features of all windows, and of every 13th, asked for by themselves."""
    spec, image = network.spec, texture((CAMERA.height, CAMERA.width))
    strips = band_strips(image, pyramid, spec.contrast, spec.receptive, packed)
    assert (len(strips) < len(pyramid.bands)) == packed
    outputs = network.features(strips)
    index = np.arange(0, len(pyramid.windows.band), 13)
    return (gather(outputs, pyramid, spec.receptive),
            gather_some(outputs, pyramid, spec.receptive, index))


def test_strips_and_bands_give_the_same_on_every_engine(name: str) -> None:
    network = load_network(name, 'onnxruntime')
    pyramid = build_pyramid(plane(), g=1.1, row_stride=network.spec.row_stride)
    expected, _ = rows_of(network, pyramid, packed=False)
    assert np.abs(expected).max() > 0.1
    for engine in CPU_ENGINES:
        network = load_network(name, engine)  # type: ignore[arg-type]
        assert network.packed == (engine == 'openvino')
        for packed in (True, False):
            found, some = rows_of(network, pyramid, packed)
            np.testing.assert_allclose(found, expected, atol=1e-5)
            np.testing.assert_array_equal(some, found[::13])


@pytest.mark.parametrize('engine', CPU_ENGINES)
def test_what_an_engine_returns_is_the_callers(tiny: Path, engine: str) -> None:
    session = open_session(tiny, engine, 'f32', 1).session  # type: ignore[arg-type]
    rng = np.random.default_rng(3)
    first, second = (rng.uniform(0, 255, (1, 3, 16, 28)).astype(np.float32) for _ in range(2))
    found = session.run({'image': first})[0]
    kept = found.copy()
    session.run({'image': second})
    np.testing.assert_array_equal(found, kept)
    np.testing.assert_array_equal(session.run({'image': first})[0], kept)
    assert found.dtype == np.float32


@pytest.mark.parametrize('engine', ['onnxruntime', 'openvino'])
def test_inputs_of_any_layout_and_locked_ones_are_read(engine: str) -> None:
    if engine != 'onnxruntime':
        pytest.importorskip(engine)
    session = open_session(WEIGHTS / 'lagr2008.onnx', engine, 'f32', 1).session
    bands = np.random.default_rng(4).random((1, 3, 14, 41), np.float32)
    (expected,) = session.run({'bands': bands})
    locked = bands.copy()
    locked.flags.writeable = False
    for other in (locked, np.asfortranarray(bands), bands[..., ::-1].copy()[..., ::-1]):
        np.testing.assert_array_equal(session.run({'bands': other})[0], expected)


def test_more_shapes_than_are_kept(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('perception.inference.openvino.MOST_SHAPES', 2)
    ours, reference = (open_session(tiny, engine, 'f32', 1).session for engine in
                       ('openvino', 'onnxruntime'))
    rng = np.random.default_rng(4)
    for width in (8, 12, 8, 20, 12, 8, 20):
        image = {'image': rng.uniform(0, 255, (1, 3, 12, width)).astype(np.float32)}
        np.testing.assert_allclose(ours.run(image)[0], reference.run(image)[0], atol=1e-3)


@pytest.mark.parametrize('engine', CPU_ENGINES)
def test_unfit_inputs_are_refused_in_one_line_and_the_next_ones_served(
    tiny: Path, engine: str
) -> None:
    session = open_session(tiny, engine, 'f32', 1).session  # type: ignore[arg-type]
    image = np.ones((1, 3, 16, 28), np.float32)
    expected = session.run({'image': image})[0]
    for bad in ({}, {'picture': image}, {'image': image[0]}, {'image': image[:, :2]},
                {'image': image, 'more': image}):
        with pytest.raises(NetworkError, match=engine) as caught:
            session.run(bad)
        assert '\n' not in str(caught.value)
    np.testing.assert_array_equal(session.run({'image': image})[0], expected)


def test_bf16_is_asked_for_and_never_slipped_in(name: str) -> None:
    """Where the processor has it, it differs from f32, a little; elsewhere it is refused."""
    if 'BF16' not in openvino.Core().get_property('CPU', 'OPTIMIZATION_CAPABILITIES'):
        with pytest.raises(NetworkError, match='this CPU has no bf16; choose precision f32'):
            load_network(name, 'openvino', precision='bf16')
        return
    network = load_network(name, 'openvino', precision='bf16')
    strip = np.random.default_rng(1).standard_normal(
        (1, 3, network.spec.rows + 4, 145)).astype(np.float32)
    exact = load_network(name, 'onnxruntime').features([strip])[0]
    difference = np.abs(network.features([strip])[0] - exact)
    assert 1e-5 * np.abs(exact).max() < difference.max() < 0.1 * np.abs(exact).max()
    assert network.opened.text == 'openvino bf16 (as configured)'


def test_bf16_is_openvinos() -> None:
    with pytest.raises(NetworkError, match='onnxruntime: computes in f32, f16, int8, not in bf16'):
        load_network('default', 'onnxruntime', precision='bf16')


def test_auto_takes_the_fastest_and_says_why(tiny: Path) -> None:
    if cuda.absence() is None:
        pytest.skip('a GPU engine may be the fastest here')
    why = '(fastest that works here; tensorrt, tensorrt_rtx: '
    assert load_network('default').opened.text.startswith(f'onnxruntime f32 {why}')
    assert load_scene_network(tiny).opened.text.startswith(f'openvino f32 {why}')


def test_without_openvino(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 'openvino', None)
    opened = load_scene_network(tiny).opened
    assert opened.session.engine == 'onnxruntime' or cuda.absence() is None
    assert 'openvino: not installed' in opened.text
    with pytest.raises(NetworkError, match='openvino: not installed; pip install openvino'):
        load_network('default', 'openvino')
    with pytest.raises(NetworkError, match='openvino: not installed'):
        check_scene(SceneConfig(enabled=True, engine='openvino'))


def test_a_file_that_no_engine_reads_names_them_all(tmp_path: Path) -> None:
    path = tmp_path / 'noise.onnx'
    path.write_bytes(b'no network')
    with pytest.raises(NetworkError, match=r'noise\.onnx: no engine runs it in f32 \(') as caught:
        open_session(path, 'auto', 'f32', 1)
    assert 'ONNX Runtime cannot load it' in str(caught.value)
    assert 'OpenVINO cannot load it' in str(caught.value)
    assert '\n' not in str(caught.value)


@pytest.fixture
def variant(tmp_path: Path) -> Path:
    """A shipped network, and beside it a file whose manifest says int8."""
    for stem in ('mine', 'mine_int8'):
        for suffix in ('.onnx', '.json'):
            shutil.copy(WEIGHTS / f'lagr2008{suffix}', tmp_path / f'{stem}{suffix}')
    manifest = tmp_path / 'mine_int8.json'
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {'precision': 'int8'}))
    return tmp_path / 'mine.onnx'


@pytest.mark.parametrize('engine', CPU_ENGINES)
def test_int8_is_the_file_beside_it(variant: Path, engine: str) -> None:
    assert network_path(variant, precision='int8').name == 'mine_int8.onnx'
    assert network_path(network_path(variant, precision='int8'), precision='int8').name == (
        'mine_int8.onnx')
    for asked, precision, path in (
            ('auto', 'f32', variant), ('int8', 'int8', variant),
            ('auto', 'int8', variant.with_name('mine_int8.onnx'))):
        network = load_network(path, engine, precision=asked)  # type: ignore[arg-type]
        assert network.opened.session.precision == network.spec.precision == precision


def test_a_precision_that_a_file_has_not(variant: Path) -> None:
    with pytest.raises(NetworkError, match=r'mine_int8\.onnx: made for int8, asked for f32'):
        load_network(variant.with_name('mine_int8.onnx'), precision='f32')
    with pytest.raises(NetworkError, match=r'no file mine_f16\.onnx beside .*mine\.onnx'):
        load_network(variant, precision='f16')


def test_settings_name_engines_and_precisions() -> None:
    config = load_config(None, ['network.engine=tensorrt_rtx', 'scene.precision=bf16'])
    assert (config.network.engine, config.scene.precision) == ('tensorrt_rtx', 'bf16')
    for override in ('network.engine=abacus', 'scene.engine=abacus', 'network.precision=f8'):
        with pytest.raises(ConfigError, match=override.replace('=', " = '")):
            load_config(None, [override])
