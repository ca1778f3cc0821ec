# SPDX-License-Identifier: Apache-2.0
from collections import deque

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perception.inference import softmax
from perception.online_softmax import Head, Ring, family, sgd_pass, with_bias
from perception.types import SUPER_GROUND, SUPER_OBSTACLE, UNLABELED

FEATURES = 3  # and the bias


def problem(seed=0, count=50):
    """Weights, default weights, features with a last one, soft targets: all different."""
    rng = np.random.default_rng(seed)
    table, default = rng.normal(0, 0.5, (2, 5, FEATURES + 1))
    x = np.c_[rng.normal(0.3, 1, (count, FEATURES)), np.ones(count)]
    return table, default, x, rng.dirichlet([2.0, 1, 1, 1, 0.5], count)


def naive_pass(table, default, x, target, *, rate, pull, scale):
    """W += rate (p - q) x / scale^2 - rate pull (W - W0), class by class, sample by sample."""
    w = table.astype(float).copy()
    for first in range(0, len(x), 32):
        rows = range(first, min(first + 32, len(x)))
        step = np.zeros_like(w)
        for i in rows:
            z = [np.exp(w[k] @ x[i]) for k in range(5)]
            for j in range(5):
                step[j] += (target[i, j] - z[j] / sum(z)) * x[i] / scale ** 2 / len(rows)
        w += rate * (step - pull * (w - default))
    return w


@pytest.mark.parametrize('count', [1, 32, 77])
def test_a_pass_is_its_naive_twin(count):
    table, default, x, target = problem(3, count)
    scale = np.array([0.5, 2.0, 1.5, 0.8])
    settings_ = {'rate': 0.3, 'pull': 0.2, 'scale': scale}
    ours = sgd_pass(table, default, (x, target), **settings_)
    np.testing.assert_allclose(ours, naive_pass(table, default, x, target, **settings_), atol=2e-6)
    assert ours.dtype == np.float32


def test_a_step_by_hand_has_the_right_sign():
    """Printed with slips in IROS08: dw_j = +rate (p_j - q_j) x; without weights q is 0.2."""
    zeros = np.zeros((5, 2), np.float32)
    x, target = np.array([[2.0, 1.0]]), np.array([[0.9, 0.1, 0, 0, 0]])
    table = sgd_pass(zeros, zeros, (x, target), rate=0.5, pull=0.0, scale=np.ones(2))
    np.testing.assert_allclose(table, [[0.7, 0.35], [-0.1, -0.05], *[[-0.2, -0.1]] * 3], atol=1e-6)
    again = sgd_pass(table, zeros, (x, target), rate=0.5, pull=0.0, scale=np.ones(2))
    before, after = (softmax(x @ w.T)[0, 0] for w in (table, again))
    assert 0.2 < before < after  # it learns


def test_a_step_goes_down_the_gradient_of_divergence_and_pull():
    table, default, x, target = problem(5, 32)
    pull = 0.7

    def loss(w):
        z = np.exp(x @ w.T)
        q = z / z.sum(1, keepdims=True)
        divergence = (target * (np.log(target) - np.log(q))).sum(1).mean()
        return divergence + pull / 2 * np.square(w - default).sum()

    gradient = np.zeros_like(table)
    for place in np.ndindex(*table.shape):
        nudge = np.zeros_like(table)
        nudge[place] = 1e-5
        gradient[place] = (loss(table + nudge) - loss(table - nudge)) / 2e-5
    step = sgd_pass(table, default, (x, target), rate=1.0, pull=pull, scale=np.ones(4)) - table
    np.testing.assert_allclose(step, -gradient, atol=1e-5)


def test_without_surprise_weights_go_to_the_default():
    table, default, x, _ = problem(7, 32)
    scale = np.array([0.5, 2.0, 1.5, 0.8])
    q = softmax(x @ default.T)
    settings_ = {'rate': 0.1, 'pull': 0.5, 'scale': scale}
    still = sgd_pass(default, default, (x, q), **settings_)
    np.testing.assert_allclose(still, default, atol=1e-6)
    blind = sgd_pass(table, default, (np.zeros_like(x), q), **settings_)
    np.testing.assert_allclose(blind - default, (table - default) * (1 - 0.1 * 0.5), atol=1e-6)
    for _ in range(200):
        table = sgd_pass(table, default, (x, q), **settings_)
    np.testing.assert_allclose(table, default, atol=1e-4)


@settings(max_examples=30, derandomize=True)
@given(st.lists(st.floats(0.05, 20), min_size=4, max_size=4))
def test_a_pass_does_not_depend_on_the_unit_of_features(unit):
    table, default, x, target = problem(9, 40)
    unit, scale = np.array(unit), np.array([0.5, 2.0, 1.5, 0.8])
    ours = sgd_pass(table, default, (x, target), rate=0.2, pull=0.3, scale=scale)
    other = sgd_pass(table / unit, default / unit, (x * unit, target), rate=0.2, pull=0.3,
                     scale=scale * unit)
    np.testing.assert_allclose(other * unit, ours, rtol=1e-5, atol=1e-6)


def test_a_ring_overwrites_its_oldest_by_hand():
    ring = Ring.empty(3, 2)
    number = np.arange(10, dtype=np.float32)
    rows, targets = np.stack([number, -number], -1), np.tile(number[:, None], 5)
    ring.add(rows[1:3], targets[1:3])
    assert (ring.count, ring.next_) == (2, 2)
    ring.add(rows[3:5], targets[3:5])
    assert (ring.count, ring.next_) == (3, 1)
    assert ring.features.tolist() == [[4, -4], [2, -2], [3, -3]]
    assert ring.target[:, 0].tolist() == [4, 2, 3]
    ring.add(rows[5:10], targets[5:10])  # more than it holds: the newest three
    assert sorted(ring.features[:, 0].tolist()) == [7, 8, 9]
    ring.clear()
    assert (ring.count, ring.next_) == (0, 0)


@settings(max_examples=50, derandomize=True)
@given(st.lists(st.integers(0, 12), max_size=8))
def test_a_ring_holds_the_newest_samples_as_a_deque_does(sizes):
    ring, twin, start = Ring.empty(5, 1), deque(maxlen=5), 0
    for size in sizes:
        rows = np.arange(start, start + size, dtype=np.float32)[:, None]
        ring.add(rows, np.repeat(rows, 5, 1))
        twin.extend(rows[:, 0].tolist())
        start += size
        assert sorted(ring.features[:ring.count, 0].tolist()) == sorted(twin)
        np.testing.assert_array_equal(ring.features[:ring.count, 0], ring.target[:ring.count, 3])


def test_draws_are_samples_with_their_own_targets():
    ring = Ring.empty(8, 1)
    rows = np.arange(1, 6, dtype=np.float32)[:, None]
    ring.add(rows, np.repeat(rows, 5, 1))
    x, target = ring.draw(200, np.random.default_rng(0))
    assert set(x[:, 0].tolist()) == {1, 2, 3, 4, 5}  # never an empty place
    np.testing.assert_array_equal(x[:, 0], target[:, 2])


def one_hot_head(ground, obstacle):
    """Feature 0 is 1 on ground, feature 1 on obstacles."""
    head = Head.fresh(np.zeros((5, 3), np.float32), 1000)
    for k, count in enumerate((ground, obstacle)):
        rows = np.zeros((count, 3), np.float32)
        rows[:, [k, 2]] = 1
        target = np.zeros((count, 5), np.float32)
        target[:, (SUPER_GROUND, SUPER_OBSTACLE)[k]] = 1
        head.rings[k].add(rows, target)
    return head


def test_both_families_weigh_the_same_however_rare_one_is():
    head, rng = one_hot_head(1000, 1), np.random.default_rng(0)
    default = head.table.copy()
    head.train(default, 64, 0.1, 0.0, rng)
    np.testing.assert_allclose(head.scale, [np.sqrt(0.5), np.sqrt(0.5), 1], atol=1e-5)
    assert head.table[SUPER_GROUND, 0] == pytest.approx(head.table[SUPER_OBSTACLE, 1], rel=0.15)
    assert head.steps == 1
    assert not default.any()  # what it is pulled to stays


def test_a_head_goes_once_through_as_many_rows_as_told():
    """Blind, only the pull moves it: once for every 32 rows, both families together."""
    head = one_hot_head(48, 50)
    for ring in head.rings:
        ring.features[:] = 0
    head.table += 1
    head.train(np.zeros((5, 3), np.float32), 96, 0.1, 0.5, np.random.default_rng(0))
    np.testing.assert_allclose(head.table, (1 - 0.1 * 0.5) ** 3, rtol=1e-5)


def test_few_samples_are_not_learned_by_heart():
    """Five of one family: ten rows, one step, however many rows are asked for."""
    head = one_hot_head(5, 50)
    for ring in head.rings:
        ring.features[:] = 0
    head.table += 1
    head.train(np.zeros((5, 3), np.float32), 96, 0.1, 0.5, np.random.default_rng(0))
    np.testing.assert_allclose(head.table, 1 - 0.1 * 0.5, rtol=1e-5)


def test_a_head_is_ready_with_samples_of_both_families():
    assert not Head.fresh(np.zeros((5, 3), np.float32), 10).ready
    assert not one_hot_head(3, 0).ready
    assert not one_hot_head(0, 3).ready
    assert one_hot_head(1, 2).ready


def test_training_does_not_depend_on_the_unit_of_features():
    unit = np.array([7.0, 0.2, 1.0], np.float32)
    tables = []
    for factor in (np.ones(3, np.float32), unit):
        head = one_hot_head(40, 9)
        for ring in head.rings:
            ring.features *= factor
        for _ in range(5):
            head.train(np.zeros((5, 3), np.float32), 64, 0.1, 0.3, np.random.default_rng(4))
        tables.append(head.table * factor)
    np.testing.assert_allclose(tables[1], tables[0], rtol=1e-3, atol=1e-5)


def test_a_feature_that_was_always_zero_does_no_harm_when_it_wakes():
    head, rng = one_hot_head(40, 40), np.random.default_rng(1)
    default = np.zeros((5, 3), np.float32)
    for ring in head.rings:
        ring.features[:, 1] = 0
    head.train(default, 64, 0.02, 0.3, rng)
    for ring in head.rings:
        ring.features[:, 1] = 1
    for _ in range(60):
        head.train(default, 64, 0.02, 0.3, rng)
    assert np.abs(head.table).max() < 5


def test_families_and_the_bias_by_hand():
    assert family(np.array([0, 1, 2, 3, 4], np.uint8)).tolist() == [0, 0, 1, 1, 1]
    assert family(np.array([UNLABELED], np.uint8)).tolist() == [1]  # callers leave these out
    rows = with_bias(np.array([[3.0, -2.0], [0.5, 4.0], [1.0, 6.0]], np.float32))
    assert rows.tolist() == [[3, -2, 1], [0.5, 4, 1], [1, 6, 1]]
    assert rows.dtype == np.float32
