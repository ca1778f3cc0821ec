# SPDX-License-Identifier: Apache-2.0
"""tf2 where a distribution has it: PyPI does not."""

from importlib.util import find_spec
from typing import Any

from rclpy.node import Node
from rclpy.time import Time

from perception.bag_poses import pose_matrix
from perception.errors import TransformError
from perception.mounts import is_optical
from perception.types import Float

BASES = ('base_link', 'base_footprint')
INSTALLED = find_spec('tf2_ros') is not None


class Transforms:
    """The tree of /tf and /tf_static; look-ups may come from any thread."""

    def __init__(self, node: Node, odom_frame: str, base_frame: str) -> None:
        """Listen; an empty ``base_frame`` means base_link, else base_footprint."""
        from tf2_ros import Buffer, TransformListener

        self.odom_frame = odom_frame
        self.named_base = base_frame
        self._buffer: Any = Buffer()  # without the node: it would keep a service for ever
        self._listener: Any = TransformListener(self._buffer, node, spin_thread=False)

    def close(self) -> None:
        """Stop listening."""
        self._listener.unregister()

    def forget(self) -> None:
        """Drop moving transforms, as tf2 refuses those of a bag that begins again as too old."""
        self._buffer.clear()

    @property
    def base_frame(self) -> str:
        """Robot frame."""
        return self.named_base or next(
            (b for b in BASES if self._buffer.can_transform(self.odom_frame, b, Time())), BASES[0])

    def knows_pose(self, stamp_ns: int | None = None) -> bool:
        """Tell whether the robot's pose at a stamp, or at any, can be looked up now."""
        if stamp_ns is not None and stamp_ns <= 0:
            return False
        stamp = Time(nanoseconds=stamp_ns or 0)
        return bool(self._buffer.can_transform(self.odom_frame, self.base_frame, stamp))

    def odom_from_base(self, stamp_ns: int) -> Float:
        """Pose (4, 4) at a stamp; TransformError where it is not known."""
        return self._look_up(self.odom_frame, self.base_frame, stamp_ns)

    def base_from_camera(self, camera: str, stamp_ns: int | None = None) -> Float:
        """
        Mount (4, 4) at a stamp, or the newest one: it may move, as on a pan-tilt unit.

        Raises
        ------
        TransformError
            It is not known, or the camera's frame is no optical one.
        """
        mount = self._look_up(self.base_frame, camera, stamp_ns)
        if not is_optical(mount):
            raise TransformError(f'{camera} is no optical frame, its z axis is vertical: correct '
                                 'the frame_id of the images')
        return mount

    def joins(self, target: str, source: str) -> bool:
        """Tell whether two frames are joined now."""
        return bool(self._buffer.can_transform(target, source, Time()))

    def between(self, target: str, source: str) -> Float:
        """``target_from_source`` (4, 4), the newest; TransformError where it is not known."""
        return self._look_up(target, source, None)

    def _look_up(self, target: str, source: str, stamp_ns: int | None) -> Float:
        from tf2_ros import TransformException

        if stamp_ns is not None and stamp_ns <= 0:  # tf2 would take 0 for the newest
            raise TransformError('the stamp of the image is zero or negative; correct the driver')
        try:
            found = self._buffer.lookup_transform(target, source, Time(nanoseconds=stamp_ns or 0))
        except TransformException as error:
            raise TransformError(f'no transform {target} <- {source}: {error}') from None
        matrix = pose_matrix(found.transform.translation, found.transform.rotation)
        if matrix is None:
            raise TransformError(f'transform {target} <- {source} holds NaN or a zero quaternion')
        return matrix
