# SPDX-License-Identifier: Apache-2.0
"""Waiting for poses: when the messages of a drive come must not change what is made of it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perception.bag_poses import PoseTrack
from perception.nodes.line import Expectation, Line
from perception.pose_buffer import PoseBuffer

MS = 1_000_000
PATIENCE_S, STALE_S, TOLERANCE_S = 0.2, 2.0, 0.2
POSE_EVERY_MS = 40


def pose(x):
    matrix = np.eye(4)
    matrix[0, 3] = x
    return matrix


class Drive:
    """The part of a node that waits, on a clock of the test's; stamps in milliseconds."""

    def __init__(self):
        self.line, self.poses, self.expectation = Line(20), PoseBuffer(), Expectation()
        self.pose_s, self.found = None, {}

    def take(self, kind, stamp, now_s):
        """A message out of the executor's queue."""
        if kind == 'pose':
            self.poses.add(stamp * MS, pose(float(stamp)))
            self.pose_s = now_s
        else:
            assert self.line.add(stamp, now_s) == 0
        self.admit(now_s)

    def check(self, now_s):
        self.line.check(PATIENCE_S, now_s)
        self.admit(now_s)

    def admit(self, now_s):
        while self.line and (self.line.final or not self.awaited(self.line.first, now_s)):
            stamp = self.line.pop()
            self.found[stamp] = self.poses.at(stamp * MS, TOLERANCE_S)

    def awaited(self, stamp, now_s):
        age_s = None if self.pose_s is None else now_s - self.pose_s
        return not self.poses.covers(stamp * MS) and self.expectation.holds(
            age_s, STALE_S, lambda: True, now_s)


@settings(deadline=None)
@given(frames=st.sets(st.integers(0, 1000), min_size=1, max_size=10),
       late_ms=st.integers(-100, 100),
       gaps_ms=st.lists(st.integers(1, 1500), max_size=8))
def test_each_frame_gets_the_pose_of_a_replay_however_slow_the_process_is(
        frames, late_ms, gaps_ms):
    """Odometry comes before or after its images; the process stands still for a while at will."""
    stamps = np.arange(0, 1000 + POSE_EVERY_MS, POSE_EVERY_MS)
    queue = sorted([(stamp, 'frame', stamp) for stamp in frames]
                   + [(int(stamp) + late_ms, 'pose', int(stamp)) for stamp in stamps])
    poses = np.tile(np.eye(4), (len(stamps), 1, 1))
    poses[:, 0, 3] = stamps
    track = PoseTrack('', '', '', stamps * MS, poses)
    node, now_ms = Drive(), -100
    for gap_ms in [*gaps_ms, *[10] * 200]:
        now_ms += gap_ms
        node.check(now_ms * 1e-3)  # rclpy runs timers first
        while queue and queue[0][0] <= now_ms:
            node.take(*queue.pop(0)[1:], now_ms * 1e-3)
    assert list(node.found) == sorted(frames)
    assert node.poses.held == 0
    for stamp, found in node.found.items():
        np.testing.assert_allclose(found, track.at(stamp * MS, 0.0 if stamp in stamps else 1.0))


def test_the_first_image_of_a_drive_waits_for_the_first_odometry():
    node = Drive()
    node.take('frame', 0, 50.0)
    node.check(50.01)
    assert not node.found
    node.take('pose', 0, 50.02)
    np.testing.assert_array_equal(node.found[0], pose(0.0))


def test_a_pose_that_never_comes_is_given_up_and_counted():
    node = Drive()
    node.take('pose', 0, 1.0)
    node.take('frame', 30, 1.03)
    for check in range(24):
        node.check(1.03 + 0.01 * check)
        assert (30 in node.found) == (check >= 21), check  # the check after the one at 0.2 s
    np.testing.assert_array_equal(node.found[30], pose(0.0))
    assert node.poses.held == 1
    node.take('frame', 60, 1.0 + STALE_S)  # odometry is dead: nobody waits
    assert 60 in node.found


def test_a_line_by_hand():
    line = Line(2)
    assert [line.add(item, 1.0) for item in 'abc'] == [0, 0, 1]
    assert (len(line), line.first, line.final) == (2, 'b', False)
    line.check(0.5, 9.0)  # it stood still until now
    assert not line.final
    line.check(0.5, 9.01)
    assert line.final
    assert line.pop() == 'b'
    assert line.add('d', 9.02) == 0
    assert line.pop() == 'c'
    assert not line.final
    assert line.clear() == 1
    assert not line


def test_own_clock_runs():
    line = Line(1)
    line.add('a')
    line.check(0.0)
    assert not line.final
    line.check(0.0)
    assert line.final
    assert Expectation().holds(None, 1e3, lambda: True)


@pytest.mark.parametrize(('age_s', 'published', 'holds'), [
    (None, True, True), (None, False, False), (1.9, False, True), (2.0, True, False),
])
def test_what_is_worth_waiting_for(age_s, published, holds):
    assert Expectation().holds(age_s, STALE_S, lambda: published, 7.0) == holds


def test_a_publisher_that_never_speaks_is_waited_for_a_while():
    silent = Expectation()
    assert not silent.holds(None, STALE_S, lambda: False, 90.0)
    answers = [silent.holds(None, STALE_S, lambda: True, now) for now in (100.0, 101.9, 102.0)]
    assert answers == [True, True, False]
