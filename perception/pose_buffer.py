# SPDX-License-Identifier: Apache-2.0
"""The newest poses of the robot, looked up at image stamps; safe across threads."""

from bisect import bisect_left
from threading import Lock

from perception.bag_poses import pose_between
from perception.live_match import BACKWARD_NS
from perception.types import Float


class PoseBuffer:
    """
    Poses of the last ``seconds``, interpolated as a replay does it.

    A look-up needs a pose on both sides of its stamp; ``covers`` tells whether the later one has
    come. Where an end of the buffer had to stand in for the pose between two, that is counted in
    ``held``. A jump of the stamps backwards empties the buffer.
    """

    def __init__(self, seconds: float = 10.0) -> None:
        self._keep_ns = round(seconds * 1e9)
        self._stamps: list[int] = []
        self._poses: list[Float] = []
        self._lock = Lock()
        self.jumps = self.held = 0

    def add(self, stamp_ns: int, odom_from_child: Float) -> None:
        """Take in a pose (4, 4) float64; older ones than the newest are ignored."""
        with self._lock:
            newest = self._stamps[-1] if self._stamps else None
            if newest is not None and stamp_ns < newest - BACKWARD_NS:
                self._stamps, self._poses = [], []
                self.jumps += 1
            elif newest is not None and stamp_ns <= newest:
                return
            self._stamps.append(stamp_ns)
            self._poses.append(odom_from_child)
            first = bisect_left(self._stamps, stamp_ns - self._keep_ns)
            del self._stamps[:first], self._poses[:first]

    def covers(self, stamp_ns: int) -> bool:
        """Tell whether no later pose can better the one at this stamp."""
        with self._lock:
            return bool(self._stamps) and self._stamps[-1] >= stamp_ns

    def at(self, stamp_ns: int, tolerance_s: float) -> Float | None:
        """
        Pose at a stamp, (4, 4) float64, or None where none is within ``tolerance_s``.

        The same arithmetic as ``PoseTrack.at`` on a whole recording.
        """
        with self._lock:
            if not self._stamps:
                return None
            after = bisect_left(self._stamps, stamp_ns)
            rows = slice(max(after - 1, 0), after + 1)
            stamps, poses = self._stamps[rows], self._poses[rows]
        pose = pose_between(stamps, poses, stamp_ns, tolerance_s)
        if pose is not None and not stamps[0] <= stamp_ns <= stamps[-1]:
            with self._lock:
                self.held += 1
        return pose
