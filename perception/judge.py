# SPDX-License-Identifier: Apache-2.0
"""
Do no harm: which weights serve at which range, judged on labels before they are trained on.

Labels near the robot say little about far windows, so far ranges are judged by labels given in
hindsight alone. The default weights serve until others have proved better there.

Source
    algorithms.md A6 (learning confidence); near_to_far_probe.md, pitfalls (confidence).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perception.judge_loops import proven, take_in, tallied, trusted
from perception.online_softmax import FAMILIES
from perception.types import Float

RANGES_M = (0.0, 12.0, 30.0)
"""Where the ranges begin; each is judged by itself, the last is open."""
CANDIDATES = ('w0', 'near', 'far')
W0, NEAR, FAR = range(len(CANDIDATES))
MEMORY = 0.97  # of an event, from one to the next of its range and family
NEW = (0.2, 1.0, 1.0)  # events in the labels of a frame: near ones come ten times a second, alike
STRANGER = 3.0  # further margins that near weights need to serve far away
CHANCE, SURE = 0.5, 0.2  # balanced errors that give confidence 0 and 1: labels err themselves
EVENTS = np.array([NEW, [MEMORY ** new for new in NEW]])
MARGINS = np.array([[1, 1, 1], [1, 1 + STRANGER, 1], [1, np.inf, 1 + STRANGER]])
STARTS = np.array(RANGES_M)


def range_index(range_m: Float) -> NDArray[np.intp]:
    """Range of each distance; infinity (no ground there) belongs to the last."""
    index = np.searchsorted(RANGES_M, range_m, 'right') - 1
    return np.asarray(index, np.intp)


def tally(range_m: Float, standing: NDArray[np.intp], weight: Float) -> Float:
    """Weights (K, n) of labels added up by range and family, (K, R, 2)."""
    return tallied(np.ascontiguousarray(range_m, float), np.ascontiguousarray(standing, np.int64),
                   np.ascontiguousarray(weight, float), STARTS)


@dataclass
class Judge:
    """
    Errors of the candidates on new labels, with old frames forgotten.

    An event is what one frame says about one range and family: the share of wrong windows of
    each candidate; near the robot it takes five frames to make one. ``weight`` (R, 2), ``error``
    and ``square`` (R, 2, C) are the forgotten sums of the events' number, errors, and squared
    differences from W0.
    """

    margin: float
    min_events: float
    weight: Float
    error: Float
    square: Float

    @classmethod
    def fresh(cls, margin: float, min_events: float) -> 'Judge':
        """Judge that has seen nothing."""
        shape = (len(RANGES_M), len(FAMILIES), len(CANDIDATES))
        return cls(margin, min_events, np.zeros(shape[:2]), np.zeros(shape),
                   np.zeros(shape))

    def hear(self, range_m: Float, standing: NDArray[np.intp], wrong: Float) -> None:
        """
        Take in the labels of one frame.

        Parameters
        ----------
        range_m : (n,) float
            Of the windows.
        standing : (n,) int
            Family of the label.
        wrong : (C, n) float
            1 where a candidate says the other family.
        """
        tallies = tally(range_m, standing, np.concatenate([np.ones((1, len(range_m))), wrong]))
        take_in(tallies, EVENTS, (self.error, self.square), self.weight)

    def forget(self, standing: int) -> None:
        """Forget what was heard of one family."""
        for part in (self.weight, self.error, self.square):
            part[:, standing] = 0

    @property
    def errors(self) -> Float:
        """Balanced error of each candidate in each range, (R, C); NaN where a family lacks."""
        weight = np.where(self.weight > 0, self.weight, np.nan)
        return np.asarray((self.error / weight[..., None]).mean(1))

    def choice(self) -> NDArray[np.intp]:
        """
        Candidate that serves in each range, (R,).

        Another than W0 needs enough events of both families, and a gain above the margin and its
        own standard error. Beyond 30 m a family without labels is that of the range before, and
        the gain must be larger. Near weights need a larger gain from 12 m on, and never serve
        beyond 30 m.
        """
        return proven(self.weight, self.error, self.square, MARGINS,
                      (self.margin, self.min_events))

    def confidence(self, choice: NDArray[np.intp]) -> Float:
        """
        How far the weights in use are to be trusted, (R,) in [0, 1].

        From their balanced error: 0.5 gives 0, 0.2 gives 1, as a tenth of the labels is wrong.
        A range that nothing is known of is trusted like the one before it, the first one fully.
        """
        return trusted(self.weight, self.error, np.asarray(choice, np.int64), self.min_events,
                       (CHANCE, SURE))
