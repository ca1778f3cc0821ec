# SPDX-License-Identifier: Apache-2.0
"""How near-to-far learning fared over a replay: its numbers, and their course for the report."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from perception.judge import CANDIDATES, RANGES_M, W0
from perception.lesson import Lesson
from perception.near_to_far import NearToFar
from perception.online_softmax import FAMILIES
from perception.types import Float

FEWEST = 20  # labels of a family below which its error says nothing
COURSE_MEMORY = 0.95  # of the running errors, from frame to frame
SHAPE = (len(RANGES_M), len(FAMILIES))
AT_FIRST = (CANDIDATES[W0],) * len(RANGES_M)  # what serves before the first lesson
IN_USE = len(CANDIDATES)  # row of the candidate that served, after those of all candidates


@dataclass
class OnlineMetrics:
    """
    What metrics.json says under ``online``; fed frame by frame.

    ``count`` (R, 2) new labels by range and family; ``before`` and ``after`` (C + 1, R, 2) wrong
    answers to them before and after training on them, the last row that of what served.
    """

    learner: NearToFar
    lesson: Lesson | None = None
    near: Float = field(default_factory=lambda: np.zeros(len(FAMILIES), int))
    hindsight: Float = field(default_factory=lambda: np.zeros(len(FAMILIES), int))
    count: Float = field(default_factory=lambda: np.zeros(SHAPE))
    before: Float = field(default_factory=lambda: np.zeros((IN_USE + 1, *SHAPE)))
    after: Float = field(default_factory=lambda: np.zeros((IN_USE + 1, *SHAPE)))

    def add(self, lesson: Lesson | None) -> None:
        """Count what one frame taught."""
        if lesson is None:
            return
        before = self.lesson.in_use if self.lesson else AT_FIRST
        self.lesson = lesson
        self.near = self.near + lesson.new
        self.hindsight = self.hindsight + lesson.hindsight
        self.count += lesson.count
        self.before += with_served(lesson.wrong_before, before)
        self.after += with_served(lesson.wrong_after, lesson.in_use)

    def summary(self) -> dict[str, Any]:
        """Contract of ``online``; null where a family has fewer than 20 labels."""
        ends = [*RANGES_M[1:], None]
        last = self.lesson
        return {
            'ranges_m': [[near, far] for near, far in zip(RANGES_M, ends, strict=True)],
            'in_use': list(last.in_use) if last else None,
            'confidence': list(last.confidence) if last else None,
            'labels': {'near': self.near.tolist(), 'hindsight': self.hindsight.tolist()},
            'error_before': self._errors(self.before),
            'error_after': self._errors(self.after),
            'rejected': self.learner.rejected,
            'jumps': self.learner.memory.jumps,
        }

    def _errors(self, wrong: Float) -> dict[str, list[float | None]]:
        """Balanced error of each candidate by range."""
        rows = balanced(wrong, np.where(self.count >= FEWEST, self.count, 0)).tolist()
        return {name: [None if np.isnan(value) else value for value in row]
                for name, row in zip((*CANDIDATES, 'in_use'), rows, strict=True)}


def with_served(wrong: Float, in_use: tuple[str, ...]) -> Float:
    """Wrong answers (C, R, 2) of one frame, and after them those of what served, (C + 1, R, 2)."""
    served = [CANDIDATES.index(name) for name in in_use]
    return np.concatenate([wrong, wrong[served, np.arange(len(served))][None]])


def balanced(wrong: Float, count: Float) -> Float:
    """Mean error of the two families, (..., R), of (..., R, 2) wrong; NaN where one lacks."""
    return np.asarray((wrong / np.where(count > 0, count, np.nan)).mean(-1))


@dataclass(frozen=True)
class CourseSample:
    """
    Running errors at one time [s] since the first frame.

    ``default`` and ``served`` (R,) balanced errors before training, of W0 and of what served; NaN
    = not known. ``in_use`` names what served.
    """

    time_s: float
    default: Float
    served: Float
    in_use: tuple[str, ...]


class Course:
    """Running errors of W0 and of what served, in which frames of long ago fade."""

    def __init__(self) -> None:
        self._count = np.zeros(SHAPE)
        self._wrong = np.zeros((2, *SHAPE))
        self._in_use = AT_FIRST

    def add(self, time_s: float, lesson: Lesson) -> CourseSample:
        """Take in one frame and say where things stand."""
        wrong = with_served(lesson.wrong_before, self._in_use)[[W0, IN_USE]]
        self._in_use = lesson.in_use
        self._count = COURSE_MEMORY * self._count + lesson.count
        self._wrong = COURSE_MEMORY * self._wrong + wrong
        default, served = balanced(self._wrong, np.where(self._count >= 1, self._count, 0))
        return CourseSample(time_s, default, served, lesson.in_use)
