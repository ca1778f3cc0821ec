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

import numpy as np

from perception.config import MapConfig
from perception.footprints import split_windows
from perception.grid_loops import neighbour_sums
from perception.types import FOOTLINE, OBSTACLE, Evidence, Float, Mask
from perception.window_loops import add_parts, evidence, normalized, shadows, sight

NEAREST_M, DISTANCE_STEP = 2.0, 0.04  # first distance bin, and the growth from bin to bin
BEARING_CELLS = 1.0  # width of a bearing bin in planning cells
FINENESS = 3.0  # weight of a window = row extent to this power, inverted
MIN_WEIGHT = 1e-6  # of the heaviest cell: below, a cell is unseen
VAGUE = 0.33  # a row that spans more of its distance sees an obstacle, but not where it stands


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
    ring = np.log(np.maximum(parts.distance_m / NEAREST_M, 1)) / DISTANCE_STEP
    values = np.array([*probabilities.T, np.maximum(row_extent, 1e-3) ** -FINENESS], float)
    vague = np.flatnonzero(row_extent > VAGUE)
    values[OBSTACLE, vague] += values[FOOTLINE, vague]
    values[FOOTLINE, vague] = 0
    # a fine window that says nothing still takes part: coarse ones are not to be trusted there
    own, first = add_parts((parts.window, parts.share, parts.bearing_rad, parts.distance_m), ring,
                           values, (bearing_rad[0], step))
    means, known = normalized(neighbour_sums(own, False), MIN_WEIGHT)
    bearing = bearing_rad[0] - np.pi + (np.arange(known.shape[0]) + first + 0.5) * step
    distance = NEAREST_M * np.exp((np.arange(known.shape[1]) + 0.5) * DISTANCE_STEP)
    return View(means, known, bearing, distance)


def _turned(angle: Float) -> Float:
    """Angles [rad] -> [0, 2 pi], several times faster than a remainder."""
    return np.asarray(angle - 2 * np.pi * np.floor(angle / (2 * np.pi)))


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
    ray = np.empty((0, 3)) if points_odom is None else points_odom - camera_odom
    shadow = _shadows(view, ray, height_m)
    cells = sight((view.probabilities, view.known), shadow, view.distance_m)
    weight = config.window_weight * np.minimum(1.0, config.distance_decay_m / view.distance_m)
    direction = np.stack([np.cos(view.bearing_rad), np.sin(view.bearing_rad)])
    foot = np.array([*camera_odom[:2], camera_odom[2] - height_m])
    return Evidence(*evidence(view.probabilities, cells, direction,
                              np.stack([view.distance_m, weight]), foot))


def _shadows(view: View, ray: Float, height_m: float) -> Float:
    """Shadows (2, B) of depth points (M, 3), given from the camera."""
    bins, step = len(view.bearing_rad), np.diff(view.bearing_rad[:2]).sum() or 1.0
    ray = np.ascontiguousarray(ray.T, float)
    turn = _turned(np.arctan2(ray[1], ray[0]) - view.bearing_rad[0] + step / 2)
    return shadows((turn / step).astype(np.int64), ray, height_m, bins)
