# SPDX-License-Identifier: Apache-2.0
"""Dijkstra over the polar map: against a naive twin, by hand, and what obstacles do to it."""

import heapq

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perception.config import CostConfig, MapConfig
from perception.navigation.planner import (
    BODY_M,
    FREE_PRICE,
    HIDDEN_PRICE,
    LETHAL_PRICE,
    SKIRT_PRICE,
    UNKNOWN_PRICE,
    cell_prices,
    distances,
    gaps,
    grid_prices,
    plan,
    price_of,
    sampled,
)
from perception.polar_geometry import cell_centres, planning_cells, planning_shape
from perception.polar_map import PolarMap
from perception.types import SUPER_GROUND, SUPER_OBSTACLE, Costmap, Evidence

# 8 constant rings of 0.5 m, 8 hyperbolic ones, 12 angles
SMALL = MapConfig(cell_m=0.5, constant_cells=8, hyperbolic_cells=8, angular_cells=17,
                  camera_height_m=1.0, image_height_m=0.8, max_radius_m=40.0)


def naive_distances(price: np.ndarray, cell: int, start: float, config: MapConfig) -> np.ndarray:
    """Textbook Dijkstra with loops, from one cell."""
    rings, angles = planning_shape(config)
    xy = cell_centres(config).reshape(-1, 2)
    best = np.full(rings * angles, np.inf)
    heap = [(start, cell)]
    while heap:
        so_far, at = heapq.heappop(heap)
        if so_far >= best[at]:
            continue
        best[at] = so_far
        ring, angle = divmod(at, angles)
        for dr in (-1, 0, 1):
            for da in (-1, 0, 1):
                other = (ring + dr) * angles + (angle + da) % angles
                if (dr or da) and 0 <= ring + dr < rings:
                    step = np.hypot(*(xy[at] - xy[other])) * (price[at] + price[other]) / 2
                    heapq.heappush(heap, (so_far + step, other))
    return best


@given(st.integers(0, 2**31), st.floats(0.3, 9.0), st.floats(-3.1, 3.1))
@settings(max_examples=10, deadline=None)
def test_distances_are_those_of_a_naive_dijkstra(seed: int, away: float, bearing: float) -> None:
    rings, angles = planning_shape(SMALL)
    price = np.random.default_rng(seed).uniform(1, 9, rings * angles)
    goal = away * np.array([np.cos(bearing), np.sin(bearing)])
    cell = int(planning_cells(goal, SMALL))
    first = np.hypot(*(cell_centres(SMALL).reshape(-1, 2)[cell] - goal)) * price[cell]
    np.testing.assert_allclose(distances(price, goal, SMALL),
                               naive_distances(price, cell, max(first, 1e-6), SMALL), rtol=1e-9)


def test_a_goal_beyond_the_map_is_reached_over_its_rim() -> None:
    rings, angles = planning_shape(SMALL)
    price = np.ones(rings * angles)
    goal = np.array([300.0, -400.0])
    far = distances(price, goal, SMALL)
    xy = cell_centres(SMALL).reshape(-1, 2)
    straight = np.hypot(*(xy - goal).T)
    inside = np.hypot(*xy.T) < 30
    assert (far[inside] >= straight[inside] - 1e-9).all()
    assert (far[inside] <= straight[inside] * 1.05).all()


def test_prices_by_hand() -> None:
    values = np.array([-1, 0, 49, 100], np.int8)
    np.testing.assert_allclose(
        price_of(values), [UNKNOWN_PRICE, FREE_PRICE, UNKNOWN_PRICE, LETHAL_PRICE])
    assert (np.diff(price_of(np.arange(101, dtype=np.int8))) >= 0).all()


def test_a_grid_gets_the_body_of_the_rover_by_hand() -> None:
    """One obstacle at column 7, row 2 of a 5 x 12 grid of 0.2 m; the rest is free, then unseen."""
    data = np.zeros((5, 12), np.int8)
    data[2, 7] = 100
    prices = grid_prices(Costmap(data, 0.2, (3.0, -1.0), 0))
    assert prices[2, 5] == LETHAL_PRICE  # 0.4 m away
    assert prices[2, 4] == pytest.approx(1 + SKIRT_PRICE * (1 - (0.6 - BODY_M) / 0.5), abs=0.02)
    assert prices[2, 1] == FREE_PRICE  # 1.2 m
    hidden = np.where(data == 100, 100, -1).astype(np.int8)
    prices = grid_prices(Costmap(hidden, 0.2, (3.0, -1.0), 0))
    assert prices[2, 1] == pytest.approx(
        UNKNOWN_PRICE * (1 + HIDDEN_PRICE * (1 - (1.2 - BODY_M) / 2.5)), rel=0.02)


def test_gaps_and_samples_by_hand() -> None:
    lethal = np.zeros((4, 6), bool)
    assert np.isinf(gaps(lethal, 0.2)).all()
    lethal[1, 4] = True
    assert gaps(lethal, 0.2)[1, 1] == pytest.approx(0.6, abs=0.01)
    grid = Costmap(np.zeros((4, 6), np.int8), 0.2, (10.0, -2.0), 0)
    values = np.arange(24.0).reshape(4, 6)
    np.testing.assert_allclose(
        sampled(values, grid, np.array([[10.3, -1.5], [99.0, -99.0]])), [13, 5])


def wall(x: float, low: float, high: float) -> Evidence:
    """A wall along y of strong obstacle evidence."""
    y = np.arange(low, high, 0.1)
    histogram = np.zeros((len(y), 5), np.float32)
    histogram[:, SUPER_OBSTACLE] = 20.0
    return Evidence(np.stack([np.full_like(y, x), y, 0 * y], -1), histogram)


def test_a_plan_leads_around_a_wall_on_the_shorter_side() -> None:
    polar_map = PolarMap(MapConfig())
    polar_map.move_to(100.0, 50.0)
    polar_map.add(wall(106.0, 40.0, 53.0))
    goal = np.array([125.0, 50.0])
    found = plan(polar_map, CostConfig(), goal)
    here, north, south = found.cost_to_goal(np.array([[100.0, 50], [106, 54.5], [106, 38.5]]))
    assert here > 25 * UNKNOWN_PRICE + 1
    assert north < south
    assert found.price_at(np.array([106.0, 45.0])) > 20
    assert float(found.cost_to_goal(goal)) < 3
    far = np.array([900.0, 50.0])
    assert float(found.cost_to_goal(far)) == pytest.approx(775 * UNKNOWN_PRICE)
    assert float(found.price_at(far)) == UNKNOWN_PRICE


def test_seen_ground_is_cheaper_than_unseen() -> None:
    polar_map = PolarMap(MapConfig())
    xy = np.stack(np.meshgrid(np.arange(2, 6, 0.1), np.arange(-1, 1, 0.1)), -1).reshape(-1, 2)
    histogram = np.zeros((len(xy), 5), np.float32)
    histogram[:, SUPER_GROUND] = 5.0
    polar_map.add(Evidence(np.c_[xy, 0 * xy[:, 0]], histogram))
    prices = cell_prices(polar_map, CostConfig()).ravel()
    seen, unseen = planning_cells(np.array([[4.0, 0.2], [-4.0, 0.2]]), polar_map.config)
    assert prices[seen] == FREE_PRICE
    assert prices[unseen] == UNKNOWN_PRICE
