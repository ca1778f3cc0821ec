# SPDX-License-Identifier: Apache-2.0
"""Where robot and cameras are: tf2 where it is installed, else odometry and a file."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from threading import Event
from time import monotonic
from typing import Any

import numpy as np
from rclpy.node import Node
from rclpy.subscription import Subscription
from rclpy.time import Time

from perception.bag_file import is_truth
from perception.bag_poses import pose_matrix
from perception.config import Config, MountConfig
from perception.errors import CalibrationError, MessageError, TransformError
from perception.monitor import RateMeter
from perception.mounts import calibrated_mount, is_optical, load_mounts
from perception.nodes.lifecycle import PerceptionNode
from perception.nodes.wire import (
    best_effort,
    from_bytes,
    stamp_of,
    steady_timer,
    subscribe_bytes,
)
from perception.pose_buffer import PoseBuffer
from perception.types import Float

ODOMETRY = 'nav_msgs/Odometry'
LOOK_PERIOD_S = 0.5
TF_POLL_S = 0.005
TF_GRACE_S = 2.0
"""``auto`` waits so long for the transform of a camera before it takes the next source."""
BASES = ('base_link', 'base_footprint')


def tf_buffer(node: Node) -> Any:
    """tf2 buffer fed by /tf and /tf_static, or None where tf2_ros is not installed."""
    try:
        from tf2_ros import Buffer, TransformListener
    except ImportError:
        return None
    buffer = Buffer(node=node)
    buffer.listener = TransformListener(buffer, node, spin_thread=False)
    return buffer


def check_mount(config: MountConfig) -> None:
    """
    Refuse a mount that this installation cannot give.

    Raises
    ------
    CalibrationError
        ``source: tf`` without tf2_ros, or a calibration file that is missing or damaged.
    """
    if config.source == 'tf' and find_spec('tf2_ros') is None:
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
        source = config.mount.source
        self.tf: Any = tf_buffer(node) if source in ('auto', 'tf') else None
        self._buffer = PoseBuffer()
        self._subscriptions: dict[str, Subscription[Any]] = {}
        self._mounts: dict[str, Mount] = {}
        self._asked_s: dict[str, float] = {}
        self.rate = RateMeter()
        self._pause = Event()
        self.topic = ''
        self.frame, self.child = config.input.odom_frame, config.input.base_frame
        self._timer = steady_timer(node, LOOK_PERIOD_S, self._look)
        self._look()

    def close(self) -> None:
        """Unsubscribe."""
        self._node.destroy_timer(self._timer)
        for subscription in self._subscriptions.values():
            self._node.destroy_subscription(subscription)
        self._subscriptions.clear()
        if self.tf is not None:
            self.tf.listener.unregister()

    @property
    def uses_tf(self) -> bool:
        """True where poses come from tf2: chosen with the mount of the first camera."""
        return any(mount.source == 'tf' for mount in list(self._mounts.values()))

    @property
    def source(self) -> str:
        """Where poses and mounts are from, in words."""
        mounts = ', '.join(f'{camera}: {m.source}' for camera, m in self._mounts.items())
        poses = 'tf' if self.uses_tf else self.topic or 'none'
        tf = '' if self.tf is not None else '; tf2_ros is not used' if (
            self._config.mount.source in ('calibration', 'plane')) else (
            '; tf2_ros is not installed')
        return f'poses: {poses}; mount: {mounts or "not known yet"}{tf}'

    def mount(self, camera: str) -> Mount:
        """
        Mount of a camera by the name of its optical frame; once found it stays.

        Raises
        ------
        TransformError
            It is not known (yet).
        CalibrationError
            The calibration file does not have it.
        """
        if camera not in self._mounts:
            self._mounts[camera] = self._find_mount(camera)
            self._node.get_logger().info(f'mount of {camera}: {self._mounts[camera].source}')
        return self._mounts[camera]

    def ready(self, stamp_ns: int) -> bool:
        """Tell whether no later message can better the pose at a stamp."""
        if not self.uses_tf:
            return self._buffer.covers(stamp_ns)
        found = bool(self.tf.can_transform(self.frame, self._base(), Time(nanoseconds=stamp_ns)))
        if found:
            self.rate.tick()
        return found

    def wait(self, stamp_ns: int, timeout_s: float) -> None:
        """Wait for the odometry or transform that brackets a stamp, if any comes at all."""
        age = self.rate.age_s()
        if age is None or age >= self._config.input.stale_after_s:
            timeout_s = 0.0  # it is dead: labels go on without
        if not self.uses_tf:
            self._buffer.wait(stamp_ns, timeout_s)
            return
        end = monotonic() + timeout_s
        while not self.ready(stamp_ns) and monotonic() < end:
            self._pause.wait(TF_POLL_S)

    def at(self, stamp_ns: int) -> Float:
        """
        ``odom_from_base`` (4, 4) at a stamp.

        Raises
        ------
        TransformError
            No pose near enough.
        """
        if self.uses_tf:
            return self._lookup(self.frame, self._base(), stamp_ns)
        tolerance = self._config.input.pose_tolerance_s
        pose = self._buffer.at(stamp_ns, tolerance)
        if pose is None:
            raise TransformError(self._no_pose(tolerance))
        return pose @ self._child_from_base()

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

    def _find_mount(self, camera: str) -> Mount:
        config = self._config.mount
        waited = monotonic() - self._asked_s.setdefault(camera, monotonic())
        if self.tf is not None:
            try:
                return Mount('tf', self._tf_mount(camera))
            except TransformError:
                if config.source == 'tf' or waited < TF_GRACE_S:
                    raise
        if config.source == 'calibration' or (config.source == 'auto' and config.calibration):
            base = self._config.input.base_frame or self.child
            if not base:
                raise TransformError(self._no_pose(self._config.input.pose_tolerance_s))
            return Mount('calibration', calibrated_mount(config.calibration, base, camera))
        return Mount('plane', None)

    def _tf_mount(self, camera: str) -> Float:
        """Mount from tf; TransformError where there is none, or of no optical frame."""
        mount = self._lookup(self._base(), camera, 0)
        if not is_optical(mount):
            raise TransformError(f'{camera} is no optical frame, its z axis is vertical: '
                                 'correct the frame_id of the images')
        return mount

    def _base(self) -> str:
        """Robot frame in the transform tree."""
        named = self._config.input.base_frame
        if named or self.tf is None:
            return named or self.child
        return next((b for b in BASES if self.tf.can_transform(self.frame, b, Time())), BASES[0])

    def _lookup(self, target: str, source: str, stamp_ns: int) -> Float:
        """Transform (4, 4) at a stamp, or the newest one for 0; TransformError."""
        from tf2_ros import TransformException

        try:
            found = self.tf.lookup_transform(target, source, Time(nanoseconds=stamp_ns))
        except TransformException as error:
            raise TransformError(f'no transform {target} <- {source}: {error}') from None
        t = found.transform
        matrix = pose_matrix(t.translation, t.rotation)
        if matrix is None:
            raise TransformError(f'transform {target} <- {source} holds NaN or a zero quaternion')
        return matrix

    def _look(self) -> None:
        """Subscribe to odometry that has come into the graph."""
        named = self._config.input.odometry_topic
        if named:
            self._subscribe(self._node.resolve_topic_name(named))
            return
        if self.topic:
            return
        inside = self._node.get_namespace().rstrip('/') + '/'
        for topic, kinds in self._node.get_topic_names_and_types():
            if 'nav_msgs/msg/Odometry' in kinds and topic.startswith(inside) and (
                    not is_truth(topic)):
                self._subscribe(topic)

    def _subscribe(self, topic: str) -> None:
        if topic not in self._subscriptions:
            self._subscriptions[topic] = subscribe_bytes(
                self._node, ODOMETRY, topic, best_effort(20),
                lambda data: self._receive(topic, data))

    def _receive(self, topic: str, data: bytes) -> None:
        if self.topic not in ('', topic):
            return
        try:
            message = from_bytes(data, ODOMETRY, topic)
        except MessageError as error:
            self._fault(str(error))
            return
        pose = message.pose.pose
        matrix = pose_matrix(pose.position, pose.orientation)
        if matrix is None:
            self._fault(f'{topic}: a pose holds NaN or a zero quaternion and is left out; '
                           'check the odometry')
            return
        if not self.topic and not self._take(topic, message):
            return
        self.rate.tick()
        self._buffer.add(stamp_of(data), matrix)
        self._on_pose()

    def _take(self, topic: str, message: Any) -> bool:
        """Choose an odometry topic: the named one, or one in the odom frame."""
        config = self._config.input
        frame, child = (str(name).lstrip('/')
                        for name in (message.header.frame_id, message.child_frame_id))
        if not config.odometry_topic and frame not in ('', config.odom_frame):
            self._fault(f'{topic}: its frame {frame} is not input.odom_frame = '
                           f'{config.odom_frame}; name it in input.odometry_topic to use it')
            return False
        self.topic, self.frame, self.child = topic, frame or config.odom_frame, child
        self._node.get_logger().info(f'poses: {topic}, {self.frame} -> {child or "robot"}')
        return True

    def _fault(self, text: str) -> None:
        self._node.fault('odometry', text)

    def _no_pose(self, tolerance_s: float) -> str:
        age = self.rate.age_s()
        if age is None:
            return ('no pose: no valid nav_msgs/Odometry came yet'
                    + ('' if self.tf is not None else ' and tf2_ros is not installed')
                    + '; publish odometry, or name it in input.odometry_topic')
        return (f'no pose: {self.topic} has none within input.pose_tolerance_s = {tolerance_s:g} '
                f's of the image; its last message came {age:.1f} s ago')
