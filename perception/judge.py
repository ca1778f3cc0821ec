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


def range_index(range_m: Float) -> NDArray[np.intp]:
    """Range of each distance; infinity (no ground there) belongs to the last."""
    index = np.searchsorted(RANGES_M, range_m, 'right') - 1
    return np.asarray(index, np.intp)


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
        index = range_index(range_m) * 2 + standing
        for slot in np.unique(index):
            where = np.unravel_index(slot, self.weight.shape)
            rates = wrong[:, index == slot].mean(1)
            new, apart = NEW[where[0]], np.square(rates - rates[W0])
            keep = MEMORY ** new
            self.weight[where] = keep * self.weight[where] + new
            self.error[where] = keep * self.error[where] + new * rates
            self.square[where] = keep * self.square[where] + new * apart

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
        count, error, square = self._borrowed()
        weight = np.maximum(count, 1e-9)[..., None]
        gain = error[..., :1] / weight - error / weight
        variance = np.maximum(square / weight - np.square(gain), 0) / weight
        proven = gain.mean(1) - np.sqrt(variance.sum(1)) / 2 - self.margin
        proven[1, NEAR] -= STRANGER * self.margin
        proven[2:, FAR] -= STRANGER * self.margin
        proven[2:, NEAR] = -1
        proven[count.min(1) < self.min_events] = -1
        proven[:, W0] = 0
        return np.asarray(proven.argmax(1), np.intp)

    def _borrowed(self) -> tuple[Float, Float, Float]:
        """Sums in which a family that the last range lacks is that of the range before."""
        count, error, square = self.weight.copy(), self.error.copy(), self.square.copy()
        lacks = count[-1] < self.min_events
        if not lacks.all():
            for part in (count, error, square):
                part[-1, lacks] = part[-2, lacks]
        return count, error, square

    def confidence(self, choice: NDArray[np.intp]) -> Float:
        """
        How far the weights in use are to be trusted, (R,) in [0, 1].

        From their balanced error: 0.5 gives 0, 0.2 gives 1, as a tenth of the labels is wrong.
        A range that nothing is known of is trusted like the one before it, the first one fully.
        """
        error = self.errors[np.arange(len(choice)), choice]
        error[self.weight.min(1) < self.min_events] = np.nan
        trust = np.clip((CHANCE - error) / (CHANCE - SURE), 0, 1)
        for k in range(len(trust)):
            if np.isnan(trust[k]):
                trust[k] = trust[k - 1] if k else 1.0
        return np.asarray(trust)
