# SPDX-License-Identifier: Apache-2.0
"""
One frame on the map: depth points where they stand, windows where they meet the ground plane.

Source
    IROS08-MAP; algorithms.md A7 (projection on the single plane).
"""

import numpy as np

from perception.blocking import place_windows
from perception.camera import levelled_base_from_camera, transform
from perception.config import MapConfig, MountConfig
from perception.footprints import split_windows
from perception.pyramid import COLUMN_STRIDE, WINDOW_ROWS, Pyramid
from perception.supervisor import PointLabels
from perception.types import (
    CLASSES,
    SUPER_GROUND,
    SUPER_OBSTACLE,
    DepthGrid,
    Evidence,
    Float,
    Frame,
    GroundPlane,
)

GROUND_STRIDE = 2  # every second ground point each way: they are plenty


def odom_from_camera(frame: Frame, plane: GroundPlane, mount: MountConfig) -> Float:
    """
    Pose of the camera in odom, (4, 4) float64.

    The mount is the frame's transform, or (without one, or with ``source: plane``) the plane's
    own height, pitch and roll. Without odometry the robot stands at the origin.
    """
    base_from_camera = frame.base_from_camera
    if base_from_camera is None or mount.source == 'plane':
        cos, sin = np.cos(mount.yaw_rad), np.sin(mount.yaw_rad)
        turned = np.eye(4)
        turned[:2] = [[cos, -sin, 0, mount.x_m], [sin, cos, 0, mount.y_m]]
        base_from_camera = turned @ levelled_base_from_camera(plane)
    return base_from_camera if frame.odom_from_base is None else (
        frame.odom_from_base @ base_from_camera)


def depth_evidence(
    points: PointLabels, grid: DepthGrid, pose: Float, config: MapConfig
) -> tuple[Evidence, Float]:
    """
    Depth points as evidence, and the obstacle points (M, 3) [m] in odom that block the view.

    Every obstacle point enters where it stands, whatever its height; ground points are thinned.
    """
    ground = points.ground[::GROUND_STRIDE, ::GROUND_STRIDE]
    ground_points = grid.points_optical[::GROUND_STRIDE, ::GROUND_STRIDE][ground]
    obstacles = transform(pose, grid.points_optical[points.obstacle])
    histogram = np.zeros((len(ground_points) + len(obstacles), len(CLASSES)), np.float32)
    histogram[:len(ground_points), SUPER_GROUND] = config.point_weight
    histogram[len(ground_points):, SUPER_OBSTACLE] = config.point_weight
    xyz = np.concatenate([transform(pose, ground_points), obstacles])
    return Evidence(xyz, histogram), obstacles


def window_evidence(
    pyramid: Pyramid, probabilities: Float, pose: Float, config: MapConfig,
    obstacles: Float | None = None,
) -> Evidence:
    """
    Windows on the ground plane, obstacles at their feet, nothing behind an obstacle.

    Parameters
    ----------
    probabilities : (N, 5) float32
        Class histogram of each window.
    pose : (4, 4) float64
        odom_from_camera.
    obstacles : (M, 3) float, optional
        Obstacle points from depth in odom [m]; they hide what lies behind them.

    Returns
    -------
    Evidence
        Histogram x ``window_weight`` x min(1, ``distance_decay_m`` / distance); windows outside
        the image, above the horizon or beyond the map are left out.
    """
    windows = pyramid.windows
    index = np.flatnonzero(windows.valid & (windows.distance <= config.max_radius_m))
    points = transform(pose, windows.ground_optical[index])
    bearing, distance = _polar(points, pose)
    extent = row_extent(pyramid)[index]
    width_rad = COLUMN_STRIDE * _scales(pyramid)[index] / pyramid.camera.fx
    parts = split_windows(bearing, distance, extent * pyramid.row_stride, width_rad, config)
    placed = place_windows(
        parts.bearing_rad, parts.distance_m, probabilities[index[parts.window]], config,
        row_extent=extent[parts.window],
        blockers=None if obstacles is None else _polar(obstacles, pose),
    )
    keep, distance = placed.keep, placed.distance_m[placed.keep]
    window, bearing = parts.window[keep], parts.bearing_rad[keep]
    xyz = points[window]
    xyz[:, 0] = pose[0, 3] + distance * np.cos(bearing)
    xyz[:, 1] = pose[1, 3] + distance * np.sin(bearing)
    weight = config.window_weight * np.minimum(1.0, config.distance_decay_m / distance)
    weight *= parts.share[keep]
    return Evidence(xyz, probabilities[index[window]] * weight[:, None].astype(np.float32))


def _polar(points_odom: Float, pose: Float) -> tuple[Float, Float]:
    """Bearing [rad] and horizontal distance [m] of points from the camera."""
    ray = points_odom[:, :2] - pose[:2, 3]
    return np.arctan2(ray[:, 1], ray[:, 0]), np.hypot(ray[:, 0], ray[:, 1])


def frame_evidence(
    pyramid: Pyramid, probabilities: Float, pose: Float, config: MapConfig,
    depth: tuple[PointLabels, DepthGrid] | None = None,
) -> list[Evidence]:
    """
    All that one frame adds to the map.

    Parameters
    ----------
    probabilities : (N, 5) float32
        Class histogram of each window.
    pose : (4, 4) float64
        odom_from_camera.
    depth : optional
        Labelled depth points; their obstacles hide what lies behind them.

    Returns
    -------
    list of Evidence
        Depth points where there are any, then windows.
    """
    if depth is None:
        return [window_evidence(pyramid, probabilities, pose, config)]
    near, obstacles = depth_evidence(*depth, pose, config)
    return [near, window_evidence(pyramid, probabilities, pose, config, obstacles)]


def row_extent(pyramid: Pyramid) -> Float:
    """Height of one band row as a share of each window's distance below the horizon, (N,)."""
    windows, bands = pyramid.windows, pyramid.bands
    scale = _scales(pyramid)
    offset = np.array([band.offset_px for band in bands])[windows.band]
    footline = np.array([band.footline_row for band in bands])[windows.band]
    below = offset + scale * (windows.row + WINDOW_ROWS // 2 - footline)
    return np.asarray(scale / np.maximum(below, 1e-6))


def _scales(pyramid: Pyramid) -> Float:
    """Image pixels in a band pixel, for each window, (N,)."""
    return np.array([band.scale for band in pyramid.bands])[pyramid.grid.band]
