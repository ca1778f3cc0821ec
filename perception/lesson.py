# SPDX-License-Identifier: Apache-2.0
"""What goes into near-to-far learning and what comes out of it, frame by frame."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from perception.hindsight import window_ranges
from perception.judge import CANDIDATES, RANGES_M, tally
from perception.online_softmax import FAMILIES
from perception.pyramid import Pyramid
from perception.supervisor import PointLabels, WindowLabels
from perception.types import CLASSES, FOOTLINE, DepthGrid, Float, Mask, PlaneEstimate

FAMILY_CLASSES = (slice(0, FOOTLINE), slice(FOOTLINE, len(CLASSES)))


@dataclass(frozen=True)
class Sight:
    """
    One frame as the learner takes it.

    ``maps``: outputs of the network, one (F, h, w) a strip. ``odom_from_camera`` and
    ``odom_from_base`` (4, 4) are None without odometry; ``bumped``: the bumper was pressed.
    """

    pyramid: Pyramid
    maps: list[Float]
    plane: PlaneEstimate
    labels: WindowLabels | None = None
    points: PointLabels | None = None
    grid: DepthGrid | None = None
    odom_from_camera: Float | None = None
    odom_from_base: Float | None = None
    bumped: bool = False

    @cached_property
    def range_m(self) -> Float:
        """How far away is what each window shows, (N,) [m]."""
        return window_ranges(self.pyramid, self.grid)


@dataclass(frozen=True)
class Samples:
    """
    New labels.

    ``x`` (n, F + 1) float32, ``target`` (n, 5) float32, ``standing`` (n,) family, ``range_m``
    (n,) as of ``hindsight.window_ranges``. ``proof`` (n,) bool: the label
    is beyond doubt, and what the window shows stands about there; these are what is judged by.
    """

    x: Float
    target: Float
    standing: NDArray[np.intp]
    range_m: Float
    proof: Mask


@dataclass(frozen=True)
class Lesson:
    """
    What one frame taught.

    ``new`` and ``hindsight``: labels by family. ``wrong_before`` and ``wrong_after`` (C, R, 2):
    wrong among ``count`` (R, 2) new labels, of each candidate (``judge.CANDIDATES``) before and
    after training on them. ``in_use`` names the candidate that serves in each range, with its
    ``confidence``.
    """

    new: tuple[int, int]
    hindsight: tuple[int, int]
    count: Float
    wrong_before: Float
    wrong_after: Float
    in_use: tuple[str, ...]
    confidence: tuple[float, ...]


def some(part: Samples, keep: Mask) -> Samples:
    """Those samples alone."""
    return Samples(part.x[keep], part.target[keep], part.standing[keep], part.range_m[keep],
                   part.proof[keep])


def family_targets(q: Float, standing: NDArray[np.intp], sure: Float) -> Float:
    """
    Soft targets where only the family is known.

    Parameters
    ----------
    q : (n, 5) float
        What a classifier thinks: it says how a family's share is split among its classes.
    standing : (n,) int
        Family: 0 ground, 1 obstacle.
    sure : (n,) float
        Probability of the family.

    Returns
    -------
    (n, 5) float32
    """
    target = np.asarray(q, np.float32).copy()
    for k, classes in enumerate(FAMILY_CLASSES):
        share = np.where(standing == k, sure, 1 - sure)
        total = np.maximum(target[:, classes].sum(1), 1e-9)
        target[:, classes] *= (share / total)[:, None]
    return target


def counted(parts: list[Samples]) -> Float:
    """Labels of each range and family, (R, 2)."""
    count = np.zeros((len(RANGES_M), len(FAMILIES)))
    for part in parts:
        count += tally(part.range_m, part.standing, np.ones((1, len(part.standing))))[0]
    return count


def counted_wrong(parts: list[Samples], wrong: list[Float]) -> Float:
    """Wrong answers of each candidate by range and family, (C, R, 2)."""
    count = np.zeros((len(CANDIDATES), len(RANGES_M), len(FAMILIES)))
    for part, errors in zip(parts, wrong, strict=True):
        count += tally(part.range_m, part.standing, errors)
    return count
