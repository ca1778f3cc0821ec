# SPDX-License-Identifier: Apache-2.0
"""Where robot and camera are: poses over time and the mount, from what the bag holds."""

from dataclasses import dataclass

import numpy as np

from perception.bag_file import BagFile
from perception.bag_inputs import Inputs
from perception.bag_poses import PoseTrack, StaticTree, odometry_track, tf_track
from perception.bag_topics import CameraTopic
from perception.config import Config, InputConfig, MountConfig
from perception.errors import BagError, CalibrationError
from perception.mounts import calibrated_mount, is_optical, load_mounts
from perception.types import Float

_BASES = ('base_link', 'base_footprint')


@dataclass(frozen=True)
class Poses:
    """Poses of the base frame and the mount of the camera, each with its source in words."""

    track: PoseTrack | None
    child_from_base: Float
    tolerance_s: float
    source: str
    base_from_camera: Float | None
    mount_source: str
    notes: tuple[str, ...]

    def at(self, stamp_ns: int) -> Float | None:
        """``odom_from_base`` (4, 4) at a stamp, or None."""
        child = self.track.at(stamp_ns, self.tolerance_s) if self.track else None
        return None if child is None else child @ self.child_from_base


def find_poses(
    bag: BagFile, tree: StaticTree, image: CameraTopic, settings: Config
) -> Poses:
    """
    Odometry or /tf poses, and base_from_camera from /tf_static or the calibration file.

    The base frame is ``input.base_frame``, else the moving frame of the poses, else base_link
    or base_footprint, else the top of the camera's own tree. The mount is that of the frame
    named in the image header, as stereo_image_proc takes it (R of the CameraInfo left out).

    Raises
    ------
    BagError
        A named odometry topic is not in the bag.
    CalibrationError
        ``mount.source`` demands a transform that is not there, or the file is damaged.
    """
    config = settings.input
    if settings.mount.calibration:
        load_mounts(settings.mount.calibration)  # refused where it is wrong, used or not
    track, notes = _track(bag, config)
    if track is not None and (gap := _gap(bag, track, image, config)):
        notes.append(gap)
        track = None
    base = config.base_frame or (track.child if track else '') or _base_of(tree, image)
    child_from_base: Float = np.eye(4)
    if track is not None and track.child and track.child != base:
        found = tree.lookup(track.child, base)
        if found is None:
            notes.append(f'{track.topic}: /tf_static does not join {track.child} and {base}; '
                         'no poses')
            track = None
        else:
            child_from_base = found
    mount, mount_source = choose_mount(tree, base, image, settings.mount, notes)
    source = 'none (no nav_msgs/Odometry and no odom transform that fits)'
    if track is not None:
        source = (f'{track.topic}, {track.frame} -> {base}, {len(track.stamps_ns)} poses, '
                  f'interpolated, at most {config.pose_tolerance_s:g} s away')
    return Poses(track, child_from_base, config.pose_tolerance_s, source, mount, mount_source,
                 tuple(notes))


def _track(bag: BagFile, config: InputConfig) -> tuple[PoseTrack | None, list[str]]:
    """The named odometry, else the first in the odom frame that has poses, else /tf."""
    notes: list[str] = []
    topics = bag.of_type('nav_msgs/Odometry')
    if config.odometry_topic:
        if config.odometry_topic not in topics:
            held = ', '.join(topics) or 'none'
            raise BagError(f'{bag.path}: input.odometry_topic = {config.odometry_topic}: no such '
                           f'odometry topic; it has: {held}')
        topics = [config.odometry_topic]
    topics.sort(key=lambda topic: _frame_of(bag, topic) != config.odom_frame)
    for topic in topics:
        track, note = odometry_track(bag, topic)
        if track is not None:
            others = ', '.join(other for other in topics if other != topic)
            return track, notes + ([f'odometry not used: {others}'] if others else [])
        notes.append(note)
    return (None if config.odometry_topic else tf_track(bag, config.odom_frame)), notes


def _frame_of(bag: BagFile, topic: str) -> str:
    """Fixed frame of an odometry topic, by its first message."""
    first = bag.first(topic)
    return '' if first is None else str(first[1].header.frame_id).lstrip('/')


def _gap(bag: BagFile, track: PoseTrack, image: CameraTopic, config: InputConfig) -> str:
    """Say so where poses and images do not overlap in time; empty where they do."""
    first, last = int(track.stamps_ns[0]), int(track.stamps_ns[-1])
    margin = round(config.pose_tolerance_s * 1e9)
    start, end = image.first_stamp_ns, image.first_stamp_ns + bag.duration_ns
    if first - margin <= end and start <= last + margin:
        return ''
    gap_s = max(first - end, start - last) / 1e9
    size = f'{gap_s / 86400:.1f} days' if gap_s > 86400 else f'{gap_s:.1f} s'
    side = 'older' if last < start else 'newer'
    return f'{track.topic}: its stamps are {size} {side} than the images; no poses'


def _base_of(tree: StaticTree, image: CameraTopic) -> str:
    """A base frame for a bag without poses."""
    known = {parent for parent, _ in tree.links.values()} | set(tree.links)
    for name in _BASES:
        if name in known:
            return name
    return tree.root(image.frame_id)


def choose_mount(
    tree: StaticTree, base: str, image: CameraTopic, config: MountConfig, notes: list[str]
) -> tuple[Float | None, str]:
    """``base_from_camera`` as ``mount.source`` says, and where it is from; None = the plane."""
    if config.source == 'plane':
        return None, 'the ground plane (mount.source = plane)'
    if config.source in ('auto', 'tf'):
        mount, source = _transform_mount(tree, base, image, notes)
        if mount is not None or config.source == 'tf':
            return mount, source
    if config.source == 'calibration' or config.calibration:
        camera = next(iter(_camera_frames(image)), '')
        if base in ('', camera):  # the bag names no robot frame; the file does
            base = _base_of(load_mounts(config.calibration), image)
        mount = calibrated_mount(config.calibration, base, camera)
        return mount, f'{config.calibration}, {base} -> {camera}'
    return None, source


def lidar_mount(tree: StaticTree, chosen: Inputs, config: MountConfig) -> Float | None:
    """
    ``camera_from_lidar`` (4, 4) from /tf_static, else from the calibration file; None = no lidar.

    Raises
    ------
    CalibrationError
        Neither joins the two frames.
    """
    if chosen.lidar is None:
        return None
    trees = [tree, *([load_mounts(config.calibration)] if config.calibration else [])]
    frames = _camera_frames(chosen.image)
    for links in trees:
        for frame in frames:
            found = links.lookup(frame, chosen.lidar.frame_id)
            if found is not None:
                return found
    raise CalibrationError(
        f'{chosen.lidar.topic}: no transform {" or ".join(frames) or "of the camera"} <- '
        f'{chosen.lidar.frame_id or "frame without name"} on /tf_static nor in mount.calibration; '
        'record /tf_static, or add it to a robot file (calibration/README.md)')


def _camera_frames(image: CameraTopic) -> list[str]:
    """Names of the camera's frame: in the image header, then in the CameraInfo."""
    info = image.calibration.camera.frame_id.lstrip('/') if image.calibration else ''
    return [frame for frame in dict.fromkeys((image.frame_id, info)) if frame]


def _transform_mount(
    tree: StaticTree, base: str, image: CameraTopic, notes: list[str]
) -> tuple[Float | None, str]:
    for frame in _camera_frames(image):
        if frame == base:
            continue
        mount = tree.lookup(base, frame)
        if mount is None:
            continue
        if not is_optical(mount):
            notes.append(f'{frame} is no optical frame (its z axis is vertical); mount not used')
            continue
        return mount, f'/tf_static, {base} -> {frame}'
    return None, f'none (/tf_static does not join {base or "a base"} and {image.frame_id})'
