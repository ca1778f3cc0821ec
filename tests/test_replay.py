# SPDX-License-Identifier: Apache-2.0
"""The shipped drive through the whole chain: files, contracts, and a recorded result."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from rosbags.rosbag2 import Reader

from perception.config import Config, config_hash, load_config
from perception.errors import BagError, StateError
from perception.judge import CANDIDATES
from perception.pipelined import usable_cores
from perception.replay import replay
from perception.types import CLASSES

FRAMES = 6
GOLDEN = Path(__file__).parent / 'golden' / 'demo.json'
# what a change of the arithmetic (OpenCV 4 or 5, another processor) may move
TOLERANCE = {'height_m': 0.01, 'pitch_rad': 0.003, 'roll_rad': 0.003}


@pytest.fixture(scope='module')
def demo(repository):
    return repository / 'bags' / 'demo'


@pytest.fixture(scope='module')
def run(demo, tmp_path_factory):
    out = tmp_path_factory.mktemp('replay')
    lines = []
    summary = replay(demo, out, Config(), max_frames=FRAMES, on_found=lines.extend)
    return out, summary, lines


def test_metrics_keep_the_contract(run):
    out, summary, _ = run
    metrics = json.loads((out / 'metrics.json').read_text())
    assert metrics == json.loads(json.dumps(summary))
    assert metrics['frames'] == metrics['frames_with_plane'] == FRAMES
    assert set(metrics['labels']) == set(CLASSES)
    assert sum(metrics['labels'].values()) == pytest.approx(1)
    assert all(set(stage) == {'p50', 'p99'} for stage in metrics['stage_ms'].values())
    assert {'stereo', 'plane', 'preprocess', 'network', 'map'} <= set(metrics['stage_ms'])
    assert metrics['total_ms']['p50'] > 0
    assert metrics['config_hash'] == config_hash(Config())
    assert metrics['pipelined'] == (usable_cores() > 1)
    assert (metrics['engine'], metrics['precision']) == ('onnxruntime', 'f32')
    assert metrics['engine_why'].startswith('fastest that works here')
    assert metrics['versions']['rosbags']


def test_metrics_say_what_was_learned(run):
    _, summary, _ = run
    online = summary['online']
    assert online['ranges_m'] == [[0, 12], [12, 30], [30, None]]
    assert set(online['in_use']) <= set(CANDIDATES)
    assert len(online['confidence']) == 3
    assert online['labels']['near'][0] > 100
    assert sum(online['labels']['hindsight']) == 0
    for when in ('error_before', 'error_after'):
        assert set(online[when]) == {'w0', 'near', 'far', 'in_use'}
        assert online[when]['in_use'][2] is None
    assert (online['rejected'], online['jumps']) == (0, 0)


def test_what_was_learned_is_written_and_taken_up_again(run, demo, tmp_path):
    out, _, _ = run
    state = out / 'near_to_far.npz'
    frozen = load_config(None, [f'near_to_far.state={state}', 'near_to_far.frozen=true'])
    summary = replay(demo, tmp_path, frozen, max_frames=1)
    assert summary['online']['labels'] == {'near': [0, 0], 'hindsight': [0, 0]}
    assert not (tmp_path / 'near_to_far.npz').exists()
    damaged = tmp_path / 'damaged.npz'
    damaged.write_bytes(b'no state')
    again = load_config(None, [f'near_to_far.state={damaged}'])
    with pytest.raises(StateError, match='no saved state'):
        replay(demo, tmp_path / 'none', again)
    assert not (tmp_path / 'none').exists()


def test_nothing_is_said_or_written_where_nothing_learns(demo, tmp_path):
    summary = replay(demo, tmp_path, load_config(None, ['near_to_far.enabled=false']),
                     max_frames=1)
    assert summary['online'] is None
    assert not (tmp_path / 'near_to_far.npz').exists()
    assert 'Learning on the way' not in (tmp_path / 'report.html').read_text()


def test_output_bag_has_the_topics_of_the_nodes(run, demo):
    out, _, _ = run
    with Reader(out / 'replay') as reader, Reader(demo) as source:
        types = {c.topic: c.msgtype for c in reader.connections}
        counts = {c.topic: c.msgcount for c in reader.connections}
        stamps = {t for c, t, _ in reader.messages() if c.topic == '/costmap'}
        inputs = {t for c, t, _ in source.messages() if 'left/image' in c.topic}
    assert types['/traversability/image'] == 'sensor_msgs/msg/Image'
    assert types['/traversability/confidence'] == 'sensor_msgs/msg/Image'
    assert types['/traversability/points'] == 'sensor_msgs/msg/PointCloud2'
    assert types['/ground_plane'] == 'geometry_msgs/msg/PoseStamped'
    assert types['/costmap'] == 'nav_msgs/msg/OccupancyGrid'
    assert set(counts.values()) == {FRAMES}
    assert stamps <= inputs  # every result carries the stamp of its image


def test_report_is_one_file_and_what_was_found_is_told(run):
    out, _, lines = run
    page = (out / 'report.html').read_text()
    assert 'src="http' not in page
    assert 'href="http' not in page
    assert page.count('data:image') > 5
    assert 'Learning on the way' in page
    assert any('stereo pair' in line for line in lines)


def test_recorded_result(run, request):
    _, summary, _ = run
    values = {name: summary['plane'][name] for name in TOLERANCE}
    if request.config.getoption('--update-golden'):
        GOLDEN.write_text(json.dumps(values, indent=2) + '\n')
    golden = json.loads(GOLDEN.read_text())
    assert values.keys() == golden.keys()
    for name, value in values.items():
        assert value == pytest.approx(golden[name], abs=TOLERANCE[name]), name


@pytest.mark.parametrize('signal', [KeyboardInterrupt, SystemExit])
def test_an_error_half_way_keeps_what_was_done(demo, tmp_path, signal):
    class StopError(signal):
        pass

    def stop(done, total):
        if done == 3:
            raise StopError

    with pytest.raises(StopError):
        replay(demo, tmp_path, Config(), on_progress=stop)
    assert json.loads((tmp_path / 'metrics.json').read_text())['frames'] == 3
    with np.load(tmp_path / 'near_to_far.npz') as state:
        assert state['near_steps'] == 3
    assert 'stopped by the user' in (tmp_path / 'report.html').read_text()
    with Reader(tmp_path / 'replay') as reader:
        assert {c.msgcount for c in reader.connections} == {3}


def test_replay_twice_into_the_same_folder_but_never_over_its_input(demo, tmp_path):
    for _ in range(2):
        replay(demo, tmp_path, Config(), max_frames=1)
    with pytest.raises(BagError, match='choose another folder with --out'):
        replay(tmp_path / 'replay', tmp_path, Config())
    (tmp_path / 'replay' / 'metadata.yaml').unlink()  # as after a kill
    assert replay(demo, tmp_path, Config(), max_frames=1)['frames'] == 1


def test_a_refused_folder_keeps_what_another_run_wrote(demo, tmp_path):
    kept = [tmp_path / name for name in ('metrics.json', 'report.html', 'near_to_far.npz')]
    (tmp_path / 'replay').mkdir()
    for path in (*kept, tmp_path / 'replay' / 'notes.txt'):
        path.write_text('of another run')
    with pytest.raises(BagError, match='exists and is no mcap bag'):
        replay(demo, tmp_path, Config(), max_frames=1)
    assert [path.read_text() for path in kept] == ['of another run'] * 3


def test_truncated_bag_is_refused_with_the_repair_command(demo, tmp_path):
    broken = tmp_path / 'broken'
    shutil.copytree(demo, broken)
    mcap = next(broken.glob('*.mcap'))
    mcap.write_bytes(mcap.read_bytes()[:200_000])
    with pytest.raises(BagError, match='mcap recover'):
        replay(broken, tmp_path / 'out', Config())
    assert not (tmp_path / 'out').exists()


def test_the_dense_preset_runs(demo, tmp_path):
    config = load_config(None, ['pyramid.preset=bands24'])
    summary = replay(demo, tmp_path, config, max_frames=1)
    assert summary['frames_with_plane'] == 1
    assert np.isfinite(summary['total_ms']['p50'])


def test_the_replay_does_not_depend_on_truth(demo, tmp_path, run):
    """A copy of the drive without any /truth topic gives the same planes and labels."""
    from drives import copy_without

    bare = tmp_path / 'bare'
    copy_without(demo, bare, '/truth')
    summary = replay(bare, tmp_path / 'out', Config(), max_frames=FRAMES)
    for key in ('plane', 'labels', 'frames_with_plane'):
        assert summary[key] == run[1][key]
