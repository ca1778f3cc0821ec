# SPDX-License-Identifier: Apache-2.0
"""Rates, faults and stage times on a clock that the tests hand in."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perception.monitor import LOG_EVERY_S, SAMPLES, WINDOW_S, Faults, RateMeter, StageTimes


def meter(*arrivals_s):
    rate = RateMeter()
    for now_s in arrivals_s:
        rate.tick(now_s)
    return rate


def test_rate_and_age_by_hand():
    rate = meter(100.0, 100.5, 101.0, 102.0)
    assert rate.rate_hz(102.0) == 1.5  # three intervals in two seconds
    assert rate.age_s(104.25) == 2.25
    assert rate.rate_hz(105.6) == pytest.approx(1 / 4.6)  # 101 and 102 are left, then silence
    assert rate.rate_hz(102.0 + WINDOW_S) == 0.0  # one alone has no rate
    assert rate.count == 4


def test_nothing_came_yet():
    rate = RateMeter()
    assert (rate.count, rate.rate_hz(), rate.age_s()) == (0, 0.0, None)


def test_two_in_one_instant_divide_by_nothing():
    assert np.isfinite(meter(3.0, 3.0).rate_hz(3.0))


def test_own_clock_runs_forward():
    rate = RateMeter()
    rate.tick()
    rate.tick()
    assert rate.age_s() >= 0
    assert rate.rate_hz() > 0


@given(st.floats(0.5, 400.0), st.floats(0.0, 1e6), st.integers(2, 2500))
def test_steady_arrivals_give_their_rate(hz, start_s, count):
    """Also with more arrivals than are kept; a rate is that of the newest ones."""
    arrivals = start_s + np.arange(count) / hz
    rate = meter(*arrivals.tolist())
    assert rate.rate_hz(float(arrivals[-1])) == pytest.approx(hz, rel=1e-3)
    assert rate.count == count


def test_a_fault_is_logged_at_once_and_then_now_and_then():
    faults = Faults()
    logged = [now for now in np.arange(0.0, 11.0, 0.25) if faults.add('pose', 'none', float(now))]
    assert logged == [0.0, LOG_EVERY_S, 2 * LOG_EVERY_S]
    assert faults.counts == {'pose': 44}


def test_new_words_are_logged_after_a_short_while():
    faults = Faults()
    assert faults.add('image', 'too small', 10.0)
    assert not faults.add('image', 'too large', 10.5)  # within a second of the last
    assert faults.add('image', 'too large', 11.5)  # and they were not said yet
    assert not faults.add('image', 'too large', 12.5)
    assert faults.add('image', 'too small', 12.6)


def test_words_that_alternate_do_not_flood():
    faults = Faults()
    logged = sum(faults.add('image', f'from {index % 2}', index / 10) for index in range(100))
    assert logged <= 11


def test_a_trouble_that_comes_and_goes_does_not_flood():
    faults, logged = Faults(), 0
    for index in range(100):  # ten seconds
        if index % 2:
            faults.clear('plane')
        else:
            logged += faults.add('plane', 'no ground', index / 10)
    assert logged == 2


def test_kinds_do_not_hide_each_other():
    faults = Faults()
    assert faults.add('pose', 'none', 1.0)
    assert faults.add('image', 'black', 1.1)
    assert faults.recent('pose', 'image', now_s=2.0) == 'black'
    assert faults.recent('pose', now_s=2.0) == 'none'
    assert faults.recent('network', now_s=2.0) == ''


def test_recent_forgets_and_clear_ends():
    faults = Faults()
    faults.add('pose', 'none', 1.0)
    faults.add('pose', 'late', 2.0)
    assert faults.recent('pose', now_s=2.0 + WINDOW_S) == 'late'  # newest words, logged or not
    assert faults.recent('pose', now_s=2.01 + WINDOW_S) == ''
    faults.add('pose', 'late', 20.0)
    faults.clear('pose')
    faults.clear('never heard of')
    assert faults.recent('pose', now_s=20.0) == ''
    assert faults.counts['pose'] == 3


def test_own_clock_of_faults():
    faults = Faults()
    assert faults.add('pose', 'none')
    assert not faults.add('pose', 'none')
    assert faults.recent('pose') == 'none'


@given(st.lists(st.tuples(st.sampled_from('ab'), st.sampled_from('xy'), st.floats(0, 2.0)),
                max_size=50))
def test_log_lines_keep_their_distance(events):
    faults, now, lines = Faults(), 0.0, {'a': [], 'b': []}
    for kind, text, step in events:
        now += step
        if faults.add(kind, text, now):
            lines[kind].append((now, text))
    assert sum(faults.counts.values()) == len(events)
    for said in lines.values():
        for (before_s, before), (after_s, after) in zip(said, said[1:]):
            assert after_s - before_s >= (LOG_EVERY_S if before == after else LOG_EVERY_S / 5)


def test_stage_times_by_hand():
    times = StageTimes()
    for plane, stereo in ((1.0, 10.0), (2.0, 30.0), (6.0, 20.0)):
        times.add({'plane': plane, 'stereo': stereo})
    table = times.table()
    assert table['plane'] == pytest.approx((2.0, 5.92))  # 2 + 0.98 * (6 - 2)
    assert table['stereo'] == pytest.approx((20.0, 29.8))
    assert table['total'] == pytest.approx((26.0, 31.88))  # of 11, 32 and 26


def test_stages_that_ran_less_often_and_old_samples():
    times = StageTimes()
    times.add({'map': 1e6})
    for _ in range(SAMPLES):
        times.add({'plane': 3.0})
    table = times.table()
    assert table['map'] == (1e6, 1e6)
    assert table['plane'] == table['total'] == (3.0, 3.0)  # the first total is forgotten
    assert StageTimes().table() == {}
