# SPDX-License-Identifier: Apache-2.0
"""Pairs of two live streams: at once, within the tolerance, and over the end of a bag."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from perception.live_match import BACKWARD_NS, LiveMatcher, Match

MS = 1_000_000
SECOND = 1000 * MS
FIRST, SECOND_STREAM = False, True


def name(second, stamp_ms):
    return f'{"right" if second else "left"} {stamp_ms}'.encode()


def feed(matcher, *messages):
    """Stamps [ms] of the pairs that messages (stream, stamp [ms]) complete, in order."""
    pairs = []
    for second, stamp_ms in messages:
        match = matcher.add(stamp_ms * MS, name(second, stamp_ms), second=second)
        if match is not None:
            left, right = (int(data.split()[1]) for data in (match.first, match.second))
            assert match.first.startswith(b'left')
            assert match.second.startswith(b'right')
            assert match.stamp_ns == left * MS  # the stamp is that of the first camera
            pairs.append((left, right))
    return pairs


def left(*stamps_ms):
    return [(FIRST, stamp) for stamp in stamps_ms]


def right(*stamps_ms):
    return [(SECOND_STREAM, stamp) for stamp in stamps_ms]


@pytest.mark.parametrize('order', [[FIRST, SECOND_STREAM], [SECOND_STREAM, FIRST]])
def test_equal_stamps_pair_with_the_second_half(order):
    matcher = LiveMatcher(0.0, paired=True)
    assert matcher.add(7, name(order[0], 7), second=order[0]) is None
    assert matcher.add(7, name(order[1], 7), second=order[1]) == Match(7, b'left 7', b'right 7')
    assert (matcher.nearest_ns, matcher.unmatched, matcher.late, matcher.jumps) == (0, 0, 0, 0)


@pytest.mark.parametrize(('shift_ms', 'pairs'), [
    (20, [(100, 120)]), (-20, [(100, 80)]), (21, []), (-21, []),
])
def test_tolerance_by_hand(shift_ms, pairs):
    matcher = LiveMatcher(0.02, paired=True)
    assert feed(matcher, *left(100), *right(100 + shift_ms)) == pairs
    assert matcher.nearest_ns == abs(shift_ms) * MS


def test_the_nearest_one_that_waits_is_taken():
    matcher = LiveMatcher(0.05, paired=True)
    assert feed(matcher, *right(70, 90, 140), *left(100)) == [(100, 90)]
    assert matcher.nearest_ns == 10 * MS
    assert feed(matcher, *left(200), *right(160, 190)) == [(200, 160)]  # at once, not the best


def test_smallest_distance_met_is_remembered_also_when_it_is_zero():
    matcher = LiveMatcher(0.02, paired=True)
    assert matcher.nearest_ns is None
    feed(matcher, *left(0), *right(15))
    assert matcher.nearest_ns == 15 * MS
    feed(matcher, *left(100), *right(100), *left(200), *right(215))
    assert matcher.nearest_ns == 0


def test_the_newest_pair_wins_and_what_it_overtakes_is_counted():
    matcher = LiveMatcher(0.02, paired=True)
    assert feed(matcher, *left(0, 100, 200, 300), *right(200)) == [(200, 200)]
    assert matcher.unmatched == 2  # 0 and 100; 300 still waits
    assert feed(matcher, *right(300)) == [(300, 300)]
    assert feed(matcher, *right(400, 500), *left(500)) == [(500, 500)]
    assert matcher.unmatched == 2  # right images without a left one are no frames lost
    assert feed(matcher, *left(600), *right(590)) == [(600, 590)]


def test_few_messages_are_kept_and_the_lost_ones_counted():
    matcher = LiveMatcher(0.02, paired=True)
    feed(matcher, *left(*range(0, 1100, 100)))
    assert matcher.unmatched == 3  # eight of eleven wait
    assert feed(matcher, *right(0, 100, 200)) == []
    assert feed(matcher, *right(300)) == [(300, 300)]
    assert matcher.unmatched == 3
    feed(matcher, *right(*range(1200, 2400, 100)))
    assert matcher.unmatched == 3  # frames are counted by their first image


def test_repeats_and_late_messages_are_dropped():
    matcher = LiveMatcher(0.02, paired=True)
    assert feed(matcher, *left(100, 100, 50), *right(100, 100)) == [(100, 100)]
    assert matcher.late == 3
    edge = LiveMatcher(0.02, paired=True)
    edge.add(BACKWARD_NS, b'')
    edge.add(0, b'')
    assert (edge.late, edge.jumps) == (1, 0)  # just far enough to be late
    edge.add(BACKWARD_NS + 1, b'')
    edge.add(0, b'')
    assert (edge.late, edge.jumps) == (1, 1)


def test_single_camera_gives_every_rising_message():
    matcher = LiveMatcher(0.02, paired=False)
    matches = [matcher.add(stamp * MS, name(FIRST, stamp)) for stamp in (0, 100, 100, 900, 0, 50)]
    assert matches == [Match(0, b'left 0'), Match(100 * MS, b'left 100'), None,
                       Match(900 * MS, b'left 900'), Match(0, b'left 0'),
                       Match(50 * MS, b'left 50')]
    assert (matcher.late, matcher.jumps, matcher.unmatched) == (1, 1, 0)


ROUND = list(range(0, 1600, 100))


@st.composite
def deliveries(draw, most_lag=6):
    """Two rounds of a bag on two streams, each in order, one at most some frames ahead."""
    queues = dict.fromkeys((FIRST, SECOND_STREAM), ROUND * 2)
    at, messages = {FIRST: 0, SECOND_STREAM: 0}, []
    while any(at[second] < len(queues[second]) for second in queues):
        free = [second for second in queues if at[second] < len(queues[second])
                and at[second] - at[not second] < most_lag]
        second = draw(st.sampled_from(free))
        messages.append((second, queues[second][at[second]]))
        at[second] += 1
    return messages


@given(deliveries())
@example([m for stamp in ROUND for m in (*left(stamp), *right(stamp))]
         + [m for stamp in ROUND for m in (*right(stamp), *left(stamp))])
def test_bag_that_begins_again_is_one_jump_and_loses_no_new_pair(messages):
    matcher = LiveMatcher(0.02, paired=True)
    pairs = feed(matcher, *messages)
    assert matcher.jumps == 1
    assert pairs[-len(ROUND):] == [(stamp, stamp) for stamp in ROUND]
    assert matcher.late == 0


@pytest.mark.parametrize('ahead', [FIRST, SECOND_STREAM])
def test_one_stream_begins_again_long_before_the_other_ends(ahead):
    """Old messages of the slow stream still come while the quick one has run 0.7 s ahead."""
    matcher = LiveMatcher(0.02, paired=True)
    behind = not ahead
    feed(matcher, *[m for t in (0, 100, 200) for m in ((ahead, t), (behind, t))],
         *[(ahead, t) for t in range(300, 2000, 100)],
         *[(behind, t) for t in range(1300, 1900, 100)])
    assert feed(matcher, *[(ahead, t) for t in range(0, 800, 100)], (behind, 1900)) == []
    assert matcher.jumps == 1
    late = feed(matcher, *[(behind, t) for t in range(0, 800, 100)])
    assert late == [(t, t) for t in range(0, 800, 100)]
    assert matcher.jumps == 1


@pytest.mark.parametrize('alive', [FIRST, SECOND_STREAM])
def test_camera_that_died_early_does_not_hide_the_jump(alive):
    matcher = LiveMatcher(0.02, paired=True)
    dead = not alive
    for jumps in (0, 1, 2):
        pairs = feed(matcher, (alive, 0), (dead, 0), (alive, 100), (dead, 100),
                     *[(alive, t) for t in range(200, 3000, 100)])
        assert pairs == [(0, 0), (100, 100)]
        assert matcher.jumps == jumps


@pytest.mark.parametrize('ahead', [FIRST, SECOND_STREAM])
def test_what_waits_is_of_the_old_round_and_never_used(ahead):
    matcher = LiveMatcher(0.02, paired=True)
    feed(matcher, (not ahead, 1000), (ahead, 1100), (ahead, 0))
    assert matcher.jumps == 1
    assert feed(matcher, (ahead, 1000), (ahead, 1100), (not ahead, 0)) == [(0, 0)]
    assert feed(matcher, (not ahead, 1000)) == [(1000, 1000)]


def test_rounds_without_any_pair_count_too():
    """Stamps 50 ms apart never match; who follows a jump is known all the same."""
    matcher = LiveMatcher(0.02, paired=True)
    feed(matcher, *left(0, 1000), *right(50, 950))
    feed(matcher, *left(0), *right(1050), *right(50), *left(1000), *right(1050))
    assert matcher.jumps == 1
    feed(matcher, *right(50))
    assert matcher.jumps == 2  # at once
    feed(matcher, *left(0), *right(1050), *left(1000))
    assert matcher.jumps == 2
    assert matcher.unmatched == 0  # none was overtaken: they went with their round


@pytest.mark.parametrize('first', [FIRST, SECOND_STREAM])
def test_every_round_counts_whoever_is_ahead(first):
    matcher = LiveMatcher(0.02, paired=True)
    for jumps in range(4):
        lead = first ^ (jumps % 2 == 0)
        pairs = feed(matcher, *[m for t in ROUND for m in ((lead, t), (not lead, t))])
        assert pairs == [(t, t) for t in ROUND]
        assert matcher.jumps == jumps


def naive_pairs(messages, tolerance_ms):
    """All that was not yet used waits; the nearest within the tolerance is taken."""
    waiting, pairs = {FIRST: [], SECOND_STREAM: []}, []
    for second, stamp in messages:
        others = sorted(waiting[not second], key=lambda other: (abs(other - stamp), other))
        if others and abs(others[0] - stamp) <= tolerance_ms:
            pair = (others[0], stamp) if second else (stamp, others[0])
            pairs.append(pair)
            waiting = {side: [t for t in kept if t > max(pair)] for side, kept in waiting.items()}
        else:
            waiting[second] = (waiting[second] + [stamp])[-8:]
    return pairs


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 90)), max_size=60), st.integers(0, 60))
def test_same_pairs_as_the_naive_twin(steps, tolerance_ms):
    clock, messages = {FIRST: 0, SECOND_STREAM: 0}, []
    for second, step in steps:
        clock[second] += step
        messages.append((second, clock[second]))
    matcher = LiveMatcher(tolerance_ms / 1000, paired=True)
    pairs = feed(matcher, *messages)
    assert pairs == naive_pairs(messages, tolerance_ms)
    assert matcher.jumps == 0
    assert pairs == sorted(set(pairs))  # stamps rise, and no message serves twice
    for index in (0, 1):
        assert len({pair[index] for pair in pairs}) == len(pairs)
    firsts = sum(not second for second, _ in messages)
    assert len(pairs) + matcher.unmatched <= firsts <= len(pairs) + matcher.unmatched + 8


def test_counts_go_on_where_inputs_are_chosen_anew():
    old = LiveMatcher(0.02, paired=False)
    for stamp in (5_000_000_000, 5_000_000_000, 1_000_000_000):
        old.add(stamp, b'')
    assert (old.late, old.jumps) == (1, 1)
    new = LiveMatcher(0.02, paired=True, before=old)
    assert (new.late, new.jumps, new.unmatched) == (1, 1, 0)
    assert new.add(500_000_000, b'') is None  # older than all before, but nothing has jumped
    assert new.jumps == 1
