# SPDX-License-Identifier: Apache-2.0
"""Learning in a running node: its services, its diagnostics, and states that are none."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from graph import Graph, values
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from std_srvs.srv import Trigger

from perception.inference import network_path, read_manifest
from perception.judge import CANDIDATES
from perception.learning_config import NearToFarConfig
from perception.learning_state import load_state
from perception.near_to_far import NearToFar
from perception.nodes.learning import QUIET_S, RANGES, Watch, learning_status
from perception.nodes.wire import message_class, reliable

NODE = '/traversability_node'
LEARNING, INPUT = f'{NODE}: learning', f'{NODE}: input'
WARN = b'\x01'


@pytest.fixture(scope='module')
def watched(graph: Graph) -> Graph:
    return graph


def fresh() -> NearToFar:
    return NearToFar(NearToFarConfig(), read_manifest(network_path('default')))


def trigger(nodes: Graph, service: str) -> Trigger.Response:
    return nodes.call('std_srvs/Trigger', f'{NODE}/{service}', Trigger.Request())


def set_state(nodes: Graph, path: Path) -> None:
    value = ParameterValue(type=ParameterType.PARAMETER_STRING, string_value=str(path))
    request = SetParameters.Request(
        parameters=[Parameter(name='near_to_far.state', value=value)])
    (answer,) = nodes.call('rcl_interfaces/SetParameters', f'{NODE}/set_parameters',
                           request).results
    assert answer.successful, answer.reason


def learned(nodes: Graph, key: str) -> float:
    """A number of the newest status; -1 before there is one."""
    status = nodes.diagnostics.get(LEARNING)
    return float(values(status).get(key, -1)) if status else -1.0


def pressing(nodes: Graph) -> Callable[[], bool]:
    """Press the bumper once more; True once the node has heard of any press."""
    kind = message_class('std_msgs/Bool')
    bumper = nodes.node.create_publisher(kind, '/bumper', reliable(5))

    def press() -> bool:
        for down in (True, False):
            bumper.publish(kind(data=down))
        return int(values(nodes.diagnostics[INPUT]).get('bumper_presses', 0)) > 0

    return press


def test_a_node_learns_saves_resets_and_says_so(nodes, tmp_path):
    params = nodes.params('input:\n  bumper_topic: /bumper')
    up = nodes.start('lagr', 'up', '--node', 'traversability_node', '--params', params)
    nodes.start('camera.py', '--size', '320x240')
    nodes.start('odometry.py')
    nodes.wait(lambda: learned(nodes, 'new_ground') > 0, 'labels of the ground')
    found = values(nodes.diagnostics[LEARNING])
    assert (found['enabled'], found['frozen'], found['rejected']) == ('True', 'False', '0')
    assert {f'{key}_{name}' for name in RANGES for key in ('in_use', 'confidence')} <= set(found)
    assert found['in_use_0_to_12_m'] in CANDIDATES
    answer = trigger(nodes, 'save_learning')
    assert not answer.success
    assert 'near_to_far.state names no file: set it first' in answer.message

    nodes.wait_for_status(INPUT, 'input.bumper_topic = /bumper: nobody publishes it', WARN)
    press = pressing(nodes)
    nodes.wait(lambda: press() and learned(nodes, 'travelled_m') > 1
               and learned(nodes, 'views') >= 2, 'the bumper is heard, and views are kept')
    set_state(nodes, tmp_path / 'state.npz')
    answer = trigger(nodes, 'save_learning')
    assert (answer.success, answer.message) == (True, f'what was learned is in '
                                                f'{tmp_path / "state.npz"}')
    kept = fresh()
    load_state(tmp_path / 'state.npz', kept)
    assert kept.near.steps > 3
    nodes.wait_for_status(LEARNING, 'labels of ground only for', WARN)
    assert learned(nodes, 'travelled_m') > 1  # a changed parameter forgets nothing
    assert learned(nodes, 'pose_jumps') == 0

    nodes.start('odometry.py', '--speed', '1000')  # two that contradict one another
    nodes.wait_for_status(LEARNING, 'the pose jumped by more than near_to_far.jump_m = 5 m', WARN)
    assert trigger(nodes, 'reset_learning').success
    trigger(nodes, 'save_learning')
    begun = fresh()
    load_state(tmp_path / 'state.npz', begun)
    assert begun.near.steps < kept.near.steps
    assert up.end() == 0, up.text
    assert 'Traceback' not in up.text


def test_a_state_that_is_none_is_refused(nodes, tmp_path):
    path = tmp_path / 'state.npz'
    path.write_bytes(b'no state')
    params = nodes.params(f'near_to_far:\n  state: {path}', 'state')
    up = nodes.start('lagr', 'up', '--node', 'traversability_node', '--params', params)
    up.wait_for(f'cannot configure: {path}: no saved state')
    nodes.wait_for_status(f'{NODE}: node', f'{path}: no saved state', b'\x02')
    answer = trigger(nodes, 'reset_learning')
    assert not answer.success
    assert 'nothing learns: no network is loaded' in answer.message
    up.end()
    assert 'Traceback' not in up.text


class Stub(SimpleNamespace):
    """What the status needs of a node."""

    def fault(self, kind: str, text: str) -> None:
        self.said[kind] = text


def stub(watch: Watch, learner: NearToFar | None) -> Stub:
    said: dict[str, str] = {}
    return Stub(learning=watch, learner=learner, state='active', said=said,
                config=SimpleNamespace(near_to_far=NearToFarConfig()),
                faults=SimpleNamespace(recent=lambda kind: said.get(kind, '')))


@pytest.mark.parametrize(('result', 'text'), [
    (None, 'frames are refused, see input'),
    (SimpleNamespace(plane=None, grid=1, lesson=None), 'no ground plane'),
    (SimpleNamespace(plane=1, grid=None, lesson=None), 'one camera alone: no stereo, depth or'),
    (SimpleNamespace(plane=SimpleNamespace(fresh=False, source='held'), grid=1, lesson=None),
     'no fresh ground plane (held)'),
])
def test_why_nothing_is_taught(result, text):
    watch, learner = Watch(), fresh()
    node = stub(watch, learner)
    watch.take(node, learner, result)
    assert learning_status(node).level == b'\x00'  # it has only just begun
    watch.last_s -= QUIET_S + 1
    status = learning_status(node)
    assert (status.level, text in status.message) == (WARN, True)
    node.config.near_to_far = NearToFarConfig(frozen=True)
    assert learning_status(node).level == b'\x00'


def test_samples_that_are_rejected_are_said():
    watch, learner = Watch(), fresh()
    node = stub(watch, learner)
    learner.rejected = 7
    watch.take(node, learner, None)
    status = learning_status(node)
    assert status.level == WARN
    assert '7 samples of a frame were rejected' in status.message
    assert status.values['rejected'] == 7
    node.said.clear()
    watch.take(node, learner, None)
    assert not node.said


def test_a_node_that_does_not_learn_says_only_that():
    node = stub(Watch(), None)
    node.config.near_to_far = NearToFarConfig(enabled=False)
    status = learning_status(node)
    assert (status.level, status.values) == (b'\x00', {'enabled': False, 'frozen': False})
    assert np.isfinite(node.learning.last_s)
