# SPDX-License-Identifier: Apache-2.0
"""
The ground one window stands for, as points close enough that the map keeps no gaps.

Far windows are several rings long and near ones several angular cells wide; entered as one point
each they would leave a third of the planning cells between 12 and 30 m untouched.
"""

from dataclasses import dataclass

import numpy as np

from perception.config import MapConfig
from perception.polar_geometry import Index, polar_from_xy
from perception.types import Float

SPACING_CELLS = 2.5
"""Planning cells from point to point: the neighbour sum closes gaps up to three."""
MAX_PARTS = 4


@dataclass(frozen=True)
class Footprints:
    """
    Parts of windows: ``window`` (M,) index into the windows, ``share`` (M,) of its weight.

    ``bearing_rad``, ``distance_m`` (M,) float64 of the parts, seen from the camera.
    """

    window: Index
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
    extent = np.clip(row_extent, 0.0, 0.9)
    rows = _parts(_rings(distance_m, extent, config))
    columns = _parts(np.asarray(column_rad) * (config.angular_cells / (2 * np.pi)))
    parts = rows * columns
    window = np.repeat(np.arange(len(parts), dtype=np.int32), parts)
    rank = np.arange(len(window)) - np.repeat(np.cumsum(parts) - parts, parts)
    row, column = np.divmod(rank, columns[window])
    down = (row + 0.5) / rows[window] - 0.5
    aside = (column + 0.5) / columns[window] - 0.5
    return Footprints(
        window, 1.0 / parts[window],
        np.asarray(bearing_rad)[window] + aside * np.asarray(column_rad)[window],
        np.asarray(distance_m)[window] / (1 + down * extent[window]),
    )


def _rings(distance_m: Float, extent: Float, config: MapConfig) -> Float:
    """Planning rings (N,) from the near to the far edge of a window row."""
    edges = np.stack([distance_m / (1 - extent / 2), distance_m / (1 + extent / 2)], -1)
    ring, _ = polar_from_xy(np.stack([edges, np.zeros_like(edges)], -1), config)
    return np.asarray(ring[:, 0] - ring[:, 1])


def _parts(cells: Float) -> Index:
    """Points (N,) that cover so many cells."""
    count = np.ceil(np.nan_to_num(cells, nan=1.0) / SPACING_CELLS)
    return np.asarray(np.clip(count, 1, MAX_PARTS), np.int32)
