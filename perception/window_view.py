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
from functools import lru_cache

import numpy as np

from perception.config import MapConfig
from perception.footprints import split_windows
from perception.types import Evidence, Float, Mask
from perception.window_loops import (
    add_parts,
    evidence,
    normalized,
    shadows,
    sight,
    window_values,
)

NEAREST_M, DISTANCE_STEP = 2.0, 0.04  # first distance bin, and the growth from bin to bin
BEARING_CELLS = 1.0  # width of a bearing bin in planning cells
MIN_EXTENT = 1e-3  # of a row over its distance: finer windows count no more
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
    # a fine window that says nothing still takes part: coarse ones are not to be trusted there
    values = window_values(np.ascontiguousarray(probabilities, float),
                           np.ascontiguousarray(row_extent, float), (MIN_EXTENT, VAGUE))
    own, (bearings, bins, first) = add_parts(
        (parts.window, parts.share, parts.bearing_rad, parts.distance_m), ring, values,
        (bearing_rad[0], step))
    means, known = normalized(own, (bearings, bins), MIN_WEIGHT)
    begin = float(bearing_rad[0]) - np.pi + (first + 0.5) * step
    return View(means, known, begin + np.arange(bearings) * step, _distances(bins))


@lru_cache(maxsize=128)
def _distances(bins: int) -> Float:
    """Centres of the first distance bins (R,) [m], read-only."""
    distance: Float = NEAREST_M * np.exp((np.arange(bins) + 0.5) * DISTANCE_STEP)
    distance.flags.writeable = False
    return distance


@lru_cache(maxsize=128)
def _reach(bins: int, config: MapConfig) -> Float:
    """Distance [m] and weight of the first distance bins, (2, R), read-only."""
    distance = _distances(bins)
    reach = np.stack([distance, config.window_weight * np.minimum(
        1.0, config.distance_decay_m / distance)])
    reach.flags.writeable = False
    return reach


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
    points = np.empty((3, 0)) if points_odom is None else points_odom.T
    shadow = _shadows(view, points - camera_odom[:, None], height_m)
    cells = sight((view.probabilities, view.known), shadow, view.distance_m)
    foot = np.array([*camera_odom[:2], camera_odom[2] - height_m])
    return Evidence(*evidence(view.probabilities, cells, view.bearing_rad,
                              _reach(len(view.distance_m), config), foot))


def _shadows(view: View, ray: Float, height_m: float) -> Float:
    """Shadows (2, B) of depth points (3, M), given from the camera."""
    bearing = view.bearing_rad
    step = float(bearing[1] - bearing[0]) if len(bearing) > 1 else 1.0
    ray = np.ascontiguousarray(ray, float)
    return shadows(np.arctan2(ray[1], ray[0]), ray, height_m,
                   (float(bearing[0]) - step / 2, step), len(bearing))
