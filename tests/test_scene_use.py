# SPDX-License-Identifier: Apache-2.0
"""Scene labels in the chain and in a replay, with a network that can be followed by hand."""

import json

import numpy as np
import pytest
from onnx_files import CLASSES, quick_scene_network, write_scene_network
from rosbags.rosbag2 import Reader

from perception.bag import open_bag
from perception.bag_encode import typestore
from perception.cloud import observation_from_cloud
from perception.config import load_config
from perception.errors import ConfigError, NetworkError
from perception.inference import load_network
from perception.pipeline import Pipeline, Traversability
from perception.replay import replay
from perception.scene import label_scene
from perception.scene_stage import check_scene
from perception.types import FOOTLINE

FRAMES = 2
COLOURS = ((150, 140, 120), (100, 150, 50), (60, 60, 40), (90, 140, 220))
COSTS = 'scene.costs=[smooth_ground=0, grass=0.1, obstacle=1, sky=none]'


@pytest.fixture(scope='module')
def path(tmp_path_factory):
    return write_scene_network(tmp_path_factory.mktemp('net') / 'tiny.onnx', colours=COLOURS)


def settings(path, *more):
    return load_config(None, ['scene.enabled=true', f'scene.network={path}', COSTS,
                              'scene.engine=onnxruntime', 'scene.standing=[obstacle]',
                              'near_to_far.enabled=false', *more])


@pytest.fixture(scope='module')
def frame(repository):
    with open_bag(repository / 'bags' / 'demo', load_config()) as source:
        return next(iter(source.frames()))


@pytest.fixture(scope='module')
def network():
    return load_network('default')


def test_evidence_of_the_scene_joins_that_of_the_windows(path, frame, network):
    bare = Pipeline(load_config(None, ['near_to_far.enabled=false']), network).process(frame)
    result = Pipeline(settings(path), network).process(frame)
    assert bare.scene is None
    assert 'scene' not in bare.stage_ms
    assert result.stage_ms['scene'] > 0
    labels = label_scene(quick_scene_network(path), frame.image)
    np.testing.assert_array_equal(result.scene.label, labels.label)
    count = len(bare.observation.weight)
    assert len(result.observation.weight) > count + 500
    np.testing.assert_array_equal(result.observation.points_optical[:count],
                                  bare.observation.points_optical)
    assert (result.observation.histogram[count:, FOOTLINE] == 1).any()
    assert ((result.costmap.data >= 0) & (bare.costmap.data < 0)).any()


def test_weight_zero_labels_and_leaves_the_map_alone(path, frame, network):
    bare = Traversability(load_config(None, ['near_to_far.enabled=false']), network).process(frame)
    result = Traversability(settings(path, 'scene.weight=0'), network).process(frame)
    assert result.scene is not None
    np.testing.assert_array_equal(result.observation.weight, bare.observation.weight)


def test_other_settings_keep_the_loaded_network(path, frame, network):
    chain = Traversability(settings(path), network)
    other = chain.reconfigured(settings(path, 'map.point_weight=0.3'))
    assert other.scene is chain.scene
    assert other.config.scene.enabled
    assert other.process(frame).scene is not None


@pytest.mark.parametrize(('override', 'error', 'text'), [
    ('scene.network=none', NetworkError, r"network 'none': no file .*; give a path to an \.onnx"),
    ('scene.costs=[road=1]', ConfigError, f'no class .road.: .*{", ".join(CLASSES)}'),
    ('scene.standing=[tree]', ConfigError, r'scene\.standing: no class'),
])
def test_what_does_not_fit_is_refused_before_the_first_frame(
    path, network, override, error, text,
):
    config = settings(path, override)
    with pytest.raises(error, match=text):
        Traversability(config, network)
    with pytest.raises(error, match=text):
        check_scene(config.scene)


@pytest.fixture(scope='module')
def run(repository, path, tmp_path_factory):
    out = tmp_path_factory.mktemp('replay')
    summary = replay(repository / 'bags' / 'demo', out, settings(path), max_frames=FRAMES)
    return out, summary


def test_a_replay_writes_labels_confidence_and_overlay(run, repository, path):
    out, _ = run
    store, found = typestore(), {}
    with Reader(out / 'replay') as reader:
        for connection, stamp, data in reader.messages():
            message = store.deserialize_cdr(data, connection.msgtype)
            found.setdefault(connection.topic, []).append((stamp, message))
    assert {len(messages) for messages in found.values()} == {FRAMES}
    with open_bag(repository / 'bags' / 'demo', load_config()) as source:
        frame = next(iter(source.frames()))
    labels = label_scene(quick_scene_network(path), frame.image)
    stamp, image = found['/scene/image'][0]
    assert (stamp, image.encoding) == (frame.stamp_ns, 'mono8')
    np.testing.assert_array_equal(image.data.reshape(image.height, image.width), labels.label)
    confidence = found['/scene/confidence'][0][1].data.reshape(labels.label.shape)
    np.testing.assert_allclose(confidence / 255, labels.confidence, atol=1 / 255)
    assert 'jpeg' in found['/scene/overlay/compressed'][0][1].format
    cloud = observation_from_cloud(found['/traversability/points'][0][1])
    assert (cloud.histogram[:, FOOTLINE] == 1).any()


def test_metrics_and_report_tell_of_the_scene(run):
    out, summary = run
    metrics = json.loads((out / 'metrics.json').read_text())
    assert metrics['scene'] == summary['scene']
    assert set(metrics['scene']['labels']) == set(CLASSES)
    assert sum(metrics['scene']['labels'].values()) == pytest.approx(1)
    assert metrics['scene']['network'] == 'tiny'
    assert metrics['scene']['engine'] == 'onnxruntime'
    assert metrics['stage_ms']['scene']['p50'] > 0
    page = (out / 'report.html').read_text()
    assert 'Scene labels' in page
    assert 'never trained' in page
    assert page.count('alt="scene labels at') == FRAMES
