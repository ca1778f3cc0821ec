# SPDX-License-Identifier: Apache-2.0
"""Balanced error and area under the ROC curve, split by range."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from perception.types import Float, Mask

RANGES_M = ((5.0, 12.0), (12.0, 30.0), (30.0, 60.0))
MIN_ITEMS = 50


@dataclass(frozen=True)
class Items:
    """
    Scored things, windows or cells, pooled over frames; all (N,).

    ``range_m`` float [m]; ``obstacle`` bool is the truth; ``score`` float in [0, 1] grows with
    danger; ``known`` bool is False where the mode said nothing (score 0.5).
    """

    range_m: Float
    obstacle: Mask
    score: Float
    known: Mask

    def within(self, low_m: float, high_m: float) -> 'Items':
        """Those with low <= range < high [m]."""
        take = (self.range_m >= low_m) & (self.range_m < high_m)
        return Items(self.range_m[take], self.obstacle[take], self.score[take], self.known[take])

    @property
    def enough(self) -> bool:
        """At least ``MIN_ITEMS`` items of each class."""
        obstacles = int(np.count_nonzero(self.obstacle))
        return min(obstacles, self.obstacle.size - obstacles) >= MIN_ITEMS


def pool(parts: list[Items]) -> Items:
    """One set of items from those of several frames."""
    if not parts:
        nothing = np.empty(0)
        return Items(nothing, nothing > 0, nothing, nothing > 0)
    return Items(
        np.concatenate([part.range_m for part in parts]),
        np.concatenate([part.obstacle for part in parts]),
        np.concatenate([part.score for part in parts]),
        np.concatenate([part.known for part in parts]),
    )


def balanced_error(score: Float, obstacle: Mask) -> float:
    """
    Mean of the two class errors at threshold 0.5.

    Parameters
    ----------
    score : (N,) float
        Above 0.5 says obstacle; exactly 0.5 says nothing and counts as half wrong.
    obstacle : (N,) bool
        Truth, both classes present.

    Source
        architecture.md, window error.

    Examples
    --------
    >>> balanced_error(np.array([0.9, 0.1, 0.5, 0.2]), np.array([True, True, False, False]))
    0.375
    """
    wrong = np.where(score == 0.5, 0.5, (score > 0.5) != obstacle)
    return float((wrong[obstacle].mean() + wrong[~obstacle].mean()) / 2)


def rank_auc(score: Float, obstacle: Mask) -> float:
    """
    Chance that an obstacle scores above a free item; a tie counts one half.

    Parameters
    ----------
    score : (N,) float
        Any scale.
    obstacle : (N,) bool
        Truth, both classes present.

    Source
        Mann-Whitney U over the product of the class sizes.

    Examples
    --------
    >>> rank_auc(np.array([0.8, 0.4, 0.4]), np.array([True, True, False]))
    0.75
    """
    positives = int(np.count_nonzero(obstacle))
    ranks: NDArray[np.float64] = rankdata(score)
    above = ranks[obstacle].sum() - positives * (positives + 1) / 2
    return float(above / (positives * (score.size - positives)))


def errors_by_range(items: Items) -> list[float | None]:
    """Balanced error in each of ``RANGES_M``; None below ``MIN_ITEMS`` items of a class."""
    parts = [items.within(*ends) for ends in RANGES_M]
    return [balanced_error(p.score, p.obstacle) if p.enough else None for p in parts]


def aucs_by_range(items: Items) -> list[float | None]:
    """Rank AUC in each of ``RANGES_M``; None below ``MIN_ITEMS`` items of a class."""
    parts = [items.within(*ends) for ends in RANGES_M]
    return [rank_auc(p.score, p.obstacle) if p.enough else None for p in parts]


def coverage_by_range(items: Items) -> list[float | None]:
    """Share of items the mode said anything about; None where a range is empty."""
    parts = [items.within(*ends) for ends in RANGES_M]
    return [float(p.known.mean()) if p.known.size else None for p in parts]
