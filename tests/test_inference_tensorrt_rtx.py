# SPDX-License-Identifier: Apache-2.0
"""
TensorRT-RTX by its real library, as far as it goes without a GPU: building, and every refusal.

What needs a GPU is asked for both ways: with one it must agree with ONNX Runtime, without one it
must fail in one line.
"""

import ast
import inspect
import json
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from typer.testing import CliRunner, Result

from perception.commands.main import app
from perception.contrast import pack_strips
from perception.errors import NetworkError
from perception.inference import cache, cuda, onnx_runtime, ort_gpu, plan, tensorrt, tensorrt_rtx
from perception.inference.build import build_apart
from perception.inference.build import main as build_main
from perception.inference.network import WEIGHTS, load_network, read_manifest
from perception.inference.session import open_session
from perception.inference.shapes import Sides, input_sizes, probe
from perception.pyramid import make_bands
from tests.onnx_files import write_scene_network

trt = pytest.importorskip('tensorrt_rtx', reason="pip install 'lagr_perception[tensorrt-rtx]'")

SHIPPED = sorted(WEIGHTS.glob('*.onnx'))
FEATURES = [path for path in SHIPPED
            if 'rows' in json.loads(path.with_suffix('.json').read_text())]
SMALL = WEIGHTS / 'lagr2008.onnx'
END_WHILE_BUILDING = """
from perception.inference import tensorrt_rtx
from perception.inference.build import build_apart
from perception.inference.network import WEIGHTS
from perception.inference.onnx_runtime import open_engine
from perception.inference.relay import Relay

path = WEIGHTS / 'scene.onnx'
key = tensorrt_rtx.key_of(tensorrt_rtx.library(), path, ['sm86'])
Relay(open_engine(path, 'f32', 1), lambda: build_apart(key, path))
"""
TARGETS = ['sm75', 'sm86', 'sm89', 'sm120']


def lagr(*arguments: object) -> Result:
    return CliRunner().invoke(app, ['export', *map(str, arguments)])


def copied(folder: Path, stem: str = 'lagr2008') -> Path:
    for ending in ('onnx', 'json'):
        shutil.copy(WEIGHTS / f'{stem}.{ending}', folder)
    return folder / f'{stem}.onnx'


@pytest.mark.parametrize('path', SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_network_builds_without_a_gpu(path: Path) -> None:
    kept = tensorrt_rtx.build_ahead(path, TARGETS)
    assert len(kept.plan) > 100_000
    assert kept.key.device == 'sm75,sm86,sm89,sm120'
    assert kept.key.version == trt.__version__
    assert kept.key.sha256 == json.loads(path.with_suffix('.json').read_text())['sha256']


def test_another_process_builds_for_the_same_key() -> None:
    assert len(build_apart(tensorrt_rtx.key_of(trt, SMALL, ['sm86']), SMALL)) > 100_000


def test_a_build_apart_fails_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="target 'sm90'") as caught:
        build_main('tensorrt_rtx', str(SMALL), 'f32', 'sm90', str(tmp_path / 'plan'))
    assert '\n' not in str(caught.value)
    with pytest.raises(SystemExit, match='not made for int8'):
        build_main('tensorrt_rtx', str(SMALL), 'int8', 'sm86', str(tmp_path / 'plan'))


def test_a_process_that_ends_ends_its_build_and_does_not_crash() -> None:
    done = subprocess.run([sys.executable, '-c', END_WHILE_BUILDING], text=True, check=False,
                          capture_output=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, '')


def test_targets_are_sorted_and_named_once() -> None:
    assert tensorrt_rtx.checked_targets(trt, ['sm120', 'sm86', 'sm120']) == ['sm86', 'sm120']
    known = tensorrt_rtx.known_targets(trt)
    assert set(TARGETS) < set(known)
    assert known == sorted(known, key=lambda target: int(target[2:]))


@pytest.mark.parametrize(('target', 'text'), [
    ('sm87', 'Jetson Orin: use the engine tensorrt'), ('sm90', 'H100, H200: use .* tensorrt or'),
    ('sm8', 'choose from sm75'), ('current', 'choose from'), ('', 'choose from'),
])
def test_a_target_that_is_none_is_named(target: str, text: str) -> None:
    with pytest.raises(NetworkError, match=f"target '{target}'.*{text}"):
        tensorrt_rtx.build_ahead(SMALL, ['sm86', target])


@pytest.mark.parametrize('path', FEATURES, ids=lambda path: path.stem)
@pytest.mark.parametrize('preset', ['bands7', 'bands24'])
def test_strips_of_usual_cameras_fit_the_profile(path: Path, preset: str) -> None:
    spec = read_manifest(path)
    low, usual, high = input_sizes(path)['bands']
    assert low == (spec.rows, spec.columns)
    for width, g in ((320, 0.7), (640, 1.0), (640, 3.0), (1280, 2.0), (1920, 1.0), (1920, 8.0)):
        for strip in pack_strips(make_bands(preset, width, g), spec.receptive):
            assert low <= (strip.height, strip.width)
            assert strip.height <= high[0] and strip.width <= high[1]
    assert usual[0] == max(strip.height for strip in pack_strips(make_bands(preset, 640, 1.0),
                                                                 spec.receptive))


def test_sizes_of_scene_networks_by_hand(tmp_path: Path) -> None:
    wide = write_scene_network(tmp_path / 'wide.onnx', input_width=100, multiple=8)
    assert input_sizes(wide) == {'image': Sides((8, 8), (80, 104), (200, 200))}
    scaled = write_scene_network(tmp_path / 'scaled.onnx', preprocess='laplacian_yuv', scales=3,
                                 multiple=16)
    assert input_sizes(scaled, (500, 700)) == {
        'scale0': Sides((16, 16), (480, 640), (512, 704)),
        'scale1': Sides((8, 8), (240, 320), (256, 352)),
        'scale2': Sides((4, 4), (120, 160), (128, 176))}


def test_a_network_with_other_inputs_than_promised_is_refused(tmp_path: Path) -> None:
    path = write_scene_network(tmp_path / 'net.onnx')
    manifest = path.with_suffix('.json')
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), 'scales': 2,
                                    'preprocess': 'laplacian_yuv'}))
    with pytest.raises(NetworkError, match=r"has inputs \['image'\], its manifest promises"):
        tensorrt_rtx.build_ahead(path, ['sm86'])


def test_a_file_that_is_no_network_is_refused_in_one_line(tmp_path: Path) -> None:
    path = copied(tmp_path)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(NetworkError, match='tensorrt_rtx cannot read it') as caught:
        tensorrt_rtx.build_ahead(path, ['sm86'])
    assert '\n' not in str(caught.value)


def test_the_runner_uses_names_that_the_library_has() -> None:
    classes = {'_engine': trt.ICudaEngine, '_context': trt.IExecutionContext,
               '_runtime': trt.Runtime, 'builder': trt.Builder, 'parser': trt.OnnxParser,
               'config': trt.IBuilderConfig, 'network': trt.INetworkDefinition, 'trt': trt,
               'profile': trt.IOptimizationProfile}
    used: set[tuple[str, str]] = set()
    for node in ast.walk(ast.parse(inspect.getsource(plan))):
        if isinstance(node, ast.Attribute):
            owner = getattr(node.value, 'attr', getattr(node.value, 'id', ''))
            used.add((owner, node.attr))
    asked = {(owner, name) for owner, name in used if owner in classes and name[:1] != '_'}
    assert {('_context', 'execute_async_v3'), ('_context', 'set_input_shape'),
            ('_context', 'set_tensor_address'), ('_engine', 'num_io_tensors')} <= asked
    assert not [pair for pair in asked if not hasattr(classes[pair[0]], pair[1])]


def test_a_plan_runs_as_onnx_runtime_does_or_says_that_there_is_no_driver() -> None:
    built = tensorrt_rtx.build_ahead(SMALL, TARGETS)
    if cuda.absence():
        with pytest.raises(NetworkError, match=r'cannot load its plan .*driver'):
            plan.PlanSession(trt, built.plan, 'f32')
        return
    session = plan.PlanSession(trt, built.plan, 'f32')
    reference = onnx_runtime.open_engine(SMALL, 'f32', 1)
    for width in (64, 1024, 25):
        bands = {'bands': np.random.default_rng(0).random((1, 3, 36, width), np.float32)}
        np.testing.assert_allclose(session.run(bands)[0], reference.run(bands)[0], atol=1e-4)
    with pytest.raises(NetworkError, match='not between'):
        session.run({'bands': np.zeros((1, 3, 36, 24), np.float32)})
    with pytest.raises(NetworkError, match=r"takes .*'bands'"):
        session.run({'image': np.zeros((1, 3, 36, 64), np.float32)})


@pytest.mark.parametrize('data', [b'', b'no plan', bytes(5000)])
def test_what_is_no_plan_is_refused_in_one_line(data: bytes) -> None:
    with pytest.raises(NetworkError, match='cannot load its plan') as caught:
        plan.PlanSession(trt, data, 'f32')
    assert '\n' not in str(caught.value)


def test_without_a_driver_engines_say_so_and_auto_takes_another(
    monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda, 'first_device', partial(cuda.first_device, 'libno_driver.so'))
    for engine in ('tensorrt', 'tensorrt_rtx', 'onnxruntime_cuda', 'onnxruntime_tensorrt'):
        with pytest.raises(NetworkError, match=f'{engine}: no NVIDIA driver .*install'):
            open_session(SMALL, engine, 'f32', 1)  # type: ignore[arg-type]
    opened = open_session(SMALL, 'auto', 'f32', 1)
    assert opened.session.engine in ('openvino', 'onnxruntime')
    assert 'tensorrt_rtx: no NVIDIA driver' in opened.text
    done = lagr('--network', SMALL, '--engine', 'tensorrt', '--out', 'lagr2008.tensorrt')
    assert 'no NVIDIA driver' in str(done.exception)


def test_onnx_runtime_is_held_to_the_provider_asked_for() -> None:
    session = ort.InferenceSession(SMALL.read_bytes(), providers=['CPUExecutionProvider'])
    ort_gpu.require_provider(session, 'CPUExecutionProvider')
    with pytest.raises(NetworkError, match=r'took CPUExec.* in place of CUDA.*onnxruntime-gpu'):
        ort_gpu.require_provider(session, 'CUDAExecutionProvider')


def test_onnx_runtimes_tensorrt_is_told_the_sizes() -> None:
    for _, asked in ort_gpu.TENSORRT.providers(SMALL, 140_000_000_000_000):
        assert asked['user_compute_stream'] == '140000000000000'
    (name, options), (second, _) = ort_gpu.TENSORRT.providers(SMALL)
    assert 'user_compute_stream' not in options
    assert (name, second) == ('TensorrtExecutionProvider', 'CUDAExecutionProvider')
    assert options['trt_profile_min_shapes'] == 'bands:1x3x12x25'
    assert options['trt_profile_max_shapes'] == 'bands:1x3x68x8192'


def test_precision_flags_are_for_files_made_for_f32_only(tmp_path: Path) -> None:
    path = copied(tmp_path)
    assert tensorrt.precision_flag(trt, path, 'f32') is None
    for precision in ('f16', 'bf16', 'int8'):  # no such flags here, nor in TensorRT 11
        with pytest.raises(NetworkError, match=f'nothing else; export .* for {precision}'):
            tensorrt.precision_flag(trt, path, precision)  # type: ignore[arg-type]


def test_half_export_is_found_and_builds(tmp_path: Path) -> None:
    pytest.importorskip('onnx')
    path = copied(tmp_path)
    half = tmp_path / 'lagr2008_f16.onnx'
    done = lagr('--network', path, '--precision', 'f16', '--out', half)
    assert done.exit_code == 0, done.output
    assert half.stat().st_size < 0.6 * path.stat().st_size
    network = load_network(path, engine='onnxruntime', precision='f16')
    assert (network.spec.precision, network.spec.name) == ('f16', 'lagr2008_f16')
    bands = probe(input_sizes(path))['bands']
    full = load_network(path, engine='onnxruntime').features([bands])[0]
    np.testing.assert_allclose(network.features([bands])[0], full, atol=4e-3)
    assert tensorrt_rtx.build_ahead(half, ['sm86']).key.precision == 'f16'
    again = lagr('--network', half, '--precision', 'f16', '--out', tmp_path / 'b_f16.onnx')
    assert isinstance(again.exception, NetworkError)
    assert 'made for f16' in str(again.exception)


def test_export_builds_ahead_for_the_targets(tmp_path: Path) -> None:
    path, out = copied(tmp_path), tmp_path / 'lagr2008.tensorrt_rtx'
    done = lagr('--network', path, '--engine', 'tensorrt_rtx', '--targets', 'sm86, SM120',
                '--largest', '40x600', '--out', out)
    assert done.exit_code == 0, done.output
    assert 'for sm86,sm120' in done.output
    for target, found in (('sm86', True), ('sm120', True), ('sm89', False)):
        kept = cache.load_beside(path, tensorrt_rtx.key_of(trt, path, [target]))
        assert (kept is not None) == found
    kept = cache.read_engine(out)
    assert kept is not None
    assert kept.key.sizes == {'bands': Sides((12, 25), (36, 600), (40, 600))}


@pytest.mark.parametrize(('arguments', 'code', 'text'), [
    (('--engine', 'abacus', '--out', 'a'), 2, "'abacus': choose onnxruntime"),
    (('--targets', 'sm86', '--out', 'a.onnx'), 2, 'only for --engine tensorrt_rtx'),
    (('--engine', 'tensorrt_rtx', '--largest', '9', '--out', 'a'), 2, 'HEIGHTxWIDTH'),
    (('--engine', 'tensorrt_rtx', '--largest', '0x9', '--out', 'a'), 2, 'HEIGHTxWIDTH'),
    (('--largest', '9x9', '--out', 'a.onnx'), 2, 'only for TensorRT'),
    (('--precision', 'f8', '--out', 'a.onnx'), 2, "'f8': choose f32, f16"),
    (('--precision', 'f16', '--engine', 'tensorrt_rtx', '--out', 'a'), 2, 'the file decides'),
    (('--engine', 'tensorrt_rtx', '--out', 'lagr2008.onnx'), 2, 'name of a network file'),
    (('--out', 'b.onnx'), 2, 'is exported already'),
    (('--network', 'none.onnx', '--out', 'b'), 2, 'none.onnx: no such file'),
    (('--engine', 'tensorrt_rtx', '--targets', 'sm90', '--out', 'a'), 1, 'H100, H200'),
    (('--engine', 'tensorrt_rtx', '--targets', '', '--out', 'a'), 1, 'choose from sm75'),
    (('--engine', 'tensorrt_rtx', '--out', 'lagr2008.json/a'), 1, 'choose another --out'),
])
def test_export_refuses_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], code: int,
    text: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    done = lagr('--network', copied(tmp_path), *arguments)
    assert done.exit_code == code
    told = done.output if code == 2 else str(done.exception)
    assert text in ' '.join(told.replace('│', ' ').split())
    assert code == 2 or isinstance(done.exception, NetworkError)


def test_export_refuses_a_file_that_its_manifest_does_not_name(tmp_path: Path) -> None:
    path = copied(tmp_path)
    shutil.copy(WEIGHTS / 'default.onnx', path)
    done = lagr('--network', path, '--engine', 'tensorrt_rtx', '--out', tmp_path / 'a')
    assert 'sha256 differs' in str(done.exception)
