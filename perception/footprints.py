# SPDX-License-Identifier: Apache-2.0
"""
The ground one window stands for, as points close enough that the map keeps no gaps.

Far windows are several rings long and near ones several angular cells wide; entered as one point
each they would leave a third of the planning cells between 12 and 30 m untouched.
"""

from dataclasses import dataclass

import numpy as np

from perception.config import MapConfig
from perception.polar_geometry import Cells, ring_index
from perception.types import Float

SPACING_CELLS = 2.5
"""Planning cells from point to point: the neighbour sum closes gaps up to three."""
MAX_PARTS = 4



def _lattice() -> tuple[Float, Float]:
    """
    Offsets down and aside of the parts of a window, as a share of it.

    Part ``rank`` of (rows, columns) parts is at ((rows - 1) * 4 + columns - 1) * 16 + rank.
    """
    rows, columns, rank = np.ogrid[1:MAX_PARTS + 1, 1:MAX_PARTS + 1, :MAX_PARTS**2]
    row, column = np.divmod(rank, columns)
    down, aside = np.broadcast_arrays((row + 0.5) / rows - 0.5, (column + 0.5) / columns - 0.5)
    return down.ravel(), aside.ravel()


DOWN, ASIDE = _lattice()


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
    extent = np.clip(row_extent, 0.0, 0.9)
    rows = _parts(_rings(distance_m, extent, config))
    columns = _parts(column_rad * (config.angular_cells / (2 * np.pi)))
    parts = rows * columns
    window = np.repeat(np.arange(len(parts)), parts)
    rank = np.arange(len(window)) - (np.cumsum(parts) - parts).take(window)
    place = (((rows - 1) * MAX_PARTS + columns - 1) * MAX_PARTS**2).take(window) + rank
    down, aside = DOWN.take(place), ASIDE.take(place)
    return Footprints(
        window, (1.0 / parts).take(window),
        bearing_rad.take(window) + aside * column_rad.take(window),
        distance_m.take(window) / (1 + down * extent.take(window)),
    )


def _rings(distance_m: Float, extent: Float, config: MapConfig) -> Float:
    """Planning rings (N,) from the near to the far edge of a window row."""
    near, far = distance_m / (1 + extent / 2), distance_m / (1 - extent / 2)
    return np.asarray(ring_index(far, config) - ring_index(near, config))


def _parts(cells: Float) -> Cells:
    """Points (N,) that cover so many cells; one for NaN."""
    count = np.ceil(cells / SPACING_CELLS)
    return np.asarray(np.fmin(np.fmax(count, 1), MAX_PARTS), np.int64)
