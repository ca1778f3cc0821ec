# SPDX-License-Identifier: Apache-2.0
"""Balanced error, AUC and the rules of the ranges."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perception.evaluation.scores import (
    Items,
    aucs_by_range,
    balanced_error,
    coverage_by_range,
    errors_by_range,
    pool,
    rank_auc,
)

PAIRS = st.lists(
    st.tuples(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]), st.booleans()), min_size=2, max_size=40
).filter(lambda pairs: 0 < sum(truth for _, truth in pairs) < len(pairs))


def naive_auc(score: np.ndarray, obstacle: np.ndarray) -> float:
    """Count every obstacle/free pair."""
    wins = [
        1.0 if high > low else 0.5 if high == low else 0.0
        for high in score[obstacle] for low in score[~obstacle]
    ]
    return sum(wins) / len(wins)


@given(PAIRS)
def test_auc_equals_pair_count(pairs: list[tuple[float, bool]]) -> None:
    score, obstacle = np.array([p[0] for p in pairs]), np.array([p[1] for p in pairs])
    assert rank_auc(score, obstacle) == pytest.approx(naive_auc(score, obstacle), abs=1e-12)


@given(PAIRS)
def test_auc_flips_with_the_score_and_ignores_scale(pairs: list[tuple[float, bool]]) -> None:
    score, obstacle = np.array([p[0] for p in pairs]), np.array([p[1] for p in pairs])
    auc = rank_auc(score, obstacle)
    assert rank_auc(1 - score, obstacle) == pytest.approx(1 - auc, abs=1e-12)
    assert rank_auc(score**3 * 7 - 2, obstacle) == pytest.approx(auc, abs=1e-12)


def test_balanced_error_weighs_classes_not_items() -> None:
    score = np.array([0.9] * 9 + [0.1] + [0.6])
    obstacle = np.array([True] * 10 + [False])
    assert balanced_error(score, obstacle) == pytest.approx((0.1 + 1.0) / 2)


def test_saying_nothing_is_half_wrong() -> None:
    assert balanced_error(np.full(5, 0.5), np.arange(5) < 2) == 0.5


def _items(obstacles: int, free: int, range_m: float) -> Items:
    obstacle = np.arange(obstacles + free) < obstacles
    score = np.where(obstacle, 0.8, 0.2)
    return Items(np.full(obstacle.size, range_m), obstacle, score, score > 0.5)


def test_null_below_fifty_items_of_a_class() -> None:
    items = pool([_items(50, 50, 5.0), _items(49, 500, 29.999), _items(60, 49, 30.0)])
    assert errors_by_range(items) == [0.0, None, None]
    assert aucs_by_range(items) == [1.0, None, None]


def test_ranges_include_their_low_end_only() -> None:
    items = pool([_items(50, 70, 12.0), _items(50, 50, 60.0), _items(50, 50, 4.99)])
    assert aucs_by_range(items) == [None, 1.0, None]
    assert coverage_by_range(items) == [None, pytest.approx(50 / 120), None]


def test_pool_of_nothing_is_empty() -> None:
    assert errors_by_range(pool([])) == [None, None, None]
    assert coverage_by_range(pool([])) == [None, None, None]
