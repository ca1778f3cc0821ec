# SPDX-License-Identifier: Apache-2.0
"""
The last layer that learns while the robot drives: ring buffers, soft targets, plain SGD.

Source
    IROS08-DBN (softmax, soft targets, SGD for its inertia), RSS07 (pull to default weights, ring
    buffers of a constant class ratio); algorithms.md A6. The printed gradient has slips; the
    update here is +rate (p - q) x.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from perception.learning_loops import descend, root_mean_square
from perception.types import CLASSES, FOOTLINE, Float

FAMILIES = (0, 1)  # ground, obstacle
SCALE_MEMORY = 0.95  # of the features' root mean square, from frame to frame


def family(label: NDArray[np.uint8]) -> NDArray[np.intp]:
    """0 for the ground classes, 1 for footline and obstacles."""
    return np.asarray(label >= FOOTLINE, np.intp)


def with_bias(features: Float) -> Float:
    """Features (n, F) -> (n, F + 1) float32 with a last column of ones."""
    rows = np.ones((len(features), features.shape[1] + 1), np.float32)
    rows[:, :-1] = features
    return rows


@dataclass
class Ring:
    """The newest ``capacity`` samples: ``features`` (n, F + 1) and ``target`` (n, 5) float32."""

    features: Float
    target: Float
    next_: int = 0
    count: int = 0

    @classmethod
    def empty(cls, capacity: int, width: int) -> 'Ring':
        """Ring without samples for rows of this width."""
        return cls(np.zeros((capacity, width), np.float32),
                   np.zeros((capacity, len(CLASSES)), np.float32))

    def add(self, features: Float, target: Float) -> None:
        """Add samples; the oldest are overwritten."""
        capacity = len(self.features)
        features, target = features[-capacity:], target[-capacity:]
        fits = min(len(features), capacity - self.next_)  # the others begin anew
        for ring, new in ((self.features, features), (self.target, target)):
            ring[self.next_:self.next_ + fits] = new[:fits]
            ring[:len(new) - fits] = new[fits:]
        self.next_ = (self.next_ + len(features)) % capacity
        self.count = min(self.count + len(features), capacity)

    def clear(self) -> None:
        """Forget all samples."""
        self.next_ = self.count = 0

    def draw(self, count: int, rng: np.random.Generator) -> tuple[Float, Float]:
        """Random samples with replacement; the ring must hold one."""
        index = rng.integers(self.count, size=count)
        return self.features.take(index, 0), self.target.take(index, 0)


@dataclass
class Head:
    """
    One classifier that learns: ``table`` (5, F + 1) float32 weights, bias last, and its samples.

    ``rings`` hold one family each, so both weigh the same however rare one is. ``scale`` (F + 1,)
    is the running root mean square of the features: steps are taken on features of unit scale.
    """

    table: Float
    rings: tuple[Ring, Ring]
    scale: Float | None = None
    steps: int = field(default=0)

    @classmethod
    def fresh(cls, default: Float, capacity: int) -> 'Head':
        """Head with the default weights and no samples."""
        width = default.shape[1]
        return cls(default.copy(), (Ring.empty(capacity, width), Ring.empty(capacity, width)))

    @property
    def ready(self) -> bool:
        """Both families have samples."""
        return all(ring.count for ring in self.rings)

    def train(self, default: Float, rows: int, rate: float, pull: float,
              rng: np.random.Generator) -> None:
        """
        One pass over ``rows`` random samples, half of each family, or fewer while there are few.

        Parameters
        ----------
        default : (5, F + 1) float
            Weights to be pulled to.
        rate, pull : float
            Step length, and weight of the pull.
        """
        count = min(rows // 2, *(ring.count for ring in self.rings))
        parts = [ring.draw(count, rng) for ring in self.rings]
        x = np.concatenate([part[0] for part in parts])
        target = np.concatenate([part[1] for part in parts])
        size = root_mean_square(x) + np.float32(1e-6)
        self.scale = size if self.scale is None else (
            SCALE_MEMORY * self.scale + (1 - SCALE_MEMORY) * size)
        order = rng.permutation(len(x))
        self.table = sgd_pass(self.table, default, (x.take(order, 0), target.take(order, 0)),
                              rate=rate, pull=pull, scale=np.asarray(self.scale, np.float32))
        self.steps += 1


def sgd_pass(
    table: Float, default: Float, samples: tuple[Float, Float], *, rate: float, pull: float,
    scale: Float,
) -> Float:
    """
    Go once through the samples in mini-batches.

    Parameters
    ----------
    table, default : (5, F + 1) float32
        Weights now, and those they are pulled to.
    samples : (n, F + 1), (n, 5) float32
        Features with a last column of ones, soft targets.
    scale : (F + 1,) float32
        Scale of the features; rate and pull hold for features divided by it.

    Returns
    -------
    (5, F + 1) float32
        W + rate (p - q) x - rate pull (W - W0), summed over mini-batches of 32.
    """
    features, target = (np.ascontiguousarray(part, np.float32) for part in samples)
    scale = np.ascontiguousarray(scale, np.float32)
    weights, anchor = (np.ascontiguousarray(part * scale, np.float32) for part in (table, default))
    descend(weights, anchor, features, target, scale, (rate, pull))
    return np.asarray(weights / scale, np.float32)
