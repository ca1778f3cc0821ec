# SPDX-License-Identifier: Apache-2.0
"""
All windows of a frame as one view over bearing and distance, and what of it may enter the map.

The bands see most ground two or three times, at different scales; where they overlap the finer
one counts more. A window tells where a thing stands only where it shows ground or a foot: the
upper part of an obstacle projects far behind it and is never entered, so what it hides stays
unknown.

Source
    IROS08-MAP ("blocked after obstacle"), algorithms.md A7. Differs: seen ground behind a low
    obstacle counts where it is surely ground, as the camera looks over the obstacle.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from perception.config import MapConfig
from perception.footprints import split_windows
from perception.polar_map import neighbour_sum
from perception.types import CLASSES, FOOTLINE, OBSTACLE, SUPER_GROUND, Evidence, Float, Mask

NEAREST_M, DISTANCE_STEP = 2.0, 0.04  # first distance bin, and the growth from bin to bin
BEARING_CELLS = 1.0  # width of a bearing bin in planning cells
FINENESS = 3.0  # weight of a window = row extent to this power, inverted
MIN_WEIGHT = 1e-6  # of the heaviest cell: below, a cell is unseen
BLOCKING, FOOT, SURE_GROUND = 0.5, 0.6, 0.5  # least probabilities to block, to stand, to be seen
FOOT_WEIGHT = 0.5
VAGUE = 0.33  # a row that spans more of its distance sees an obstacle, but not where it stands
FOOT_BINS, BESIDE = 10, 2  # distance bins of a foot; bearing bins where it is the same obstacle
BEHIND_POINTS = 1.05  # a depth point hides what lies farther than this times its distance
MIN_POINTS = 3  # depth points in a bearing bin that make an obstacle


@dataclass(frozen=True)
class View:
    """
    Class probabilities over bearing (B bins) and distance (R bins), seen from the camera.

    ``probabilities`` (5, B, R) float64, ``known`` (B, R) bool, ``bearing_rad`` (B,),
    ``distance_m`` (R,): bin centres.
    """

    probabilities: Float
    known: Mask
    bearing_rad: Float
    distance_m: Float


def fuse_windows(
    bearing_rad: Float, distance_m: Float, probabilities: Float, *,
    row_extent: Float, column_rad: Float, config: MapConfig,
) -> View:
    """
    Fuse the windows of one camera.

    Parameters
    ----------
    bearing_rad, distance_m : (N,) float
        Window centres on the ground plane, seen from the camera; finite. N >= 1.
    probabilities : (N, 5) float
        Class histogram of each window; a row of zeros says nothing.
    row_extent : (N,) float
        Height of a band row over its distance below the horizon.
    column_rad : (N,) float
        Angle between neighbouring windows.

    Returns
    -------
    View
        Weighted mean over the windows of each bin and its neighbours.
    """
    parts = split_windows(bearing_rad, distance_m, row_extent, column_rad, config)
    step = BEARING_CELLS * 2 * np.pi / config.angular_cells
    turn = _turned(parts.bearing_rad - bearing_rad[0] + np.pi)
    column = (turn / step).astype(np.int32)
    first = column.min()
    ring = (np.log(np.maximum(parts.distance_m / NEAREST_M, 1)) / DISTANCE_STEP).astype(np.int32)
    shape = (int(column.max() - first) + 1, int(ring.max()) + 1)
    cell = (column - first) * shape[1] + ring
    fine = np.maximum(row_extent, 1e-3) ** -FINENESS
    weight = fine.take(parts.window)
    weight *= parts.share
    placed = np.array(probabilities.T, float, order='C')
    vague = np.flatnonzero(row_extent > VAGUE)
    placed[OBSTACLE, vague] += placed[FOOTLINE, vague]
    placed[FOOTLINE, vague] = 0
    # a fine window that says nothing still takes part: coarse ones are not to be trusted there
    shares = [*(weight * plane.take(parts.window) for plane in placed), weight]
    apart = np.zeros((len(shares), shape[0] + 1, shape[1]))  # a blank row parts the planes
    for share, plane in zip(shares, apart, strict=True):
        plane[:-1] = np.bincount(cell, share, shape[0] * shape[1]).reshape(shape)
    sums = neighbour_sum(apart.reshape(-1, shape[1]), wrap=False).reshape(apart.shape)[:, :-1]
    total = sums[-1]
    known = total > MIN_WEIGHT * total.max(initial=0.0)
    bearing = bearing_rad[0] - np.pi + (np.arange(shape[0]) + first + 0.5) * step
    distance = NEAREST_M * np.exp((np.arange(shape[1]) + 0.5) * DISTANCE_STEP)
    return View(sums[:-1] / np.where(known, total, 1.0), known, bearing, distance)


def _turned(angle: Float) -> Float:
    """Angles [rad] -> [0, 2 pi], several times faster than a remainder."""
    return np.asarray(angle - 2 * np.pi * np.floor(angle / (2 * np.pi)))


def _lowest(values: Float, bearings: int) -> Float:
    """Lowest of so many neighbouring bearings, for each cell (B, R)."""
    return np.asarray(cv2.erode(values, np.ones((bearings, 1), np.uint8)))


def view_evidence(
    view: View, camera_odom: Float, height_m: float, config: MapConfig,
    points_odom: Float | None = None,
) -> Evidence:
    """
    Enter ground where it is seen, and obstacles where their feet stand.

    Ground counts up to the first obstacle along its bearing, and beyond it where it is surely
    ground, unless a depth point stands in the line of sight. Of obstacles only the footline
    counts, where each run of it begins. Nothing else is entered.

    Parameters
    ----------
    camera_odom : (3,) float
        Camera in odom [m].
    height_m : float
        Camera height above the ground plane [m].
    points_odom : (M, 3) float, optional
        Obstacle points from depth in odom [m]; they hide what lies in their shadow.

    Returns
    -------
    Evidence
        On the ground, weighted by ``window_weight`` x min(1, ``distance_decay_m`` / distance).
    """
    standing = view.probabilities[FOOTLINE:].sum(0)
    blocks = view.known & (standing >= BLOCKING)
    hidden = np.logical_or.accumulate(blocks, axis=1)
    # sure ground beside a thin obstacle would spread into its shadow: its neighbours must agree
    hidden &= _lowest(view.probabilities[SUPER_GROUND], 3) <= SURE_GROUND
    if points_odom is not None:
        hidden |= _shadows(view, points_odom - camera_odom, height_m)
    ground = np.nonzero(view.known & ~blocks & ~hidden)
    feet = np.nonzero(_feet(view, view.known & (standing < BLOCKING)))
    count = len(ground[0])
    histogram = np.zeros((count + len(feet[0]), len(CLASSES)), np.float32)
    histogram[:count] = view.probabilities[:, ground[0], ground[1]].T
    histogram[count:, FOOTLINE] = FOOT_WEIGHT * np.square(view.probabilities[FOOTLINE][feet])
    bearing = view.bearing_rad[np.concatenate([ground[0], feet[0]])]
    distance = view.distance_m[np.concatenate([ground[1], feet[1]])]
    weight = config.window_weight * np.minimum(1.0, config.distance_decay_m / distance)
    histogram *= weight[:, None].astype(np.float32)
    xyz = np.stack([camera_odom[0] + distance * np.cos(bearing),
                    camera_odom[1] + distance * np.sin(bearing),
                    np.full(len(bearing), camera_odom[2] - height_m)], -1)
    return Evidence(xyz, histogram)


def _feet(view: View, open_: Mask) -> Mask:
    """
    Footline cells next to the open ground before them, (B, R).

    Windows within two rows of a foot all carry the label, and the lowest of them projects about
    where the obstacle stands. Beside a thin obstacle only coarse windows hold its foot, too far
    away: there the run of the bearings next to it counts.
    """
    foot = view.known & (view.probabilities[FOOTLINE] > FOOT)
    bins = np.arange(foot.shape[1], dtype=np.float32)
    begin = np.maximum.accumulate((bins + 1) * open_, axis=1)
    begin[~foot] = foot.shape[1]
    return np.asarray(foot & (bins - _lowest(begin, 2 * BESIDE + 1) <= FOOT_BINS))


def _shadows(view: View, ray: Float, height_m: float) -> Mask:
    """Cells (B, R) behind depth points (M, 3), given from the camera, up to where sight clears."""
    bins, step = len(view.bearing_rad), np.diff(view.bearing_rad[:2]).sum() or 1.0
    x, y, z = ray.T
    column = (_turned(np.arctan2(y, x) - view.bearing_rad[0] + step / 2) / step).astype(np.intp)
    inside = np.flatnonzero(column < bins)
    if len(inside) < len(column):
        column, x, y, z = (values.take(inside) for values in (column, x, y, z))
    distance = np.sqrt(x * x + y * y)
    with np.errstate(divide='ignore'):
        clears = distance * height_m / np.maximum(-z, 0)
    few = np.bincount(column, minlength=bins) < MIN_POINTS
    nearest, end = np.full(bins, np.inf), np.zeros(bins)
    np.minimum.at(nearest, column, distance)
    np.maximum.at(end, column, clears)
    nearest[few] = np.inf
    beyond = view.distance_m > BEHIND_POINTS * nearest[:, None]
    beyond &= view.distance_m < end[:, None]
    return beyond
