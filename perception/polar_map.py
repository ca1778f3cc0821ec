# SPDX-License-Identifier: Apache-2.0
"""
Hyperbolic-polar map: evidence from many frames, in cells that grow with the error of far labels.

The map keeps the axes of odom, so turning moves no point; driving moves the centre and sorts
the points into the cells around it. Each internal cell holds one point with its exact odom
coordinates, so that integer cells never add up errors.

Source
    IROS08-MAP; algorithms.md A7.
"""

from dataclasses import dataclass
from math import isfinite

import numpy as np

from perception.config import MapConfig
from perception.grid_loops import neighbour_sums, ring_cells, summed
from perception.polar_geometry import (
    FINE,
    cell_centres,
    cell_radii,
    fine_shape,
    loop_layout,
    planning_shape,
)
from perception.polar_loops import flat_cells, from_centre, leave_out, merge
from perception.types import CLASSES, Evidence, Float, Index, Mask

UNSOUND = 'histogram holds NaN, infinite or negative evidence; mask it out first'
AS_IT_IS = (1.0, 0.0)  # no fading: factor, and the least evidence that stays
FORGOTTEN = 1e-3
"""Evidence that decayed below this leaves the map: it keeps long drives at constant speed."""


@dataclass(frozen=True)
class MapState:
    """
    All a map remembers; the arrays are never written to once they are here.

    ``centre_m`` (x, y) in odom; ``points_odom`` (N, 3) float64 [m]; ``histogram`` (N, 5)
    float32; ``counter`` (N,) int32, the points merged; ``cell`` (N,) int32 flat internal cell,
    all different. Points are in the order of their last update. Both tables lie column by column
    in memory, as sums and selections run along columns.
    """

    centre_m: tuple[float, float]
    points_odom: Float
    histogram: Float
    counter: Index
    cell: Index


@dataclass(frozen=True)
class PlanningMap:
    """
    The map as planners and the evaluation read it.

    ``histogram`` (R, T, 5) float64: for each cell the sum over its 4 internal cells and over
    its 8 neighbours (wrapping in angle). The neighbours close the gaps between windows, and
    widen every obstacle by one cell. ``centre_m`` (x, y) is the map centre in odom.
    """

    centre_m: tuple[float, float]
    histogram: Float
    config: MapConfig

    @property
    def evidence(self) -> Float:
        """Summed weight of each cell, (R, T) float64."""
        return np.asarray(self.histogram.sum(-1))

    @property
    def touched(self) -> Mask:
        """Cells with any evidence, (R, T) bool."""
        return self.evidence > 0

    @property
    def xy(self) -> Float:
        """Cell centres relative to ``centre_m``, axes of odom, (R, T, 2) float64 [m]."""
        return cell_centres(self.config)

    @property
    def radii_m(self) -> Float:
        """Radii of the cell centres, (R,) float64 [m]."""
        return cell_radii(self.config)


NO_POINTS = MapState((0.0, 0.0), np.empty((0, 3)), np.empty((0, len(CLASSES)), np.float32),
                     np.empty(0, np.int32), np.empty(0, np.int32))


class PolarMap:
    """
    Evidence of many frames around the robot.

    The centre is held at multiples of ``cell_m``, so that look-up tables stay the same while the
    robot drives. A new map costs nothing: tables are shared by all maps of one configuration.

    Examples
    --------
    >>> polar_map = PolarMap(MapConfig())
    >>> polar_map.move_to(12.03, -7.4)
    >>> weight = np.array([[0, 0, 0, 0, 2.0]])
    >>> polar_map.add(Evidence(np.array([[42.0, -7.4, 0.0]]), weight))
    >>> float(polar_map.planning().evidence.max())
    2.0
    """

    def __init__(self, config: MapConfig) -> None:
        self.config = config
        self._slot = np.empty(np.prod(fine_shape(config)) + 1, np.int32)
        self._state: MapState
        self._new: list[MapState]
        self._fading: tuple[float, float]
        self._centre_m: tuple[float, float]
        self.reset()

    def reset(self) -> None:
        """Forget everything; the centre returns to the origin of odom."""
        self.restore(NO_POINTS)

    def save(self) -> MapState:
        """State of the map: a value that later calls never change."""
        if self._new or self._fading != AS_IT_IS or self._state.centre_m != self._centre_m:
            state, fading = self._placed(), self._fading
            for new in self._new or [NO_POINTS]:
                state, fading = _merge(state, new, self._slot, fading), AS_IT_IS
            self._state, self._new, self._fading = state, [], AS_IT_IS
        return self._state

    def restore(self, state: MapState) -> None:
        """Return to a state saved by a map of the same configuration."""
        self._state, self._new, self._centre_m = state, [], state.centre_m
        self._fading = AS_IT_IS

    @property
    def centre_m(self) -> tuple[float, float]:
        """Centre (x, y) in odom [m], a multiple of ``cell_m``."""
        return self._centre_m

    def move_to(self, x: float, y: float) -> None:
        """
        Follow the robot to (x, y) [m] in odom; what leaves the map is dropped.

        Turning on the spot is no movement. Points that come to share an internal cell merge;
        the sorting itself waits until the map is read, and then takes in all that was added.
        """
        x, y = float(x), float(y)  # of Python: NumPy rounds its own numbers much slower
        if not (isfinite(x) and isfinite(y)):
            raise ValueError(f'position ({x}, {y}) is not finite; skip frames without a pose')
        step = self.config.cell_m
        centre = (round(x / step) * step, round(y / step) * step)
        if self._new and centre != self._centre_m:
            self.save()
        self._centre_m = centre

    def decay(self, frames: float = 1.0) -> None:
        """
        Multiply all evidence by ``decay`` to the power ``frames``; forget what has faded.

        It waits, as sorting does, until the map is read.
        """
        if self._new or self._fading != AS_IT_IS:
            self.save()
        self._fading = self.config.decay ** frames, FORGOTTEN

    def add(self, evidence: Evidence) -> None:
        """
        Merge points: histograms and counters add up, the newest coordinates stay.

        Points beyond ``max_radius_m``, NaN points and rows without weight are left out.

        Raises
        ------
        ValueError
            Histogram with NaN, infinite or negative values, or of another shape than points.
        """
        histogram, points = _of_classes(evidence.histogram), np.asarray(evidence.points_odom)
        if points.ndim != 2 or points.shape[1] != 3 or len(points) != len(histogram):
            raise ValueError(f'points {points.shape} do not match histogram {histogram.shape}')
        planes = np.array(histogram.T, np.float32, order='C')  # copies: the caller owns his own
        xyz = np.array(points.T, float, order='C')
        cell = _cells(xyz.T, self.centre_m, self.config)
        if not leave_out(planes, xyz[2], cell):
            raise ValueError(UNSOUND)
        self._new.append(MapState(self.centre_m, xyz.T, planes.T,
                                  np.ones(len(cell), np.int32), cell))

    def planning(self) -> PlanningMap:
        """
        Histograms at planning resolution.

        Source
            A7: sum of the 4 internal cells of a planning cell, then its 8 neighbours.
        """
        s = self.save()
        planes = _planning_sums(s, self.config)
        return PlanningMap(s.centre_m, np.moveaxis(planes, 0, -1), self.config)

    def _placed(self) -> MapState:
        """Points in the cells around the current centre; several may share a cell."""
        s = self._state
        if s.centre_m == self._centre_m:
            return s
        cell = _cells(s.points_odom, self._centre_m, self.config)
        return MapState(self._centre_m, s.points_odom, s.histogram, s.counter, cell)


def checked_histogram(histogram: Float) -> Float:
    """Histogram (..., 5), refused with ValueError where NaN, infinite or negative."""
    histogram = _of_classes(histogram)
    if histogram.size and not (histogram.min() >= 0 and np.isfinite(histogram.max())):
        raise ValueError(UNSOUND)
    return histogram


def _of_classes(histogram: Float) -> Float:
    """Histogram (..., 5), refused with ValueError where the last axis is another."""
    histogram = np.asarray(histogram)
    if histogram.ndim < 1 or histogram.shape[-1] != len(CLASSES):
        raise ValueError(f'histogram {histogram.shape}: the last axis must be the 5 classes')
    return histogram


def _planning_sums(state: MapState, config: MapConfig) -> Float:
    """Histograms summed into planning cells, then over 8 neighbours, (5, R, T) float64."""
    rings, angles = planning_shape(config)
    cells = ring_cells(state.cell, (rings, angles, FINE))
    sums = summed(cells, state.histogram.T, rings * angles)
    return neighbour_sums(sums.reshape(-1, rings, angles), True)


def _cells(points: Float, centre: tuple[float, float], config: MapConfig) -> Index:
    """Internal cells (N,) of odom points (N, 3) for a map centre; -1 outside."""
    x, y = from_centre(points.T, centre)
    return flat_cells(x, y, np.arctan2(y, x), loop_layout(config))


def _merge(
    older: MapState, newer: MapState, slot: Index, fading: tuple[float, float]
) -> MapState:
    """
    One point for each cell around the centre of ``older``.

    ``slot`` has a number for each internal cell and one more; each is written before it is read.
    """
    both = [(part.points_odom.T, part.histogram.T, part.counter, part.cell)
            for part in (older, newer)]
    points, planes, counter, cell = merge(both[0], both[1], slot, fading)
    return MapState(older.centre_m, points.T, planes.T, counter, cell)
