# SPDX-License-Identifier: Apache-2.0
"""The bench's contract: keys, rows and arithmetic; never the times themselves."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from perception import bench
from perception.commands.main import main
from perception.errors import ImageError
from perception.stereo import depth_grid

KEYS = {'name', 'preset', 'network', 'engine', 'precision', 'threads', 'p50_ms', 'p95_ms', 'ratio'}


@pytest.fixture(scope='module')
def result(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """What ``lagr bench`` writes after a few rounds."""
    path = tmp_path_factory.mktemp('bench') / 'new' / 'bench.json'
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, 'argv', ['lagr', 'bench', '--json', str(path), '--rounds', '5'])
        with pytest.raises(SystemExit) as end:
            main()
    assert end.value.code == 0
    return json.loads(path.read_text())


def test_every_row_has_every_key(result: dict) -> None:
    assert set(result) == {'yardstick_ms', 'rows'}
    for row in result['rows']:
        assert set(row) == KEYS
        assert row['threads'] == 1


def test_rows_are_complete_and_unique(result: dict) -> None:
    keys = [(row['name'], row['preset'], row['network']) for row in result['rows']]
    assert len(keys) == len(set(keys))
    expected = {(name, None, None) for name in bench.SHARED}
    expected |= {(name, preset, network) for name in bench.PER_SUBJECT
                 for preset in ('bands7', 'bands24') for network in ('default', 'lagr2008')}
    assert set(keys) == expected


def test_a_ratio_is_the_median_over_the_yardstick(result: dict) -> None:
    assert result['yardstick_ms'] > 0
    for row in result['rows']:
        assert 0 < row['p50_ms'] <= row['p95_ms']
        assert row['ratio'] == pytest.approx(row['p50_ms'] / result['yardstick_ms'])


def test_engine_and_precision_stand_where_a_network_runs(result: dict) -> None:
    for row in result['rows']:
        runs = row['name'] in ('network', 'frame', 'frame_learning')
        assert row['engine'] == ('onnxruntime' if runs else None)
        assert row['precision'] == ('f32' if runs else None)


def test_a_frame_is_the_sum_of_its_stages() -> None:
    subject = bench._subject('bands7', 'default')
    for index in range(3):
        subject.record(bench._moved(bench.read_pair(), index))
    parts = np.sum([subject.ms[name] for name in bench.IN_FRAME], axis=0)
    np.testing.assert_allclose(subject.ms['frame'], parts)
    on_line = np.sum([subject.ms[name] for name in bench.ON_LINE], axis=0)
    np.testing.assert_allclose(subject.ms['frame_learning'], parts + on_line)  # less rectifying
    assert not set(bench.ON_LINE) & set(bench.IN_FRAME)
    assert set(subject.ms) == {*bench.IN_FRAME, *bench.ON_LINE, 'frame', 'frame_learning'}


def test_the_learner_has_a_road_behind_it_when_the_clock_runs() -> None:
    subject = bench._subject('bands7', 'default')
    subject.record(bench._moved(bench.read_pair(), 0))
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
