# SPDX-License-Identifier: Apache-2.0
"""Recorded drives played into `lagr up`: nothing is lost silently, and the map is the replay's."""

from pathlib import Path

import numpy as np
import pytest
from graph import Graph, cells, stamp_of, stamps, values
from rosbags.rosbag2 import Reader, StoragePlugin, Writer

from perception.bag_encode import typestore
from perception.config import load_config
from perception.replay import replay

COSTMAP, IMAGE, POINTS = '/costmap', '/traversability/image', '/traversability/points'
NODES = ('/traversability_node', '/costmap_node')
INPUT = f'{NODES[0]}: input'
LATE_NS = 20_000_000  # odometry comes after its image, as on a robot
PLANE_MOUNT = 'mount:\n  source: plane'  # the wheels have no tf2, so a replay must not use it
PATIENT = """input:
  odometry_topic: /odom
  pose_tolerance_s: 2.0
  stale_after_s: 60.0"""  # heard from its first message; bounds by the clock beyond any load
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


def copied(
    source: Path, target: Path, *, late_ns: int = 0, frames: set[int] | None = None
) -> Path:
    """The bag with odometry received ``late_ns`` later, and images of these stamps only."""
    with Reader(source) as reader, Writer(
            target, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        topics = {c.id: writer.add_connection(c.topic, c.msgtype, typestore=typestore())
                  for c in reader.connections}
        messages = [(received_ns + late_ns * (c.topic == '/odom'), c.id, data)
                    for c, received_ns, data in reader.messages()
                    if frames is None or 'Image' not in c.msgtype or stamp_of(data) in frames]
        for received_ns, topic, data in sorted(messages, key=lambda message: message[0]):
            writer.write(topics[topic], received_ns, data)
    return target


def wait_until_listening(graph: Graph) -> None:
    """Both nodes are active, and the cost map hears the points: nothing of a bag is missed."""
    for node in NODES:
        graph.wait_for_ok(f'{node}: node')
    graph.wait(lambda: graph.node.count_subscribers(POINTS) >= 2, 'a cost map that listens')


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
def watched(graph: Graph) -> Graph:
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


def poses_were_those_of_the_stamps(graph: Graph) -> None:
    """No image got another pose than the one at its stamp, or none."""
    for node in NODES:
        found = values(graph.wait_for_status(f'{node}: transforms'))
        assert (found['poses_held'], found['odometry_lost'], found['failures']) == (
            '0', '0', '0'), (node, found)


@pytest.mark.parametrize('name', ['demo', pytest.param('kitti', marks=pytest.mark.data)])
def test_the_live_map_is_the_replayed_one(nodes, repository, request, tmp_path, name):
    """A busy machine may drop frames, and counts them: a replay of the others gives the map."""
    source = repository / 'bags' / 'demo' if name == 'demo' else request.getfixturevalue('kitti')
    bag = copied(source, tmp_path / 'bag', late_ns=LATE_NS if name == 'kitti' else 0)
    params, frames = nodes.params(f'{PLANE_MOUNT}\n{PATIENT}'), len(set(image_stamps(bag)))
    up = nodes.start('lagr', 'up', '--params', params, '--processes')
    up.wait_for('loaded')
    wait_until_listening(nodes)
    play(nodes, bag, '--rate', '0.5')
    counts = all_accounted_for(nodes, frames)
    assert counts['refused'] == counts['without_plane'] == 0, counts
    assert counts['answered'] >= 0.9 * frames, counts
    nodes.wait_for_count(COSTMAP, counts['answered'])
    poses_were_those_of_the_stamps(nodes)
    found = dict(zip(stamps(nodes.messages[COSTMAP]), map(cells, nodes.messages[COSTMAP]),
                     strict=True))
    answered = copied(bag, tmp_path / 'answered', frames=set(stamps(nodes.messages[POINTS])))
    expected = replayed_costmaps(answered, tmp_path / 'out', params)
    assert set(expected) == set(found)
    shares = [np.mean(found[stamp] == expected[stamp]) for stamp in expected]
    assert min(shares) >= SAME_CELLS, shares
    assert up.end() == 0, up.text
