# SPDX-License-Identifier: Apache-2.0
"""RGB-D and single cameras, mounts from a file, and a robot in a namespace."""

from collections.abc import Iterator

import camera
import drives
import numpy as np
import pytest
from graph import Graph, cells, known, stamps, values
from onnx_files import write_scene_network

from perception.scene import label_scene, load_scene_network

COSTMAP = '/costmap'
INPUT, TRANSFORMS = '/traversability_node: input', '/costmap_node: transforms'
SCENE = ('/scene/image', '/scene/confidence', '/scene/overlay')
MOUNT = """transforms:
  - {parent: base_link, child: left_optical, xyz_m: [0.4, 0.1, 1.05],
     rpy_rad: [-1.5708, 0.0, -1.5708]}
"""


@pytest.fixture(scope='module')
def watched(graph: Graph) -> Graph:
    graph.watch(COSTMAP, 'nav_msgs/OccupancyGrid', keep=True)
    graph.watch('/robot1/costmap', 'nav_msgs/OccupancyGrid', keep=True)
    for name in SCENE:
        graph.watch(name, 'sensor_msgs/Image')
    return graph


@pytest.fixture
def cameras(watched: Graph) -> Iterator[Graph]:
    watched.forget()
    yield watched
    watched.end_programs()


@pytest.fixture
def nodes(cameras: Graph) -> Graph:
    cameras.start('odometry.py', '--speed', '0.0')
    return cameras


def wait_for_map(nodes: Graph, topic: str = COSTMAP) -> np.ndarray:
    nodes.wait(lambda: any(known(grid) for grid in nodes.messages[topic]), 'a known map')
    nodes.wait_for_count(topic, 20)
    return cells(nodes.messages[topic][-1])


def test_depth_camera(nodes):
    nodes.start('lagr', 'up')
    nodes.start('camera.py', '--kind', 'rgbd')
    grid = wait_for_map(nodes)
    assert (grid == 0).sum() > 100
    assert 'RGB-D pair /stereo/left/image_rect + /stereo/depth/image_rect' in values(
        nodes.wait_for_ok(INPUT))['inputs']


def test_one_camera_needs_its_mount_and_says_so(nodes):
    up = nodes.start('lagr', 'up')
    nodes.start('camera.py', '--kind', 'mono')
    nodes.wait_for_status(INPUT, 'one camera alone shows no ground plane', b'\x02')
    assert not nodes.messages[COSTMAP]
    assert up.running


def test_one_camera_with_its_height(cameras, repository, tmp_path):
    text = 'mount:\n  height_m: 1.06\n  pitch_rad: 0.09'
    bag = drives.copy(repository / 'bags' / 'demo', tmp_path / 'mono',
                      keep=lambda topic: '/left/' in topic or topic == '/odom')
    up = cameras.start('lagr', 'up', '--params', cameras.params(text))
    up.wait_for('loaded')
    cameras.start('lagr', 'play', str(bag), '--loop')
    assert (wait_for_map(cameras) >= 0).sum() > 100
    assert 'mount: left_optical: plane' in values(cameras.wait_for_ok(TRANSFORMS))['source']


def test_mount_from_a_calibration_file(nodes, tmp_path):
    path = tmp_path / 'robot.yaml'
    path.write_text(MOUNT)
    nodes.start('lagr', 'up', '--params', nodes.params(f'mount:\n  calibration: {path}'))
    nodes.start('camera.py')
    wait_for_map(nodes)
    source = values(nodes.wait_for_ok(TRANSFORMS))['source']
    assert 'mount: left_optical: calibration' in source


def test_a_camera_that_the_file_lacks_gives_no_map(nodes, tmp_path):
    path = tmp_path / 'robot.yaml'
    path.write_text(MOUNT.replace('left_optical', 'other_optical'))
    text = f'mount:\n  source: calibration\n  calibration: {path}'
    nodes.start('lagr', 'up', '--params', nodes.params(text))
    nodes.start('camera.py')
    nodes.wait_for_status(TRANSFORMS, f'{path} does not join base_link and left_optical', b'\x02')
    assert not nodes.messages[COSTMAP]


def test_a_robot_in_a_namespace_uses_its_own_topics(nodes):
    nodes.start('lagr', 'up', '--namespace', 'robot1')
    nodes.start('camera.py')
    nodes.wait_for_status('/robot1/traversability_node: input', 'no camera topic under /robot1')
    nodes.start('camera.py', '--namespace', '/robot1/stereo')
    nodes.start('odometry.py', '--topic', '/robot1/odom')
    wait_for_map(nodes, '/robot1/costmap')
    assert '/robot1/stereo/left' in values(
        nodes.wait_for_ok('/robot1/traversability_node: input'))['inputs']


def test_scene_labels_need_one_camera_of_a_pair(cameras, tmp_path):
    """Its labels are those of the published image, without a plane, a map or the right camera."""
    network = write_scene_network(tmp_path / 'tiny.onnx')
    params = cameras.params(f'scene:\n  network: {network}\n  standing: [obstacle]\n'
                          '  costs: [smooth_ground=0, grass=0.1, obstacle=1, sky=none]', 'scene')
    cameras.start('lagr', 'up', '--node', 'scene_node', '--params', params)
    cameras.start('camera.py')
    cameras.wait_for_count('/scene/overlay', 2)
    image, confidence, overlay = (cameras.messages[name][-1] for name in SCENE)
    assert (image.encoding, confidence.encoding, overlay.encoding) == ('mono8', 'mono8', 'rgb8')
    assert (image.header.frame_id, overlay.width) == ('left_optical', 640)
    picture = camera.pictures(camera.camera_of(640, 480), 'stereo')['left/image_rect']
    expected = label_scene(load_scene_network(network), picture)
    np.testing.assert_array_equal(image.data.reshape(480, 640), expected.label)
    assert len(np.unique(expected.label)) > 1
    images, overlays = (stamps(cameras.messages[name]) for name in (SCENE[0], SCENE[2]))
    assert set(overlays) <= set(images)
    found = values(cameras.wait_for_ok('/scene_node: input'))
    assert 'one camera /stereo/left/image_rect,' in found['inputs']
    status = cameras.diagnostics['/scene_node: engine']
    assert status.message == 'tiny was never trained'
    engine = values(status)
    assert engine['classes'] == 'smooth_ground, grass, obstacle, sky'
    assert 'vision_msgs is not installed' in engine['label_info'] or (
        engine['label_info'] == 'published')
