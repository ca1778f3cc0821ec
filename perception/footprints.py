# SPDX-License-Identifier: Apache-2.0
"""
The ground one window stands for, as points close enough that the map keeps no gaps.

Far windows are several rings long and near ones several angular cells wide; entered as one point
each they would leave a third of the planning cells between 12 and 30 m untouched.
"""

from dataclasses import dataclass

import numpy as np

from perception.config import MapConfig
from perception.footprint_loops import split
from perception.polar_geometry import exact_layout
from perception.types import Cells, Float

SPACING_CELLS = 2.5
"""Planning cells from point to point: the neighbour sum closes gaps up to three."""


@dataclass(frozen=True)
class Footprints:
    """
    Parts of windows: ``window`` (M,) index into the windows, ``share`` (M,) of its weight.

    ``bearing_rad``, ``distance_m`` (M,) float64 of the parts, seen from the camera.
    """

    window: Cells
    share: Float
    bearing_rad: Float
    distance_m: Float


def split_windows(
    bearing_rad: Float, distance_m: Float, row_extent: Float, column_rad: Float, config: MapConfig
) -> Footprints:
    """
    Split windows into a lattice of parts that share their weight.

    Parameters
    ----------
    bearing_rad, distance_m : (N,) float
        Window centres on the ground, seen from the camera; NaN distances give one part.
    row_extent : (N,) float
        Height of a window row over its distance below the horizon, as for ``place_windows``.
    column_rad : (N,) float
        Angle between neighbouring windows of a row: 4 * band scale / focal length.

    Returns
    -------
    Footprints
        Up to four by four parts a window; the shares of a window add up to 1.
    """
    extent = np.minimum(np.maximum(row_extent, 0.0), 0.9)
    windows = (np.ascontiguousarray(bearing_rad, float), np.ascontiguousarray(distance_m, float),
               np.ascontiguousarray(extent, float), np.ascontiguousarray(column_rad, float))
    return Footprints(*split(windows, exact_layout(config), SPACING_CELLS))
