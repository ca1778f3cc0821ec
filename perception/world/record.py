# SPDX-License-Identifier: Apache-2.0
"""Record a drive through a world as a rosbag2 with its truth."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from perception.bag_writer import BagWriter
from perception.types import Camera, Float, Image
from perception.world.drive import (
    World,
    WorldFrame,
    build_world,
    frame_indices,
    render_drive,
    stamp_of,
)
from perception.world.rover import RATE_HZ, Motion, plan_motion
from perception.world.scene import open_context
from perception.world.sensors import (
    BASELINE_M,
    LEFT_FRAME,
    RIGHT_FRAME,
    base_from_left,
    base_from_right,
)
from perception.world.spec import CLASS_NAMES, WorldSpec
from perception.world.survey import (
    countable_ids,
    ground_tilt_deviation,
    near_obstacles,
    visible_ids,
)

JPEG_QUALITY = 80
ODOMETRY_EVERY, IMU_EVERY = RATE_HZ // 20, RATE_HZ // 50
TRUTH_HZ = 2
WORLD, ODOM, BASE, IMU = 'world', 'odom', 'base_link', 'imu_link'
MAX_DEPTH_MM = 65535  # what 16UC1 holds; beyond is 0, unknown


@dataclass(frozen=True)
class Recording:
    """What to record: length [s], frames a second, image encoding, how much truth."""

    seconds: float
    rate_hz: float = 10.0
    encoding: Literal['jpeg', 'raw'] = 'jpeg'
    truth: Literal['full', 'light'] = 'full'


@dataclass(frozen=True)
class Summary:
    """What a recording holds; the tilt deviation is defined in ``survey``."""

    frames: int
    near_obstacles: int
    visible_obstacles: int
    tilt_deviation_rad: float
    driven_m: float


def record(
    spec: WorldSpec, out: Path, recording: Recording,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Summary:
    """
    Render a drive into a bag.

    Topics: ``/stereo/{left,right}/image_rect[/compressed]`` and ``camera_info``, ``/tf``,
    ``/tf_static``, ``/odom``, ``/imu``; truth: ``/truth/odom``, ``/truth/classes``,
    ``/truth/obstacles`` and, twice a second as PNG (CompressedImage), ``/truth/left/class``,
    ``/truth/left/obstacle``, ``/truth/left/depth``.

    Raises
    ------
    WorldError
        No EGL here.
    BagError
        The bag exists or cannot be written.
    """
    open_context().release()  # without EGL fail before a bag is begun
    with BagWriter(out) as bag:
        world = build_world(spec)
        motion = plan_motion(spec, world.content.terrain, world.obstacles, recording.seconds)
        summary = _survey(world, motion)
        _write_fixed(bag, world, motion, summary)
        indices = frame_indices(recording.seconds, recording.rate_hz)
        frames = zip(indices, render_drive(world, motion, indices), strict=True)
        seen: set[int] = set()
        done = 0
        for number, (index, frame) in enumerate(frames, 1):
            _write_motion(bag, motion, range(done, index + 1))
            _write_frame(bag, frame, recording)
            if _truth_due(index, recording.rate_hz):
                _write_truth(bag, frame, recording.truth)
            seen.update(visible_ids(frame.instance, frame.obstacle, frame.depth).tolist())
            done = index + 1
            on_progress(number, len(indices))
        _write_motion(bag, motion, range(done, len(motion.time_s)))
    visible = seen.intersection(countable_ids(world.content).tolist())
    return replace(summary, frames=len(indices), visible_obstacles=len(visible))


def depth_mm(depth: Float) -> np.ndarray[tuple[int, ...], np.dtype[np.uint16]]:
    """Depth [m] as (H, W) uint16 millimetres; 0 = sky, or more than 65.5 m."""
    rounded = np.round(np.nan_to_num(depth, nan=0.0) * 1000.0)
    return np.where(rounded <= MAX_DEPTH_MM, rounded, 0).astype(np.uint16)


def _survey(world: World, motion: Motion) -> Summary:
    """Everything that is known before rendering."""
    steps = np.diff(motion.world_from_base[:, :3, 3], axis=0)
    return Summary(
        frames=0, near_obstacles=near_obstacles(world.content, motion), visible_obstacles=0,
        tilt_deviation_rad=ground_tilt_deviation(world.content.terrain, motion),
        driven_m=float(np.linalg.norm(steps, axis=1).sum()))


def _write_fixed(bag: BagWriter, world: World, motion: Motion, summary: Summary) -> None:
    """Mounts, names of the classes, and the top-down truth."""
    spec = world.content.spec
    bag.static_transform(BASE, LEFT_FRAME, base_from_left())
    bag.static_transform(BASE, RIGHT_FRAME, base_from_right())
    bag.static_transform(BASE, IMU, np.eye(4))
    text = {
        'classes': {name: index for index, name in enumerate(CLASS_NAMES)},
        'world': {'seed': spec.seed, 'season': spec.season, 'relief_m': spec.amplitude_m,
                  'ground_tilt_deviation_rad': round(summary.tilt_deviation_rad, 5),
                  'near_obstacles': summary.near_obstacles},
    }
    bag.string('/truth/classes', json.dumps(text), latched=True)
    start = stamp_of(motion, 0)
    bag.occupancy_grid('/truth/obstacles', replace(world.obstacles, stamp_ns=start))


def _write_motion(bag: BagWriter, motion: Motion, samples: range) -> None:
    """Odometry, transform, exact pose and IMU of the samples since the last frame."""
    for k in samples:
        stamp = stamp_of(motion, k)
        if k % ODOMETRY_EVERY == 0:
            forward, turn = motion.twist[k].tolist()
            bag.odometry('/odom', stamp, motion.odom_from_base[k], ODOM, BASE, (forward, turn))
            bag.transform(stamp, ODOM, BASE, motion.odom_from_base[k])
            bag.odometry('/truth/odom', stamp, motion.world_from_base[k], WORLD, BASE)
        if k % IMU_EVERY == 0:
            bag.imu('/imu', stamp, IMU, motion.gyro[k], motion.acceleration[k])


def _write_frame(bag: BagWriter, frame: WorldFrame, recording: Recording) -> None:
    """Both pictures and their camera descriptions."""
    camera, stamp = frame.frame.camera, frame.frame.stamp_ns
    assert frame.frame.right is not None
    _write_eye(bag, '/stereo/left', stamp, recording, frame.frame.image, camera)
    right = replace(camera, frame_id=RIGHT_FRAME)
    _write_eye(bag, '/stereo/right', stamp, recording, frame.frame.right, right)


def _write_eye(
    bag: BagWriter, name: str, stamp: int, recording: Recording, image: Image, camera: Camera
) -> None:
    if recording.encoding == 'jpeg':
        topic = f'{name}/image_rect/compressed'
        bag.compressed(topic, stamp, camera.frame_id, image, 'jpeg', JPEG_QUALITY)
    else:
        encoding = 'bgr8' if image.ndim == 3 else 'mono8'
        bag.image(f'{name}/image_rect', stamp, camera.frame_id, image, encoding)
    baseline = BASELINE_M if camera.frame_id == RIGHT_FRAME else 0.0
    bag.camera_info(f'{name}/camera_info', stamp, camera, baseline_m=baseline)


def _truth_due(index: int, rate_hz: float) -> bool:
    """Tell whether this frame is the first one of its half second."""
    period = RATE_HZ / TRUTH_HZ
    before = index - RATE_HZ / rate_hz
    return before < 0 or int((before + 0.5) // period) < int((index + 0.5) // period)


def _write_truth(bag: BagWriter, frame: WorldFrame, truth: str) -> None:
    stamp = frame.frame.stamp_ns
    bag.compressed('/truth/left/class', stamp, LEFT_FRAME, frame.class_ids, 'png')
    if truth == 'full':
        bag.compressed('/truth/left/obstacle', stamp, LEFT_FRAME, frame.obstacle, 'png')
        bag.compressed('/truth/left/depth', stamp, LEFT_FRAME, depth_mm(frame.depth), 'png')
