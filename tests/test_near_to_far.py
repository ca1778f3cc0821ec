# SPDX-License-Identifier: Apache-2.0
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
from scenes import plane
from sights import (
    FRESH,
    GROUND,
    MOUNT,
    PYRAMID,
    SPEC,
    STANDING,
    drive,
    fooled,
    maps_of,
    pose_at,
    right,
    seen,
    sight,
    teacher,
)

from perception.contrast import gather
from perception.errors import NetworkError
from perception.inference import load_network
from perception.judge import CANDIDATES, FAR, NEAR, RANGES_M, W0, range_index
from perception.learning_config import NearToFarConfig
from perception.lesson import Samples, Sight, counted, counted_wrong, family_targets, some
from perception.near_to_far import MAX_NEW, NearToFar
from perception.online_softmax import FAMILIES
from perception.pipeline import window_probabilities
from perception.places import BUMPED, DRIVEN, SEEN_GROUND, SEEN_OBSTACLE
from perception.pyramid import build_pyramid
from perception.supervisor import WindowLabels, soft_targets
from perception.types import FOOTLINE, SUPER_GROUND, UNLABELED, PlaneEstimate

NETWORK = load_network('lagr2008')
LOST = PlaneEstimate(GROUND, 'held', 0.0, GROUND.height_m)
QUICK = NearToFarConfig(batch=64)
BLIND = {'labels': None, 'points': None, 'grid': None}  # nothing to teach
RANGE_M = sight(seen(fooled)).range_m
VALID = PYRAMID.windows.valid


def fresh(config=QUICK, **changes):
    return NearToFar(config.model_copy(update=changes), SPEC)


def state(learner):
    """All that was learned, as arrays."""
    parts = [*learner.tables, learner.judge.weight, learner.judge.error, learner.judge.square,
             np.array([*learner.taught, learner.near.steps, learner.far.steps])]
    for head in (learner.near, learner.far):
        for ring in head.rings:
            parts += [ring.features[:ring.count], ring.target[:ring.count]]
    return parts


def assert_same(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a, b)


def wrong_share(probabilities, k):
    """Of the windows in a range, those whose family is not what stands there; balanced."""
    mine = VALID & (range_index(RANGE_M) == k) & (PYRAMID.windows.distance < 60)
    wrong = (probabilities.argmax(1) >= FOOTLINE) != STANDING
    return np.mean([wrong[mine & (standing == STANDING)].mean() for standing in (False, True)])


def only(standing):
    """The teacher's labels, of one family alone."""
    label = teacher()[2].label
    keep = (label != UNLABELED) & ((label >= FOOTLINE) == standing)
    label = np.where(keep, label, UNLABELED).astype(np.uint8)
    return WindowLabels(label, soft_targets(label, 0.9))


@pytest.fixture(scope='module')
def driven():
    """A learner after 45 frames along the wall in which W0 is fooled, and its lessons."""
    learner = fresh(NearToFarConfig())
    return learner, drive(learner, fooled, 45)


@pytest.fixture
def learned(driven):
    """The same, to go on with."""
    return deepcopy(driven[0])


def test_near_errors_fall_within_a_few_frames(driven):
    lessons = driven[1]
    before = [lesson.wrong_before[:, 0].sum(1) / lesson.count[0].sum() for lesson in lessons]
    assert before[0][[W0, NEAR, FAR]].tolist() == [0.5] * 3  # all obstacles, half of the labels
    assert max(errors[NEAR] for errors in before[4:]) < 0.05
    assert min(errors[W0] for errors in before) >= 0.5 - 1e-9
    after = lessons[0].wrong_after[NEAR, 0].sum() / lessons[0].count[0].sum()
    assert after < before[0][NEAR]
    assert [lesson.in_use[0] for lesson in lessons[:3]] == ['w0'] * 3  # nothing proved yet
    assert {lesson.in_use[0] for lesson in lessons[25:]} <= {'near', 'far'}


def test_far_weights_serve_only_after_proof(driven):
    learner, lessons = driven
    first = next(k for k, lesson in enumerate(lessons) if sum(lesson.hindsight))
    assert first >= 14  # nobody looks back before 10 m
    assert all(lesson.in_use[1:] == ('w0', 'w0') for lesson in lessons[:first])
    assert not any(lesson.count[1:].any() for lesson in lessons[:first])
    assert lessons[-1].in_use[1] != 'w0'
    assert learner.judge.weight[1].min() >= learner.config.min_events
    assert learner.far.steps > 0


def test_learning_mends_what_w0_gets_wrong(driven):
    learner, now = driven[0], sight(seen(fooled, 4))
    ours, default = learner.classify(now), window_probabilities(now.maps, PYRAMID, NETWORK)
    for k in (0, 1):
        assert wrong_share(default, k) == 0.5
        assert wrong_share(ours, k) < 0.02
    np.testing.assert_allclose(ours.sum(1), 1, atol=1e-5)


def test_lessons_count_what_came_in(driven):
    for lesson in driven[1]:
        assert lesson.count.sum() == sum(lesson.new) + sum(lesson.hindsight)
        assert max(*lesson.new, *lesson.hindsight) <= MAX_NEW
        assert (lesson.wrong_before <= lesson.count).all()
        assert (lesson.wrong_after <= lesson.count).all()
        assert all(0 <= part <= 1 for part in lesson.confidence)
        assert set(lesson.in_use) <= set(CANDIDATES)


def test_the_classifier_is_its_naive_twin(driven):
    """Every window by the weights of its range, from its own features."""
    learner, now = driven[0], sight(seen(fooled, 4))
    x = gather(now.maps, PYRAMID, SPEC.receptive)
    choice = np.array([NEAR, W0, FAR])
    ours = learner.classified(now, choice)
    assert ours.dtype == np.float32
    for i in range(0, len(x), 61):
        k = sum(RANGE_M[i] >= begin for begin in RANGES_M) - 1
        table = learner.tables[choice[k]].astype(float)
        z = np.exp(table[:, :-1] @ x[i] + table[:, -1])
        np.testing.assert_allclose(ours[i], z / z.sum(), atol=1e-4)


def test_labels_that_agree_with_w0_never_change_what_is_served():
    learner = fresh()
    for k in range(40):
        now = sight(seen(right, k % 3), 0.7 * k)
        lesson = learner.learn(now)
        assert lesson.in_use == ('w0', 'w0', 'w0'), k
        if k % 8 == 7:
            np.testing.assert_array_equal(learner.classify(now),
                                          window_probabilities(now.maps, PYRAMID, NETWORK))
    assert learner.near.steps == 40
    assert learner.far.steps > 10


def test_without_do_no_harm_what_was_trained_serves():
    learner = fresh(do_no_harm=False)
    assert learner.serving().tolist() == [NEAR, NEAR, NEAR]
    learner.far.steps = 1
    assert learner.serving().tolist() == [NEAR, FAR, FAR]


def test_the_same_drive_gives_the_same_bits():
    one, two = fresh(), fresh()
    first, second = drive(one, fooled, 18), drive(two, fooled, 18)
    assert_same(state(one), state(two))
    now = sight(seen(fooled, 4))
    np.testing.assert_array_equal(one.classify(now), two.classify(now))
    assert [a.in_use for a in first] == [b.in_use for b in second]
    assert_same([a.wrong_after for a in first], [b.wrong_after for b in second])


def test_reset_is_fresh(learned):
    learned.reset()
    assert_same(state(learned), state(fresh(NearToFarConfig())))
    assert not learned.memory.views
    other = fresh(NearToFarConfig())
    drive(learned, fooled, 16)
    drive(other, fooled, 16)
    assert_same(state(learned), state(other))


def test_frozen_serves_what_was_learned_and_learns_nothing(learned):
    before, now = deepcopy(state(learned)), sight(seen(fooled, 4), 31.5)
    served = learned.classify(now)
    views = len(learned.memory.views)
    learned.reconfigured(learned.config.model_copy(update={'frozen': True}))
    for lesson in drive(learned, right, 10, first=45):
        assert (lesson.new, lesson.hindsight, lesson.count.sum()) == ((0, 0), (0, 0), 0)
        assert lesson.in_use[0] != 'w0'
    assert_same(before, state(learned))
    assert len(learned.memory.views) == views
    np.testing.assert_array_equal(learned.classify(now), served)


def test_losing_track_forgets_places_and_keeps_what_was_learned(learned):
    before = deepcopy(state(learned))
    assert learned.memory.views
    assert learned.memory.places
    learned.lose_track()
    assert not learned.memory.views
    assert not learned.memory.places
    assert_same(before, state(learned))


def test_a_pose_that_jumps_forgets_places_and_keeps_what_was_learned(learned):
    in_use = [CANDIDATES[k] for k in learned.serving()]
    lesson = learned.learn(sight(seen(fooled), 31.5 + 50))
    assert learned.memory.jumps == 1
    assert len(learned.memory.views) == 1  # this frame
    assert lesson.hindsight == (0, 0)
    assert list(lesson.in_use) == in_use
    assert not any(DRIVEN in places.kind for places in learned.memory.places)  # no track across
    assert all(not sum(lesson.hindsight) for lesson in drive(learned, fooled, 5, first=118))


@pytest.mark.parametrize('standing', FAMILIES)
def test_labels_of_one_family_alone_leave_the_other_alive(standing):
    learner = fresh()
    clear = sight(seen(right))
    for k in range(120):
        lesson = learner.learn(sight(seen(right, k % 3), labels=only(standing)))
        assert lesson.new[1 - standing] == 0
    assert learner.taught == [standing == 0, standing == 1]
    for choice in (learner.serving(), np.array([NEAR] * 3)):
        probabilities = learner.classified(clear, choice)
        assert np.isfinite(probabilities).all()
        assert wrong_share(probabilities, 0) < 0.02
        assert wrong_share(probabilities, 1) < 0.02
    assert all(np.isfinite(table).all() for table in learner.tables)


def test_rehearsal_ends_when_somebody_teaches():
    learner = fresh()
    for _ in range(5):
        learner.learn(sight(seen(right), labels=only(0)))
    assert 0 < learner.near.rings[1].count <= 100  # W0's own answers
    assert learner.far.rings[1].count > 0
    learner.learn(sight(seen(right)))
    assert learner.near.rings[1].count == MAX_NEW  # the teacher's alone
    assert learner.far.rings[1].count == 0
    assert learner.judge.weight[0, 1] <= 1  # what W0 said of itself is no proof


@pytest.mark.parametrize('name', ['default', 'lagr2008'])
def test_without_labels_it_is_exactly_w0(name):
    network = load_network(name)
    spec = network.spec
    pyramid = build_pyramid(plane(), row_stride=spec.row_stride)
    learner = NearToFar(QUICK, spec)
    for seed in range(3):
        rng = np.random.default_rng(seed)
        rows = rng.normal(0, 1, (len(pyramid.windows.band), spec.features)).astype(np.float32)
        maps = maps_of(rows, pyramid, spec.receptive)
        now = Sight(pyramid, maps, FRESH, odom_from_camera=pose_at(seed) @ MOUNT,
                    odom_from_base=pose_at(seed))
        lesson = learner.learn(now)
        assert lesson.count.sum() == 0
        assert lesson.in_use == ('w0', 'w0', 'w0')
        assert lesson.confidence == (1, 1, 1)
        np.testing.assert_array_equal(learner.classify(now),
                                      window_probabilities(maps, pyramid, network))


def test_a_teacher_that_is_switched_off_teaches_nothing():
    learner = fresh(teach_stereo=False)
    assert not any(lesson.count.any() for lesson in drive(learner, fooled, 3))
    kinds = np.concatenate([places.kind for places in learner.memory.places])
    assert set(kinds.tolist()) == {DRIVEN}


def test_features_that_are_not_finite_are_rejected_and_refused():
    learner, rows = fresh(), fooled().copy()
    label = teacher()[2].label
    bad = np.flatnonzero((label != UNLABELED) & VALID)[::2]
    rows[bad, 7] = np.nan
    rows[bad[::3], 9] = np.inf
    now = sight(maps_of(rows), 0.0)
    lesson = learner.learn(now)
    assert learner.rejected > 50
    assert learner.rejected + sum(lesson.new) == 2 * MAX_NEW
    assert all(np.isfinite(part).all() for part in state(learner))
    with pytest.raises(NetworkError, match=r'lagr2008: features are not finite; restore'):
        learner.classify(now)
    assert learner.classify(sight(seen(fooled))).shape == (len(label), 5)  # the next one is fine


def test_a_view_with_broken_features_teaches_nothing_in_hindsight():
    learner, broken = fresh(), np.full_like(fooled(), np.nan)
    learner.learn(sight(maps_of(broken), 0.0, labels=None))
    lessons = drive(learner, fooled, 20, first=1)
    assert learner.rejected > 0
    assert sum(sum(lesson.hindsight) for lesson in lessons[:15]) == 0
    assert all(np.isfinite(part).all() for part in state(learner))


def test_while_the_plane_is_lost_nothing_changes():
    learner = fresh()
    before = deepcopy(state(learner))
    lessons = drive(learner, fooled, 100, plane=LOST, labels=None)
    assert_same(before, state(learner))
    assert not learner.memory.views
    assert len(learner.memory.places) <= 1
    assert {lesson.in_use for lesson in lessons} == {('w0', 'w0', 'w0')}


def test_a_learner_that_loses_the_plane_serves_as_before(learned):
    in_use, errors = learned.serving(), learned.judge.errors
    for k in range(60):
        lesson = learned.learn(sight(seen(fooled, k % 3), plane=LOST, **BLIND))
        assert lesson.count.sum() == 0
    np.testing.assert_array_equal(learned.serving(), in_use)
    np.testing.assert_array_equal(learned.judge.errors, errors)
    assert wrong_share(learned.classify(sight(seen(fooled, 4))), 0) < 0.02


def test_without_odometry_it_learns_what_is_near():
    learner = fresh()
    for k in range(25):
        now = sight(seen(fooled, k % 3))
        lesson = learner.learn(now)
    assert lesson.in_use == ('near', 'w0', 'w0')
    assert not learner.memory.views
    assert not learner.memory.places
    assert learner.far.steps == 0
    ours, default = learner.classify(now), window_probabilities(now.maps, PYRAMID, NETWORK)
    assert wrong_share(ours, 0) < 0.02
    far = range_index(RANGE_M) > 0
    np.testing.assert_allclose(ours[far], default[far], atol=1e-5)


def test_losing_odometry_on_the_way_forgets_the_way(learned):
    learned.learn(sight(seen(fooled)))
    assert not learned.memory.views
    lesson = learned.learn(sight(seen(fooled), 500.0))  # no jump: nobody knew where it was
    assert learned.memory.jumps == 0
    assert lesson.in_use[0] == 'near'


def test_hindsight_teaches_the_far_weights_only_where_it_may(driven):
    learner = fresh(propagation=False)
    lessons = drive(learner, fooled, 24)
    assert any(sum(lesson.hindsight) for lesson in lessons)
    assert learner.far.steps == 0
    np.testing.assert_array_equal(learner.far.table, learner.default)
    assert driven[0].far.steps > 0


def test_a_bump_is_remembered_where_it_happened():
    for teach in (True, False):
        learner = fresh(teach_bumper=teach)
        drive(learner, fooled, 2)
        learner.learn(sight(seen(fooled), 0.8, bumped=True))
        places = learner.memory.places[-1]
        bumps = places.xyz[places.kind == BUMPED]
        assert len(bumps) == (28 if teach else 0)
        if teach:
            np.testing.assert_allclose(bumps[:, 0], 0.8 + 0.4, atol=1e-6)


def test_places_are_of_the_robot_and_of_what_it_sees():
    learner = fresh()
    drive(learner, fooled, 12)
    places = list(learner.memory.places)
    kind, xyz = (np.concatenate([getattr(p, name) for p in places]) for name in ('kind', 'xyz'))
    track = xyz[kind == DRIVEN]
    assert np.abs(track[:, 1]).max() == pytest.approx(0.3, abs=1e-6)
    assert track[:, 0].min() > 0
    assert 6.5 < track[:, 0].max() <= 7.7
    wall = xyz[kind == SEEN_OBSTACLE]
    np.testing.assert_allclose(wall[:, 1], -2, atol=0.02)
    assert xyz[kind == SEEN_GROUND][:, 1].min() > -2.01


def test_other_settings_keep_what_was_learned(learned):
    before = deepcopy(state(learned))
    config = NearToFarConfig(margin=0.4, min_events=7.0, views=3, jump_m=1.5)
    assert learned.reconfigured(config) is learned
    assert_same(before, state(learned))
    assert (learned.judge.margin, learned.judge.min_events) == (0.4, 7.0)
    assert learned.serving().tolist()[1] == W0  # 0.1 better is not enough any more
    drive(learned, fooled, 4, first=45)
    assert len(learned.memory.views) <= 3


def test_family_targets_by_hand():
    q = np.array([[0.1, 0.3, 0.2, 0.1, 0.3], [0.5, 0.3, 0.1, 0.1, 0.0], [1.0, 0, 0, 0, 0]])
    target = family_targets(q, np.array([0, 1, 0]), np.array([0.9, 0.8, 0.75]))
    np.testing.assert_allclose(target, [[0.225, 0.675, 0.1 / 3, 0.05 / 3, 0.05],
                                        [0.125, 0.075, 0.4, 0.4, 0], [0.75, 0, 0, 0, 0]],
                               atol=1e-6)
    assert target.dtype == np.float32


def test_counts_by_hand():
    part = Samples(np.zeros((4, 3)), np.zeros((4, 5)), np.array([0, 1, 1, 0]),
                   np.array([3.0, 13, np.inf, 11.9]), np.array([True, False, True, True]))
    assert counted([part, some(part, part.proof)]).tolist() == [[4, 0], [0, 1], [0, 2]]
    wrong = np.array([[1.0, 1, 0, 1], [0, 0, 0, 0], [0, 0, 1, 0]])
    tally = counted_wrong([part], [wrong])
    assert tally.tolist() == [[[2, 0], [0, 1], [0, 0]], [[0, 0]] * 3, [[0, 0], [0, 0], [0, 1]]]
    assert counted([]).shape == (3, 2)


def random_sight(rng):
    """Anything finite that may come; the pose wanders, jumps, or is missing."""
    count = len(STANDING)
    rows = rng.standard_normal((count, SPEC.features), np.float32) + rng.normal()
    rows *= 10 ** rng.uniform(-3, 3.5)
    label = rng.choice(np.array([0, 1, 2, 3, 4, UNLABELED], np.uint8), count)
    label[rng.random(count) < rng.random()] = rng.choice([SUPER_GROUND, UNLABELED])
    labels = WindowLabels(label, soft_targets(label, 0.9))
    changes = {'bumped': rng.random() < 0.2, 'labels': labels}
    if rng.random() < 0.2:
        changes |= {'plane': LOST, 'labels': None}
    if rng.random() < 0.1:
        changes |= BLIND
    if rng.random() < 0.9:
        base = pose_at(*rng.normal(0, 2, 2), rng.uniform(-3, 3))
        base[:2, 3] += 1e4 * (rng.random() < 0.05)
        changes |= {'odom_from_base': base, 'odom_from_camera': base @ MOUNT}
    return replace(sight(maps_of(rows)), **changes)


@pytest.mark.parametrize('seed', [0, 1])
def test_whatever_comes_it_answers_with_probabilities(seed):
    rng = np.random.default_rng(seed)
    learner = fresh(jump_m=20.0, do_no_harm=bool(seed), min_events=1.0, rate=0.2, far_rate=0.2)
    for _ in range(14):
        now = random_sight(rng)
        lesson = learner.learn(now)
        for choice in (learner.serving(), np.array([NEAR, FAR, W0])):
            probabilities = learner.classified(now, choice)
            assert np.isfinite(probabilities).all()
            np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-4)
        assert np.isfinite(lesson.confidence).all()
    assert all(np.isfinite(part).all() for part in state(learner))
    assert learner.rejected == 0
