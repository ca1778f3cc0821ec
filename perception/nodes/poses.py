# SPDX-License-Identifier: Apache-2.0
"""Where robot and cameras are: tf2 where it is installed, else odometry and a file."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Any

import numpy as np
from rclpy.subscription import Subscription

from perception.bag_file import is_truth
from perception.bag_poses import pose_matrix
from perception.config import Config, MountConfig
from perception.errors import CalibrationError, TransformError
from perception.monitor import RateMeter
from perception.mounts import calibrated_mount, load_mounts
from perception.nodes.lifecycle import PerceptionNode
from perception.nodes.line import Expectation
from perception.nodes.transforms import INSTALLED, Transforms
from perception.nodes.wire import (
    LossCounter,
    best_effort,
    from_bytes,
    resolved,
    stamp_of,
    steady_timer,
    subscribe_bytes,
)
from perception.pose_buffer import PoseBuffer
from perception.types import Float

ODOMETRY = 'nav_msgs/Odometry'
LOOK_PERIOD_S = 0.5
TF_RETRY_S = 1.0
TF_GRACE_S = 2.0
"""``auto`` waits so long for the transform of a camera before it takes the next source."""

STUCK_MESSAGES, STUCK_SPEED = 50, 0.5
"""So many messages of one position at this speed [m/s] are odometry of the twist alone."""


def check_mount(config: MountConfig) -> None:
    """
    Refuse a mount that this installation cannot give.

    Raises
    ------
    CalibrationError
        ``source: tf`` without tf2_ros, or a calibration file that is missing or damaged.
    """
    if config.source == 'tf' and not INSTALLED:
        raise CalibrationError('mount.source = tf, but tf2_ros is not installed: install it, or '
                               'set mount.source to calibration or plane')
    if config.calibration:
        load_mounts(config.calibration)


@dataclass(frozen=True)
class Mount:
    """``base_from_camera`` (4, 4), or None where the ground plane gives it; and its source."""

    source: str
    base_from_camera: Float | None


class Poses:
    """
    Look up poses and mounts at image stamps; safe to ask from other threads.

    Odometry comes from the named topic, else from the first nav_msgs/Odometry in ``odom_frame``.
    Messages that are no pose (NaN, zero quaternion) are reported and left out.
    """

    def __init__(
        self, node: PerceptionNode, config: Config, on_pose: Callable[[], None] = lambda: None,
    ) -> None:
        self._node, self._config, self._on_pose = node, config, on_pose
        self.rate, self.losses = RateMeter(), LossCounter()
        self.topic = ''
        self.frame, self.child = config.input.odom_frame, config.input.base_frame
        self._tf = Transforms(node, self.frame, self.child) if (
            INSTALLED and config.mount.source in ('auto', 'tf')) else None
        self._buffer = PoseBuffer()
        self._subscriptions: dict[str, Subscription[Any]] = {}
        self._sources: dict[str, str] = {}  # camera -> where its mount is from
        self._asked_s: dict[str, float] = {}
        self._retried_s = 0.0
        self._from_tf = False
        self._expectation = Expectation()
        self._stuck, self._position = 0, (0.0, 0.0, 0.0)
        self._timer = steady_timer(node, LOOK_PERIOD_S, self._look)
        self._look()

    def close(self) -> None:
        """Unsubscribe."""
        self._node.destroy_timer(self._timer)
        self._listen_to([])
        if self._tf is not None:
            self._tf.close()

    def begin_again(self) -> None:
        """Stamps jumped backwards; odometry notices that by itself."""
        if self._tf is not None:
            self._tf.forget()

    @property
    def tf(self) -> Transforms | None:
        """
        tf2's tree where poses come from it, else None: then they are odometry's.

        tf where a mount is from tf and joins odom and base; else odometry; else tf all the same.
        """
        if self._tf is not None and not self._from_tf:
            wanted = 'tf' in list(self._sources.values()) or not self.topic
            self._from_tf = wanted and self._tf.knows_pose()
        return self._tf if self._from_tf else None

    @property
    def source(self) -> str:
        """Where poses and mounts are from, in words."""
        mounts = ', '.join(f'{camera}: {source}' for camera, source in dict(self._sources).items())
        poses = 'tf' if self.tf else self.topic or 'none'
        note = '' if INSTALLED else '; tf2_ros is not installed'
        return f'poses: {poses}; mount: {mounts or "not known yet"}{note}'

    def mount(self, camera: str, stamp_ns: int) -> Mount:
        """
        Mount of a camera, named by its optical frame, at a stamp; its source stays once found.

        Raises
        ------
        TransformError
            It is not known (yet).
        CalibrationError
            The calibration file does not have it.
        """
        source = self._sources.get(camera, '')
        if not source or (source == 'plane' and self._retries_tf(camera)):
            source = self._sources[camera] = self._find_source(camera)
            self._node.get_logger().info(f'mount of {camera}: {source}')
        if source == 'tf' and self._tf is not None:
            return Mount(source, self._tf.base_from_camera(camera, stamp_ns))
        if source == 'calibration':
            return Mount(source, self._calibrated(camera))
        return Mount(source, None)

    def ready(self, stamp_ns: int) -> bool:
        """Tell whether no later message can better the pose at a stamp."""
        tf = self.tf
        if tf is None:
            return self._buffer.covers(stamp_ns)
        found = tf.knows_pose(stamp_ns)
        if found:
            self.rate.tick()
        return found

    def awaited(self, stamp_ns: int) -> bool:
        """Tell whether the pose at a stamp is not ready, but may still come."""
        return not self.ready(stamp_ns) and self._expectation.holds(
            self.rate.age_s(), self._config.input.stale_after_s, self._is_published)

    def _is_published(self) -> bool:
        """Tell whether somebody gives poses, though none may have come yet."""
        return self.tf is not None or any(
            self._node.count_publishers(topic) for topic in self._subscriptions)

    def at(self, stamp_ns: int) -> Float:
        """
        ``odom_from_base`` (4, 4) at a stamp.

        Raises
        ------
        TransformError
            No pose near enough.
        """
        if self.tf is not None:
            return self.tf.odom_from_base(stamp_ns)
        tolerance = self._config.input.pose_tolerance_s
        held = self.held
        pose = self._buffer.at(stamp_ns, tolerance)
        if pose is None:
            raise TransformError(self._no_pose(tolerance))
        if self.held > held:
            self._fault_held(tolerance)
        return pose @ self._child_from_base()

    @property
    def held(self) -> int:
        """Poses that the last or first one of odometry stood in for."""
        return self._buffer.held

    def between(self, target: str, source: str) -> Float:
        """
        Fixed transform ``target_from_source`` (4, 4) of tf, else of the calibration file.

        Raises
        ------
        TransformError
            Neither has it.
        """
        name = self._config.mount.calibration
        found = load_mounts(name).lookup(target, source) if name else None
        if self._tf is not None and self._tf.joins(target, source):
            found = self._tf.between(target, source)
        if found is None:
            raise TransformError(
                f'no transform {target} <- {source or "frame without name"}; publish it on '
                '/tf_static, or add it to mount.calibration'
                + ('' if INSTALLED else ' (tf2_ros is not installed)'))
        return found

    def _child_from_base(self) -> Float:
        base = self._config.input.base_frame
        if not base or base == self.child:
            return np.eye(4)
        name = self._config.mount.calibration
        found = load_mounts(name).lookup(self.child, base) if name else None
        if found is None:
            raise TransformError(
                f'nothing joins {self.child} of {self.topic} and input.base_frame = {base}; add '
                'the transform to mount.calibration'
            )
        return found

    def _retries_tf(self, camera: str) -> bool:
        """Tell whether tf has come after all, where ``auto`` fell back to the plane."""
        if self._tf is None or monotonic() - self._retried_s < TF_RETRY_S:
            return False
        self._retried_s = monotonic()
        try:
            self._tf.base_from_camera(camera)
        except TransformError:
            return False
        return True

    def _find_source(self, camera: str) -> str:
        config = self._config.mount
        waited = monotonic() - self._asked_s.setdefault(camera, monotonic())
        if self._tf is not None:
            try:
                self._tf.base_from_camera(camera)
            except TransformError as error:
                if config.source == 'tf' or waited < TF_GRACE_S:
                    raise
                self._node.fault('transform', f'mount of {camera} not from tf: {error}')
            else:
                return 'tf'
        if config.source == 'calibration' or (config.source == 'auto' and config.calibration):
            self._calibrated(camera)
            return 'calibration'
        return 'plane'

    def _calibrated(self, camera: str) -> Float:
        base = self._config.input.base_frame or self.child
        if not base and self.topic:
            raise CalibrationError(f'{self.topic}: child_frame_id is empty, so nothing says which '
                                   'frame moves; set input.base_frame')
        if not base:
            raise TransformError(self._no_pose(self._config.input.pose_tolerance_s))
        return calibrated_mount(self._config.mount.calibration, base, camera)

    def _look(self) -> None:
        """Subscribe to odometry that has come into the graph."""
        named = self._config.input.odometry_topic
        if named:
            self._listen_to([resolved(self._node, named)])
        elif not self.topic:
            inside = self._node.get_namespace().rstrip('/') + '/'
            self._listen_to([
                topic for topic, kinds in self._node.get_topic_names_and_types()
                if 'nav_msgs/msg/Odometry' in kinds and topic.startswith(inside)
                and not is_truth(topic)])

    def _listen_to(self, topics: list[str]) -> None:
        for topic in [t for t in self._subscriptions if t not in topics]:
            self._node.destroy_subscription(self._subscriptions.pop(topic))
        for topic in topics:
            if topic not in self._subscriptions:
                self._subscriptions[topic] = subscribe_bytes(
                    self._node, ODOMETRY, topic, best_effort(20),
                    partial(self._receive, topic), self.losses)

    def _receive(self, topic: str, data: bytes) -> None:
        if self.topic not in ('', topic):
            return
        message = from_bytes(data, ODOMETRY, topic)
        matrix = pose_matrix(message.pose.pose.position, message.pose.pose.orientation)
        if matrix is None:
            self._fault(f'{topic}: a pose holds NaN or a zero quaternion and is left out; '
                        'check the odometry')
            return
        frame, child = (str(name).lstrip('/')
                        for name in (message.header.frame_id, message.child_frame_id))
        if not self.topic and not self._take(topic, frame, child):
            return
        if (frame or self.frame, child) != (self.frame, self.child):
            self._fault(f'{topic}: {self.frame} -> {self.child} turned into {frame} -> {child}; '
                        'restart the nodes, or name one odometry topic')
            return
        if self._is_stuck(matrix, message.twist.twist.linear):
            self._fault(f'{topic}: reports speed, but its position never changes; publish '
                        'odometry that holds the pose')
            return
        if self.tf is None:
            self.rate.tick()
        self._buffer.add(stamp_of(data), matrix)
        self._on_pose()

    def _is_stuck(self, matrix: Float, speed: Any) -> bool:
        """Tell odometry of the twist alone: a robot that seems to stand would smear its map."""
        fast = max(abs(speed.x), abs(speed.y)) > STUCK_SPEED
        x, y, z = (float(v) for v in matrix[:3, 3])
        self._stuck = self._stuck + 1 if fast and (x, y, z) == self._position else 0
        self._position = x, y, z
        return self._stuck >= STUCK_MESSAGES

    def _take(self, topic: str, frame: str, child: str) -> bool:
        """Choose an odometry topic: the named one, or one in the odom frame."""
        config = self._config.input
        if not config.odometry_topic and frame not in ('', config.odom_frame):
            self._fault(f'{topic}: its frame {frame} is not input.odom_frame = '
                        f'{config.odom_frame}; name it in input.odometry_topic to use it')
            return False
        self.topic, self.frame, self.child = topic, frame or config.odom_frame, child
        self._listen_to([topic])
        if self._tf is not None and child:
            self._tf.named_base = self._tf.named_base or child
        self._node.get_logger().info(f'poses: {topic}, {self.frame} -> {child or "robot"}')
        return True

    def _fault(self, text: str) -> None:
        self._node.fault('odometry', text)

    def _fault_held(self, tolerance_s: float) -> None:
        self._node.fault('pose', f'{self.topic}: an image got the nearest pose, as none on both '
                         f'sides of it came within input.pose_tolerance_s = {tolerance_s:g} s '
                         '(poses_held); publish odometry sooner or faster, or raise the parameter')

    def _no_pose(self, tolerance_s: float) -> str:
        age = self.rate.age_s()
        if age is None:
            return ('no pose: no valid nav_msgs/Odometry came yet'
                    + ('' if INSTALLED else ' and tf2_ros is not installed')
                    + '; publish odometry, or name it in input.odometry_topic')
        return (f'no pose: {self.topic} has none within input.pose_tolerance_s = {tolerance_s:g} '
                f's of the image; its last message came {age:.1f} s ago')
