# SPDX-License-Identifier: Apache-2.0
"""The newest poses: the same numbers as a recording gives, jumps, and look-ups across threads."""

from queue import Queue
from threading import Thread

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from perception.bag_poses import PoseTrack
from perception.live_match import BACKWARD_NS
from perception.pose_buffer import PoseBuffer

SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND


def rigid(x, yaw=0.0, pitch=0.0):
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler('zy', [yaw, pitch]).as_matrix()
    matrix[:3, 3] = x, -2 * x, 0.3
    return matrix


def filled(*stamps_ns, seconds=10.0):
    buffer = PoseBuffer(seconds)
    for index, stamp_ns in enumerate(stamps_ns):
        buffer.add(stamp_ns, rigid(float(index)))
    return buffer


def whole_track(stamps_ns, poses):
    matrices = np.stack(poses)
    return PoseTrack('/odom', 'odom', 'base_link', np.array(stamps_ns, np.int64),
                     matrices)


@st.composite
def drives(draw):
    """Rising stamps [ns] with gaps of 1 ns to 0.4 s, a pose for each, and stamps to ask for."""
    steps = draw(st.lists(st.integers(1, 400_000_000), min_size=1, max_size=20))
    stamps = [START + int(s) for s in np.cumsum(steps)]
    angle = st.floats(-3.2, 3.2)
    poses = [rigid(draw(st.floats(-1e3, 1e3)), draw(angle), draw(angle)) for _ in stamps]
    between = st.integers(stamps[0] - SECOND, stamps[-1] + SECOND)
    asked = draw(st.lists(st.one_of(between, st.sampled_from(stamps)), min_size=1, max_size=8))
    return stamps, poses, asked


@given(drives(), st.sampled_from([0.0, 0.05, 0.2, 5.0]))
def test_look_up_is_that_of_the_whole_track_bit_for_bit(drive, tolerance_s):
    stamps, poses, asked = drive
    buffer = PoseBuffer()
    for stamp_ns, pose in zip(stamps, poses, strict=True):
        buffer.add(stamp_ns, pose)
    track = whole_track(stamps, poses)
    for stamp_ns in asked:
        found, expected = buffer.at(stamp_ns, tolerance_s), track.at(stamp_ns, tolerance_s)
        assert (found is None) == (expected is None)
        if found is not None:
            np.testing.assert_array_equal(found, expected)


def test_interpolation_by_hand():
    buffer = PoseBuffer()
    buffer.add(1000, rigid(1.0))
    buffer.add(2000, rigid(5.0, yaw=np.pi / 2))
    np.testing.assert_allclose(buffer.at(1250, 1.0), rigid(2.0, yaw=np.pi / 8), atol=1e-12)
    np.testing.assert_allclose(buffer.at(2900, 1e-6), rigid(5.0, yaw=np.pi / 2), atol=1e-12)
    assert buffer.at(3001, 1e-6) is None


def test_an_empty_buffer_knows_nothing():
    buffer = PoseBuffer()
    assert buffer.at(0, 5.0) is None
    assert not buffer.covers(0)


def test_old_poses_are_forgotten():
    buffer = filled(*[START + i * SECOND // 2 for i in range(11)], seconds=2.0)
    assert buffer.at(START + 2 * SECOND, 0.2) is None
    np.testing.assert_array_equal(buffer.at(START + 3 * SECOND, 0.0), rigid(6.0))
    np.testing.assert_array_equal(buffer.at(START + 5 * SECOND, 0.0), rigid(10.0))


def test_late_and_repeated_poses_are_ignored():
    buffer = filled(START, START + SECOND)
    for late_ns in (0, 1, BACKWARD_NS):
        buffer.add(START + SECOND - late_ns, rigid(99.0))
    assert buffer.jumps == 0
    np.testing.assert_array_equal(buffer.at(START + SECOND, 0.0), rigid(1.0))
    np.testing.assert_allclose(buffer.at(START + SECOND // 2, 1.0), rigid(0.5))


def test_a_jump_backwards_clears():
    buffer = filled(START, START + SECOND)
    buffer.add(START + SECOND - BACKWARD_NS - 1, rigid(7.0))
    assert buffer.jumps == 1
    assert not buffer.covers(START + SECOND)
    assert buffer.at(START + SECOND, 0.2) is None
    np.testing.assert_array_equal(buffer.at(START + SECOND // 2, 0.2), rigid(7.0))


@pytest.mark.parametrize(('stamp_ns', 'covered'), [
    (START - 1, True), (START, True), (START + 1, False),
])
def test_covered_is_what_no_later_pose_can_better(stamp_ns, covered):
    assert filled(START - SECOND, START).covers(stamp_ns) == covered


@pytest.mark.parametrize(('stamp_ns', 'tolerance_s', 'held'), [
    (START - 1, 0.1, 1), (START, 0.1, 0), (START + 3, 0.1, 0),
    (START + SECOND, 0.1, 0),
    (START + SECOND + 1, 0.1, 1), (START + SECOND + 1, 0.0, 0),
])
def test_poses_that_an_end_stands_in_for_are_counted(stamp_ns, tolerance_s, held):
    buffer = filled(START, START + SECOND)
    assert (buffer.at(stamp_ns, tolerance_s) is None) == (tolerance_s == 0.0)
    assert buffer.held == held


def test_look_ups_while_another_thread_writes_are_never_torn():
    buffer, stop = filled(START), Queue()

    def writer():
        for index in range(1, 800):
            buffer.add(START + index * 1000, rigid(float(index)))
        stop.put(None)

    thread = Thread(target=writer, daemon=True)
    thread.start()
    while stop.empty():
        newest = buffer.at(START + 10 * SECOND, 11.0)
        assert newest is not None
        assert newest[1, 3] == -2 * newest[0, 3]
    thread.join(60)
    assert not thread.is_alive()
