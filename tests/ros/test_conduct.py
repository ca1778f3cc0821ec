# SPDX-License-Identifier: Apache-2.0
"""How the nodes behave in a graph: lifecycle, parameters, signals, bags that begin again."""

import signal

import pytest
from graph import Graph, known, stamps, values
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import DescribeParameters, GetParameters, ListParameters, SetParameters
from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks

from perception.config import StereoConfig
from perception.nodes.parameters import READ_ONLY
from perception.nodes.wire import best_effort, latched, message_class

COSTMAP, IMAGE = '/costmap', '/traversability/image'
INPUT = '/traversability_node: input'
NODES = ('/traversability_node', '/costmap_node')


@pytest.fixture(scope='module')
def watched(graph: Graph) -> Graph:
    graph.watch(COSTMAP, 'nav_msgs/OccupancyGrid', keep=True)
    return graph


def change(nodes: Graph, node: str, transition: int) -> bool:
    request = ChangeState.Request(transition=Transition(id=transition))
    return nodes.call('lifecycle_msgs/ChangeState', f'{node}/change_state', request).success


def state(nodes: Graph, node: str) -> str:
    return nodes.call('lifecycle_msgs/GetState', f'{node}/get_state',
                      GetState.Request()).current_state.label


def set_parameter(nodes: Graph, node: str, name: str, value: float | str):
    kind = {'double_value': value, 'type': ParameterType.PARAMETER_DOUBLE} if isinstance(
        value, float) else {'string_value': value, 'type': ParameterType.PARAMETER_STRING}
    parameter = Parameter(name=name, value=ParameterValue(**kind))
    request = SetParameters.Request(parameters=[parameter])
    return nodes.call('rcl_interfaces/SetParameters', f'{node}/set_parameters', request).results[0]


def test_a_lifecycle_manager_leads_the_nodes(nodes):
    up = nodes.start('lagr', 'up', '--params', nodes.params('autostart: false'))
    nodes.start('camera.py')
    nodes.start('odometry.py')
    for node in NODES:
        assert state(nodes, node) == 'unconfigured'
        nodes.wait_for_status(f'{node}: node', 'unconfigured: not working')
        assert change(nodes, node, Transition.TRANSITION_CONFIGURE)
    published = {topic for topic, _ in nodes.node.get_topic_names_and_types()}
    assert {COSTMAP, IMAGE, '/traversability/points', '/ground_plane'} <= published
    assert nodes.node.count_subscribers('/stereo/left/image_rect') == 0
    for node in NODES:
        assert change(nodes, node, Transition.TRANSITION_ACTIVATE)
        assert state(nodes, node) == 'active'
    nodes.wait(lambda: any(known(grid) for grid in nodes.messages[COSTMAP]), 'a known map')
    for node in NODES:
        assert change(nodes, node, Transition.TRANSITION_DEACTIVATE)
    nodes.wait_for_status(INPUT, 'inactive: nothing is subscribed')
    nodes.wait(lambda: nodes.node.count_subscribers('/stereo/left/image_rect') == 0,
               'the camera is left alone')
    nodes.forget(COSTMAP)
    for node in NODES:
        assert change(nodes, node, Transition.TRANSITION_ACTIVATE)
    nodes.wait(lambda: any(known(grid) for grid in nodes.messages[COSTMAP]), 'a known map again')
    for node in NODES:
        assert change(nodes, node, Transition.TRANSITION_DEACTIVATE)
        assert change(nodes, node, Transition.TRANSITION_CLEANUP)
        assert state(nodes, node) == 'unconfigured'
        assert change(nodes, node, Transition.TRANSITION_CONFIGURE)
    assert up.end() == 0, up.text


def test_parameters_are_the_schema_with_descriptors(nodes):
    nodes.start('lagr', 'up')
    nodes.wait_for_ok('/traversability_node: node')
    names = nodes.call('rcl_interfaces/ListParameters', '/traversability_node/list_parameters',
                       ListParameters.Request()).result.names
    assert {'stereo.scale', 'plane.max_pitch_rad', 'network.name', 'autostart'} <= set(names)
    assert not [name for name in names if name.startswith('cost.')]
    asked = ['stereo.scale', 'plane.max_pitch_rad', 'network.engine', 'mount.source']
    found = nodes.call(
        'rcl_interfaces/DescribeParameters', '/traversability_node/describe_parameters',
        DescribeParameters.Request(names=asked)).descriptors
    scale, pitch, engine, mount = found
    assert scale.description == StereoConfig.model_fields['scale'].description
    assert (scale.integer_range[0].from_value, scale.integer_range[0].to_value) == (1, 4)
    assert (pitch.floating_point_range[0].from_value, pitch.read_only) == (0.02, False)
    assert engine.additional_constraints.startswith('one of: auto, onnxruntime, openvino, ')
    assert engine.read_only
    assert mount.read_only
    assert {'input', 'mount', 'network'} <= set(READ_ONLY)


def test_parameters_change_at_run_time_or_are_refused_with_a_reason(nodes):
    nodes.start('lagr', 'up')
    nodes.start('camera.py')
    nodes.start('odometry.py')
    nodes.wait(lambda: any(known(grid) for grid in nodes.messages[COSTMAP]), 'a known map')
    assert set_parameter(nodes, NODES[1], 'cost.resolution_m', 0.5).successful
    nodes.wait(lambda: nodes.messages[COSTMAP][-1].info.resolution == pytest.approx(0.5),
               'cells of half a metre')
    assert nodes.messages[COSTMAP][-1].info.width == 120
    refused = set_parameter(nodes, NODES[1], 'cost.resolution_m', 9.0)
    assert not refused.successful
    assert 'cost.resolution_m' in refused.reason
    refused = set_parameter(nodes, NODES[1], 'map.image_height_m', 1.5)
    assert not refused.successful
    assert 'image_height_m must be below camera_height_m' in refused.reason
    assert not set_parameter(nodes, NODES[0], 'network.name', 'lagr2008').successful
    assert set_parameter(nodes, NODES[0], 'plane.max_range_m', 10.0).successful
    values_now = nodes.call('rcl_interfaces/GetParameters', f'{NODES[0]}/get_parameters',
                            GetParameters.Request(names=['plane.max_range_m'])).values
    assert values_now[0].double_value == 10.0
    nodes.forget(COSTMAP)
    nodes.wait_for_count(COSTMAP, 3)


def test_peers_with_another_qos_are_named(nodes):
    nodes.start('lagr', 'up')
    nodes.wait_for_ok('/traversability_node: node')
    image, cloud = message_class('sensor_msgs/Image'), message_class('sensor_msgs/PointCloud2')
    subscription = nodes.node.create_subscription(
        image, IMAGE, print, latched(), raw=True,
        event_callbacks=SubscriptionEventCallbacks(use_default_callbacks=False))
    status = nodes.wait_for_status('/traversability_node: node', 'traversability/image', b'\x01')
    assert '/watcher (' in status.message
    assert 'transient local' in status.message
    publisher = nodes.node.create_publisher(
        cloud, '/rear/traversability/points', best_effort(),
        event_callbacks=PublisherEventCallbacks(use_default_callbacks=False))
    status = nodes.wait_for_status('/costmap_node: node', '/rear/traversability/points', b'\x01')
    assert '/watcher (' in status.message
    nodes.node.destroy_subscription(subscription)
    nodes.node.destroy_publisher(publisher)
    nodes.wait_for_ok('/traversability_node: node')
    nodes.wait_for_ok('/costmap_node: node')


@pytest.mark.parametrize('options', [(), ('--processes',)])
@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_signals_end_the_nodes_cleanly(nodes, options, number):
    up = nodes.start('lagr', 'up', *options)
    for node in NODES:
        nodes.wait_for_ok(f'{node}: node')
    assert up.end(number) == 0, up.text
    assert 'Traceback' not in up.text


def test_a_process_that_dies_ends_the_others_and_is_named(nodes):
    up = nodes.start('lagr', 'up', '--processes', '--node', 'costmap_node')
    nodes.wait_for_ok('/costmap_node: node')
    (child,) = up.children()
    child.kill()
    assert up.wait() == 1
    assert 'costmap_node ended with exit code -9' in up.text


def test_a_bag_that_begins_again_resets_once_a_round(nodes, repository):
    up = nodes.start('lagr', 'up')
    nodes.wait_for_ok('/costmap_node: node')
    player = nodes.start('lagr', 'play', str(repository / 'bags' / 'demo'), '--loop', '--clock',
                         '--rate', '2.0')
    nodes.watch('/clock', 'rosgraph_msgs/Clock')
    nodes.wait(lambda: int(values(nodes.diagnostics[INPUT]).get('time_jumps', 0)) >= 2
               if INPUT in nodes.diagnostics else False, 'two rounds', 40)
    rounds = int(values(nodes.diagnostics[INPUT])['time_jumps'])
    assert rounds <= up.text.count('plane and queues are reset') <= rounds + 1
    assert abs(up.text.count('map and queues are reset') - rounds) <= 1
    assert len(nodes.messages['/clock']) > 100
    found = stamps([grid for grid in nodes.messages[COSTMAP] if known(grid)])
    assert sum(b < a for a, b in zip(found, found[1:])) <= rounds + 1
    assert player.end() == 130
    assert up.end() == 0, up.text


def test_types_that_are_not_installed_are_skipped_and_said(nodes, repository):
    player = nodes.start('lagr', 'play', str(repository / 'bags' / 'demo'), '--rate', '20')
    player.wait_for('playing without a subscriber on /stereo/left/image_rect/compressed')
    assert player.wait() == 0
    try:
        import tf2_msgs  # noqa: F401
    except ImportError:
        assert 'skipped /tf: type tf2_msgs/msg/TFMessage is not installed' in player.text


def test_a_bag_that_is_none_is_refused(nodes, tmp_path):
    player = nodes.start('lagr', 'play', str(tmp_path / 'nothing'))
    assert player.wait() == 1
    assert 'no such bag' in player.text
    assert 'Traceback' not in player.text
