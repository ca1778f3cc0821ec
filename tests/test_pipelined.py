# SPDX-License-Identifier: Apache-2.0
"""Two threads give what one gives, to the bit: whichever is faster, and whatever goes wrong."""

import os
import threading
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from perception.bag import open_bag
from perception.config import Config, load_config
from perception.errors import BagError, CalibrationError, ConfigError, ImageError, PerceptionError
from perception.inference import load_network
from perception.nodes.worker import NewestWorker
from perception.pipeline import Pipeline
from perception.pipelined import first_step, run, runs_ahead, usable_cores

STEP_M = 2.5  # between frames, so that old views are looked back at within a short drive
PATIENCE_S = 60.0


@pytest.fixture(scope='module')
def network():
    return load_network('default')


@pytest.fixture(scope='module')
def drive(repository):
    """Frames of the shipped drive, as if it were driven faster."""
    with open_bag(repository / 'bags' / 'demo', Config()) as bag:
        return [replace(frame, odom_from_base=moved(STEP_M * index))
                for index, frame in enumerate(islice(bag.frames(), 9))]


def moved(x):
    pose = np.eye(4)
    pose[0, 3] = x
    return pose


@pytest.fixture(scope='module')
def expected(network, drive):
    """What one thread makes of the drive."""
    chain = Pipeline(Config(), network)
    return [chain.process(frame) for frame in drive]


def assert_equal(results, others):
    """The same to the bit, errors too."""
    assert len(results) == len(others)
    for one, other in zip(results, others, strict=True):
        assert type(one) is type(other)
        if isinstance(one, PerceptionError):
            assert str(one) == str(other)
            continue
        assert one.frame is other.frame
        assert one.plane == other.plane
        assert list(one.stage_ms) == list(other.stage_ms)
        np.testing.assert_array_equal(one.grid.disparity, other.grid.disparity)
        np.testing.assert_array_equal(one.probabilities, other.probabilities)
        np.testing.assert_array_equal(one.observation.weight, other.observation.weight)
        np.testing.assert_array_equal(one.costmap.data, other.costmap.data)
        assert (one.costmap.origin_m, one.costmap.stamp_ns) == (
            other.costmap.origin_m, other.costmap.stamp_ns)
        np.testing.assert_equal(vars(one.lesson), vars(other.lesson))


class Slow(Pipeline):
    """A chain in which one half of a frame begins only when another half is done."""

    def __init__(self, config, network, *, first_waits):
        super().__init__(config, network)
        self.first_waits = first_waits
        self.done = {half: [threading.Event() for _ in range(12)] for half in (0, 1)}
        self.begun = [0, 0]

    def survey(self, frame):
        index = self._begin(0)
        if self.first_waits and index >= 1:  # until the frame before is done altogether
            assert self.done[1][index - 1].wait(PATIENCE_S)
        survey = super().survey(frame)
        self.done[0][index].set()
        return survey

    def conclude(self, survey):
        index = self._begin(1)
        if not self.first_waits and index + 1 < len(self.done[0]):  # until the next is surveyed
            assert self.done[0][index + 1].wait(PATIENCE_S)
        result = super().conclude(survey)
        self.done[1][index].set()
        return result

    def _begin(self, half):
        self.begun[half] += 1
        return self.begun[half] - 1


def test_two_threads_give_what_one_gives(network, drive, expected):
    assert sum(sum(result.lesson.hindsight) for result in expected) > 0  # learning has its say
    assert sum(sum(result.lesson.new) for result in expected) > 0
    assert_equal(list(run(Pipeline(Config(), network), drive, ahead=True)), expected)


@pytest.mark.parametrize('first_waits', [True, False])
def test_it_does_not_matter_which_thread_is_faster(network, drive, expected, first_waits):
    chain = Slow(Config(), network, first_waits=first_waits)
    if not first_waits:
        chain.done[0][len(drive)].set()  # nothing comes after the last
    assert_equal(list(run(chain, drive, ahead=True)), expected)


def test_the_next_frame_is_read_while_one_is_in_use(network, drive, expected):
    read = [threading.Event() for _ in drive]

    def frames():
        for event, frame in zip(read, drive, strict=True):
            event.set()
            yield frame

    results = run(Pipeline(Config(), network), frames(), ahead=True)
    first = next(results)
    assert read[1].wait(PATIENCE_S)
    assert not read[2].is_set()  # one frame ahead, no more
    results.close()
    assert_equal([first], expected[:1])
    assert not [thread for thread in threading.enumerate() if thread.name.startswith('ahead')]


def test_an_error_of_reading_comes_after_the_frames_before(network, drive, expected):
    def frames():
        yield from drive[:2]
        raise BagError('torn')

    for ahead in (True, False):
        results = run(Pipeline(Config(), network), frames(), ahead=ahead)
        assert_equal([next(results), next(results)], expected[:2])
        with pytest.raises(BagError, match='torn'):
            next(results)


def test_no_frame_gives_no_result(network):
    assert list(run(Pipeline(Config(), network), [], ahead=True)) == []


def hand_over(chain, shots):
    """The two threads of a node: results or errors of (frame, afresh), in their order."""
    outcomes = []

    def conclude(step):
        try:
            outcomes.append(step.conclude())
        except PerceptionError as error:
            outcomes.append(error)

    second = NewestWorker('second', conclude)
    for frame, afresh in shots:
        step = first_step(chain, lambda frame=frame: frame, afresh=afresh)
        second.wait()
        second.put(step)
    second.wait()
    second.stop()
    assert second.dropped == 0
    return outcomes


def in_turn(chain, shots):
    """The same on one thread."""
    outcomes = []
    for frame, afresh in shots:
        if afresh:
            chain.reset()
        try:
            outcomes.append(chain.process(frame))
        except PerceptionError as error:
            outcomes.append(error)
    return outcomes


def test_errors_and_jumps_stay_with_their_frames(network, drive):
    halves = replace(drive[2], right=drive[2].right[:100])  # fails in the first half
    mountless = replace(drive[4], base_from_camera=None)  # fails in the second, after learning
    shots = [(drive[0], True), (drive[1], False), (halves, False), (drive[3], False),
             (mountless, False), (drive[5], False), (drive[0], True), (drive[1], False),
             (halves, True), (drive[3], False)]
    config = load_config(None, ['mount.source=tf'])
    expected = in_turn(Pipeline(config, network), shots)
    assert [type(outcome) for outcome in expected if isinstance(outcome, PerceptionError)] == [
        ImageError, CalibrationError, ImageError]
    assert expected[6].plane.source == 'hough'  # the jump was seen
    assert_equal(hand_over(Pipeline(config, network), shots), expected)


def test_settings_that_change_on_the_way_keep_what_was_learned(network, drive, expected):
    chain = Pipeline(Config(), network)
    step = first_step(chain, lambda: drive[0])
    other = chain.reconfigured(Config())
    ahead = first_step(other, lambda: drive[1])
    results = [step.conclude(), ahead.conclude()]
    np.testing.assert_array_equal(results[1].probabilities, expected[1].probabilities)
    np.testing.assert_equal(vars(results[1].lesson), vars(expected[1].lesson))


@pytest.mark.filterwarnings('ignore::pytest.PytestUnhandledThreadExceptionWarning')
def test_who_waits_for_a_thread_goes_on_when_it_dies_or_takes_too_long():
    go = threading.Event()

    def fail(item):
        assert go.wait(PATIENCE_S)
        raise ValueError(item)

    worker = NewestWorker('fails', fail)
    worker.wait()  # nothing to wait for
    worker.put('one')
    worker.wait(0.0)
    go.set()
    worker.wait()
    worker.put('two')
    worker.wait()
    worker.stop()


def test_auto_needs_two_cores():
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert usable_cores() == 1
        assert [runs_ahead(mode) for mode in ('off', 'on', 'auto')] == [False, True, False]
    finally:
        os.sched_setaffinity(0, allowed)
    assert usable_cores() == len(allowed)
    assert runs_ahead('auto') == (len(allowed) > 1)


def test_on_and_off_need_no_quotes(tmp_path):
    path = tmp_path / 'robot.yaml'
    path.write_text('/**:\n  ros__parameters:\n    runtime:\n      pipelining: off\n')
    assert load_config(path).runtime.pipelining == 'off'
    assert load_config(path, ['runtime.pipelining=on']).runtime.pipelining == 'on'
    with pytest.raises(ConfigError, match=r"runtime\.pipelining = 'perhaps'"):
        load_config(None, ['runtime.pipelining=perhaps'])
