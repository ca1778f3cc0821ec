# SPDX-License-Identifier: Apache-2.0
"""
Class histograms to cost, and the rolling grid that planners subscribe to.

Source
    IROS08-MAP (histogram to cost); algorithms.md A7; architecture.md, Cost.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from perception.config import CostConfig, MapConfig
from perception.grid_loops import (
    UNKNOWN,
    costs,
    neighbour_sums,
    sampled,
    scores,
    summed,
    window_cells,
)
from perception.polar_geometry import (
    hyperbolic_start,
    planning_cells,
    planning_shape,
)
from perception.polar_map import (
    PolarMap,
    checked_histogram,
    planning_sums,
)
from perception.types import Costmap, Float, Index, Mask


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
    sums = _reduced(np.moveaxis(checked_histogram(histogram), -1, 0).astype(float), config)
    return scores(sums.reshape(2, -1), _settings(config)).reshape(sums.shape[1:])


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
    sums = _reduced(np.moveaxis(checked_histogram(histogram), -1, 0).astype(float), config)
    flat = sums.reshape(2, -1)
    return costs(flat, flat, _settings(config)).reshape(sums.shape[1:])


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
    around = planning_sums(state, sums, polar_map.config, table.rings).reshape(2, -1)
    far = costs(around, around, _settings(config))
    data = sampled(np.append(far, np.int8(UNKNOWN)), table.cell)
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

    cell: Index
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
    shown = cell.astype(np.int32)
    rows, columns = np.flatnonzero(near.any(1)), np.flatnonzero(near.any(0))
    if not len(rows):
        return _Table(shown, rings, np.zeros((0, 0), bool), 0, 0)
    near = near[rows[0]:rows[-1] + 1, columns[0]:columns[-1] + 1]
    return _Table(shown, rings, near, int(rows[0]), int(columns[0]))


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
    points: Float, sums: Float, config: CostConfig, table: _Table, corner: tuple[int, ...],
) -> NDArray[np.int8]:
    """Cost of the near window from the points themselves, (h, w) int8."""
    height, width = table.near.shape
    window = (corner[0] + table.column, corner[1] + table.row, width, height)
    own = summed(window_cells(points.T, config.resolution_m, window), sums, height * width)
    around = neighbour_sums(own.reshape(2, height, width), False).reshape(2, -1)
    return costs(around, own, _settings(config)).reshape(height, width)


def _reduced(planes: Float, config: CostConfig) -> Float:
    """Sums over the classes (5, ...), weighted and plain, (2, ...), of the type of planes."""
    both = np.stack([config.class_weights, np.ones(len(planes))]).astype(planes.dtype)
    return np.asarray((both @ planes.reshape(len(planes), -1)).reshape(2, *planes.shape[1:]))


def _settings(config: CostConfig) -> Float:
    """Numbers for ``grid_loops.costs``, (3,) float64."""
    return np.array([config.gain, config.doubt, config.min_evidence], float)
