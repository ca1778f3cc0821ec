# SPDX-License-Identifier: Apache-2.0
"""
Choose the inputs among the cameras of a bag: stereo before RGB-D before one camera.

A lidar takes the place of stereo and depth where it is named, and is never found by itself.

The rule among several pairs: named topics, then colour, then both cameras under the same
namespace, then left and right of one name, then the longest common name, then by name.
"""

from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Literal

import numpy as np

from perception.bag_lens import calibration_from_info
from perception.bag_poses import StaticTree
from perception.bag_topics import (
    CameraTopic,
    Scan,
    Topics,
    base_name,
    image_topics,
    info_names,
    scan,
)
from perception.config import InputConfig
from perception.errors import BagError, CalibrationError
from perception.lidar import points_from_message
from perception.types import Camera

Kind = Literal['stereo', 'rgbd', 'lidar', 'mono']

_BASELINE_M = (0.005, 10.0)  # outside: millimetres taken for metres, or the reverse
_NAME_IT = 'or name input.image_topic for one camera alone'
CLOUD_TYPE = 'sensor_msgs/PointCloud2'


@dataclass(frozen=True)
class LidarTopic:
    """A point cloud topic and the frame of its first message."""

    topic: str
    frame_id: str


@dataclass(frozen=True)
class Inputs:
    """The chosen topics; ``baseline_m`` [m] with ``right`` only."""

    kind: Kind
    image: CameraTopic
    right: CameraTopic | None = None
    depth: CameraTopic | None = None
    baseline_m: float | None = None
    notes: tuple[str, ...] = ()
    lidar: LidarTopic | None = None

    @property
    def cameras(self) -> list[CameraTopic]:
        """All image topics."""
        return [c for c in (self.image, self.right, self.depth) if c]

    @property
    def partner(self) -> CameraTopic | LidarTopic | None:
        """What each image is matched with."""
        return self.right or self.depth or self.lidar

    @property
    def matched(self) -> list[str]:
        """Topics that make a frame: the image's, and its partner's."""
        return [self.image.topic, *([self.partner.topic] if self.partner else [])]

    @property
    def alone(self) -> 'Inputs':
        """The left or only camera without its partner."""
        return Inputs('mono', self.image, notes=self.notes)

    @property
    def tolerance(self) -> str:
        """The parameter that says how far the stamps of the two may differ."""
        return 'lidar_tolerance_s' if self.lidar else 'sync_tolerance_s'


def choose_inputs(bag: Topics, tree: StaticTree, config: InputConfig) -> Inputs:
    """
    Find the stereo pair, the RGB-D pair or the camera to read.

    Raises
    ------
    BagError, ImageError, CalibrationError
        Nothing fits, a named topic is missing, or a pair is incomplete.
    """
    if config.lidar_topic and config.depth_topic:
        raise BagError(f'input.lidar_topic = {config.lidar_topic} and input.depth_topic = '
                       f'{config.depth_topic}: one takes the place of the other; leave one empty')
    found = scan(bag)
    if found.failed and not found.cameras:  # what is wrong with a camera, before a missing one
        raise min(found.failed.values(), key=lambda error: isinstance(error, BagError))
    for key in ('image_topic', 'right_image_topic', 'depth_topic'):
        _check_named(bag, found, key, getattr(config, key))
    lefts = _named(found.cameras, config.image_topic)
    if config.lidar_topic:
        return _with_lidar(bag, lefts, found, config)
    if config.depth_topic:
        return _require_rgbd(bag, lefts, _named(found.depths, config.depth_topic))
    rights = _named(found.cameras, config.right_image_topic)
    pairs = _pairs(lefts, rights, tree)
    if pairs:
        return _first_pair(pairs, found)
    if config.right_image_topic:
        raise _no_partner(bag, rights[0], lefts)
    rgbd = _rgbd_pairs(lefts, found.depths)
    if rgbd:
        image, depth = rgbd[0]
        return Inputs('rgbd', image, depth=depth, notes=_failures(found))
    if not config.image_topic:
        _refuse_failed_side(found)
        _refuse_half_pair(bag, found)
    return _one_camera(bag, lefts, found)


def same_topic(camera: CameraTopic, name: str) -> bool:
    """True where ``name`` is the topic, with or without the transport's ending."""
    return name in (camera.topic, base_name(camera.topic))


def _named(cameras: list[CameraTopic], name: str) -> list[CameraTopic]:
    return [c for c in cameras if same_topic(c, name)] if name else cameras


def _check_named(bag: Topics, found: Scan, key: str, name: str) -> None:
    """A named topic must be there, and hold what the key says."""
    if not name:
        return
    for topic, error in found.failed.items():
        if name in (topic, base_name(topic)):
            raise error
    pool = found.depths if key == 'depth_topic' else found.cameras
    if not _named(pool, name):
        what = 'depth' if key == 'depth_topic' else 'image'
        held = ', '.join(c.topic for c in pool) or 'none'
        raise BagError(f'{bag.path}: input.{key} = {name}: no such {what} topic; it has: {held}')


def _pairs(
    lefts: list[CameraTopic], rights: list[CameraTopic], tree: StaticTree
) -> list[tuple[CameraTopic, CameraTopic, float]]:
    """(left, right, baseline [m]), best first."""
    pairs = [
        (left, right, baseline)
        for left in lefts for right in rights
        if (baseline := measured_baseline(left, right, tree)) > 0
    ]
    return sorted(pairs, key=lambda pair: _pair_rank(pair[0], pair[1]))


def measured_baseline(left: CameraTopic, right: CameraTopic, tree: StaticTree) -> float:
    """Distance of the optical centres [m]; 0 = these two are no rectified pair."""
    a, b = left.calibration, right.calibration
    if a is None or b is None or left.info_topic == right.info_topic:
        return 0.0
    if (a.camera.width, a.camera.height) != (b.camera.width, b.camera.height):
        return 0.0
    if not np.allclose([a.camera.fx, a.camera.fy, a.camera.cy],
                       [b.camera.fx, b.camera.fy, b.camera.cy], rtol=1e-3):
        return 0.0
    if right.tx < 0 <= left.tx + 1e-9:
        return (left.tx - right.tx) / b.camera.fx
    twin = left.tx == right.tx == 0 and _left_twin(right.topic) == left.topic
    return _baseline_from_tree(left, right, tree) if twin else 0.0


def _baseline_from_tree(left: CameraTopic, right: CameraTopic, tree: StaticTree) -> float:
    """Baseline from /tf_static, where P lacks it; 0 unless the right camera lies along +x."""
    left_from_right = tree.lookup(left.frame_id, right.frame_id)
    if left_from_right is None or not np.allclose(left_from_right[:3, :3], np.eye(3), atol=0.02):
        return 0.0
    x, y, z = left_from_right[:3, 3]
    return float(x) if x > 0.01 and max(abs(y), abs(z)) < 0.05 * x else 0.0


def _pair_rank(left: CameraTopic, right: CameraTopic) -> tuple[object, ...]:
    common = len(list(takewhile(lambda pair: pair[0] == pair[1], zip(left.topic, right.topic))))
    return (
        left.pixels != 'colour', left.pixels != right.pixels,
        _parent(left) != _parent(right), abs(left.tx) > 1e-6,
        _left_twin(right.topic) != left.topic, -common,
        left.rank, right.rank,
    )


def _parent(camera: CameraTopic) -> str:
    """Namespace that the cameras of one pair share."""
    return camera.info_topic.rsplit('/', 2)[0]


def _first_pair(
    pairs: list[tuple[CameraTopic, CameraTopic, float]], found: Scan
) -> Inputs:
    left, right, baseline = pairs[0]
    if not _BASELINE_M[0] < baseline < _BASELINE_M[1]:
        raise CalibrationError(
            f'{right.info_topic}: P[3] = {right.tx:g} means a baseline of {baseline:g} m; '
            'it must be -fx * baseline with the baseline in metres'
        )
    others = len({(a.info_topic, b.info_topic) for a, b, _ in pairs}) - 1
    notes = _failures(found)
    if others:
        notes += (f'{others} more stereo pair(s) not used; choose with input.image_topic',)
    return Inputs('stereo', left, right=right, baseline_m=baseline, notes=notes)


def _no_partner(bag: Topics, right: CameraTopic, lefts: list[CameraTopic]) -> BagError:
    if right.tx >= 0:
        return BagError(
            f'{bag.path}: {right.info_topic}: P[3] = {right.tx:g} carries no stereo baseline '
            f'(the right camera has -fx * baseline); record the rectified CameraInfo, {_NAME_IT}'
        )
    held = ', '.join(f'{c.topic} {c.width} x {c.height}' for c in lefts if c is not right)
    return BagError(
        f'{bag.path}: no left camera for {right.topic} ({right.width} x {right.height}, same '
        f'rows and focal length needed); found: {held or "none"}; record it, {_NAME_IT}'
    )


def _rgbd_pairs(
    images: list[CameraTopic], depths: list[CameraTopic]
) -> list[tuple[CameraTopic, CameraTopic]]:
    return [(image, depth) for image in sorted(images, key=lambda c: c.pixels != 'colour')
            for depth in depths if _registered(image, depth)]


def _registered(image: CameraTopic, depth: CameraTopic) -> bool:
    """True where depth pixels are image pixels: same frame, or same size and intrinsics."""
    same_size = (image.width, image.height) == (depth.width, depth.height)
    same_shape = image.width * depth.height == depth.width * image.height
    if image.frame_id == depth.frame_id and image.frame_id:
        return same_shape
    if depth.calibration is None or image.calibration is None:
        return same_size
    return same_size and _close(image.calibration.camera, depth.calibration.camera)


def _close(a: Camera, b: Camera) -> bool:
    return np.allclose([a.fx, a.fy, a.cx, a.cy], [b.fx, b.fy, b.cx, b.cy], rtol=0.01)


def _require_rgbd(
    bag: Topics, images: list[CameraTopic], depths: list[CameraTopic]
) -> Inputs:
    depth = depths[0]
    fits = sorted(images, key=lambda c: (not _registered(c, depth), c.pixels != 'colour'))
    for image in fits:
        if image.width * depth.height == depth.width * image.height:
            return Inputs('rgbd', image, depth=depth)
    held = ', '.join(f'{c.topic} {c.width} x {c.height}' for c in images) or 'none'
    raise BagError(
        f'{bag.path}: no image for {depth.topic} ({depth.width} x {depth.height}); '
        f'found: {held}; record depth registered to the image'
    )


def _with_lidar(
    bag: Topics, cameras: list[CameraTopic], found: Scan, config: InputConfig
) -> Inputs:
    """The named lidar beside one camera; stereo and depth are left alone."""
    clouds = bag.of_type(CLOUD_TYPE)
    first = bag.first(config.lidar_topic) if config.lidar_topic in clouds else None
    if first is None:
        kind = bag.topics.get(config.lidar_topic, '').replace('/msg/', '/')
        what = f'is a {kind}, not a {CLOUD_TYPE}' if kind not in ('', CLOUD_TYPE) else (
            'no such point cloud topic')
        raise BagError(f'{bag.path}: input.lidar_topic = {config.lidar_topic}: {what}; it has: '
                       f'{", ".join(clouds) or "none"}')
    points_from_message(first[1], config.lidar_topic)
    known = replace(found, depths=[]) if cameras else found
    image = _one_camera(bag, [c for c in cameras if c.tx >= 0] or cameras, known)
    lidar = LidarTopic(config.lidar_topic, first[1].header.frame_id.lstrip('/'))
    return Inputs('lidar', image.image, notes=image.notes, lidar=lidar)


def _refuse_failed_side(found: Scan) -> None:
    """Raise what is wrong with one camera of a pair, rather than call the other one single."""
    only_rights = found.cameras and all(camera.tx < 0 for camera in found.cameras)
    for topic, error in found.failed.items():
        sided = 'left' in topic or 'right' in topic
        if only_rights or (sided and not isinstance(error, BagError)):
            raise error


def _refuse_half_pair(bag: Topics, found: Scan) -> None:
    """Raise where a right camera is there but the pair is incomplete."""
    for camera in found.cameras:
        if camera.tx < 0:
            raise _no_partner(bag, camera, found.cameras)
    topics = image_topics(bag)
    for topic in topics:
        if _left_twin(topic) in topics and not _is_depth(found, topic):
            _refuse_right(bag, found, topic)
    for name in bag.of_type('sensor_msgs/CameraInfo'):
        first = bag.first(name)
        if first is None or any(name in info_names(topic) for topic in topics):
            continue
        if calibration_from_info(first[1], name).tx < 0:
            raise BagError(
                f'{bag.path}: {name} is the right camera of a stereo pair, but no image topic '
                f'is beside it; record its images, {_NAME_IT}'
            )


def _is_depth(found: Scan, topic: str) -> bool:
    return any(depth.topic == topic for depth in found.depths)


def _refuse_right(bag: Topics, found: Scan, topic: str) -> None:
    error = found.failed.get(topic)
    if error is not None:
        raise error
    right = next(c for c in found.cameras if c.topic == topic)
    raise _no_partner(bag, right, found.cameras)


def _left_twin(topic: str) -> str:
    """The left camera's topic for a right camera's; empty where the name says no side."""
    return topic.replace('right', 'left') if 'right' in topic else ''


def _one_camera(bag: Topics, cameras: list[CameraTopic], found: Scan) -> Inputs:
    if not cameras:
        names = ', '.join(depth.topic for depth in found.depths)
        raise BagError(f'{bag.path}: no camera beside the depth of {names}; record its images')
    image = min(cameras, key=lambda c: (c.pixels != 'colour', c.rank))
    notes = _failures(found) + tuple(
        f'{d.topic} not used: not registered to {image.topic} (other frame or intrinsics)'
        for d in found.depths
    )
    others = len({c.info_topic for c in found.cameras}) - 1
    if others:
        notes += (f'{others} more camera(s) not used; choose with input.image_topic',)
    return Inputs('mono', image, notes=notes)


def _failures(found: Scan) -> tuple[str, ...]:
    return tuple(f'not used: {error}' for error in found.failed.values())
