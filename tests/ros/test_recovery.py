# SPDX-License-Identifier: Apache-2.0
"""Processes die and come back: the map goes unknown, says why, and recovers."""

import pytest
from graph import Graph, cells, known, values

COSTMAP = '/costmap'
CAMERA_INPUT = '/traversability_node: input'
MAP_INPUT, MAP_OUTPUT = '/costmap_node: input', '/costmap_node: output'
MAP_TRANSFORMS = '/costmap_node: transforms'


@pytest.fixture(scope='module')
def nodes(graph: Graph, repository) -> Graph:
    graph.watch(COSTMAP, 'nav_msgs/OccupancyGrid', keep=True)
    graph.watch('/traversability/points', 'sensor_msgs/PointCloud2')
    graph.start('lagr', 'up', '--params', str(repository / 'config' / 'default.yaml'))
    return graph


@pytest.fixture
def odometry(nodes):
    program = nodes.start('odometry.py')
    yield program
    program.kill()


@pytest.fixture
def camera(nodes):
    program = nodes.start('camera.py')
    yield program
    program.kill()


def wait_for_map(nodes, *, is_known: bool) -> None:
    nodes.forget(COSTMAP)
    nodes.wait(lambda: nodes.messages[COSTMAP] and known(nodes.messages[COSTMAP][-1]) == is_known,
               f'a cost map that is {"known" if is_known else "unknown"}')


def test_camera_dies_and_returns(nodes, camera, odometry):
    wait_for_map(nodes, is_known=True)
    nodes.wait_for_ok(MAP_OUTPUT)
    last = nodes.messages[COSTMAP][-1]
    camera.kill()
    wait_for_map(nodes, is_known=False)
    grid = nodes.messages[COSTMAP][-1]
    assert cells(grid).shape == cells(last).shape
    assert (cells(grid) == -1).all()
    assert grid.header.frame_id == 'odom'
    assert (grid.header.stamp.sec, grid.header.stamp.nanosec) > (
        last.header.stamp.sec, last.header.stamp.nanosec)
    nodes.wait_for_status(CAMERA_INPUT, 'no image on /stereo/left/image_rect')
    nodes.wait_for_status(MAP_OUTPUT, 'the cost map is unknown')
    again = nodes.start('camera.py')
    wait_for_map(nodes, is_known=True)
    nodes.wait_for_ok(CAMERA_INPUT)
    nodes.wait_for_ok(MAP_OUTPUT)
    again.kill()


def test_odometry_dies_and_returns(nodes, camera, odometry):
    wait_for_map(nodes, is_known=True)
    odometry.kill()
    wait_for_map(nodes, is_known=False)
    nodes.wait_for_status(MAP_TRANSFORMS, 'no pose: /odom has none within')
    nodes.forget('/traversability/points')
    nodes.wait_for_count('/traversability/points', 5)  # labels need no pose
    nodes.wait_for_ok(CAMERA_INPUT)
    again = nodes.start('odometry.py')
    wait_for_map(nodes, is_known=True)
    nodes.wait_for_ok(MAP_TRANSFORMS)
    again.kill()


def test_a_second_camera_joins(nodes, camera, odometry):
    wait_for_map(nodes, is_known=True)
    rear = nodes.start('camera.py', '--namespace', '/rear', '--frame', 'rear_optical')
    second = nodes.start('lagr', 'up', '--namespace', 'rear', '--node', 'traversability_node')
    nodes.wait_for_ok('/rear/traversability_node: input')
    assert '/rear/left/image_rect' in values(
        nodes.diagnostics['/rear/traversability_node: input'])['inputs']
    nodes.wait(lambda: values(nodes.diagnostics[MAP_INPUT]).get('cameras') == '2',
               'two cameras in one map')
    nodes.forget()
    nodes.wait_for_count(COSTMAP, 20)
    assert '/rear/traversability/points' in values(nodes.diagnostics[MAP_INPUT])
    nodes.wait_for_ok(MAP_INPUT)
    rear.kill()
    nodes.wait_for_status(MAP_INPUT, 'no points on /rear/traversability/points')
    wait_for_map(nodes, is_known=True)  # the other one goes on
    assert second.end() == 0, second.text
