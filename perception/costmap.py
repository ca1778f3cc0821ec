# SPDX-License-Identifier: Apache-2.0
"""
Class histograms to cost, and the rolling grid that planners subscribe to.

Source
    IROS08-MAP (histogram to cost); algorithms.md A7; architecture.md, Cost.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from perception.config import CostConfig, MapConfig
from perception.polar_geometry import (
    Cells,
    hyperbolic_start,
    planning_cells,
    planning_shape,
)
from perception.polar_map import (
    PolarMap,
    checked_histogram,
    neighbour_sum,
    planning_sums,
)
from perception.types import Costmap, Float, Mask

UNKNOWN, FREE, LETHAL = -1, 0, 100


def evidence_score(histogram: Float, config: CostConfig) -> Float:
    """
    Say how far the evidence speaks against driving: S <= -1 free, 0 unknown, S >= 1 lethal.

    Parameters
    ----------
    histogram : (..., 5) float
        Evidence of each class, >= 0.

    Returns
    -------
    (...) float64
        S = gain * sum(w_k bin_k) / (sum(bin_k) + doubt); 0 without any evidence.

    Raises
    ------
    ValueError
        NaN, infinite or negative evidence.

    Source
        A7, histogram to cost.
    """
    weighted, total = _reduced(np.moveaxis(checked_histogram(histogram), -1, 0), config)
    return _score(weighted, total, config)


def occupancy(histogram: Float, config: CostConfig) -> NDArray[np.int8]:
    """
    Cost of class histograms, in the values Nav2 reads.

    Parameters
    ----------
    histogram : (..., 5) float
        Evidence of each class, >= 0.

    Returns
    -------
    (...) int8
        -1 where the evidence is below ``min_evidence``, 0 for S <= -1, 100 for S >= 1, else
        1 + round(97 (S + 1) / 2), so 1-98; never 99, which Nav2 reads as inscribed.

    Raises
    ------
    ValueError
        NaN, infinite or negative evidence.

    Source
        architecture.md, Cost.
    """
    weighted, total = _reduced(np.moveaxis(checked_histogram(histogram), -1, 0), config)
    return _occupancy(_score(weighted, total, config), total, config)


def rolling_grid(polar_map: PolarMap, config: CostConfig, stamp_ns: int) -> Costmap:
    """
    Square grid around the map centre, aligned with odom.

    Far cells are sampled from the planning map at their centres. Where the grid is coarser than
    the planning cells (nearer than 12.7 m for the defaults) sampling would miss thin obstacles:
    there the points themselves are sorted into the grid, and a cell shows the evidence of its
    3 x 3 neighbourhood, or its own where that speaks more of an obstacle. So obstacles are at
    most one cell wider than what was seen, and ground around a thin one never hides it.

    Parameters
    ----------
    stamp_ns : int
        Stamp of the newest image in the map.

    Returns
    -------
    Costmap
        Frame odom, origin a multiple of ``resolution_m``; -1 outside the polar map.
    """
    step, size = config.resolution_m, round(config.width_m / config.resolution_m)
    corner = tuple(round(c / step) - size // 2 for c in polar_map.centre_m)
    origin = (corner[0] * step, corner[1] * step)
    phase = tuple(round(o - c, 6) for o, c in zip(origin, polar_map.centre_m, strict=True))
    table = _table(polar_map.config, step, size, (phase[0], phase[1]))
    state = polar_map.save()
    sums = _reduced(state.histogram.T, config)
    weighted, total = planning_sums(state, list(sums), polar_map.config, table.rings)
    far = _known_costs(total, lambda known, evidence: _score(
        weighted.take(known), evidence, config), config)
    data = np.append(far, np.int8(UNKNOWN)).take(table.cell, mode='clip')  # all are inside
    window = (slice(table.row, table.row + len(table.near)),
              slice(table.column, table.column + table.near.shape[1]))
    near = _near_occupancy(state.points_odom, sums, config, table, corner)
    np.copyto(data[window], near, where=table.near)
    return Costmap(data, step, origin, stamp_ns)


@dataclass(frozen=True)
class _Table:
    """
    Which planning cell each grid cell shows, and the window of cells made from points.

    ``cell`` counts from the first of ``rings``, the rings that the far cells need.
    """

    cell: NDArray[np.int64]
    rings: range
    near: Mask
    row: int
    column: int


@lru_cache(maxsize=16)
def _table(config: MapConfig, step: float, size: int, phase: tuple[float, float]) -> _Table:
    """Look-up table for a grid whose corner lies at ``phase`` [m] from the map centre."""
    x = phase[0] + (np.arange(size) + 0.5) * step
    y = phase[1] + (np.arange(size) + 0.5) * step
    xy = np.stack(np.broadcast_arrays(x, y[:, None]), -1)
    cell = planning_cells(xy, config)
    near = np.hypot(xy[..., 0], xy[..., 1]) < _near_radius(config, step)
    rings, angles = _far_rings(cell[~near & (cell >= 0)], config), config.angular_cells
    cell -= rings.start * angles
    cell[near | (cell < 0)] = len(rings) * angles  # one past the end: unknown
    rows, columns = np.flatnonzero(near.any(1)), np.flatnonzero(near.any(0))
    if not len(rows):
        return _Table(cell, rings, np.zeros((0, 0), bool), 0, 0)
    near = near[rows[0]:rows[-1] + 1, columns[0]:columns[-1] + 1]
    return _Table(cell, rings, near, int(rows[0]), int(columns[0]))


def _far_rings(cell: NDArray[np.int64], config: MapConfig) -> range:
    """Rings of planning cells and their neighbours."""
    if not len(cell):
        return range(0)
    first, last = int(cell.min()) // config.angular_cells, int(cell.max()) // config.angular_cells
    return range(max(first - 1, 0), min(last + 2, planning_shape(config)[0]))


def _near_radius(config: MapConfig, step: float) -> float:
    """Radius [m] below which a planning cell is narrower or shorter than a grid cell."""
    narrow = step * config.angular_cells / (2 * np.pi)
    if step <= config.cell_m:
        return narrow
    # rings grow with the square of the radius from cell_m at the first hyperbolic one
    return max(narrow, hyperbolic_start(config) * float(np.sqrt(step / config.cell_m)))


def _near_occupancy(
    points: Float, sums: tuple[Float, Float], config: CostConfig, table: _Table,
    corner: tuple[int, ...],
) -> NDArray[np.int8]:
    """Cost of the near window from the points themselves, (h, w) int8."""
    height, width = table.near.shape
    column = np.floor(points[:, 0] / config.resolution_m) - (corner[0] + table.column)
    row = np.floor(points[:, 1] / config.resolution_m) - (corner[1] + table.row)
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    index = np.flatnonzero(inside)
    cell = (row.take(index) * width + column.take(index)).astype(np.int32)
    weighted, total = (
        np.bincount(cell, v.take(index), height * width).astype(float, copy=False)
        .reshape(height, width) for v in sums)
    around, near = neighbour_sum(total, wrap=False), neighbour_sum(weighted, wrap=False)

    def score(known: Cells, evidence: Float) -> Float:
        shared = _score(near.take(known), evidence, config)
        own = _score(weighted.take(known), total.take(known), config)
        np.maximum(shared, own, out=shared, where=own > 0)  # raises the cost, never lowers it
        return shared

    return _known_costs(around, score, config).reshape(height, width)


def _known_costs(
    evidence: Float, score: Callable[[Cells, Float], Float], config: CostConfig
) -> NDArray[np.int8]:
    """Cost of each cell, flat; ``score`` is asked for those with enough evidence only."""
    cost = np.full(evidence.size, UNKNOWN, np.int8)
    known = np.flatnonzero(evidence >= config.min_evidence)
    enough = evidence.take(known)
    cost[known] = _occupancy(score(known, enough), enough, config)
    return cost


def _reduced(planes: Float, config: CostConfig) -> tuple[Float, Float]:
    """Sums over the classes (5, ...), weighted and plain, (...) each, of the type of planes."""
    weighted, total = config.class_weights[0] * planes[0], planes[0].copy()
    for weight, plane in zip(config.class_weights[1:], planes[1:], strict=True):
        weighted += weight * plane
        total += plane
    return weighted, total


def _score(weighted: Float, total: Float, config: CostConfig) -> Float:
    """S of A7 from the weighted and the plain sum of a histogram."""
    total = total + config.doubt
    if not config.doubt:
        total = np.where(total > 0, total, 1.0)
    score = config.gain * weighted
    score /= total
    return np.asarray(score)


def _occupancy(score: Float, evidence: Float, config: CostConfig) -> NDArray[np.int8]:
    """Nav2 values of scores and evidence."""
    graded = np.minimum(np.maximum(score, -1.0), 1.0)
    graded += 1
    graded *= 97
    graded /= 2
    cost = np.asarray(np.rint(graded) + 1, np.int8)
    for value, where in ((FREE, score <= -1), (LETHAL, score >= 1),
                         (UNKNOWN, evidence < config.min_evidence)):
        np.copyto(cost, np.int8(value), where=where)
    return cost
