# SPDX-License-Identifier: Apache-2.0
"""
Long-range planner: Dijkstra from the goal over the planning cells of the polar map.

Source
    IROS08-MAP; algorithms.md A8. The paper does not say how cost and distance combine: here a
    step costs its length times the mean price of both cells.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import dijkstra

from perception.config import CostConfig, MapConfig
from perception.costmap import occupancy, rolling_grid
from perception.polar_geometry import cell_centres, planning_cells, planning_shape
from perception.polar_map import PolarMap
from perception.types import Costmap, Float, Mask

FREE_PRICE, UNKNOWN_PRICE, LETHAL_PRICE = 1.0, 1.6, 40.0
"""Price of a metre: known free, never seen, lethal. What lies unseen can be crossed."""
DOUBTFUL = 60
"""Cost from which a cell of a grid is taken as an obstacle that the rover's body must miss."""
CLEAR = 35
"""Cost up to which ground next to an obstacle counts as seen."""
NEAR_M = 29.0  # the published grid is 60 m wide: within this it is read, beyond the polar map
BODY_M = 0.45
SKIRT_M, SKIRT_PRICE = 0.5, 2.0
HIDDEN_M, HIDDEN_PRICE = 2.5, 4.0
"""Around obstacles: dear ground, and what was not seen there, which is more likely blocked."""
NEIGHBOURS = ((0, 1), (1, 0), (1, 1), (1, -1))

Values = NDArray[np.int8]


@dataclass(frozen=True)
class Plan:
    """
    Cost-to-goal of every planning cell, to be looked up at points in odom.

    ``to_goal`` and ``price`` (R * T,) float64: metres of free ground, and price of a metre;
    ``centre_m`` (x, y) is the centre of the map in odom; ``goal`` (2,) in odom [m].
    """

    to_goal: Float
    price: Float
    centre_m: tuple[float, float]
    goal: Float
    config: MapConfig

    def cost_to_goal(self, xy: Float) -> Float:
        """Cost from points (..., 2) in odom [m] to the goal; beyond the map, straight on."""
        cell = planning_cells(np.asarray(xy) - self.centre_m, self.config)
        away = np.linalg.norm(np.asarray(xy) - self.goal, axis=-1) * UNKNOWN_PRICE
        return np.where(cell >= 0, self.to_goal[cell], away)

    def price_at(self, xy: Float) -> Float:
        """Price of a metre at points (..., 2) in odom [m]."""
        cell = planning_cells(np.asarray(xy) - self.centre_m, self.config)
        return np.where(cell >= 0, self.price[cell], UNKNOWN_PRICE)


def plan(polar_map: PolarMap, cost: CostConfig, goal: Float) -> Plan:
    """
    Cost-to-goal over a map.

    Parameters
    ----------
    goal : (2,) float
        In odom [m]; where it lies beyond the map, the cells of its rim lead on to it.
    """
    price = cell_prices(polar_map, cost).ravel()
    centre = polar_map.centre_m
    to_goal = distances(price, np.asarray(goal) - centre, polar_map.config)
    return Plan(to_goal, price, centre, np.asarray(goal, float), polar_map.config)


def cell_prices(polar_map: PolarMap, cost: CostConfig) -> Float:
    """
    Price of a metre in every planning cell, (R, T) float64.

    Near cells show the published grid with the rover's body added to every obstacle, far ones
    the planning map, whose cells are wider than the body.
    """
    prices = price_of(occupancy(polar_map.planning().histogram, cost))
    grid = rolling_grid(polar_map, cost, 0)
    xy = cell_centres(polar_map.config)
    near = np.hypot(xy[..., 0], xy[..., 1]) < min(NEAR_M, cost.width_m / 2 - 1)
    prices[near] = sampled(grid_prices(grid), grid, xy[near] + polar_map.centre_m)
    return prices


def price_of(cost: Values) -> Float:
    """Price of a metre for values of a cost map: dearer the more speaks of an obstacle."""
    low = np.interp(cost, (0, 49), (FREE_PRICE, UNKNOWN_PRICE))
    high = UNKNOWN_PRICE + (LETHAL_PRICE - UNKNOWN_PRICE) * ((cost - 49.5) / 50.5) ** 2
    return np.where(cost < 0, UNKNOWN_PRICE, np.where(cost < 50, low, high))


def grid_prices(grid: Costmap) -> Float:
    """
    Prices (H, W) of a grid with the body of the rover and dear ground around it added.

    A gap between obstacles is cheap only where its ground was seen clearly.
    """
    gap = gaps(grid.data >= DOUBTFUL, grid.resolution_m)
    skirt = 1 + SKIRT_PRICE * np.clip(1 - (gap - BODY_M) / SKIRT_M, 0, 1)
    hidden = 1 + HIDDEN_PRICE * np.clip(1 - (gap - BODY_M) / HIDDEN_M, 0, 1)
    unclear = (grid.data < 0) | (grid.data > CLEAR)
    prices = price_of(np.minimum(grid.data, DOUBTFUL)) * np.where(
        unclear, np.maximum(hidden, skirt), skirt)
    return np.where(gap < BODY_M, LETHAL_PRICE, prices)


def gaps(lethal: Mask, cell_m: float) -> Float:
    """Distance of each cell (H, W) to the middle of the nearest lethal one [m]."""
    if not lethal.any():
        return np.full(lethal.shape, np.inf)
    free = (~lethal).astype(np.uint8)
    return np.asarray(cv2.distanceTransform(free, cv2.DIST_L2, 5), float) * cell_m


def sampled(values: NDArray[Any], grid: Costmap, xy: Float) -> NDArray[Any]:
    """Value of the grid's cell at each point (N, 2) in its frame [m]; the border goes on."""
    cell = np.floor((xy - np.asarray(grid.origin_m)) / grid.resolution_m).astype(int)
    height, width = values.shape
    return np.asarray(values[cell[..., 1].clip(0, height - 1), cell[..., 0].clip(0, width - 1)])


def distances(price: Float, goal: Float, config: MapConfig) -> Float:
    """
    Cheapest cost from every planning cell to the goal, (R * T,) float64.

    Parameters
    ----------
    price : (R * T,) float
        Price of a metre in each cell, > 0.
    goal : (2,) float
        Relative to the map centre [m].
    """
    steps = _steps(config)
    count = len(steps.indptr) - 1
    mean = (price[steps.origin] + price[steps.indices]) / 2
    cells, links = _links(price, goal, config)
    graph = csr_matrix((
        np.concatenate([steps.length * mean, links]),
        np.concatenate([steps.indices, cells]),
        np.append(steps.indptr, len(steps.indices) + len(cells))), (count + 1, count + 1))
    return np.asarray(dijkstra(graph, indices=count)[:-1])


def _links(price: Float, goal: Float, config: MapConfig) -> tuple[NDArray[np.int32], Float]:
    """Cells next to the goal, and what the way from each to the goal costs."""
    own = planning_cells(goal, config)
    angles = config.angular_cells
    cells = np.array([own]) if own >= 0 else _rim(config) * angles + np.arange(angles)
    away = np.linalg.norm(cell_centres(config).reshape(-1, 2)[cells] - goal, axis=-1)
    return cells.astype(np.int32), np.maximum(away, 1e-6) * price[cells]


def _rim(config: MapConfig) -> int:
    """Outermost ring of planning cells whose centres lie on the map."""
    radii = np.hypot(*cell_centres(config)[:, 0].T)
    return int(np.flatnonzero(radii <= config.max_radius_m)[-1])


@dataclass(frozen=True)
class _Steps:
    """Steps between neighbouring cells, row by row; ``origin`` is the row of each step."""

    indptr: NDArray[np.int32]
    indices: NDArray[np.int32]
    origin: NDArray[np.int32]
    length: Float


@lru_cache(maxsize=4)
def _steps(config: MapConfig) -> _Steps:
    """Steps to the 8 neighbours, wrapping in angle, with their length in metres."""
    rings, angles = planning_shape(config)
    number = np.arange(rings * angles).reshape(rings, angles)
    xy = cell_centres(config).reshape(-1, 2)
    pairs = []
    for ring, angle in NEIGHBOURS:
        near, far = number[:rings - ring], np.roll(number, -angle, 1)[ring:]
        pairs.append(np.stack([near.ravel(), far.ravel()]))
    one_way = np.concatenate(pairs, 1)
    a, b = np.concatenate([one_way, one_way[::-1]], 1)
    length = np.linalg.norm(xy[a] - xy[b], axis=-1)
    graph = csr_matrix((length, (a, b)), (number.size, number.size))
    origin = np.repeat(np.arange(number.size), np.diff(graph.indptr))
    return _Steps(graph.indptr, graph.indices, origin.astype(np.int32), graph.data)
