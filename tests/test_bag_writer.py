# SPDX-License-Identifier: Apache-2.0
"""Bags written by BagWriter, read back with rosbags alone."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from rosbags.highlevel import AnyReader
from rosbags.interfaces import QosDurability

from perception.bag_lens import Lens
from perception.bag_writer import BagWriter
from perception.errors import BagError
from perception.types import Camera, Costmap

CAMERA = Camera(8, 6, 7.0, 5.0, 3.1, 2.9, 'left_optical')
STAMP = 1_700_000_000_123_456_789


def read(path: Path) -> list[tuple[str, int, Any]]:
    with AnyReader([path]) as reader:
        return [
            (c.topic, stamp, reader.deserialize(data, c.msgtype))
            for c, stamp, data in reader.messages()
        ]


def test_image_keeps_pixels_step_and_stamp(tmp_path: Path) -> None:
    pixels = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)
    with BagWriter(tmp_path / 'out') as bag:
        bag.image('/image', STAMP, 'cam', pixels[:, ::-1], 'bgr8')
    ((topic, logged, message),) = read(tmp_path / 'out')
    found = (topic, logged, message.step, message.height, message.width)
    assert found == ('/image', STAMP, 24, 6, 8)
    assert (message.header.stamp.sec, message.header.stamp.nanosec) == divmod(STAMP, 10**9)
    np.testing.assert_array_equal(message.data.reshape(6, 8, 3), pixels[:, ::-1])


@pytest.mark.parametrize(
    ('shape', 'dtype', 'encoding'),
    [((6, 8), np.uint8, 'bgr8'), ((6, 8), np.float64, '32FC1'), ((6, 8, 3), np.uint8, 'bayer')],
)
def test_image_that_does_not_fit_its_encoding(
    tmp_path: Path, shape: tuple[int, ...], dtype: type, encoding: str
) -> None:
    with BagWriter(tmp_path / 'out') as bag, pytest.raises(ValueError, match=encoding):
        bag.image('/image', STAMP, 'cam', np.zeros(shape, dtype), encoding)


def test_compressed_formats(tmp_path: Path) -> None:
    depth = np.arange(48, dtype=np.uint16).reshape(6, 8) * 1000
    colour = np.full((6, 8, 3), (10, 120, 240), np.uint8)
    with BagWriter(tmp_path / 'out') as bag:
        bag.compressed('/depth', STAMP, 'cam', depth, 'png')
        bag.compressed('/colour', STAMP, 'cam', colour, 'jpeg', 95)
    (_, _, depth_message), (_, _, colour_message) = read(tmp_path / 'out')
    decoded = cv2.imdecode(depth_message.data, cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(decoded, depth)
    assert depth_message.format.startswith('16UC1; png')
    decoded = cv2.imdecode(colour_message.data, cv2.IMREAD_COLOR)
    assert np.abs(decoded.astype(int) - colour).max() <= 4


def test_camera_info_of_the_right_camera(tmp_path: Path) -> None:
    lens = Lens(np.diag([9.0, 8.0, 1.0]), D=np.array([0.1, 0, 0, 0, 0.2]))
    with BagWriter(tmp_path / 'out') as bag:
        bag.camera_info('/right/camera_info', STAMP, CAMERA, baseline_m=0.25, lens=lens)
    ((_, _, info),) = read(tmp_path / 'out')
    assert info.p.tolist() == [7.0, 0, 3.1, -1.75, 0, 5.0, 2.9, 0, 0, 0, 1, 0]
    assert (info.k[0], info.d[4], info.r[0]) == (9.0, 0.2, 1.0)
    assert info.header.frame_id == 'left_optical'


def test_poses_and_transforms(tmp_path: Path) -> None:
    turn = np.eye(4)
    turn[:2, :2] = [[0, -1], [1, 0]]  # 90 degrees to the left
    turn[:3, 3] = 1, 2, 3
    with BagWriter(tmp_path / 'out') as bag:
        bag.static_transform('base_link', 'camera', turn)
        bag.odometry('/odom', STAMP, turn, twist=(1.5, 0.2))
        bag.transform(STAMP + 1, 'odom', 'base_link', turn)
        bag.pose('/ground_plane', STAMP + 2, 'odom', turn)
    messages = {topic: message for topic, _, message in read(tmp_path / 'out')}
    odometry = messages['/odom']
    assert (odometry.child_frame_id, odometry.twist.twist.linear.x) == ('base_link', 1.5)
    for pose in (odometry.pose.pose, messages['/ground_plane'].pose):
        assert (pose.position.x, pose.position.y, pose.position.z) == (1, 2, 3)
        np.testing.assert_allclose([pose.orientation.z, pose.orientation.w], [0.5**0.5] * 2)
    for topic, child in (('/tf', 'base_link'), ('/tf_static', 'camera')):
        (transform,) = messages[topic].transforms
        assert (transform.child_frame_id, transform.transform.translation.y) == (child, 2)


def test_static_transforms_and_strings_take_the_first_stamp_and_are_latched(
    tmp_path: Path,
) -> None:
    with BagWriter(tmp_path / 'out') as bag:
        bag.string('/truth/classes', '{}', latched=True)
        bag.static_transform('base_link', 'left', np.eye(4))
        bag.static_transform('base_link', 'right', np.eye(4))
        bag.odometry('/odom', STAMP, np.eye(4))
        bag.static_transform('base_link', 'imu', np.eye(4))
        bag.string('/notes', 'late')
    found = read(tmp_path / 'out')
    assert {stamp for _, stamp, _ in found} == {STAMP}
    sets = [[t.child_frame_id for t in m.transforms] for topic, _, m in found if 'tf' in topic]
    assert sets == [['left', 'right'], ['left', 'right', 'imu']]
    with AnyReader([tmp_path / 'out']) as reader:
        kept = {c.topic for c in reader.connections
                if c.ext.offered_qos_profiles[0].durability is QosDurability.TRANSIENT_LOCAL}
    assert kept == {'/tf_static', '/truth/classes'}


def test_occupancy_grid_points_and_imu(tmp_path: Path) -> None:
    grid = np.array([[-1, 0, 98], [100, 1, 2]], np.int8)
    with BagWriter(tmp_path / 'out') as bag:
        bag.occupancy_grid('/costmap', Costmap(grid, 0.5, (-3.0, 4.5), STAMP))
        columns = {'x': np.array([1.0, 2]), 'w': np.array([3.0, np.nan])}
        bag.points('/points', STAMP, 'cam', columns)
        bag.imu('/imu', STAMP, 'imu', np.array([1.0, 2, 3]), np.array([4.0, 5, 9.8]))
    messages = {topic: message for topic, _, message in read(tmp_path / 'out')}
    message = messages['/costmap']
    assert message.data.tolist() == [-1, 0, 98, 100, 1, 2]
    assert (message.info.width, message.info.height, message.info.resolution) == (3, 2, 0.5)
    assert (message.info.origin.position.x, message.info.origin.position.y) == (-3.0, 4.5)
    assert message.info.origin.orientation.w == 1.0
    cloud = messages['/points']
    assert [(f.name, f.offset, f.datatype) for f in cloud.fields] == [('x', 0, 7), ('w', 4, 7)]
    np.testing.assert_array_equal(cloud.data.view('<f4'), np.float32([1, 3, 2, np.nan]))
    assert (cloud.width, cloud.point_step, cloud.row_step, cloud.is_dense) == (2, 8, 16, False)
    assert messages['/imu'].orientation_covariance[0] == -1
    assert messages['/imu'].linear_acceleration.z == 9.8


def test_bag_is_readable_after_an_exception(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match='power cut'), BagWriter(tmp_path / 'out') as bag:
        bag.odometry('/odom', STAMP, np.eye(4))
        raise RuntimeError('power cut')
    assert [topic for topic, _, _ in read(tmp_path / 'out')] == ['/odom']


def test_empty_bag_is_readable(tmp_path: Path) -> None:
    with BagWriter(tmp_path / 'out'):
        pass
    assert read(tmp_path / 'out') == []


def test_existing_folders(tmp_path: Path) -> None:
    folder = tmp_path / 'out'
    folder.mkdir()
    for overwrite in (False, True):  # an empty folder, then an earlier bag
        with BagWriter(folder, overwrite=overwrite) as bag:
            bag.string('/run', str(overwrite))
    assert [message.data for _, _, message in read(folder)] == ['True']
    with pytest.raises(BagError, match=r'out: a bag is there already; choose another'):
        BagWriter(folder)
    (folder / 'thesis.txt').write_text('mine')
    with pytest.raises(BagError, match=r'out: exists and is no mcap bag'):
        BagWriter(folder, overwrite=True)
    assert (folder / 'thesis.txt').exists()


def test_parent_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / 'file').write_text('')
    with pytest.raises(BagError, match='cannot be created'):
        BagWriter(tmp_path / 'file' / 'out')
