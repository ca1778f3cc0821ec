# SPDX-License-Identifier: Apache-2.0
"""Pinhole geometry of a rectified camera: pixels, rays, points, ground."""

from functools import lru_cache
from math import hypot

import numpy as np

from perception.types import Camera, Float, GroundPlane


def pixel_rays(uv: Float, camera: Camera) -> Float:
    """
    Rays through pixels.

    Parameters
    ----------
    uv : (..., 2) float
        Pixels (column, row).

    Returns
    -------
    (..., 3) float64
        Optical frame, z = 1 (so a ray times depth is the point).
    """
    uv = np.asarray(uv, float)
    x = (uv[..., 0] - camera.cx) / camera.fx
    y = (uv[..., 1] - camera.cy) / camera.fy
    return np.stack([x, y, np.ones_like(x)], -1)


def project(points_optical: Float, camera: Camera) -> Float:
    """
    Project points to pixels.

    Parameters
    ----------
    points_optical : (..., 3) float [m]
        Optical frame.

    Returns
    -------
    (..., 2) float64
        Pixels (column, row); NaN for points at or behind the camera.

    Examples
    --------
    >>> project(np.array([1.0, 0.5, 4.0]), Camera(600, 400, 300.0, 200.0, 310.0, 190.0)).tolist()
    [385.0, 215.0]
    """
    points = np.asarray(points_optical, float)
    z = np.where(points[..., 2] > 0, points[..., 2], np.nan)
    u = camera.fx * points[..., 0] / z + camera.cx
    v = camera.fy * points[..., 1] / z + camera.cy
    return np.stack([u, v], -1)


def ground_points(uv: Float, plane: GroundPlane) -> Float:
    """
    Where the rays through pixels meet the ground plane.

    Parameters
    ----------
    uv : (..., 2) float
        Pixels (column, row) of ``plane.camera``.

    Returns
    -------
    (..., 3) float64 [m]
        Optical frame; NaN at and above the horizon.
    """
    uv = np.asarray(uv, float)
    disparity = plane.disparity(uv[..., 0], uv[..., 1])
    depth = plane.focal_baseline / np.where(disparity > 0, disparity, np.nan)
    return pixel_rays(uv, plane.camera) * depth[..., None]


def transform(a_from_b: Float, points_b: Float) -> Float:
    """Points (..., 3) in frame b -> frame a, by the (4, 4) rigid transform ``a_from_b``."""
    return np.asarray(points_b) @ a_from_b[:3, :3].T + a_from_b[:3, 3]


@lru_cache(maxsize=8)
def levelled_base_from_camera(plane: GroundPlane) -> Float:
    """Mount of the camera as the ground plane alone gives it: (4, 4) float64, read-only."""
    base_from_camera = level_from_camera(*plane.normal_offset)
    base_from_camera.flags.writeable = False
    return base_from_camera


def level_from_camera(normal: Float, offset: float) -> Float:
    """
    Camera in the frame that stands under it on the plane, (4, 4) float64.

    z = plane normal, x = optical axis laid on the plane, so yaw, x and y are zero by definition
    (architecture.md, mount ``plane``).

    Parameters
    ----------
    normal : (3,) float
        Unit normal of the plane in the optical frame, up.
    offset : float
        Height of the optical centre above the plane [m].
    """
    a, b, c = (float(part) for part in normal)
    forward = -a * c, -b * c, 1 - c * c
    length = hypot(*forward)
    i, j, k = (part / length for part in forward)
    return np.array([
        [i, j, k, 0],
        [b * k - c * j, c * i - a * k, a * j - b * i, 0],  # cross product
        [a, b, c, offset],
        [0, 0, 0, 1],
    ], float)


@lru_cache(maxsize=8)
def plane_pose(plane: GroundPlane) -> Float:
    """Foot of the camera on the plane, z = normal, x = ahead: (4, 4) optical, read-only."""
    camera_from_foot = np.asarray(np.linalg.inv(levelled_base_from_camera(plane)))
    camera_from_foot.flags.writeable = False
    return camera_from_foot


def normal_offset_from_pose(camera_from_foot: Float) -> tuple[Float, float]:
    """Normal (3,) and height [m] of a plane given as ``plane_pose`` gives it."""
    return camera_from_foot[:3, 2], float(np.linalg.norm(camera_from_foot[:3, 3]))
