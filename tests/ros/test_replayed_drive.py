# SPDX-License-Identifier: Apache-2.0
"""Recorded drives played into `lagr up`: nothing is lost silently, and the map is the replay's."""

from pathlib import Path

import numpy as np
import pytest
from graph import Graph, cells, stamps, values
from rosbags.rosbag2 import Reader

from perception.bag_encode import typestore
from perception.config import load_config
from perception.replay import replay

COSTMAP, IMAGE, POINTS = '/costmap', '/traversability/image', '/traversability/points'
INPUT = '/traversability_node: input'
PLANE_MOUNT = 'mount:\n  source: plane'  # the wheels have no tf2, so a replay must not use it
SAME_CELLS = 0.999  # share of equal cells: points travel as float32, poses as quaternions


def image_stamps(bag: Path) -> list[int]:
    with Reader(bag) as reader:
        left = [c for c in reader.connections if 'left/image' in c.topic]
        return stamps([typestore().deserialize_cdr(data, c.msgtype)
                       for c, _, data in reader.messages(left)])


def replayed_costmaps(bag: Path, out: Path, params: str) -> dict[int, np.ndarray]:
    replay(bag, out, load_config(Path(params)))
    with Reader(out / 'replay') as reader:
        grids = [typestore().deserialize_cdr(data, c.msgtype)
                 for c, _, data in reader.messages([c for c in reader.connections
                                                    if c.topic == COSTMAP])]
    return dict(zip(stamps(grids), map(cells, grids), strict=True))


def play(graph: Graph, bag: Path, *options: str) -> None:
    player = graph.start('lagr', 'play', str(bag), *options)
    assert player.wait(90) == 0, player.text


def all_accounted_for(graph: Graph, frames: int) -> dict[str, int]:
    """Wait until the diagnostics account for every frame; the counts."""
    def counts() -> dict[str, int]:
        found = values(graph.diagnostics[INPUT]) if INPUT in graph.diagnostics else {}
        names = ('received', 'answered', 'dropped', 'refused', 'without_plane', 'unmatched',
                 'lost_in_transport')
        return {name: int(found.get(name, 0)) for name in names}

    graph.wait(lambda: counts()['received'] + counts()['lost_in_transport'] >= frames,
               f'{frames} frames received')
    graph.wait(lambda: counts()['received'] == sum(
        counts()[name] for name in ('answered', 'dropped', 'refused', 'without_plane',
                                    'unmatched')), 'every frame answered or counted')
    return counts()


@pytest.fixture(scope='module')
def nodes(graph: Graph) -> Graph:
    graph.watch(COSTMAP, 'nav_msgs/OccupancyGrid', keep=True)
    graph.watch(IMAGE, 'sensor_msgs/Image')
    graph.watch(POINTS, 'sensor_msgs/PointCloud2')
    return graph


def test_demo_at_recorded_speed_answers_or_counts_every_frame(nodes, repository):
    bag = repository / 'bags' / 'demo'
    inputs = image_stamps(bag)
    up = nodes.start('lagr', 'up', '--params', str(repository / 'config' / 'default.yaml'))
    up.wait_for('loaded')
    play(nodes, bag)
    counts = all_accounted_for(nodes, len(inputs))
    nodes.wait_for_count(COSTMAP, counts['answered'])
    assert counts['answered'] >= 0.9 * len(inputs), counts
    for topic in (COSTMAP, IMAGE, POINTS):
        found = stamps(nodes.messages[topic])
        assert set(found[:counts['answered']]) <= set(inputs), topic
        assert found == sorted(found), topic
    grid = nodes.messages[COSTMAP][counts['answered'] - 1]
    assert grid.header.frame_id == 'odom'
    assert not (cells(grid) == 99).any()
    assert (cells(grid) == 100).any()
    assert (cells(grid) == 0).any()
    label = nodes.messages[IMAGE][-1]
    assert (label.encoding, label.width, label.height) == ('mono8', 512, 384)
    assert label.header.frame_id == 'left_optical'
    assert set(np.unique(label.data)) <= {0, 1, 2, 3, 4, 255}
    fields = {f.name: (f.offset, f.count) for f in nodes.messages[POINTS][-1].fields}
    assert fields == {'x': (0, 1), 'y': (4, 1), 'z': (8, 1), 'histogram': (12, 5),
                      'weight': (32, 1), 'rgb': (36, 1)}
    assert up.end() == 0, up.text


@pytest.mark.parametrize('name', ['demo', pytest.param('kitti', marks=pytest.mark.data)])
def test_the_live_map_is_the_replayed_one(nodes, repository, request, tmp_path, name):
    bag = repository / 'bags' / 'demo' if name == 'demo' else request.getfixturevalue('kitti')
    params = nodes.params(PLANE_MOUNT)
    expected = replayed_costmaps(bag, tmp_path, params)
    nodes.forget()
    up = nodes.start('lagr', 'up', '--params', params, '--processes')
    up.wait_for('loaded')
    play(nodes, bag, '--rate', '0.5')
    counts = all_accounted_for(nodes, len(expected))
    assert counts['answered'] == len(expected), counts
    nodes.wait_for_count(COSTMAP, len(expected))
    found = dict(zip(stamps(nodes.messages[COSTMAP]), map(cells, nodes.messages[COSTMAP]),
                     strict=True))
    assert set(expected) <= set(found)
    shares = [np.mean(found[stamp] == expected[stamp]) for stamp in expected]
    assert min(shares) >= SAME_CELLS
    assert up.end() == 0, up.text
