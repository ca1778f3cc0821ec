# SPDX-License-Identifier: Apache-2.0
"""Truth of one frame from rendered depth and obstacle mask: windows, feet, points, ground tilt."""

from dataclasses import dataclass

import cv2
import numpy as np

from perception.camera import pixel_rays, transform
from perception.pyramid import Pyramid, window_counts, window_shares
from perception.types import Camera, Float, Image, Mask

FREE, STANDING, IGNORED = 0, 1, 255
OBSTACLE_SHARE, GROUND_OBSTACLE_SHARE, DECIDED_SHARE = 0.5, 0.05, 0.5
FOOT_SIZE = (5, 13)  # +-2 rows, +-6 columns of the window centre, band pixels
TILT_RANGE_M = 12.0


@dataclass(frozen=True)
class TruthFrame:
    """
    What the renderer knows about the left image at one stamp.

    ``obstacle`` (H, W) uint8: 0 free, 1 obstacle, 255 ignored. ``depth`` (H, W) float32 [m],
    NaN = sky. ``world_from_camera`` (4, 4) float64, ``robot_xy`` (2,) float64 [m] in the world.
    """

    stamp_ns: int
    camera: Camera
    obstacle: Image
    depth: Float
    world_from_camera: Float
    robot_xy: Float

    def points_world(self) -> Float:
        """Rendered points, (H, W, 3) float64 [m] in the world; NaN = sky."""
        v, u = np.indices(self.depth.shape)
        rays = pixel_rays(np.stack([u, v], -1), self.camera)
        return transform(self.world_from_camera, rays * self.depth[..., None])


@dataclass(frozen=True)
class WindowTruth:
    """
    Truth of the windows of one pyramid, each (N,).

    ``range_m`` float64: distance on the ground from the robot to what the window centre sees,
    NaN = sky. ``obstacle`` bool holds where ``decided`` bool does.
    """

    range_m: Float
    obstacle: Mask
    decided: Mask


def feet_uv(obstacle: Mask) -> Float:
    """
    Lowest obstacle pixel of each column of each obstacle region.

    Parameters
    ----------
    obstacle : (H, W) bool
        Obstacle pixels; a region is 8-connected.

    Returns
    -------
    (M, 2) float64
        Pixels (column, row).

    Source
        architecture.md, window error (feet).
    """
    count, region = cv2.connectedComponents(obstacle.astype(np.uint8), connectivity=8)
    width = obstacle.shape[1]
    row, column = np.nonzero(obstacle)
    lowest = np.full(count * width, -1)
    np.maximum.at(lowest, region[row, column].astype(np.int64) * width + column, row)
    found = np.flatnonzero(lowest >= 0)
    return np.stack([found % width, lowest[found]], -1).astype(float)


def decide_windows(free: Float, standing: Float, foot: Mask) -> tuple[Mask, Mask]:
    """
    Truth of windows from what they hold.

    Parameters
    ----------
    free, standing : (N,) float
        Share of the window's pixels that are free, and that are obstacle; the rest is ignored.
    foot : (N,) bool
        An obstacle foot stands near the centre.

    Returns
    -------
    obstacle, decided : (N,) bool

    Source
        architecture.md, window error.
    """
    seen = free + standing
    share = standing / np.where(seen > 0, seen, 1)
    obstacle = (share >= OBSTACLE_SHARE) | foot
    ground = (share <= GROUND_OBSTACLE_SHARE) & ~foot
    return obstacle, (seen >= DECIDED_SHARE) & (obstacle | ground)


def window_truth(truth: TruthFrame, pyramid: Pyramid) -> WindowTruth:
    """
    Truth of every window of a pyramid.

    The range belongs to the point the centre pixel sees: ground as rendered, or the ground under
    an obstacle there, so that it is the same for all modes and planes.

    Parameters
    ----------
    truth : TruthFrame
        Truth in the pixels of the image the pyramid was built for.

    Source
        architecture.md, window error.
    """
    masks = np.stack([truth.obstacle == FREE, truth.obstacle == STANDING], -1).astype(np.uint8)
    shares = window_shares(masks, 1, pyramid)
    foot = window_counts(feet_uv(truth.obstacle == STANDING), pyramid, FOOT_SIZE) > 0
    obstacle, decided = decide_windows(shares[:, 0], shares[:, 1], foot)
    return WindowTruth(centre_range(truth, pyramid.windows.uv), obstacle, decided)


def centre_range(truth: TruthFrame, uv: Float) -> Float:
    """Distance on the ground [m] from the robot to what pixels (N, 2) see, (N,); NaN = sky."""
    height, width = truth.depth.shape
    u, v = np.rint(np.asarray(uv)).astype(int).T
    inside = (u >= 0) & (u < width) & (v >= 0) & (v < height)
    depth = np.full(len(u), np.nan)
    depth[inside] = truth.depth[v[inside], u[inside]]
    points = transform(truth.world_from_camera, pixel_rays(uv, truth.camera) * depth[:, None])
    distance: Float = np.hypot(*(points[:, :2] - truth.robot_xy).T)
    return distance


def ground_tilt_rad(truth: TruthFrame) -> float:
    """Angle between gravity and the plane through the free points within 12 m; NaN if few."""
    points = truth.points_world()[truth.obstacle == FREE]
    near = np.hypot(*(points[:, :2] - truth.robot_xy).T) < TILT_RANGE_M
    if np.count_nonzero(near) < 100:
        return float('nan')
    centred = points[near] - points[near].mean(0)
    normal = np.linalg.eigh(centred.T @ centred)[1][:, 0]
    return float(np.arccos(np.clip(abs(normal[2]), 0, 1)))
