# SPDX-License-Identifier: Apache-2.0
"""What graphs do that no one plans: half pairs, stopped clocks, renamed frames, damaged bytes."""

import signal

import pytest
from graph import Graph, cells, known, values
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState

from perception.nodes.wire import message_class, reliable

COSTMAP, POINTS = '/costmap', '/traversability/points'
INPUT, OUTPUT = '/traversability_node: input', '/costmap_node: output'


@pytest.fixture(scope='module')
def watched(graph: Graph) -> Graph:
    graph.watch(COSTMAP, 'nav_msgs/OccupancyGrid', keep=True)
    graph.watch(POINTS, 'sensor_msgs/PointCloud2')
    return graph


def start_all(nodes: Graph, *camera: str):
    up = nodes.start('lagr', 'up')
    odometry = nodes.start('odometry.py')
    driver = nodes.start('camera.py', *camera)
    nodes.wait(lambda: any(known(grid) for grid in nodes.messages[COSTMAP]), 'a known map')
    return up, odometry, driver


def test_damaged_bytes_end_no_node(nodes):
    up, _, _ = start_all(nodes)
    kinds = {'/stereo/left/image_rect': 'sensor_msgs/Image', '/odom': 'nav_msgs/Odometry',
             '/stereo/left/camera_info': 'sensor_msgs/CameraInfo',
             POINTS: 'sensor_msgs/PointCloud2', '/ground_plane': 'geometry_msgs/PoseStamped'}
    publishers = [nodes.node.create_publisher(message_class(kind), topic, reliable(5))
                  for topic, kind in kinds.items()]
    nodes.wait(lambda: all(p.get_subscription_count() for p in publishers), 'subscribers')
    for data in (b'\0\1\0\0', b'\0\1\0\0' + bytes(2), b'\0\1\0\0' + bytes(range(1, 60))):
        for publisher in publishers:
            publisher.publish(data)
    nodes.wait_for_status('/costmap_node: input', 'check')
    for publisher in publishers:
        nodes.node.destroy_publisher(publisher)
    nodes.forget()
    nodes.wait(lambda: any(known(grid) for grid in nodes.messages[COSTMAP]), 'a known map')
    assert up.end() == 0, up.text


def test_half_a_pair_dies(nodes):
    start_all(nodes, '--fault', 'half')
    nodes.programs[-1].signal(signal.SIGUSR1)
    status = nodes.wait_for_status(INPUT, 'none can be used', b'\x02')
    assert '/stereo/right/image_rect is silent' in status.message
    nodes.wait_for_status(OUTPUT, 'the cost map is unknown')


def test_a_clock_that_stands_still(nodes):
    start_all(nodes, '--fault', 'clock')
    nodes.programs[-1].signal(signal.SIGUSR1)
    nodes.wait_for_status(INPUT, 'stamps did not rise', b'\x02')
    nodes.wait_for_status(OUTPUT, 'the cost map is unknown')


def test_a_frame_that_changes_its_name_takes_its_own_mount(nodes):
    up, _, _ = start_all(nodes, '--fault', 'frame')
    nodes.wait_for_count(POINTS, 1)  # the map can be here first
    assert nodes.messages[POINTS][-1].header.frame_id == 'left_optical'
    nodes.programs[-1].signal(signal.SIGUSR1)
    nodes.wait(lambda: nodes.messages[POINTS][-1].header.frame_id == 'other_optical',
               'points in the new frame')
    up.wait_for('mount of other_optical')


def test_images_without_a_frame_give_nothing(nodes):
    nodes.start('lagr', 'up')
    nodes.start('camera.py', '--frame', '')
    nodes.wait_for_status(INPUT, 'no frame_id in image nor CameraInfo', b'\x02')
    assert not nodes.messages[POINTS]


def test_the_right_camera_comes_later(nodes):
    nodes.start('lagr', 'up')
    nodes.start('odometry.py')
    nodes.start('camera.py', '--kind', 'mono', '--triggered')
    nodes.wait_for_status(INPUT, 'one camera alone shows no ground plane')
    nodes.start('camera.py', '--kind', 'right', '--triggered')
    nodes.wait(lambda: any(known(grid) for grid in nodes.messages[COSTMAP]), 'a known map')
    assert 'stereo pair' in values(nodes.wait_for_ok(INPUT))['inputs']


def test_odometry_that_changes_its_frame_is_left_out(nodes):
    _, odometry, _ = start_all(nodes)
    odometry.kill()
    nodes.wait_for_status(OUTPUT, 'the cost map is unknown')
    nodes.start('odometry.py', '--frame', 'map')
    nodes.wait_for_status('/costmap_node: transforms', 'odom -> base_link turned into map')
    assert not known(nodes.messages[COSTMAP][-1])


def test_odometry_of_the_twist_alone_is_left_out(nodes):
    nodes.start('lagr', 'up')
    odometry = nodes.start('odometry.py', '--fault', 'twist')
    nodes.start('camera.py')
    nodes.wait(lambda: any(known(grid) for grid in nodes.messages[COSTMAP]), 'a known map')
    odometry.signal(signal.SIGUSR1)
    nodes.wait_for_status('/costmap_node: transforms', 'its position never changes', b'\x02')
    nodes.wait_for_status(OUTPUT, 'the cost map is unknown')


def test_deactivation_leaves_no_latched_map_behind(nodes):
    start_all(nodes)
    nodes.forget(COSTMAP)
    request = ChangeState.Request(
        transition=Transition(id=Transition.TRANSITION_DEACTIVATE))
    assert nodes.call('lifecycle_msgs/ChangeState', '/costmap_node/change_state', request).success
    nodes.wait(lambda: nodes.messages[COSTMAP] and not known(nodes.messages[COSTMAP][-1]),
               'an unknown map')
    assert (cells(nodes.messages[COSTMAP][-1]) == -1).all()


@pytest.mark.parametrize(('text', 'said'), [
    ('input:\n  image_topic: "bad name!"', 'bad name!'),
    ('input:\n  points_topics: "bad name!"', 'bad name!'),
    ('qos_overrides:\n  /costmap:\n    publisher:\n      reliability: foo', 'costmap: '),
])
def test_names_and_qos_that_are_none_refuse_to_configure(nodes, text, said):
    up = nodes.start('lagr', 'up', '--params', nodes.params(text))
    assert up.wait() == 1
    assert said in up.text
    assert 'Traceback' not in up.text
