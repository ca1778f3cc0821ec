# SPDX-License-Identifier: Apache-2.0
"""
Cells of the hyperbolic-polar map: constant rings near the robot, then the rows of a pseudo camera.

``r`` counts rings from the centre and ``t`` counts angular cells from the x axis, both
continuous; their integer parts pick the cell. Points are taken at z = 0: height would change r.

Source
    IROS08-MAP (hyperbolic-polar map); algorithms.md A7.
"""

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perception.config import MapConfig
from perception.polar_loops import flat_cells
from perception.types import Cells, Float, Index

FINE = 2
"""Internal cells for one planning cell, along the radius and along the angle."""


def hyperbolic_start(config: MapConfig) -> float:
    """Radius [m] where the hyperbolic cells begin, R_min: 15.264 for the defaults."""
    rows = config.camera_height_m * config.hyperbolic_cells / config.image_height_m
    return config.cell_m * (rows - 1)


def same_cells(a: MapConfig, b: MapConfig) -> bool:
    """Tell whether two configurations lay out the same cells; weights may differ."""
    names = ('cell_m', 'constant_cells', 'hyperbolic_cells', 'angular_cells', 'camera_height_m',
             'image_height_m', 'max_radius_m')
    return all(getattr(a, name) == getattr(b, name) for name in names)


def infinity_index(config: MapConfig) -> float:
    """Ring index of an infinite radius: 152.32 for the defaults, beyond the last cell."""
    rows = config.camera_height_m * config.hyperbolic_cells / config.image_height_m
    return rows + config.constant_cells


def polar_from_xy(xy: Float, config: MapConfig) -> tuple[Float, Float]:
    """
    Ring and angular index of points on the ground.

    Radii between the end of the constant cells (15.0 m) and the first hyperbolic one
    (15.264 m) go to the last constant cell; only there the way back is not exact.

    Parameters
    ----------
    xy : (..., 2) float [m]
        Relative to the map centre, axes of odom.

    Returns
    -------
    r : (...) float64
        Ring index; NaN for NaN.
    t : (...) float64
        Angular index in [0, angular_cells), counter-clockwise from the x axis.

    Source
        algorithms.md A7, with z = 0 and atan2.
    """
    points = np.asarray(xy, float)
    _, r, t = _polar(points[..., 0], points[..., 1], config)
    return r, t


def xy_from_polar(r: Float | float, t: Float | float, config: MapConfig) -> Float:
    """
    Points on the ground at ring and angular indices, the inverse of ``polar_from_xy``.

    Parameters
    ----------
    r, t : (...) float
        Ring and angular index; r at and beyond ``infinity_index`` gives infinite points.

    Returns
    -------
    (..., 2) float64 [m]
        Relative to the map centre, axes of odom.
    """
    radius = _radius(np.asarray(r, float), config)
    angle = np.asarray(t, float) * (2 * np.pi / config.angular_cells)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], -1)


def fine_cells(x: Float, y: Float, config: MapConfig) -> Index:
    """
    Flat internal cell of points (...) relative to the centre, -1 beyond the map or NaN.

    Single precision: a point within a thousandth of a millimetre of a border may go either way.
    """
    shape, x, y = x.shape, x.astype(np.float32).ravel(), y.astype(np.float32).ravel()
    return flat_cells(x, y, np.arctan2(y, x), loop_layout(config)).reshape(shape)


@lru_cache(maxsize=8)
def loop_layout(config: MapConfig) -> Float:
    """
    Numbers for ``polar_loops.flat_cells``, (10,) float32, read-only.

    Start and growth of the hyperbolic rings, the constant ones, their width [m], the last index
    in them, angular cells in a radian and in a turn, the radius [m] and rings of the map, and
    the internal cells for one planning cell.
    """
    layout = exact_layout(config).astype(np.float32)
    layout[4] = np.nextafter(layout[2], np.float32(0))
    return _frozen(layout)


@lru_cache(maxsize=8)
def exact_layout(config: MapConfig) -> Float:
    """The numbers of ``loop_layout`` in float64, (10,), read-only."""
    turn, rings = config.angular_cells, planning_shape(config)[0]
    growth = config.camera_height_m * config.hyperbolic_cells / config.image_height_m
    return _frozen(np.array([
        hyperbolic_start(config), growth, config.constant_cells, config.cell_m,
        np.nextafter(float(config.constant_cells), 0), turn / (2 * np.pi), turn,
        config.max_radius_m, rings, FINE]))


def planning_cells(xy: Float, config: MapConfig) -> Cells:
    """
    Flat planning cell (ring * angular_cells + angle) of each point.

    Parameters
    ----------
    xy : (..., 2) float [m]
        Relative to the map centre, axes of odom.

    Returns
    -------
    (...) int
        -1 beyond the map, and for NaN.
    """
    points = np.asarray(xy, float)
    fine = fine_cells(points[..., 0], points[..., 1], config)
    return np.where(fine < 0, -1, planning_from_fine(config)[fine])


def fine_shape(config: MapConfig) -> tuple[int, int]:
    """Rings and angular cells of the internal map."""
    rings, angles = planning_shape(config)
    return rings * FINE, angles * FINE


def planning_shape(config: MapConfig) -> tuple[int, int]:
    """Rings and angular cells of the planning map (R, T)."""
    return config.constant_cells + config.hyperbolic_cells, config.angular_cells


@lru_cache(maxsize=8)
def planning_from_fine(config: MapConfig) -> Cells:
    """Flat planning cell of each flat internal cell, read-only."""
    rings, angles = fine_shape(config)
    ring, angle = np.arange(rings) // FINE, np.arange(angles) // FINE
    return _frozen((ring[:, None] * config.angular_cells + angle).ravel())


@lru_cache(maxsize=8)
def cell_radii(config: MapConfig) -> Float:
    """Radii of the planning cell centres, (R,) float64 [m], read-only."""
    return _frozen(_radius(np.arange(planning_shape(config)[0]) + 0.5, config))


@lru_cache(maxsize=8)
def cell_centres(config: MapConfig) -> Float:
    """Planning cell centres, (R, T, 2) float64 [m] relative to the map centre, read-only."""
    rings, angles = planning_shape(config)
    r, t = np.meshgrid(np.arange(rings) + 0.5, np.arange(angles) + 0.5, indexing='ij')
    return _frozen(xy_from_polar(r, t, config))


def ring_index(radius: Float, config: MapConfig) -> Float:
    """Ring index of radii [m] (...), continuous, in their own type; NaN for NaN."""
    start = hyperbolic_start(config)
    last = np.nextafter(radius.dtype.type(config.constant_cells), radius.dtype.type(0))
    far = np.asarray(np.maximum(radius, start))
    np.divide(-start, far, out=far)
    far += 1
    far *= config.camera_height_m * config.hyperbolic_cells / config.image_height_m
    far += config.constant_cells
    near = np.asarray(radius / config.cell_m)
    np.minimum(near, last, out=near)
    return np.where(radius >= start, far, near)


def _polar(x: Float, y: Float, config: MapConfig) -> tuple[Float, Float, Float]:
    """Radius [m], ring and angular index of points (...), in their own type."""
    radius = np.asarray(np.square(x))
    radius += np.square(y)
    np.sqrt(radius, out=radius)  # hypot guards against overflow at eight times the cost
    t = np.asarray(np.arctan2(y, x))
    t *= config.angular_cells / (2 * np.pi)
    t += (t < 0) * t.dtype.type(config.angular_cells)
    t *= t < config.angular_cells  # -1e-20 + T rounds to T, which is 0
    return radius, ring_index(radius, config), t


def _radius(r: Float, config: MapConfig) -> Float:
    """Radius [m] of ring indices."""
    step = config.image_height_m / config.hyperbolic_cells
    below = config.camera_height_m - (r - config.constant_cells) * step
    hyperbolic = r >= config.constant_cells
    finite = hyperbolic & (below > 0)
    far = hyperbolic_start(config) * config.camera_height_m / np.where(finite, below, 1.0)
    return np.where(hyperbolic, np.where(finite, far, np.inf), r * config.cell_m)


def _frozen(array: NDArray[Any]) -> NDArray[Any]:
    """Forbid writing: cached arrays are shared."""
    array.flags.writeable = False
    return array
