# SPDX-License-Identifier: Apache-2.0
"""Transforms of a bag: the fixed tree, and the robot's pose at a stamp."""

from dataclasses import dataclass
from math import hypot, isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perception.bag_file import BagFile
from perception.rotations import between, rotation_matrix
from perception.types import Float

FARTHEST_M = 1e8


def pose_matrix(position: Any, orientation: Any) -> Float | None:
    """(4, 4) from message fields; None where they hold no rotation, or no place on Earth."""
    x, y, z, w = (float(getattr(orientation, name)) for name in 'xyzw')
    q, p = (x, y, z, w), tuple(float(getattr(position, name)) for name in 'xyz')
    if not (all(map(isfinite, (*q, *p))) and max(map(abs, q)) < 1e6
            and max(map(abs, p)) < FARTHEST_M and hypot(*q) > 1e-6):
        return None
    matrix = np.eye(4)
    matrix[:3, :3] = rotation_matrix(q)
    matrix[:3, 3] = p
    return matrix


@dataclass(frozen=True)
class StaticTree:
    """Fixed transforms: child frame -> (parent frame, parent_from_child (4, 4))."""

    links: dict[str, tuple[str, Float]]

    def lookup(self, target: str, source: str) -> Float | None:
        """``target_from_source`` (4, 4) through any chain of links; None = not connected."""
        to_target, root_target = self._to_root(target)
        to_source, root_source = self._to_root(source)
        if root_target != root_source:
            return None
        return np.asarray(np.linalg.inv(to_target) @ to_source)

    def root(self, frame: str) -> str:
        """Topmost frame above ``frame``."""
        return self._to_root(frame)[1]

    def _to_root(self, frame: str) -> tuple[Float, str]:
        """root_from_frame, and the root; a loop ends where it closes."""
        matrix, seen = np.eye(4), {frame}
        while frame in self.links and self.links[frame][0] not in seen:
            frame, parent_from_child = self.links[frame]
            matrix = parent_from_child @ matrix
            seen.add(frame)
        return matrix, frame


@dataclass(frozen=True)
class PoseTrack:
    """
    Poses over time: ``stamps_ns`` (N,) int64 rising, and ``poses`` (N, 4, 4) float64 [m].

    ``frame`` is the fixed frame, ``child`` the moving one.
    """

    topic: str
    frame: str
    child: str
    stamps_ns: NDArray[np.int64]
    poses: Float

    def at(self, stamp_ns: int, tolerance_s: float) -> Float | None:
        """
        Pose at a stamp, (4, 4) float64 ``frame_from_child``.

        Position is interpolated linearly, rotation along the shortest arc; beyond the ends the
        last pose holds. None where the nearest pose is further away than ``tolerance_s``.
        """
        after = int(np.searchsorted(self.stamps_ns, stamp_ns))
        rows = slice(max(after - 1, 0), after + 1)
        return pose_between(self.stamps_ns[rows].tolist(), self.poses[rows], stamp_ns, tolerance_s)


def pose_between(
    stamps_ns: list[int], poses: Float | list[Float], stamp_ns: int, tolerance_s: float
) -> Float | None:
    """Pose (4, 4) at a stamp of those (one or two) next to it; None where they are too far."""
    apart = [abs(own - stamp_ns) for own in stamps_ns]
    if min(apart) > round(tolerance_s * 1e9):
        return None
    if len(stamps_ns) == 1 or min(apart) == 0 or not stamps_ns[0] < stamp_ns < stamps_ns[1]:
        return np.array(poses[apart.index(min(apart))])
    share = (stamp_ns - stamps_ns[0]) / (stamps_ns[1] - stamps_ns[0])
    return between(poses[0], poses[1], share)


def static_tree(bag: BagFile) -> StaticTree:
    """All transforms on topics named tf_static."""
    links: dict[str, tuple[str, Float]] = {}
    topics = [t for t in bag.of_type('tf2_msgs/TFMessage') if t.endswith('tf_static')]
    for _, _, message in bag.messages(topics):
        for item in message.transforms:
            matrix = pose_matrix(item.transform.translation, item.transform.rotation)
            if matrix is not None:
                child = item.child_frame_id.lstrip('/')
                links[child] = (item.header.frame_id.lstrip('/'), matrix)
    return StaticTree(links)


def odometry_track(bag: BagFile, topic: str) -> tuple[PoseTrack | None, str]:
    """Poses of a nav_msgs/Odometry topic, or None and why."""
    rows: list[tuple[int, Float]] = []
    frame = child = ''
    speed = 0.0
    for _, stamp, message in bag.messages([topic]):
        matrix = pose_matrix(message.pose.pose.position, message.pose.pose.orientation)
        frame, child = message.header.frame_id.lstrip('/'), message.child_frame_id.lstrip('/')
        linear = message.twist.twist.linear
        speed = max(speed, abs(linear.x), abs(linear.y))
        if matrix is not None:
            rows.append((stamp, matrix))
    if not rows:
        return None, f'{topic}: no valid pose in any message; no poses'
    track = _track(topic, frame, child, rows)
    if speed > 0.5 and len(rows) > 1 and not np.ptp(track.poses[:, :3, 3], axis=0).any():
        return None, f'{topic}: reports {speed:.1f} m/s but its position never changes; no poses'
    return track, ''


def tf_track(bag: BagFile, frame: str) -> PoseTrack | None:
    """Poses of the child of ``frame`` on /tf topics; None = there is none."""
    rows: dict[str, list[tuple[int, Float]]] = {}
    topics = [t for t in bag.of_type('tf2_msgs/TFMessage') if not t.endswith('tf_static')]
    for _, received_ns, message in bag.messages(topics):
        for item in message.transforms:
            matrix = pose_matrix(item.transform.translation, item.transform.rotation)
            if item.header.frame_id.lstrip('/') != frame or matrix is None:
                continue
            stamp = item.header.stamp
            stamp_ns = stamp.sec * 1_000_000_000 + stamp.nanosec or received_ns
            rows.setdefault(item.child_frame_id.lstrip('/'), []).append((stamp_ns, matrix))
    if not rows:
        return None
    child = max(rows, key=lambda name: len(rows[name]))
    return _track(', '.join(topics), frame, child, rows[child])


def _track(topic: str, frame: str, child: str, rows: list[tuple[int, Float]]) -> PoseTrack:
    stamps, first = np.unique(np.array([s for s, _ in rows], np.int64), return_index=True)
    return PoseTrack(topic, frame, child, stamps, np.stack([rows[i][1] for i in first]))
