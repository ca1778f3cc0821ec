# SPDX-License-Identifier: Apache-2.0
"""Images through Fast DDS: with the profile everything arrives, without it the loss is named."""

from collections.abc import Iterator

import pytest
from graph import Graph, values

from perception.nodes.fastdds import VARIABLE

INPUT = '/traversability_node: input'


@pytest.fixture(scope='module')
def watched(graph: Graph) -> Graph:
    graph.watch('/costmap', 'nav_msgs/OccupancyGrid', keep=True)
    graph.start('odometry.py')
    return graph


@pytest.fixture
def nodes(watched: Graph) -> Iterator[Graph]:
    watched.forget()
    watched.diagnostics.clear()
    yield watched
    watched.end_programs(keep=1)


@pytest.mark.parametrize('size', ['640x480', '1280x720'])
@pytest.mark.parametrize('qos', ['--best-effort', ''])
def test_with_the_profile_both_kinds_of_images_arrive(nodes, repository, size, qos):
    up = nodes.start('lagr', 'up', '--params', str(repository / 'config' / 'default.yaml'))
    camera = nodes.start('camera.py', '--size', size, '--rate', '5', *([qos] if qos else []))
    nodes.wait_for_count('/costmap', 10)
    status = nodes.wait_for_ok(INPUT)
    assert size.replace('x', ' x ') in values(status)['inputs']
    camera.kill()
    assert up.end() == 0, up.text


def test_without_the_profile_reliable_arrives(nodes):
    up = nodes.start('lagr', 'up')
    camera = nodes.start('camera.py', '--rate', '5', profile=False)
    nodes.wait_for_count('/costmap', 40)
    nodes.wait_for_ok(INPUT)
    camera.kill()
    assert up.end() == 0, up.text


def test_without_the_profile_best_effort_is_lost_and_said(nodes):
    up = nodes.start('lagr', 'up')
    camera = nodes.start('camera.py', '--rate', '5', '--best-effort', profile=False)
    status = nodes.wait_for_status(INPUT, 'Fast DDS loses large best-effort messages', b'\x02')
    assert '/stereo/left/image_rect' in status.message
    assert VARIABLE in status.message
    assert 'fastdds_shm.xml' in status.message
    camera.kill()
    nodes.forget()
    nodes.start('camera.py', '--rate', '5', '--best-effort')  # as the diagnostic says
    nodes.wait_for_count('/costmap', 30)
    nodes.wait_for_ok(INPUT)
    assert up.end() == 0, up.text
