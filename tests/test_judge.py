# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perception.judge import FAR, MEMORY, NEAR, NEW, RANGES_M, STRANGER, W0, Judge, range_index

MARGIN = 0.03
AT_M = (5.0, 20.0, 50.0)  # a place in each range
BATCH = 100


def fresh(margin=MARGIN, min_events=3.0):
    return Judge.fresh(margin, min_events)


def tell(judge, k, standing, rates, times=1):
    """Let it hear events in range k whose labels each candidate gets wrong at these rates."""
    wrong = np.zeros((3, BATCH))
    for row, rate in zip(wrong, rates, strict=True):
        row[:round(rate * BATCH)] = 1
    for _ in range(round(times / NEW[k])):
        judge.hear(np.full(BATCH, AT_M[k]), np.full(BATCH, standing), wrong)


def tell_both(judge, k, rates, times=10):
    for standing in (0, 1):
        tell(judge, k, standing, rates, times)


def test_ranges_by_hand():
    assert RANGES_M == (0.0, 12.0, 30.0)
    far = np.array([0, 11.999, 12, 29.9, 30, 1e4, np.inf])
    assert range_index(far).tolist() == [0, 0, 1, 1, 2, 2, 2]


def test_tallies_by_hand():
    judge = fresh()
    range_m = np.array([5, 7, 11.9, 3, 20, 25, np.inf])
    standing = np.array([0, 0, 0, 0, 1, 1, 1])
    wrong = np.array([[1, 0, 0, 0, 1, 0, 1], [0, 0, 0, 0, 1, 1, 0], [1, 1, 1, 0, 0, 0, 0]], float)
    judge.hear(range_m, standing, wrong)
    assert NEW == (0.2, 1, 1)
    assert judge.weight.tolist() == [[0.2, 0], [0, 1], [0, 1]]
    np.testing.assert_allclose(judge.error[0, 0], [0.05, 0, 0.15])
    assert judge.error[1, 1].tolist() == [0.5, 1, 0]
    assert judge.error[2, 1].tolist() == [1, 0, 0]
    np.testing.assert_allclose(judge.square[0, 0], [0, 0.0125, 0.05])
    judge.hear(np.array([6.0]), np.array([0]), np.array([[0.0], [1], [0]]))
    fifth = 0.97 ** 0.2  # a fifth of an event forgets a fifth of the time; others remember
    np.testing.assert_allclose(judge.weight, [[0.2 * fifth + 0.2, 0], [0, 1], [0, 1]])
    np.testing.assert_allclose(judge.error[0, 0], [0.05 * fifth, 0.2, 0.15 * fifth])
    np.testing.assert_allclose(judge.square[0, 0], [0, 0.0125 * fifth + 0.2, 0.05 * fifth])
    np.testing.assert_allclose(judge.errors, np.full((3, 3), np.nan))  # no range has both


def test_balanced_errors_by_hand():
    judge = fresh()
    tell(judge, 1, 0, (0.1, 0.2, 0.3), 4)
    tell(judge, 1, 1, (0.5, 0.0, 0.9), 2)
    np.testing.assert_allclose(judge.errors[1], [0.3, 0.1, 0.6])
    assert np.isnan(judge.errors[[0, 2]]).all()


def naive_hear(sums, range_m, standing, wrong):
    for k, s in np.ndindex(3, 2):
        low, high = (*RANGES_M, np.inf)[k:k + 2]
        mine = [i for i in range(len(range_m)) if standing[i] == s
                and low <= range_m[i] and (range_m[i] < high or k == 2)]
        if not mine:
            continue
        rates = [sum(wrong[c, i] for i in mine) / len(mine) for c in range(3)]
        keep = MEMORY ** NEW[k]
        sums['weight'][k, s] = keep * sums['weight'][k, s] + NEW[k]
        for c in range(3):
            sums['error'][k, s, c] = keep * sums['error'][k, s, c] + NEW[k] * rates[c]
            apart = (rates[c] - rates[W0]) ** 2
            sums['square'][k, s, c] = keep * sums['square'][k, s, c] + NEW[k] * apart


def random_events(seed, count=30):
    rng = np.random.default_rng(seed)
    for _ in range(count):
        n = int(rng.integers(0, 9))
        range_m = rng.choice([0.0, 5, 11.99, 12, 29, 30, 80, np.inf], n)
        yield range_m, rng.integers(0, 2, n), rng.integers(0, 2, (3, n)).astype(float)


@settings(max_examples=30, derandomize=True)
@given(st.integers(0, 10_000))
def test_hearing_is_its_naive_twin_and_gives_no_nan(seed):
    judge = fresh(margin=0.0, min_events=1.0)
    sums = {'weight': np.zeros((3, 2)), 'error': np.zeros((3, 2, 3)),
            'square': np.zeros((3, 2, 3))}
    for event in random_events(seed):
        judge.hear(*event)
        naive_hear(sums, *event)
        choice = judge.choice()
        assert set(choice.tolist()) <= {W0, NEAR, FAR}
        confidence = judge.confidence(choice)
        assert ((confidence >= 0) & (confidence <= 1)).all()  # a NaN would fail
    for name, value in sums.items():
        np.testing.assert_allclose(getattr(judge, name), value, atol=1e-9)


def test_the_default_weights_serve_until_others_have_proved_better():
    judge = fresh()
    assert judge.choice().tolist() == [W0] * 3
    tell_both(judge, 0, (0.3, 0.1, 0.3))
    assert judge.choice().tolist() == [NEAR, W0, W0]


@settings(max_examples=30, derandomize=True)
@given(st.integers(0, 10_000))
def test_a_candidate_that_answers_like_w0_never_serves(seed):
    judge = fresh(margin=0.0, min_events=1.0)
    for range_m, standing, wrong in random_events(seed):
        judge.hear(range_m, standing, wrong[[0, 0, 0]])
    assert judge.choice().tolist() == [W0] * 3


@pytest.mark.parametrize(('gain', 'serves'), [(0.02, W0), (0.04, FAR), (-0.1, W0)])
def test_a_gain_must_pass_the_margin(gain, serves):
    judge = fresh()
    tell_both(judge, 1, (0.3, 0.3, 0.3 - gain))
    assert judge.choice()[1] == serves


def test_the_gain_is_balanced_between_the_families():
    """Better on ground, worse on obstacles by more: no."""
    judge = fresh()
    tell(judge, 0, 0, (0.5, 0.1, 0.5), 10)
    tell(judge, 0, 1, (0.1, 0.55, 0.1), 10)
    assert judge.choice()[0] == W0


def test_a_gain_that_comes_and_goes_must_be_watched_longer():
    """+0.5, -0.3: a mean gain of 0.1, and 0.4 away from it every time."""
    judge, served = fresh(), []
    for _ in range(30):
        tell_both(judge, 1, (0.5, 0.5, 0.0), 1)
        tell_both(judge, 1, (0.5, 0.5, 0.8), 1)
        served.append(int(judge.choice()[1]))
    assert served[:4] == [W0] * 4
    assert served[-1] == FAR
    # by hand: 33 events are remembered at most, 0.1 - 0.4 sqrt(2 / 33) / 2 = 0.051 > 0.03


def test_enough_events_of_both_families_are_needed():
    judge = fresh(min_events=3.0)
    tell(judge, 1, 0, (0.9, 0.9, 0.1), 50)
    assert judge.choice()[1] == W0
    tell(judge, 1, 1, (0.9, 0.9, 0.1), 3)  # remembered as 1 + 0.97 + 0.97^2 = 2.91
    assert judge.choice()[1] == W0
    tell(judge, 1, 1, (0.9, 0.9, 0.1), 1)
    assert judge.choice()[1] != W0


def test_it_takes_five_frames_near_the_robot_to_make_an_event():
    judge, served = fresh(min_events=3.0), []
    for _ in range(40):
        tell_both(judge, 0, (0.9, 0.1, 0.9), 0.2)
        served.append(int(judge.choice()[0]))
    assert served.index(NEAR) == 15  # 0.2 (1 + m + ... + m^15) is the first above 3, m = 0.97^0.2


MORE = MARGIN * (1 + STRANGER)


@pytest.mark.parametrize(('k', 'candidate', 'gain', 'serves'), [
    (0, NEAR, 0.05, True), (0, FAR, 0.05, True),
    (1, NEAR, MORE - 0.02, False), (1, NEAR, MORE + 0.02, True), (1, FAR, 0.05, True),
    (2, NEAR, 0.4, False), (2, FAR, MORE - 0.02, False), (2, FAR, MORE + 0.02, True),
])
def test_strangers_need_more_and_near_weights_never_serve_beyond_30_m(k, candidate, gain, serves):
    judge, rates = fresh(), [0.5, 0.5, 0.5]
    rates[candidate] -= gain
    tell_both(judge, k, rates)
    assert judge.choice()[k] == (candidate if serves else W0)


def test_near_weights_are_strangers_from_12_m_on():
    judge = fresh()
    tell_both(judge, 1, (0.5, 0.3, 0.32))
    assert judge.choice()[1] == FAR


def test_the_middle_range_borrows_nothing():
    """What was proved nearby proves nothing there."""
    judge = fresh()
    tell_both(judge, 0, (0.2, 0.2, 0.1))
    tell(judge, 1, 0, (0.4, 0.4, 0.2), 10)
    assert judge.choice().tolist() == [FAR, W0, W0]
    tell(judge, 1, 1, (0.2, 0.2, 0.1), 10)
    assert judge.choice().tolist() == [FAR, FAR, W0]


def test_the_last_range_borrows_a_family_that_it_misses_from_the_middle_one():
    judge = fresh()
    tell_both(judge, 0, (0.2, 0.2, 0.0))
    tell(judge, 2, 1, (0.5, 0.5, 0.3), 10)  # no ground known there, nor in the middle
    assert judge.choice().tolist() == [FAR, W0, W0]
    tell(judge, 1, 0, (0.4, 0.4, 0.2), 10)
    assert judge.choice().tolist() == [FAR, W0, FAR]  # 0.2 of both
    tell(judge, 1, 0, (0.2, 0.2, 0.9), 30)
    assert judge.choice().tolist() == [FAR, W0, W0]
    nothing = fresh()
    tell_both(nothing, 1, (0.5, 0.5, 0.0))
    assert nothing.choice().tolist() == [W0, FAR, W0]  # one family it must know itself


def test_asking_changes_no_record():
    judge = fresh()
    tell_both(judge, 0, (0.2, 0.2, 0.1))
    tell(judge, 1, 0, (0.4, 0.4, 0.2), 10)
    before = judge.weight.copy(), judge.error.copy(), judge.square.copy()
    judge.confidence(judge.choice())
    for old, new in zip(before, (judge.weight, judge.error, judge.square), strict=True):
        np.testing.assert_array_equal(old, new)


def test_forgetting_a_family_leaves_the_other():
    judge = fresh()
    for k in range(3):
        tell_both(judge, k, (0.5, 0.5, 0.1))
    kept = judge.error[:, 0].copy()
    judge.forget(1)
    assert not judge.weight[:, 1].any()
    assert not judge.error[:, 1].any()
    assert not judge.square[:, 1].any()
    np.testing.assert_array_equal(judge.error[:, 0], kept)
    assert judge.choice().tolist() == [W0] * 3


def test_old_mistakes_are_forgotten():
    judge = fresh()
    tell_both(judge, 0, (0.1, 0.6, 0.1), 50)
    assert judge.choice()[0] == W0
    tell_both(judge, 0, (0.6, 0.1, 0.6), 100)
    assert judge.choice()[0] == NEAR


def test_confidence_by_hand():
    judge = fresh()
    choice = np.array([W0, FAR, FAR])
    assert judge.confidence(choice).tolist() == [1, 1, 1]  # nothing is known: as without learning
    tell_both(judge, 0, (0.35, 0.1, 0.1))
    np.testing.assert_allclose(judge.confidence(choice), [0.5, 0.5, 0.5])  # like the one before
    tell_both(judge, 1, (0.5, 0.5, 0.29))
    np.testing.assert_allclose(judge.confidence(choice), [0.5, 0.7, 0.7])
    tell_both(judge, 2, (0.1, 0.1, 0.6))
    np.testing.assert_allclose(judge.confidence(choice), [0.5, 0.7, 0.0])
    np.testing.assert_allclose(judge.confidence(np.array([FAR, W0, W0])), [1.0, 0.0, 1.0])
