# SPDX-License-Identifier: Apache-2.0
"""Broken messages from real publishers: one clear line, a diagnostic, and nothing guessed."""

import signal

import pytest
from graph import Graph, known

COSTMAP = '/costmap'
INPUT = '/traversability_node: input'
FAULTS = [
    ('encoding', "/stereo/left/image_rect: unknown encoding 'rgb9'; publish one of"),
    ('info', 'image is 640 x 480 but'),
    ('zero', '/stereo/left/image_rect: image of size 0 x 0'),
    ('huge', '7680 x 4320 is larger than 16 megapixels'),
    ('short', '1000 bytes of image data, need'),
]


@pytest.fixture(scope='module')
def watched(graph: Graph) -> Graph:
    graph.watch(COSTMAP, 'nav_msgs/OccupancyGrid', keep=True)
    graph.watch('/traversability/points', 'sensor_msgs/PointCloud2')
    return graph


@pytest.mark.parametrize(('fault', 'text'), FAULTS)
def test_a_broken_image_from_the_start_is_named(nodes, fault, text):
    nodes.forget()
    up = nodes.start('lagr', 'up')
    camera = nodes.start('camera.py', '--fault', fault, '--at-once')
    nodes.wait_for_status(INPUT, text, b'\x02')
    assert up.running
    assert not nodes.messages['/traversability/points']
    camera.kill()
    assert up.end() == 0, up.text


def test_images_that_break_later_stop_the_output_and_are_named(nodes):
    up = nodes.start('lagr', 'up')
    nodes.start('odometry.py')
    for fault, text in FAULTS[:3]:
        nodes.forget()
        camera = nodes.start('camera.py', '--fault', fault)
        nodes.wait(lambda: any(known(grid) for grid in nodes.messages[COSTMAP]), 'a known map')
        camera.signal(signal.SIGUSR1)
        nodes.wait_for_status(INPUT, text, b'\x02')
        up.wait_for(text)
        nodes.wait_for_status('/costmap_node: output', 'the cost map is unknown')
        camera.kill()
    nodes.start('camera.py')
    nodes.wait_for_ok(INPUT)
    nodes.wait_for_ok('/costmap_node: output')
    assert up.end() == 0, up.text


def test_poses_that_are_none_are_left_out_and_said(nodes):
    up = nodes.start('lagr', 'up')
    nodes.start('camera.py')
    for fault in ('nan', 'quaternion'):
        nodes.forget()
        odometry = nodes.start('odometry.py', '--fault', fault)
        nodes.wait(lambda: any(known(grid) for grid in nodes.messages[COSTMAP]), 'a known map')
        odometry.signal(signal.SIGUSR1)
        nodes.wait_for_status('/costmap_node: transforms', 'NaN or a zero quaternion')
        nodes.wait_for_status('/costmap_node: output', 'the cost map is unknown')
        odometry.kill()
    assert up.end() == 0, up.text


def test_an_unknown_key_is_refused_before_anything_starts(nodes):
    up = nodes.start('lagr', 'up', '--params', nodes.params('stereo:\n  scael: 2', 'unknown'))
    assert up.wait() == 1
    assert 'Traceback' not in up.text
    assert "unknown key 'stereo.scael'; known here: scale" in up.text


def test_an_unknown_key_for_one_node_is_refused_by_that_node(nodes, tmp_path):
    path = tmp_path / 'one.yaml'
    path.write_text('/**:\n  ros__parameters:\n    autostart: true\n'
                    '/costmap_node:\n  ros__parameters:\n    cost:\n      gian: 2.0\n')
    up = nodes.start('lagr', 'up', '--params', str(path))
    up.wait_for("cannot configure: parameter: unknown key 'cost.gian'")
    nodes.wait_for_status('/costmap_node: node', "unknown key 'cost.gian'", b'\x02')
    assert up.wait() == 1
    assert 'Traceback' not in up.text


def test_a_missing_network_is_named(nodes, tmp_path):
    path = tmp_path / 'none.onnx'
    up = nodes.start('lagr', 'up', '--params', nodes.params(f'network:\n  name: {path}', 'none'))
    assert up.wait() == 1
    assert str(path) in up.text
    assert 'Traceback' not in up.text


def test_a_missing_calibration_file_is_named(nodes, tmp_path):
    path = tmp_path / 'none.yaml'
    text = f'mount:\n  source: calibration\n  calibration: {path}'
    up = nodes.start('lagr', 'up', '--params', nodes.params(text, 'mount'))
    assert up.wait() == 1
    assert str(path) in up.text


def test_tf_is_demanded_where_tf2_is_not_installed(nodes):
    up = nodes.start('lagr', 'up', '--params', nodes.params('mount:\n  source: tf', 'tf'))
    nodes.wait_for_status('/costmap_node: node', 'tf2_ros is not installed', b'\x02')
    assert up.wait() == 1


def test_two_nodes_of_one_name(nodes):
    first = nodes.start('lagr', 'up')
    nodes.wait_for_ok('/costmap_node: node')
    second = nodes.start('lagr', 'up')
    second.wait_for('another node is named /traversability_node')
    nodes.wait_for_status('/costmap_node: node', 'another node is named /costmap_node', b'\x02')
    assert second.end() == 0, second.text
    nodes.wait_for_ok('/costmap_node: node')
    assert first.end() == 0, first.text
