# SPDX-License-Identifier: Apache-2.0
"""The bench's contract: keys, rows and arithmetic; never the times themselves."""

import json
import sys
from collections import defaultdict
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from perception import bench
from perception.bench_engines import RIVALS, Rival, frame_ms, rivals
from perception.commands.main import main
from perception.errors import ImageError
from perception.stereo import depth_grid

KEYS = {'name', 'preset', 'network', 'engine', 'precision', 'threads', 'p50_ms', 'p95_ms', 'ratio',
        'roofline', 'clock'}


@pytest.fixture(scope='module')
def result(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """What ``lagr bench`` writes after one round."""
    path = tmp_path_factory.mktemp('bench') / 'new' / 'bench.json'
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, 'argv', ['lagr', 'bench', '--json', str(path), '--rounds', '1'])
        with pytest.raises(SystemExit) as end:
            main()
    assert end.value.code == 0
    return json.loads(path.read_text())


def test_a_folder_in_place_of_the_file_is_refused_at_once(tmp_path: Path, capsys) -> None:
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as end:
        patch.setattr(sys, 'argv', ['lagr', 'bench', '--json', str(tmp_path)])
        main()
    assert end.value.code != 0
    assert str(tmp_path) in capsys.readouterr().err


def test_every_row_has_every_key(result: dict) -> None:
    assert set(result) == {'yardstick_ms', 'sgemm_gflops', 'rows'}
    for row in result['rows']:
        assert set(row) == KEYS
        assert row['threads'] in (1, 2)
        if row['engine'] in (None, 'onnxruntime', 'openvino'):
            assert row['clock'] == ('wall' if row['threads'] == 2 else 'processor')


def test_rows_are_complete_and_unique(result: dict) -> None:
    order = ('name', 'preset', 'network', 'engine', 'precision', 'threads')
    keys = [tuple(row[key] for key in order) for row in result['rows']]
    assert len(keys) == len(set(keys))
    working = {(one.engine, one.precision) for one in rivals('default', lambda text: None)}
    assert working >= set(RIVALS) - {('openvino', 'bf16')}  # some processors lack it
    expected: set[tuple] = {(name, None, None, None, None, 1) for name in bench.SHARED}
    for preset, network in product(('bands7', 'bands24'), ('default', 'lagr2008')):
        for name in bench.PER_SUBJECT:
            engine = ('onnxruntime', 'f32') if name in bench.RUNS_NETWORK else (None, None)
            expected.add((name, preset, network, *engine, 1))
        expected |= {(name, preset, network, *rival, 1) for name in ('network', 'frame')
                     for rival in working}
        if preset == 'bands7':
            expected.add(('frame', preset, network, 'onnxruntime', 'f32', 2))
    assert set(keys) == expected


def test_a_ratio_is_the_median_over_the_yardstick(result: dict) -> None:
    assert result['yardstick_ms'] > 0
    for row in result['rows']:
        assert 0 < row['p50_ms'] <= row['p95_ms']
        assert row['ratio'] == pytest.approx(row['p50_ms'] / result['yardstick_ms'])


def test_a_roofline_stands_where_the_network_alone_runs(result: dict) -> None:
    for row in result['rows']:
        assert (row['roofline'] is not None) == (row['name'] == 'network')
    by_speed = sorted((row for row in result['rows'] if row['roofline']
                       and (row['preset'], row['network']) == ('bands7', 'lagr2008')),
                      key=lambda row: row['p50_ms'])
    work = [row['roofline'] * row['p50_ms'] * result['sgemm_gflops'] for row in by_speed]
    assert work == pytest.approx([work[0]] * len(work))  # the same operations for all engines
    assert 120 < work[0] < 160  # megaflops that connections need, of 680 in dense layers


def test_an_engine_that_is_missing_is_left_out_and_named(monkeypatch) -> None:
    monkeypatch.setattr('perception.bench_engines.RIVALS', (('onnxruntime_cuda', 'f32'),))
    told: list[str] = []
    assert rivals('default', told.append) == []
    assert len(told) == 1
    assert 'left out: default on onnxruntime_cuda f32: ' in told[0]


def test_a_frame_with_a_rival_swaps_its_stages() -> None:
    base = {'frame': [30.0, 20.0], 'network': [5.0, 4.0], 'preprocess': [3.0, 2.0]}
    rival = Rival(None, 'openvino', 'int8', {'network': [2.0, 1.0], 'preprocess': [4.0, 2.5]})
    assert frame_ms(base, rival) == [28.0, 17.5]


def test_a_frame_is_the_sum_of_its_stages() -> None:
    subject = bench._subject('bands7', 'default')
    for index in range(3):
        subject.record(bench.moved(bench.read_pair(), index))
    parts = np.sum([subject.ms[name] for name in bench.IN_FRAME], axis=0)
    np.testing.assert_allclose(subject.ms['frame'], parts)
    on_line = np.sum([subject.ms[name] for name in bench.ON_LINE], axis=0)
    np.testing.assert_allclose(subject.ms['frame_learning'], parts + on_line)  # less rectifying
    assert not set(bench.ON_LINE) & set(bench.IN_FRAME)
    assert set(subject.ms) == {*bench.IN_FRAME, *bench.ON_LINE, 'frame', 'frame_learning'}


def test_frames_on_two_threads_are_timed_from_result_to_result() -> None:
    duo = bench._duo('bands7', 'default')
    assert duo.pipeline.learner is None
    assert not duo.pipeline.taught  # as in the frame of one thread
    duo.record(bench.read_pair())
    assert len(duo.ms['frame']) == bench.BURST - 2
    shared = {'yardstick': [20.0], 'yardstick_wall': [25.0], 'rectify': [2.0]}
    subject = bench._subject('bands7', 'default')
    subject.run(bench.moved(bench.read_pair(), 0))
    subject.ms = defaultdict(lambda: [1.0])
    duo.ms['frame'] = [10.0, 11.0, 15.0]
    row = bench._summary(shared, [subject], [duo])['rows'][-1]
    assert (row['name'], row['threads'], row['ratio']) == ('frame', 2, pytest.approx(11 / 25))


def test_the_learner_has_a_road_behind_it_when_the_clock_runs() -> None:
    subject = bench._subject('bands7', 'default')
    subject.record(bench.moved(bench.read_pair(), 0))
    memory = subject.pipeline.learner.memory
    assert memory.travelled_m == pytest.approx(bench.DRIVEN_BEFORE_M)
    assert any(view.done_m > 0 for view in memory.views)


def test_the_shipped_pair_is_what_a_robot_sees() -> None:
    frame = bench.read_pair()
    assert frame.image.shape == (480, 640, 3)
    assert frame.right is not None
    assert frame.right.shape == (480, 640)
    estimate = bench._subject('bands7', 'default').pipeline.tracker.update(
        depth_grid(frame, bench.Config().stereo), frame)
    assert estimate is not None
    assert estimate.fresh
    assert 0.9 < estimate.plane.height_m < 1.2  # the rover's camera is at 1.05 m


def test_a_missing_pair_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(bench, 'RIGHT', tmp_path / 'gone.jpg')
    with pytest.raises(ImageError, match=r'gone\.jpg'):
        bench.read_pair()
