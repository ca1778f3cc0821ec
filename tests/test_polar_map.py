# SPDX-License-Identifier: Apache-2.0
"""Geometry and laws of the hyperbolic-polar map (A7, G5)."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perception.config import MapConfig, load_config
from perception.errors import ConfigError
from perception.polar_geometry import (
    cell_centres,
    cell_radii,
    hyperbolic_start,
    infinity_index,
    planning_cells,
    planning_shape,
    polar_from_xy,
    xy_from_polar,
)
from perception.polar_map import MapState, PolarMap
from perception.types import Evidence, Float

CONFIG = MapConfig()
OTHER = MapConfig(cell_m=0.3, constant_cells=36, hyperbolic_cells=30, angular_cells=90,
                  camera_height_m=1.4, image_height_m=1.1, max_radius_m=60.0)
SEEDS = st.integers(0, 2**32 - 1)


def evidence(rng: np.random.Generator, count: int = 40, spread: float = 30.0) -> Evidence:
    points = rng.normal(0, spread, (count, 3)) + [0.7, -3.1, 0.2]
    return Evidence(points, rng.gamma(0.5, 1.0, (count, 5)).astype(np.float32))


def filled(seed: int, config: MapConfig = CONFIG) -> PolarMap:
    polar_map = PolarMap(config)
    polar_map.add(evidence(np.random.default_rng(seed)))
    return polar_map


def by_cell(state: MapState) -> tuple[Float, ...]:
    order = np.argsort(state.cell)
    return (state.cell[order], state.points_odom[order], state.histogram[order],
            state.counter[order])


def assert_same(a: MapState, b: MapState) -> None:
    assert a.centre_m == b.centre_m
    for left, right in zip(by_cell(a), by_cell(b), strict=True):
        np.testing.assert_array_equal(left, right)


def naive_planning(state: MapState, config: MapConfig) -> Float:
    """One planning cell after the other, from the exact points."""
    rings, angles = planning_shape(config)
    own = np.zeros((rings, angles, 5))
    for point, histogram in zip(state.points_odom, state.histogram, strict=True):
        cell = int(planning_cells(point[:2] - state.centre_m, config))
        own[cell // angles, cell % angles] += histogram
    total = np.zeros_like(own)
    for r in range(rings):
        for t in range(angles):
            for dr in (-1, 0, 1):
                if 0 <= r + dr < rings:
                    total[r, t] += sum(own[r + dr, (t + dt) % angles] for dt in (-1, 0, 1))
    return total


# geometry

def test_constants_of_the_2008_map():
    assert round(hyperbolic_start(CONFIG), 3) == 15.264
    assert round(infinity_index(CONFIG), 2) == 152.32


@pytest.mark.parametrize(('ring', 'radius'), [
    (75, 15.3), (100, 22.6), (120, 36.5), (130, 52.9), (140, 95.8), (145, 161), (148, 273),
    (149, 355), (150, 509),
])
def test_radii_of_rings_as_printed(ring, radius):
    x, y = xy_from_polar(ring, 0.0, CONFIG)
    assert x == pytest.approx(radius, abs=1.0 if radius > 100 else 0.05)
    assert y == 0


def test_asymmetric_points_by_hand():
    r, t = polar_from_xy(np.array([[3.0, -4.0], [-12.0, 0.0], [0.0, 30.528]]), CONFIG)
    # 5 m -> ring 25; 36.87 - 90 degrees -> 340.97; twice R_min -> half way to infinity
    np.testing.assert_allclose(r[:2], [25.0, 60.0])
    assert r[2] == pytest.approx(75 + 75 / 0.97 / 2, abs=1e-3)
    np.testing.assert_allclose(t, [340.966, 200.0, 100.0], atol=1e-3)


def test_gap_before_the_hyperbolic_part_is_the_last_constant_cell():
    r, _ = polar_from_xy(np.array([[14.99, 0], [15.0, 0], [15.263, 0], [15.265, 0]]), CONFIG)
    assert np.floor(r).tolist() == [74, 74, 74, 75]


def test_a_hair_below_the_x_axis_is_a_valid_angle():
    _, t = polar_from_xy(np.array([[5.0, -1e-30], [5.0, 0.0]]), CONFIG)
    assert ((t >= 0) & (t < CONFIG.angular_cells)).all()


@given(st.floats(0.01, 500), st.floats(-np.pi, np.pi), st.sampled_from([CONFIG, OTHER]))
def test_round_trip_from_metres(radius, angle, config):
    gap = config.constant_cells * config.cell_m, hyperbolic_start(config)
    if gap[0] <= radius < gap[1]:
        return
    xy = np.array([radius * np.cos(angle), radius * np.sin(angle)])
    np.testing.assert_allclose(xy_from_polar(*polar_from_xy(xy, config), config), xy, atol=1e-9)


@given(st.floats(0.1, 149.9), st.floats(0, 399.99))
def test_round_trip_from_cells(r, t):
    back = polar_from_xy(xy_from_polar(r, t, CONFIG), CONFIG)
    np.testing.assert_allclose(back, (r, t), atol=1e-7)


@given(st.floats(0.1, 199), st.floats(-10, 10))
def test_radius_alone_sets_the_ring_and_bearing_alone_the_angle(radius, turn):
    angle = 0.3
    near = np.array([radius * np.cos(angle), radius * np.sin(angle)])
    turned = radius * np.array([np.cos(angle + turn), np.sin(angle + turn)])
    (r0, t0), (r1, t1) = polar_from_xy(near, CONFIG), polar_from_xy(turned, CONFIG)
    assert r1 == pytest.approx(r0, abs=1e-9)
    shift = turn * CONFIG.angular_cells / (2 * np.pi)
    assert abs((t1 - t0 - shift + 200) % 400 - 200) < 1e-9


@pytest.mark.parametrize('config', [CONFIG, OTHER])
def test_every_centre_lies_in_its_own_cell(config):
    cell = planning_cells(cell_centres(config), config)
    inside = cell_radii(config) <= config.max_radius_m
    rings, angles = planning_shape(config)
    expected = np.arange(rings * angles).reshape(rings, angles)
    np.testing.assert_array_equal(cell[inside], expected[inside])
    assert (cell[~inside] == -1).all()


def test_infinity_has_no_finite_radius():
    assert np.isinf(xy_from_polar(152.4, 1.0, CONFIG)).all()


def test_a_map_whose_rings_reach_infinity_or_do_not_meet_is_refused():
    with pytest.raises(ConfigError, match='image_height_m must be below'):
        load_config(overrides=['map.image_height_m=1.2'])
    with pytest.raises(ConfigError, match='constant_cells must be 75 to 76'):
        load_config(overrides=['map.constant_cells=90'])


# the map

def test_merge_adds_histograms_and_counters_and_keeps_the_newest_point():
    polar_map = PolarMap(CONFIG)
    points = np.array([[10.01, 0.01, 0.3], [10.02, 0.02, 0.4], [10.03, 0.01, 0.5]])
    polar_map.add(Evidence(points[:2], np.array([[1, 0, 0, 0, 2.0], [0, 3, 0, 0, 0]])))
    polar_map.add(Evidence(points[2:], np.array([[0, 0, 0, 0, 4.0]])))
    state = polar_map.save()
    np.testing.assert_array_equal(state.points_odom, points[2:])
    np.testing.assert_array_equal(state.histogram, [[1, 3, 0, 0, 6]])
    assert state.counter.tolist() == [3]


@given(SEEDS, SEEDS)
def test_merge_is_commutative(one, two):
    a, b = (evidence(np.random.default_rng(s), spread=1.0) for s in (one, two))
    forth, back = PolarMap(CONFIG), PolarMap(CONFIG)
    for part, other in ((a, b), (b, a)):
        forth.add(part)
        back.add(other)
    for k in (0, 3):
        np.testing.assert_array_equal(by_cell(forth.save())[k], by_cell(back.save())[k])
    np.testing.assert_allclose(by_cell(forth.save())[2], by_cell(back.save())[2], rtol=1e-5)


@given(SEEDS)
def test_adding_nothing_changes_nothing(seed):
    polar_map = filled(seed)
    before = polar_map.save()
    polar_map.add(Evidence(np.empty((0, 3)), np.empty((0, 5), np.float32)))
    polar_map.add(Evidence(np.ones((3, 3)), np.zeros((3, 5), np.float32)))
    assert_same(polar_map.save(), before)


@given(SEEDS)
def test_a_pure_rotation_moves_no_point(seed):
    polar_map = filled(seed)
    before = polar_map.save()
    polar_map.move_to(0.0, 0.0)  # a turn on the spot has no other argument to give
    assert_same(polar_map.save(), before)


@given(SEEDS, st.floats(-20, 20), st.floats(-20, 20))
def test_there_and_back_keeps_exact_points(seed, x, y):
    polar_map = PolarMap(CONFIG)
    points = evidence(np.random.default_rng(seed), 12).points_odom
    polar_map.add(Evidence(points, np.ones((12, 5), np.float32)))
    before = polar_map.save()
    polar_map.move_to(x, y)
    moved = polar_map.save()
    polar_map.move_to(0.0, 0.0)
    if len(moved.cell) == len(before.cell):  # nothing merged or left the map on the way
        assert_same(polar_map.save(), before)
    kept = {tuple(p) for p in moved.points_odom}
    assert kept <= {tuple(p) for p in points}
    assert moved.histogram.sum() <= before.histogram.sum()


def test_driving_keeps_points_in_odom_and_drops_what_is_left_behind():
    polar_map = PolarMap(OTHER)
    polar_map.add(Evidence(np.array([[25.0, 4, 0], [-25.0, 4, 0]]), np.ones((2, 5), np.float32)))
    polar_map.move_to(40.1, 0.02)
    assert polar_map.centre_m == pytest.approx((40.2, 0.0))
    np.testing.assert_array_equal(polar_map.save().points_odom, [[25.0, 4, 0]])
    planning = polar_map.planning()
    ring, angle = np.argwhere(planning.touched).mean(0)
    assert ring == planning_cells(np.array([-15.2, 4.0]), OTHER) // 90
    assert angle == planning_cells(np.array([-15.2, 4.0]), OTHER) % 90


@given(SEEDS)
def test_evidence_is_conserved_by_driving(seed):
    polar_map = PolarMap(CONFIG)
    polar_map.add(evidence(np.random.default_rng(seed), 200, spread=5.0))
    total, count = polar_map.save().histogram.sum(0), polar_map.save().counter.sum()
    polar_map.move_to(31.0, -17.0)
    np.testing.assert_allclose(polar_map.save().histogram.sum(0), total, rtol=1e-4)
    assert polar_map.save().counter.sum() == count


def test_moving_fading_and_adding_are_one_pass_with_the_same_result():
    lazy, eager = filled(3), filled(3)
    for polar_map in (lazy, eager):
        polar_map.move_to(6.5, -2.25)
        if polar_map is eager:
            polar_map.save()
        polar_map.decay(9.0)
        if polar_map is eager:
            polar_map.save()
        polar_map.add(evidence(np.random.default_rng(4)))
    assert_same(lazy.save(), eager.save())


def test_decay_fades_and_finally_forgets():
    polar_map = PolarMap(MapConfig(decay=0.5))
    polar_map.add(Evidence(np.array([[4.0, 1, 0], [9.0, -2, 0]]), np.array([[0, 0, 8.0, 0, 0],
                                                                          [0, 0, 0.01, 0, 0]])))
    polar_map.decay()
    np.testing.assert_allclose(polar_map.save().histogram[:, 2], [4.0, 0.005])
    for _ in range(3):
        polar_map.decay()
    np.testing.assert_array_equal(polar_map.save().points_odom, [[4.0, 1, 0]])


def test_points_beyond_the_map_and_nan_points_are_left_out():
    polar_map = PolarMap(CONFIG)
    points = np.array([[199.0, 0, 0], [201.0, 0, 0], [np.nan, 1, 0], [1, 1, np.nan]])
    polar_map.add(Evidence(points, np.ones((4, 5), np.float32)))
    np.testing.assert_array_equal(polar_map.save().points_odom, points[:1])


@pytest.mark.parametrize('bad', [np.nan, -1e-9, np.inf])
def test_bad_histograms_are_refused(bad):
    histogram = np.ones((3, 5))
    histogram[1, 2] = bad
    with pytest.raises(ValueError, match='NaN, infinite or negative'):
        PolarMap(CONFIG).add(Evidence(np.ones((3, 3)), histogram))


def test_mismatched_shapes_and_lost_poses_are_refused():
    with pytest.raises(ValueError, match='do not match'):
        PolarMap(CONFIG).add(Evidence(np.ones((2, 3)), np.ones((3, 5))))
    with pytest.raises(ValueError, match='5 classes'):
        PolarMap(CONFIG).add(Evidence(np.ones((2, 3)), np.ones((2, 4))))
    with pytest.raises(ValueError, match='not finite'):
        PolarMap(CONFIG).move_to(np.nan, 0.0)


def test_saved_state_is_a_value():
    polar_map = filled(5)
    state = polar_map.save()
    copies = by_cell(state)
    polar_map.move_to(9.0, 9.0)
    polar_map.decay()
    polar_map.add(evidence(np.random.default_rng(6)))
    for left, right in zip(by_cell(state), copies, strict=True):
        np.testing.assert_array_equal(left, right)
    polar_map.restore(state)
    assert_same(polar_map.save(), filled(5).save())
    polar_map.reset()
    assert len(polar_map.save().cell) == 0
    assert not polar_map.planning().touched.any()


@pytest.mark.parametrize('seed', [7, 8])
def test_planning_equals_its_naive_twin(seed):
    polar_map = PolarMap(OTHER)
    polar_map.move_to(2.0, -1.0)
    polar_map.add(evidence(np.random.default_rng(seed), 300, spread=15.0))
    planning = polar_map.planning()
    expected = naive_planning(polar_map.save(), OTHER)
    np.testing.assert_allclose(planning.histogram, expected, rtol=1e-6)
    np.testing.assert_array_equal(planning.touched, expected.sum(-1) > 0)
    assert planning.histogram.shape == (*planning_shape(OTHER), 5)
    assert planning.xy.shape == (*planning_shape(OTHER), 2)


def test_neighbours_wrap_around_the_x_axis():
    polar_map = PolarMap(CONFIG)
    polar_map.add(Evidence(np.array([[10.1, -0.01, 0]]), np.array([[0, 0, 0, 3.0, 0]])))
    rings, angles = np.nonzero(polar_map.planning().touched)
    assert set(rings.tolist()) == {49, 50, 51}
    assert set(angles.tolist()) == {398, 399, 0}
