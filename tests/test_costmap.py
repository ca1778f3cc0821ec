# SPDX-License-Identifier: Apache-2.0
"""Scores, Nav2 values and the rolling grid."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perception.config import CostConfig, MapConfig
from perception.costmap import evidence_score, occupancy, rolling_grid
from perception.polar_geometry import planning_cells
from perception.polar_map import PolarMap
from perception.types import Costmap, Evidence, Float

COST, MAP = CostConfig(), MapConfig()
CENTRE = (3.4, -7.8)


def lethal_map(points: Float, weight: float = 20.0) -> PolarMap:
    """Super-obstacle evidence at points (N, 2) in odom."""
    polar_map = PolarMap(MAP)
    polar_map.move_to(*CENTRE)
    xyz = np.column_stack([points, np.zeros(len(points))])
    polar_map.add(Evidence(xyz, np.tile([0, 0, 0, 0, weight], (len(points), 1))))
    return polar_map


def cell_of(grid: Costmap, x: float, y: float) -> int:
    row = int((y - grid.origin_m[1]) // grid.resolution_m)
    column = int((x - grid.origin_m[0]) // grid.resolution_m)
    return int(grid.data[row, column])


@pytest.mark.parametrize(('histogram', 'score', 'cost'), [
    ([0, 0, 0, 0, 5], 1.0, 100),  # 1.2 * 5 / 6
    ([0, 0, 0, 0, 4.9], 1.2 * 4.9 / 5.9, 98),
    ([5, 0, 0, 0, 0], -1.0, 0),
    ([0, 9, 0, 0, 0], -0.54, 23),  # 1 + round(97 * 0.23)
    ([0, 0, 2, 1, 0], 1.2 * 2.7 / 4, 89),
    ([1, 2, 0, 0, 2], 0.0, 49),  # contradicting evidence is graded, 1 + round(48.5)
    ([0, 0, 0, 0.1, 0], 1.2 * 0.07 / 1.1, -1),
    ([0, 0, 0, 0, 0], 0.0, -1),
])
def test_scores_and_costs_by_hand(histogram, score, cost):
    assert evidence_score(np.array(histogram, float), COST) == pytest.approx(score)
    assert occupancy(np.array(histogram, float), COST) == cost


@given(st.lists(st.floats(0, 1e6), min_size=5, max_size=5))
def test_costs_are_what_nav2_accepts(histogram):
    cost = int(occupancy(np.array(histogram), COST))
    assert cost in {-1, 100} or 0 <= cost <= 98
    score = float(evidence_score(np.array(histogram), COST))
    assert abs(score) <= COST.gain
    if cost >= 0:
        assert (cost == 100) == (score >= 1)
        assert (cost == 0) == (score <= -1)


@given(st.lists(st.floats(0, 100), min_size=5, max_size=5), st.floats(0, 50))
def test_more_obstacle_never_costs_less(histogram, more):
    worse = np.array(histogram)
    worse[4] += more
    before, after = occupancy(np.array(histogram), COST), occupancy(worse, COST)
    assert after >= before


def test_no_doubt_and_no_evidence_is_still_zero():
    assert evidence_score(np.zeros((2, 3, 5)), CostConfig(doubt=0.0)).tolist() == [[0] * 3] * 2


@pytest.mark.parametrize('bad', [np.nan, -0.1, np.inf])
@pytest.mark.parametrize('function', [evidence_score, occupancy])
def test_bad_histograms_are_refused(function, bad):
    with pytest.raises(ValueError, match='NaN, infinite or negative'):
        function(np.array([[1, 0, bad, 0, 0.0], [1, 1, 1, 1, 1]]), COST)


def test_grid_keeps_what_nav2_needs():
    grid = rolling_grid(lethal_map(np.array([[8.0, -7.0]])), COST, 1_234)
    assert grid.data.shape == (300, 300)
    assert grid.data.dtype == np.int8
    assert (grid.resolution_m, grid.stamp_ns, grid.frame_id) == (0.2, 1_234, 'odom')
    for origin, centre in zip(grid.origin_m, CENTRE, strict=True):
        assert origin / 0.2 == pytest.approx(round(origin / 0.2), abs=1e-9)
        assert origin + 30 == pytest.approx(centre, abs=0.11)


def test_an_empty_map_is_unknown_everywhere():
    grid = rolling_grid(PolarMap(MAP), CostConfig(width_m=20.0, resolution_m=0.5), 0)
    assert grid.data.shape == (40, 40)
    assert (grid.data == -1).all()


def test_beyond_the_polar_map_is_unknown():
    config = MapConfig(max_radius_m=8.0)
    polar_map = PolarMap(config)
    rng = np.random.default_rng(2)
    xyz = rng.uniform(-20, 20, (40000, 3))
    polar_map.add(Evidence(xyz, np.tile([9.0, 0, 0, 0, 0], (len(xyz), 1))))
    grid = rolling_grid(polar_map, CostConfig(width_m=30.0, resolution_m=0.25), 0)
    x = grid.origin_m[0] + (np.arange(120) + 0.5) * 0.25
    radius = np.hypot(x, x[:, None])
    assert (grid.data[radius < 7] == 0).all()
    assert (grid.data[radius > 8.6] == -1).all()


@given(st.floats(0.3, 29.0), st.floats(-3.14, 3.14))
def test_a_single_lethal_point_is_lethal_in_its_own_grid_cell(distance, bearing):
    x = CENTRE[0] + distance * np.cos(bearing)
    y = CENTRE[1] + distance * np.sin(bearing)
    grid = rolling_grid(lethal_map(np.array([[x, y]])), COST, 0)
    assert cell_of(grid, x, y) == 100


@pytest.mark.parametrize('distance', [2.0, 5.0, 10.0])
@pytest.mark.parametrize('bearing', [0.0, 0.7, -2.1])
def test_a_thin_post_in_confirmed_ground_does_not_vanish(distance, bearing):
    post = np.array(CENTRE) + distance * np.array([np.cos(bearing), np.sin(bearing)]) + 0.04
    polar_map = lethal_map(post[None], 30.0)
    ground = np.stack(np.meshgrid(np.arange(-60, 60), np.arange(-60, 60)), -1).reshape(-1, 2) * 0.2
    ground = ground + np.floor(post / 0.2) * 0.2 + 0.1
    ground = ground[np.abs(ground - post).max(1) > 0.2]
    histogram = np.tile([20.0, 0, 0, 0, 0], (len(ground), 1))
    polar_map.add(Evidence(np.column_stack([ground, ground[:, 0] * 0]), histogram))
    grid = rolling_grid(polar_map, COST, 0)
    assert cell_of(grid, *post) == 100
    assert (grid.data == 100).sum() <= 9  # the 3 x 3 neighbourhood at most
    assert (grid.data == 0).sum() > 5000


def test_far_cells_show_the_planning_map():
    rng = np.random.default_rng(4)
    angle, radius = rng.uniform(-0.6, 0.6, 4000), rng.uniform(14, 29, 4000)
    polar_map = PolarMap(MAP)
    polar_map.move_to(*CENTRE)
    xy = np.column_stack([radius * np.cos(angle), radius * np.sin(angle)]) + CENTRE
    polar_map.add(Evidence(np.column_stack([xy, angle]), rng.gamma(1, 1, (4000, 5))))
    grid, planning = rolling_grid(polar_map, COST, 0), polar_map.planning()
    cost = occupancy(planning.histogram, COST).ravel()
    for row, column in rng.integers(0, 300, (500, 2)):
        centre = np.array(grid.origin_m) + (np.array([column, row]) + 0.5) * 0.2 - CENTRE
        if np.hypot(*centre) > 12.8:
            assert grid.data[row, column] == cost[planning_cells(centre, MAP)]


def test_driving_does_not_move_obstacles_in_odom():
    polar_map = lethal_map(np.array([[9.3, -5.1]]))
    for x in np.arange(3.4, 6.0, 0.17):
        polar_map.move_to(x, -7.8)
        grid = rolling_grid(polar_map, COST, 0)
        assert cell_of(grid, 9.3, -5.1) == 100
        assert (grid.data == 100).sum() == 9


@pytest.mark.parametrize('resolution', [0.05, 0.25, 0.3, 1.0])
def test_other_resolutions_keep_near_and_far_obstacles(resolution):
    config = CostConfig(resolution_m=resolution, width_m=48.0)
    spots = np.array([[5.03, -6.02], [9.97, -11.4], [21.3, -3.3], [-15.1, -16.2]])
    polar_map = lethal_map(spots)
    grid = rolling_grid(polar_map, config, 0)
    assert grid.data.shape == (round(48 / resolution),) * 2
    for spot in spots:
        assert cell_of(grid, *spot) == 100
