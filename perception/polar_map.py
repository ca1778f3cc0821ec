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

import cv2
import numpy as np

from perception.config import MapConfig
from perception.polar_geometry import (
    FINE,
    Cells,
    Index,
    cell_centres,
    cell_radii,
    fine_cells,
    fine_shape,
    planning_from_fine,
    planning_shape,
)
from perception.types import CLASSES, Evidence, Float, Mask

FORGOTTEN = 1e-3
"""Evidence that decayed below this leaves the map: it keeps long drives at constant speed."""


@dataclass(frozen=True)
class MapState:
    """
    All a map remembers; the arrays are never written to once they are here.

    ``centre_m`` (x, y) in odom; ``points_odom`` (N, 3) float64 [m]; ``histogram`` (N, 5)
    float32; ``counter`` (N,) int32, the points merged; ``cell`` (N,) int64 flat internal cell,
    all different. Points are in the order of their last update. Both tables lie column by column
    in memory, as sums and selections run along columns.
    """

    centre_m: tuple[float, float]
    points_odom: Float
    histogram: Float
    counter: Index
    cell: Cells


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
        self._slot = np.empty(np.prod(fine_shape(config)), np.int32)
        self._state: MapState
        self._new: list[MapState]
        self._centre_m: tuple[float, float]
        self.reset()

    def reset(self) -> None:
        """Forget everything; the centre returns to the origin of odom."""
        self.restore(MapState(
            (0.0, 0.0), np.empty((0, 3)), np.empty((0, len(CLASSES)), np.float32),
            np.empty(0, np.int32), np.empty(0, np.int64),
        ))

    def save(self) -> MapState:
        """State of the map: a value that later calls never change."""
        if self._new or self._state.centre_m != self._centre_m:
            self._state = _merged([self._placed(), *self._new], self._slot)
            self._new = []
        return self._state

    def restore(self, state: MapState) -> None:
        """Return to a state saved by a map of the same configuration."""
        self._state, self._new, self._centre_m = state, [], state.centre_m

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
        if not np.isfinite([x, y]).all():
            raise ValueError(f'position ({x}, {y}) is not finite; skip frames without a pose')
        step = self.config.cell_m
        centre = (round(x / step) * step, round(y / step) * step)
        if self._new and centre != self._centre_m:
            self.save()
        self._centre_m = centre

    def decay(self, frames: float = 1.0) -> None:
        """Multiply all evidence by ``decay`` to the power ``frames``; forget what has faded."""
        s = self.save() if self._new else self._state
        planes = s.histogram.T * np.float32(self.config.decay ** frames)
        self._state = _selected(
            MapState(s.centre_m, s.points_odom, planes.T, s.counter, s.cell),
            planes.sum(0) >= FORGOTTEN,
        )

    def add(self, evidence: Evidence) -> None:
        """
        Merge points: histograms and counters add up, the newest coordinates stay.

        Points beyond ``max_radius_m``, NaN points and rows without weight are left out.

        Raises
        ------
        ValueError
            Histogram with NaN, infinite or negative values, or of another shape than points.
        """
        histogram = checked_histogram(evidence.histogram)
        points = np.asarray(evidence.points_odom)
        if points.ndim != 2 or points.shape[1] != 3 or len(points) != len(histogram):
            raise ValueError(f'points {points.shape} do not match histogram {histogram.shape}')
        planes = np.array(histogram.T, np.float32, order='C')  # copies: the caller owns his own
        points = np.array(points.T, float, order='C').T
        cell = _cells(points, self.centre_m, self.config)
        good = (cell >= 0) & (planes.sum(0) > 0) & np.isfinite(points[:, 2])
        count = np.ones(len(cell), np.int32)
        new = MapState(self.centre_m, points, planes.T, count, cell)
        self._new.append(_selected(new, good))

    def planning(self) -> PlanningMap:
        """
        Histograms at planning resolution.

        Source
            A7: sum of the 4 internal cells of a planning cell, then its 8 neighbours.
        """
        s = self.save()
        planes = planning_sums(s, list(s.histogram.T), self.config)
        return PlanningMap(s.centre_m, np.moveaxis(planes, 0, -1), self.config)

    def _placed(self) -> MapState:
        """Points in the cells around the current centre; several may share a cell."""
        s = self._state
        if s.centre_m == self._centre_m:
            return s
        cell = _cells(s.points_odom, self._centre_m, self.config)
        moved = MapState(self._centre_m, s.points_odom, s.histogram, s.counter, cell)
        return _selected(moved, cell >= 0)


def checked_histogram(histogram: Float) -> Float:
    """Histogram (..., 5), refused with ValueError where NaN, infinite or negative."""
    histogram = np.asarray(histogram)
    if histogram.ndim < 1 or histogram.shape[-1] != len(CLASSES):
        raise ValueError(f'histogram {histogram.shape}: the last axis must be the 5 classes')
    if histogram.size and not (histogram.min() >= 0 and np.isfinite(histogram.max())):
        raise ValueError('histogram holds NaN, infinite or negative evidence; mask it out first')
    return histogram


def planning_sums(
    state: MapState, values: list[Float], config: MapConfig, rings: range | None = None
) -> Float:
    """
    Sum values of the points into planning cells, then add the 8 neighbours of each cell.

    Parameters
    ----------
    values : list of K (N,) float
        Numbers to sum, in the order of the points of ``state``.
    rings : range, optional
        Only points of these rings count, and only these rings are made; default all. The first
        and the last ring lack their neighbours outside.

    Returns
    -------
    (K, R, T) float64
    """
    count, angles = planning_shape(config)
    fine = state.cell
    if rings is not None:
        count, ring = len(rings), fine_shape(config)[1] * FINE
        index = np.flatnonzero((fine >= rings.start * ring) & (fine < rings.stop * ring))
        fine, values = fine.take(index), [weight.take(index) for weight in values]
    cell = planning_from_fine(config).take(fine)
    if rings is not None:
        cell -= rings.start * angles
    planes = np.empty((len(values), count, angles))
    for weight, plane in zip(values, planes, strict=True):
        own = np.bincount(cell, weight, count * angles).astype(float, copy=False)
        plane[:] = neighbour_sum(own.reshape(count, angles), wrap=True)
    return planes


def neighbour_sum(values: Float, *, wrap: bool) -> Float:
    """
    Sum of each cell (H, W) float64 and its 8 neighbours, (H, W) float64; exact for zeros.

    Nothing lies beyond the border, except that the columns close a circle with ``wrap``.
    """
    if not values.size:
        return values
    if wrap:
        values = np.concatenate([values[:, -1:], values, values[:, :1]], axis=1)
    # no running sums as of a box filter: their residue would touch untouched cells
    sums = cv2.sepFilter2D(values, -1, np.ones(3), np.ones(3), borderType=cv2.BORDER_CONSTANT)
    return np.asarray(sums[:, 1:-1] if wrap else sums)


def _cells(points: Float, centre: tuple[float, float], config: MapConfig) -> Cells:
    """Internal cells (N,) of odom points (N, 3) for a map centre; -1 outside."""
    return fine_cells(points[:, 0] - centre[0], points[:, 1] - centre[1], config)


def _merged(parts: list[MapState], slot: Index) -> MapState:
    """
    One point for each cell; of points in one cell the last of the last part is the newest.

    ``slot`` has a number for each internal cell; what it holds is written before it is read.
    """
    sizes = [len(part.cell) for part in parts]
    orders = [np.arange(end - size, end, dtype=np.int32)
              for size, end in zip(sizes, np.cumsum(sizes), strict=True)]
    for part, order in zip(parts, orders, strict=True):
        slot[part.cell] = order  # of repeated cells the last one stays
    stays = [slot.take(part.cell) == order for part, order in zip(parts, orders, strict=True)]
    newest = [np.flatnonzero(kept) for kept in stays]
    if len(parts) == 1 and len(newest[0]) == sizes[0]:
        return parts[0]
    merged = _joined(parts, newest)
    slot[merged.cell] = np.arange(len(merged.cell), dtype=np.int32)
    for part, kept in zip(parts, stays, strict=True):
        _add_older(merged, part, np.flatnonzero(~kept), slot)
    return merged


def _joined(parts: list[MapState], chosen: list[Cells]) -> MapState:
    """The chosen points of one part after the other, in new arrays."""
    size = sum(len(index) for index in chosen)
    points, planes = np.empty((3, size)), np.empty((len(CLASSES), size), np.float32)
    counter, cell = np.empty(size, np.int32), np.empty(size, np.int64)
    end = 0
    for part, index in zip(parts, chosen, strict=True):
        here, end = slice(end, end + len(index)), end + len(index)
        for source, target in ((part.points_odom.T, points), (part.histogram.T, planes),
                               (part.counter[None], counter[None]), (part.cell[None], cell[None])):
            for row, out in zip(source, target[:, here], strict=True):
                row.take(index, out=out, mode='clip')
    return MapState(parts[0].centre_m, points.T, planes.T, counter, cell)


def _add_older(merged: MapState, part: MapState, index: Cells, slot: Index) -> None:
    """Add the evidence of older points to that in their cells; ``slot`` says where these are."""
    target = slot.take(part.cell.take(index)).astype(np.intp)
    np.add.at(merged.counter, target, part.counter.take(index))
    for plane, values in zip(merged.histogram.T, part.histogram.T, strict=True):
        older = values.take(index)
        if older.any():  # depth points have but two of the classes
            np.add.at(plane, target, older)


def _selected(state: MapState, keep: Mask) -> MapState:
    """The points where ``keep`` (N,) holds; the same state where all are kept."""
    if keep.all():
        return state
    index = np.flatnonzero(keep)  # take by index: several times faster than by mask
    return MapState(
        state.centre_m, state.points_odom.T.take(index, 1).T, state.histogram.T.take(index, 1).T,
        state.counter.take(index), state.cell.take(index),
    )
