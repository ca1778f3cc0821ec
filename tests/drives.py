# SPDX-License-Identifier: Apache-2.0
"""Small real bags for the bag tests, written with rosbags."""

import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rosbags.rosbag2 import Reader, StoragePlugin, Writer

from perception import bag_encode as encode
from perception.bag_writer import BagWriter
from perception.types import Camera

SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND
CAMERA = Camera(48, 32, 40.0, 38.0, 22.5, 17.25, 'left_optical')
BASELINE_M = 0.25
LEFT, RIGHT = '/stereo/left/image_rect', '/stereo/right/image_rect'
LEFT_INFO, RIGHT_INFO = '/stereo/left/camera_info', '/stereo/right/camera_info'
OPTICAL = np.array([[0.0, 0, 1, 0.3], [-1, 0, 0, 0.1], [0, -1, 0, 1.2], [0, 0, 0, 1]])


def picture(seed: int = 0, channels: int = 3) -> NDArray[np.uint8]:
    """Noise of the camera's size: (32, 48, 3), or (32, 48) for one channel."""
    shape = (CAMERA.height, CAMERA.width, channels)[: 2 + (channels > 1)]
    return np.random.default_rng(seed).integers(0, 255, shape, np.uint8)


def stamp(frame: int) -> int:
    """Stamp of a frame at 10 Hz [ns]."""
    return START + frame * SECOND // 10


def forward(x: float) -> NDArray[np.float64]:
    """odom_from_base, driven straight ahead by x [m]."""
    matrix = np.eye(4)
    matrix[0, 3] = x
    return matrix


def info_message(**changes: Any) -> Any:
    """CameraInfo of CAMERA with fields replaced."""
    message = encode.camera_info_message(START, CAMERA)
    for name, value in changes.items():
        setattr(message, name, value)
    return message


def write_camera(
    bag: BagWriter, topic: str, *, frames: Iterable[int] = range(3), baseline_m: float = 0.0,
    channels: int = 3, shift_ns: int = 0, info: str = '',
) -> None:
    """Images of one camera at 10 Hz with the CameraInfo beside them."""
    info = info or topic.rsplit('/', 1)[0] + '/camera_info'
    encoding = 'bgr8' if channels == 3 else 'mono8'
    frame_id = topic.strip('/').split('/')[-2] + '_optical' if topic.count('/') > 1 else 'camera'
    for frame in frames:
        at = stamp(frame) + shift_ns
        bag.camera_info(info, at, CAMERA, baseline_m=baseline_m)
        bag.image(topic, at, frame_id, picture(frame, channels), encoding)


def write_stereo(path: Path, frames: int = 3, **right: Any) -> Path:
    """Plain stereo bag with odometry and mount; ``right`` goes to the right camera."""
    with BagWriter(path) as bag:
        bag.static_transform('base_link', 'left_optical', OPTICAL)
        for frame in range(frames):
            bag.odometry('/odom', stamp(frame), forward(0.2 * frame))
            write_camera(bag, LEFT, frames=[frame])
            write_camera(bag, RIGHT, frames=[frame], **{'baseline_m': BASELINE_M, **right})
    return path


def copy(
    source: Path, target: Path, *, plugin: StoragePlugin = StoragePlugin.MCAP,
    keep: Callable[[str], bool] = lambda topic: True,
) -> Path:
    """Bag with some of the topics, in the other storage where asked."""
    writer = Writer(target, version=9, storage_plugin=plugin)
    with Reader(source) as reader, writer:
        connections = {
            c.topic: writer.add_connection(c.topic, c.msgtype, typestore=encode.typestore())
            for c in reader.connections if keep(c.topic)
        }
        for connection, received_ns, data in reader.messages():
            if connection.topic in connections:
                writer.write(connections[connection.topic], received_ns, data)
    return target


def old_sqlite(source: Path, target: Path, extra: dict[str, str]) -> Path:
    """Bare .db3 as Humble wrote it: no definitions; ``extra`` = more topics -> their types."""
    database = sqlite3.connect(target)
    database.executescript(
        'CREATE TABLE topics(id INTEGER PRIMARY KEY, name TEXT NOT NULL, type TEXT NOT NULL,'
        ' serialization_format TEXT NOT NULL, offered_qos_profiles TEXT NOT NULL);'
        'CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER NOT NULL,'
        ' timestamp INTEGER NOT NULL, data BLOB NOT NULL);'
    )
    with Reader(source) as reader:
        types = {c.topic: c.msgtype for c in reader.connections} | extra
        rows = [(c.topic, t, data) for c, t, data in reader.messages()]
    rows += [(topic, START, bytes(8)) for topic in extra]
    ids = {topic: number for number, topic in enumerate(types, 1)}
    for topic, number in ids.items():
        database.execute('INSERT INTO topics VALUES (?, ?, ?, "cdr", "")',
                         (number, topic, types[topic]))
    for topic, received_ns, data in rows:
        database.execute('INSERT INTO messages(topic_id, timestamp, data) VALUES (?, ?, ?)',
                         (ids[topic], received_ns, data))
    database.commit()
    database.close()
    return target


def copy_without(source: Path, target: Path, prefix: str) -> None:
    """Copy an mcap bag without the topics that begin with a prefix."""
    with Reader(source) as reader, Writer(
            target, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        kept = {c.id: writer.add_connection(c.topic, c.msgtype, typestore=encode.typestore())
                for c in reader.connections if not c.topic.startswith(prefix)}
        for connection, stamp_ns, data in reader.messages():
            if connection.id in kept:
                writer.write(kept[connection.id], stamp_ns, data)
