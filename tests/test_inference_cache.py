# SPDX-License-Identifier: Apache-2.0
"""Built engines on disk and the CPU engine before them: nothing damaged or foreign is trusted."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread

import numpy as np
import onnxruntime as ort
import pytest

from perception.errors import NetworkError
from perception.inference import cache, onnx_runtime, relay
from perception.inference.build import build_apart
from perception.inference.cache import Kept, Key
from perception.inference.network import WEIGHTS, load_network
from perception.inference.onnx_runtime import OrtSession
from perception.inference.relay import Bounded, Recipe, Relay
from perception.inference.session import Opened, Session
from perception.inference.shapes import Sides, input_sizes

NETWORK = WEIGHTS / 'lagr2008.onnx'
SIZES = {'bands': Sides((12, 25), (36, 64), (68, 200))}
KEY = Key('ab12', 'tensorrt_rtx', '1.7', 'sm86,sm120', 'f32', SIZES)
KEPT = Kept(KEY, bytes(range(256)) * 9)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv('LAGR_CACHE', str(tmp_path / 'cache'))
    monkeypatch.setattr(relay, 'STANDBY', ('onnxruntime',))  # opens quickest
    return tmp_path / 'cache'


def test_folder_is_the_users_unless_named(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    assert cache.folder() == folder
    monkeypatch.delenv('LAGR_CACHE')
    monkeypatch.setenv('XDG_CACHE_HOME', '/some/where')
    assert cache.folder() == Path('/some/where/lagr_perception')
    monkeypatch.delenv('XDG_CACHE_HOME')
    monkeypatch.setenv('HOME', '/home/robot')
    assert cache.folder() == Path('/home/robot/.cache/lagr_perception')


def test_what_is_saved_is_loaded() -> None:
    assert cache.load(KEY) is None
    assert cache.save(KEPT)
    assert cache.load(KEY) == KEPT
    assert [path.name for path in cache.folder().iterdir()] == [KEY.path.name]


@pytest.mark.parametrize('change', [
    {'sha256': 'ab13'}, {'engine': 'tensorrt'}, {'version': '1.8'}, {'device': 'sm86'},
    {'precision': 'f16'}, {'sizes': {'bands': Sides((12, 25), (36, 64), (68, 201))}},
], ids=lambda change: next(iter(change)))
def test_any_other_key_is_another_file(change: dict[str, object]) -> None:
    other = replace(KEY, **change)  # type: ignore[arg-type]
    assert other.path != KEY.path
    cache.write_engine(other.path, KEPT)  # a file under a name that is not its own
    assert cache.load(other) is None


@pytest.mark.parametrize('damage', [
    lambda data: b'',
    lambda data: data[:1],
    lambda data: data[:len(cache.MAGIC)],
    lambda data: data[:200],
    lambda data: data[:-1],
    lambda data: data + b'\0',
    lambda data: data[:-700] + bytes([data[-700] ^ 1]) + data[-699:],
    lambda data: data.replace(b'"f32"', b'"f16"'),
    lambda data: data.replace(b'ab12', b'ab13'),
    lambda data: data.replace(b'"sizes"', b'"seize"'),
    lambda data: cache.MAGIC + b'[' * 60000,
    lambda data: cache.MAGIC + b'[]\n',
    lambda data: cache.MAGIC + b'{"key": {"sizes": 3}, "digest": ""}\n',
    lambda data: cache.MAGIC + b'{"key": {"sizes": {"a": [1]}}}\n',
    lambda data: b'another program\n' + data,
])
def test_damaged_and_foreign_files_are_not_trusted(damage: Callable[[bytes], bytes]) -> None:
    cache.save(KEPT)
    KEY.path.write_bytes(damage(KEY.path.read_bytes()))
    assert cache.load(KEY) is None
    assert cache.save(KEPT)
    assert cache.load(KEY) == KEPT


def test_a_folder_in_the_place_of_a_file_is_not_trusted(folder: Path) -> None:
    KEY.path.mkdir(parents=True)
    assert cache.load(KEY) is None
    assert not cache.save(KEPT)
    assert list(folder.iterdir()) == [KEY.path]  # and no draft is left


def test_a_folder_that_cannot_be_written_costs_only_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / 'file').write_text('')
    monkeypatch.setenv('LAGR_CACHE', str(tmp_path / 'file' / 'cache'))
    assert not cache.save(KEPT)
    assert cache.load(KEY) is None


def test_many_writers_leave_one_whole_file() -> None:
    plans = {bytes([k]) * 50_000 for k in range(4)}
    wrong: list[object] = []

    def write(plan: bytes) -> None:
        for _ in range(8):
            cache.save(Kept(KEY, plan))
            found = cache.load(KEY)
            wrong.extend([] if found is not None and found.plan in plans else [found])

    threads = [Thread(target=write, args=(plan,)) for plan in plans]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert list(cache.folder().iterdir()) == [KEY.path]


@pytest.mark.parametrize(('device', 'change', 'found'), [
    ('sm86', {}, True), ('sm120', {}, True), ('sm12', {}, False), ('sm89', {}, False),
    ('sm86', {'sizes': {}}, True), ('sm86', {'version': '1.8'}, False),
    ('sm86', {'sha256': '0'}, False), ('sm86', {'precision': 'int8'}, False),
    ('sm86', {'engine': 'tensorrt'}, False),
])
def test_a_plan_beside_the_network_serves_the_devices_it_was_built_for(
    tmp_path: Path, device: str, change: dict[str, object], found: bool
) -> None:
    cache.write_engine(tmp_path / 'net.tensorrt_rtx', KEPT)
    wanted = replace(KEY, device=device, **change)  # type: ignore[arg-type]
    assert cache.load_beside(tmp_path / 'net.onnx', wanted) == (KEPT if found else None)


# The engine of these tests is ONNX Runtime under another name; its plan is the ONNX file.


def opened(plan: bytes) -> Session:
    try:
        session = ort.InferenceSession(plan, providers=['CPUExecutionProvider'])
    except onnx_runtime.ORT_ERRORS as error:
        raise NetworkError(f'built: {error}') from None
    return OrtSession(session, 'built', 'f32')


def standby() -> Session:
    return onnx_runtime.open_engine(NETWORK, 'f32', 1)


def recipe(build: Callable[[], bytes] = NETWORK.read_bytes) -> Recipe:
    return Recipe(replace(KEY, sizes=SIZES), build, opened)


def strip(width: int) -> dict[str, np.ndarray]:
    return {'bands': np.random.default_rng(1).random((1, 3, 12, width), np.float32)}


def test_the_cpu_engine_serves_until_the_build_is_done() -> None:
    go = Event()

    def build() -> bytes:
        go.wait(60)
        return NETWORK.read_bytes()

    session = relay.serve(recipe(build), NETWORK, 1)
    assert isinstance(session, Relay)
    assert session.engine == 'onnxruntime'
    bands = strip(41)
    before = session.run(bands)[0]
    assert not session.wait(0)
    go.set()
    assert session.wait()
    assert (session.engine, session.precision) == ('built', 'f32')
    np.testing.assert_allclose(session.run(bands)[0], before, atol=1e-4)


def test_the_second_start_does_not_build() -> None:
    first = relay.serve(recipe(), NETWORK, 1)
    assert isinstance(first, Relay)
    assert first.wait()

    def refuse() -> bytes:
        raise AssertionError

    assert relay.serve(recipe(refuse), NETWORK, 1).engine == 'built'


@pytest.mark.parametrize('plan', [b'no network', (WEIGHTS / 'default.onnx').read_bytes()],
                         ids=['garbage', 'another network'])
def test_a_kept_plan_that_does_not_serve_is_built_again(
    plan: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    cache.save(Kept(recipe().key, plan))
    session = relay.serve(recipe(), NETWORK, 1)
    assert isinstance(session, Relay)
    assert session.wait()
    assert session.engine == 'built'
    assert 'built again' in caplog.text
    kept = cache.load(recipe().key)
    assert kept is not None
    assert kept.plan == NETWORK.read_bytes()


def test_a_build_that_fails_leaves_the_cpu_engine(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> bytes:
        raise NetworkError('tensorrt_rtx: out of memory')

    session = relay.serve(recipe(fail), NETWORK, 1)
    assert isinstance(session, Relay)
    assert session.wait()
    assert session.engine == 'onnxruntime'
    assert session.run(strip(25))[0].shape == (1, 100, 1, 1)
    assert 'out of memory' in caplog.text and 'goes on serving' in caplog.text
    assert Opened(session, 'as configured').text == (
        'onnxruntime f32 (tensorrt_rtx: out of memory; as configured)')
    assert cache.load(recipe().key) is None


def test_an_unwritable_cache_is_said_once_and_the_engine_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / 'file').write_text('')
    monkeypatch.setenv('LAGR_CACHE', str(tmp_path / 'file' / 'cache'))
    session = relay.serve(recipe(), NETWORK, 1)
    assert isinstance(session, Relay)
    assert session.wait()
    assert session.engine == 'built'
    assert ['LAGR_CACHE' in record.message for record in caplog.records] == [True, False]
    assert caplog.records[1].message == 'built f32 serves from now on'


def test_a_build_without_room_is_one_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr('tempfile.tempdir', str(tmp_path / 'none'))
    with pytest.raises(NetworkError, match=r'tensorrt_rtx: no engine can be built .*none'):
        build_apart(KEY, NETWORK)


def test_a_build_ends_with_the_process_that_wants_it(tmp_path: Path) -> None:
    (tmp_path / 'plans').mkdir()
    code = ('from pathlib import Path; from perception.inference.build import _end_with; '
            f'_end_with(-1, Path({str(tmp_path / "plans")!r}))')  # no process has that number
    assert subprocess.run([sys.executable, '-c', code], check=False).returncode == 1
    assert not (tmp_path / 'plans').exists()


def test_other_sizes_run_on_the_cpu_engine(caplog: pytest.LogCaptureFixture) -> None:
    assert cache.save(Kept(recipe().key, NETWORK.read_bytes()))
    session = relay.serve(recipe(), NETWORK, 1)
    assert session.engine == 'built'
    expected = standby()
    for width in (200, 204, 208):  # built for up to 200 columns
        (found,), (wanted,) = session.run(strip(width)), expected.run(strip(width))
        np.testing.assert_array_equal(found, wanted)
    assert caplog.text.count('was not built for inputs of [(1, 3, 12, 204)]: onnxruntime') == 1
    assert len(caplog.records) == 1


def test_engines_that_differ_are_refused() -> None:
    session = standby()
    same = relay.answer(session, SIZES)
    relay.check_agreement(session, same)
    for factor, text in ((1.002, 'differ .* 0.002 in the mean'), (np.nan, 'differ')):
        other = replace(same, outputs=[same.outputs[0] * np.float32(factor)])
        with pytest.raises(NetworkError, match=text):
            relay.check_agreement(session, other)
    with pytest.raises(NetworkError, match='outputs are'):
        relay.check_agreement(session, replace(same, outputs=[same.outputs[0][:, 1:]]))


def test_header_can_be_read_by_a_person(tmp_path: Path) -> None:
    cache.write_engine(tmp_path / 'net.engine', KEPT)
    told = json.loads((tmp_path / 'net.engine').read_bytes().split(b'\n')[1])
    assert told['key']['device'] == 'sm86,sm120'
    assert told['key']['sizes']['bands'] == [[12, 25], [36, 64], [68, 200]]


def test_mean_difference_by_hand() -> None:
    found, wanted = np.array([[1.0, 2.0, 3.0]]), np.array([[1.0, -4.0, 3.0]])
    assert relay.mean_difference(found, wanted) == pytest.approx(6 / 8)


def test_standby_takes_a_bf16_request_in_f32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert relay.STANDBY == ('openvino', 'onnxruntime')
    assert relay.open_standby(NETWORK, 'bf16', 1).precision == 'f32'
    with pytest.raises(NetworkError, match='cannot load'):
        relay.open_standby(NETWORK.with_suffix('.json'), 'f32', 1)


def test_sizes_of_the_shipped_networks_serve_as_probe() -> None:
    inputs = relay.probe(input_sizes(WEIGHTS / 'scene.onnx'))
    assert inputs['image'].shape == (1, 3, 384, 512)
    assert 250 < inputs['image'].max() <= 255


def test_the_clock_of_a_gpu_is_that_of_whoever_ran_last() -> None:
    built = opened(NETWORK.read_bytes())
    built.device_ms = 1.25  # type: ignore[attr-defined]
    session = Bounded(built, standby(), SIZES)
    session.run(strip(41))
    assert session.device_ms == 1.25
    session.run(strip(SIZES['bands'].high[1] + 4))
    assert session.device_ms is None
    assert load_network('lagr2008', 'onnxruntime').device_ms is None
