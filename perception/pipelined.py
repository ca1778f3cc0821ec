# SPDX-License-Identifier: Apache-2.0
"""
One chain on two threads: the first half of the next frame beside the second half of this one.

Each half takes the frames in their order, and only one of them knows the plane tracker, only the
other learner and map. So every result is the same to the bit as on one thread, whichever thread
is faster. A result is handed over once the next frame has been taken up: one frame later.
"""

import os
import sys
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from perception.errors import PerceptionError
from perception.pipeline import Result, Survey, Traversability
from perception.runtime_config import Pipelining
from perception.types import Frame

SWITCH_S = 0.0005  # a thread that comes back from a library waits less for Python's lock
Results = Generator[Result, None, None]


def runs_ahead(mode: Pipelining) -> bool:
    """Tell whether a replay uses a second thread: with ``auto`` where it has two cores."""
    return mode == 'on' or (mode == 'auto' and usable_cores() > 1)


def usable_cores() -> int:
    """Processor cores that this process may run on."""
    if hasattr(os, 'sched_getaffinity'):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def run(chain: Traversability, frames: Iterable[Frame], *, ahead: bool) -> Results:
    """
    Run frames through the chain, with or without a second thread; the results are the same.

    Parameters
    ----------
    frames : iterable of Frame
        Read on the second thread where there is one, never by two threads at once.
    ahead : bool
        The next frame is read and its first half run while this one is in work or in use.

    Raises
    ------
    PerceptionError
        What reading or working on a frame raised, in place of its result: those of the frames
        before have come by then.
    """
    yield from _run_ahead(chain, iter(frames)) if ahead else map(chain.process, frames)


def _run_ahead(chain: Traversability, frames: Iterator[Frame]) -> Results:
    def survey_next() -> Survey | None:
        frame = next(frames, None)
        return None if frame is None else chain.survey(frame)

    with ThreadPoolExecutor(1, 'ahead') as thread, _quick_turns():
        following = thread.submit(survey_next)
        while (survey := following.result()) is not None:
            following = thread.submit(survey_next)
            yield chain.conclude(survey)


@contextmanager
def _quick_turns() -> Iterator[None]:
    """Threads hand over Python's lock sooner, here alone."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(min(before, SWITCH_S))
    try:
        yield
    finally:
        sys.setswitchinterval(before)


@dataclass(frozen=True)
class Step:
    """
    One frame between the two halves of a chain: ``survey``, or the error that came in its place.

    ``afresh``: stamps began again, and nothing from before this frame holds.
    """

    chain: Traversability
    survey: Survey | PerceptionError
    afresh: bool = False

    def conclude(self) -> Result:
        """
        Run the second half.

        Raises
        ------
        PerceptionError
            What went wrong with this frame, in either half.
        """
        if self.afresh:
            self.chain.forget()
        if isinstance(self.survey, PerceptionError):
            raise self.survey
        return self.chain.conclude(self.survey)


def first_step(
    chain: Traversability, make_frame: Callable[[], Frame], *, afresh: bool = False
) -> Step:
    """Make a frame and run the first half of the chain; an error waits for its turn."""
    if afresh:
        chain.tracker.reset()
    try:
        return Step(chain, chain.survey(make_frame()), afresh)
    except PerceptionError as error:
        return Step(chain, error, afresh)
