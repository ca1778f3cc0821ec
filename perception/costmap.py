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
    around_costs,
    costs,
    grid_sums,
    sampled,
    scores,
)
from perception.polar_geometry import (
    FINE,
    hyperbolic_start,
    planning_cells,
    planning_shape,
)
from perception.polar_map import PolarMap, checked_histogram
from perception.types import Costmap, Float, Index


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
    return costs(sums.reshape(2, -1), _settings(config)).reshape(sums.shape[1:])


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
    shown = _shown(polar_map, config, table, corner)
    return Costmap(sampled(shown, table.cell), step, origin, stamp_ns)


@dataclass(frozen=True)
class _Table:
    """
    What each grid cell shows, and the window of cells made from points.

    ``cell`` counts the planning cells of ``rings``, those that the far cells need, then one that
    is unknown, then the cells of the window: its first column and row, width and height.
    """

    cell: Index
    rings: range
    window: tuple[int, int, int, int]


@lru_cache(maxsize=16)
def _table(config: MapConfig, step: float, size: int, phase: tuple[float, float]) -> _Table:
    """Look-up table for a grid whose corner lies at ``phase`` [m] from the map centre."""
    x = phase[0] + (np.arange(size) + 0.5) * step
    y = phase[1] + (np.arange(size) + 0.5) * step
    xy = np.stack(np.broadcast_arrays(x, y[:, None]), -1)
    cell = planning_cells(xy, config)
    near = np.hypot(xy[..., 0], xy[..., 1]) < _near_radius(config, step)
    rings, angles = _far_rings(cell[~near & (cell >= 0)], config), config.angular_cells
    unknown = len(rings) * angles
    shown = np.where(cell < 0, unknown, cell - rings.start * angles).astype(np.int32)
    rows, columns = np.flatnonzero(near.any(1)), np.flatnonzero(near.any(0))
    if not len(rows):
        return _Table(shown, rings, (0, 0, 0, 0))
    left, top = int(columns[0]), int(rows[0])
    width, height = int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top
    row, column = np.nonzero(near)
    shown[near] = unknown + 1 + (row - top) * width + column - left
    return _Table(shown, rings, (left, top, width, height))


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


def _shown(
    polar_map: PolarMap, config: CostConfig, table: _Table, corner: tuple[int, ...]
) -> NDArray[np.int8]:
    """Costs that ``table`` counts: far cells, unknown, and the near window's from the points."""
    state, angles = polar_map.save(), polar_map.config.angular_cells
    (left, top, width, height), rings = table.window, table.rings
    far, near = grid_sums(
        (state.points_odom.T, state.histogram.T, state.cell),
        np.array(config.class_weights, np.float32), (angles, FINE, rings.start, rings.stop),
        (config.resolution_m, (corner[0] + left, corner[1] + top, width, height)))
    settings = _settings(config)
    return np.concatenate([
        around_costs(far, (len(rings), angles), (True, False), settings), [np.int8(UNKNOWN)],
        around_costs(near, (height, width), (False, True), settings)])


def _reduced(planes: Float, config: CostConfig) -> Float:
    """Sums over the classes (5, ...), weighted and plain, (2, ...), of the type of planes."""
    both = np.stack([config.class_weights, np.ones(len(planes))]).astype(planes.dtype)
    return np.asarray((both @ planes.reshape(len(planes), -1)).reshape(2, *planes.shape[1:]))


def _settings(config: CostConfig) -> Float:
    """Numbers for ``grid_loops.costs``, (3,) float64."""
    return np.array([config.gain, config.doubt, config.min_evidence], float)
