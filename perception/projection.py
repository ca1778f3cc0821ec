# SPDX-License-Identifier: Apache-2.0
"""
One frame on the map: depth points where they stand, windows where they meet the ground plane.

Source
    IROS08-MAP; algorithms.md A7 (projection on the single plane).
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from perception.camera import level_from_camera, levelled_base_from_camera, plane_pose
from perception.config import MapConfig, MountConfig
from perception.errors import CalibrationError
from perception.judge import range_index
from perception.projection_loops import observed, placed, set_points, turned, weighed
from perception.pyramid import COLUMN_STRIDE, WINDOW_ROWS, Band, Pyramid, window_grid
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
    Observation,
)
from perception.window_view import fuse_windows, view_evidence

Confidence = Sequence[float] | None
NOTHING = np.empty((3, 0), np.float32), 0
GROUND_STRIDE = 2  # every second ground point each way: they are plenty


def odom_from_camera(frame: Frame, plane: GroundPlane, mount: MountConfig) -> Float:
    """
    Pose of the camera in odom, (4, 4) float64.

    The mount is the frame's transform, or (without one, or with ``source: plane``) the plane's
    own height, pitch and roll. Without odometry the robot stands at the origin.

    Raises
    ------
    CalibrationError
        ``source: tf``, and the frame has no transform.
    """
    base_from_camera = frame.base_from_camera
    if base_from_camera is None and mount.source == 'tf':
        raise CalibrationError(
            'mount.source = tf, but no transform leads from the robot to the camera; record '
            '/tf_static, or set mount.source to auto or plane'
        )
    if base_from_camera is None or mount.source == 'plane':
        base_from_camera = _at_mount(mount) @ levelled_base_from_camera(plane)
    return base_from_camera if frame.odom_from_base is None else (
        frame.odom_from_base @ base_from_camera)


def mount_on_plane(normal: Float, offset: float, mount: MountConfig) -> Float:
    """base_from_camera (4, 4) of a plane's height, pitch and roll; yaw, x and y as configured."""
    return np.asarray(_at_mount(mount) @ level_from_camera(normal, offset))


@lru_cache(maxsize=8)
def _at_mount(mount: MountConfig) -> Float:
    """Robot from the foot of its camera, (4, 4), read-only: yaw, x and y as configured."""
    cos, sin = np.cos(mount.yaw_rad), np.sin(mount.yaw_rad)
    base_from_foot = np.eye(4)
    base_from_foot[:2] = [[cos, -sin, 0, mount.x_m], [sin, cos, 0, mount.y_m]]
    base_from_foot.flags.writeable = False
    return base_from_foot


def observe(
    pyramid: Pyramid, probabilities: Float, config: MapConfig,
    depth: tuple[PointLabels, DepthGrid] | None = None, confidence: Confidence = None,
) -> Observation:
    """
    All that one frame says, in the camera's own frame: it needs neither pose nor mount.

    Sight is followed along the ground plane itself, so the result is the same wherever the robot
    stands, and may be placed by another process. Parameters as of ``frame_evidence``.
    """
    level = levelled_base_from_camera(pyramid.plane)
    near, ground = _depth_points(*depth) if depth else NOTHING
    obstacles = placed(near, ground, level).T if depth else None
    far = trusted(window_evidence(pyramid, probabilities, level, config, obstacles), level,
                  confidence)
    points, histogram, weight = observed(
        near, (ground, config.point_weight), far.points_odom, far.histogram,
        plane_pose(pyramid.plane))
    return Observation(points.T, histogram.T, weight)


def trusted(evidence: Evidence, pose: Float, confidence: Confidence) -> Evidence:
    """
    Evidence of windows, weighed by how far the classifier is to be trusted at its range.

    Parameters
    ----------
    pose : (4, 4) float64
        odom_from_camera.
    confidence : sequence of float, optional
        In [0, 1] for each of ``judge.RANGES_M``; None trusts fully.

    Source
        IROS08-MAP (learning confidence x distance decay).
    """
    if confidence is None or min(confidence) >= 1:
        return evidence
    distance_m = np.hypot(*(evidence.points_odom[:, :2] - pose[:2, 3]).T)
    weight = np.asarray(confidence, np.float32)[range_index(distance_m)]
    return Evidence(evidence.points_odom, evidence.histogram * weight[:, None])


def place(observation: Observation, odom_from_camera: Float) -> Evidence:
    """Evidence for the map from an observation and the pose of its camera, (4, 4)."""
    xyz, planes, weight = (np.ascontiguousarray(part, np.float32) for part in (
        observation.points_optical.T, observation.histogram.T, observation.weight))
    return Evidence(placed(xyz, 0, odom_from_camera).T, weighed(planes, weight).T)


def depth_evidence(
    points: PointLabels, grid: DepthGrid, pose: Float, config: MapConfig
) -> tuple[Evidence, Float]:
    """
    Depth points as evidence, and the obstacle points (M, 3) [m] in odom that block the view.

    Every obstacle point enters where it stands, whatever its height; ground points are thinned.
    """
    optical, ground = _depth_points(points, grid)
    xyz = placed(optical, 0, pose)
    planes = np.zeros((len(CLASSES), xyz.shape[1]), np.float32)
    planes[SUPER_GROUND, :ground] = config.point_weight
    planes[SUPER_OBSTACLE, ground:] = config.point_weight
    return Evidence(xyz.T, planes.T), xyz[:, ground:].T


def _depth_points(points: PointLabels, grid: DepthGrid) -> tuple[Float, int]:
    """Thinned ground points, then obstacle points, optical (3, N); how many are ground."""
    (u, v), camera = grid.uv, grid.camera
    rays = ((u - camera.cx) / camera.fx).astype(np.float32), (
        (v - camera.cy) / camera.fy).astype(np.float32)
    return set_points((points.ground, points.obstacle), grid.disparity, rays, grid.focal_baseline,
                      GROUND_STRIDE)


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
    if not len(index):
        return Evidence(np.empty((0, 3)), np.empty((0, len(CLASSES)), np.float32))
    ahead, left, distance = turned(windows.ground_optical, index, pose)
    width_rad = COLUMN_STRIDE * _scales(pyramid.bands, pyramid.row_stride).take(index)
    view = fuse_windows(
        np.arctan2(left, ahead), distance, probabilities.take(index, 0), config=config,
        row_extent=row_extent(pyramid).take(index) * pyramid.row_stride,
        column_rad=width_rad / pyramid.camera.fx,
    )
    return view_evidence(view, pose[:3, 3], pyramid.plane.height_m, config, obstacles)


def frame_evidence(
    pyramid: Pyramid, probabilities: Float, pose: Float, config: MapConfig,
    depth: tuple[PointLabels, DepthGrid] | None = None, confidence: Confidence = None,
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
    confidence : optional
        Of the windows, see ``trusted``.

    Returns
    -------
    list of Evidence
        Depth points where there are any, then windows.
    """
    if depth is None:
        return [trusted(window_evidence(pyramid, probabilities, pose, config), pose, confidence)]
    near, obstacles = depth_evidence(*depth, pose, config)
    far = window_evidence(pyramid, probabilities, pose, config, obstacles)
    return [near, trusted(far, pose, confidence)]


def row_extent(pyramid: Pyramid) -> Float:
    """
    Height of one band row as a share of each window's distance below the horizon.

    Returns
    -------
    (N,) float64
        Read-only: the same for all planes.
    """
    return _row_extent(pyramid.bands, pyramid.row_stride)


@lru_cache(maxsize=8)
def _row_extent(bands: tuple[Band, ...], row_stride: int) -> Float:
    """``row_extent`` of these bands."""
    windows, scale = window_grid(bands, row_stride), _scales(bands, row_stride)
    offset = np.array([band.offset_px for band in bands])[windows.band]
    footline = np.array([band.footline_row for band in bands])[windows.band]
    below = offset + scale * (windows.row + WINDOW_ROWS // 2 - footline)
    extent = np.asarray(scale / np.maximum(below, 1e-6))
    extent.flags.writeable = False
    return extent


@lru_cache(maxsize=8)
def _scales(bands: tuple[Band, ...], row_stride: int) -> Float:
    """Image pixels in a band pixel, for each window, (N,), read-only."""
    scales = np.array([band.scale for band in bands])[window_grid(bands, row_stride).band]
    scales.flags.writeable = False
    return scales
