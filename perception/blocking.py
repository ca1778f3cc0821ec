# SPDX-License-Identifier: Apache-2.0
"""
Which windows of a frame may enter the map: nothing behind an obstacle, obstacles at their feet.

A window knows its distance only if it shows ground. One on the trunk of a tree projects far
behind the tree, so along each bearing only the foot of the nearest obstacle counts. Distances
are handled as closeness q = 1 / distance, which grows evenly with the image row.

Source
    IROS08-MAP ("blocked after obstacle"); algorithms.md A7.
"""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import maximum_filter1d, minimum_filter1d

from perception.config import MapConfig
from perception.polar_geometry import Index
from perception.polar_map import neighbour_sum
from perception.types import FOOTLINE, Float, Mask

FOOT_ROWS = 4.5
"""Rows from the first to the last window labelled as one foot: two each way, and half a row."""
BESIDE_BINS = 4
"""Two planning cells: ground closer beside an obstacle, behind it, is blocked as well. The
neighbour sum of the planning map would carry it behind the obstacle."""
AGREEMENT = 0.5
"""Mean obstacle probability of the windows around one that blocks: a lone error does not."""
RANGE_BIN = 0.1
"""Width of the range bins in which windows must agree, as a share of the distance."""
MIN_POINTS = 3
"""Obstacle points of a bearing and range bin that block: fewer may be matching errors."""
ROW_EXTENT = 0.1
SAME_FOOT = 1.3
"""A window this much closer than the nearest obstacle of a bin belongs to another one."""


@dataclass(frozen=True)
class Placement:
    """
    Windows that may enter the map, and where: ``keep`` (N,) bool, ``distance_m`` (N,) float64.

    Obstacle windows stand at the distance of their foot, all others at their own; the distance
    of a window that is not kept means nothing.
    """

    keep: Mask
    distance_m: Float


@dataclass(frozen=True)
class _Sight:
    """Windows of a frame by bearing bin: closeness [1/m], 0 = sky; ``count`` bins around."""

    bins: Index
    closeness: Float
    count: int


def place_windows(
    bearing_rad: Float, distance_m: Float, probabilities: Float, config: MapConfig, *,
    row_extent: Float | float = ROW_EXTENT, blockers: tuple[Float, Float] | None = None,
) -> Placement:
    """
    Keep the ground before obstacles and the foot of the nearest obstacle along each bearing.

    A window blocks where footline and obstacle classes together reach ``blocking_probability``
    and the windows around agree. All windows within two rows of a foot carry the footline
    label, so their mean row is the foot, and they are moved there. Windows higher on the same
    obstacle, and ground behind it or up to two planning cells beside and behind, are dropped.

    Parameters
    ----------
    bearing_rad, distance_m : (N,) float
        Window centres on the ground, seen from the foot of the camera, axes of odom. Windows
        with NaN or infinite distance (sky) are never kept.
    probabilities : (N, 5) float
        Class probabilities.
    row_extent : (N,) or scalar float
        Height of a window row over its distance below the horizon, which is
        band scale * distance / (focal length * camera height). Says where a foot's rows end.
    blockers : tuple of two (M,) float
        Bearing [rad] and distance [m] of obstacle points from stereo or depth: exact feet.

    Returns
    -------
    Placement
    """
    sight = _sight(bearing_rad, distance_m, config)
    probabilities = np.asarray(probabilities, float).T  # numpy sums short rows slowly
    risk = np.asarray(probabilities[FOOTLINE:].sum(0))
    extent = np.clip(np.broadcast_to(row_extent, risk.shape), 0.01, 0.15)
    precision = extent**-2.0  # a fine row tells better than a coarse one where things are
    threat = (risk >= config.blocking_probability) & (sight.closeness > 0)
    threat &= _agreement(sight, risk, precision) >= AGREEMENT
    first, last = _nearest_runs(sight, threat, sight.closeness * (1 - FOOT_ROWS * extent))
    weight = np.where(threat, probabilities[FOOTLINE] * precision, 0.0)
    foot = _feet(sight, weight, first, last)
    if blockers is not None:
        point = _nearest_points(_sight(*blockers, config))
        last = np.where(point > first, point * (1 - FOOT_ROWS * ROW_EXTENT), last)
        foot = np.where((point > 0) & (point >= last), point, foot)
    return _placement(sight, threat, foot, last)


def _sight(bearing_rad: Float, distance_m: Float, config: MapConfig) -> _Sight:
    """Bearing bins, half a planning cell each, and closeness."""
    distance, count = np.asarray(distance_m, float), 2 * config.angular_cells
    seen = np.isfinite(distance) & (distance > 0) & np.isfinite(bearing_rad)
    closeness = np.where(seen, 1 / np.where(seen, distance, 1.0), 0.0)
    turn = np.where(seen, bearing_rad, 0.0) * (count / (2 * np.pi))
    return _Sight(np.floor(turn).astype(np.int32) % count, closeness, count)


def _agreement(sight: _Sight, risk: Float, precision: Float) -> Float:
    """Mean obstacle probability (N,) of the windows within one bin of bearing and range."""
    seen = np.flatnonzero(sight.closeness > 0)
    mean = np.zeros(len(risk))
    if not len(seen):
        return mean
    column = (sight.bins[seen] - sight.bins[seen[0]] + sight.count // 2) % sight.count
    column -= column.min()  # one camera sees a part of the circle: a small grid will do
    ring = _range_bins(sight.closeness[seen])
    shape = (int(ring.max()) + 1, int(column.max()) + 1)
    cell = ring * shape[1] + column
    sums = [np.bincount(cell, weight, shape[0] * shape[1]).astype(float, copy=False).reshape(shape)
            for weight in ((risk * precision)[seen], precision[seen])]
    total, number = (neighbour_sum(s, wrap=False).ravel() for s in sums)
    mean[seen] = total[cell] / number[cell]
    return mean


def _nearest_runs(sight: _Sight, threat: Mask, end: Float) -> tuple[Float, Float]:
    """Closeness where the nearest obstacle of each bin begins and where its foot rows end."""
    index = np.flatnonzero(threat)
    bins, closeness = sight.bins[index], sight.closeness[index]
    first, last = np.zeros(sight.count), np.zeros(sight.count)
    np.maximum.at(first, bins, closeness)
    nearest = closeness == first[bins]
    last[bins[nearest]] = end[index[nearest]]
    around = (np.arange(sight.count)[:, None] + np.array([0, -1, 1])) % sight.count
    pick = around[np.arange(sight.count), first[around].argmax(1)]
    return first[pick], last[pick]


def _range_bins(closeness: Float) -> Index:
    """Range bin (N,) of each closeness > 0, the nearest is 0."""
    ring = np.floor(-np.log(closeness) / RANGE_BIN).astype(np.int32)
    return np.asarray(ring - ring.min(), np.int32)


def _nearest_points(sight: _Sight) -> Float:
    """Closeness of the nearest obstacle points in each bin or the ones beside it, 0 = none."""
    nearest, seen = np.zeros(sight.count), np.flatnonzero(sight.closeness > 0)
    if not len(seen):
        return nearest
    cell = _range_bins(sight.closeness[seen]) * sight.count + sight.bins[seen]
    seen = seen[np.bincount(cell)[cell] >= MIN_POINTS]
    np.maximum.at(nearest, sight.bins[seen], sight.closeness[seen])
    return np.asarray(maximum_filter1d(nearest, 3, mode='wrap'))


def _feet(sight: _Sight, weight: Float, first: Float, last: Float) -> Float:
    """
    Closeness of the foot in each bin, 0 = no obstacle: weighted mean of the windows of its run.

    Windows up to ``BESIDE_BINS`` aside count, so that one trunk has one foot.
    """
    beside = 2 * BESIDE_BINS + 1
    low = minimum_filter1d(np.where(first > 0, last, np.inf), beside, mode='wrap')
    high = maximum_filter1d(SAME_FOOT * first, beside, mode='wrap')
    in_reach = (sight.closeness >= low[sight.bins]) & (sight.closeness <= high[sight.bins])
    used = np.flatnonzero((weight > 0) & in_reach)  # the others lie in no run around
    closeness, weight = sight.closeness[used], weight[used]
    wrapped = np.arange(-BESIDE_BINS, sight.count + BESIDE_BINS) % sight.count
    bins = sight.bins[used] + np.arange(beside)[:, None]  # one row a shift, counted in wrapped
    run = (closeness >= last[wrapped].take(bins)) & (
        closeness <= SAME_FOOT * first[wrapped].take(bins))
    weight = np.where(run, weight, 0.0)
    total, moment = (
        np.bincount(wrapped, np.bincount(bins.ravel(), w.ravel(), len(wrapped)), sight.count)
        for w in (weight, weight * closeness))
    known = (total > 0) & (first > 0)  # without any footline the nearest window is the best guess
    return np.where(known, moment / np.where(known, total, 1.0), first)


def _placement(sight: _Sight, threat: Mask, foot: Float, last: Float) -> Placement:
    """Apply the feet and run ends of the bins to the windows."""
    closeness, bins = sight.closeness, sight.bins
    blocked = maximum_filter1d(foot, 2 * BESIDE_BINS + 1, mode='wrap')
    ground = ~threat & (closeness > blocked[bins])
    obstacle = threat & (closeness >= last[bins])
    place = np.where(obstacle, foot[bins], closeness)
    return Placement(ground | obstacle, 1 / np.where(place > 0, place, np.nan))
