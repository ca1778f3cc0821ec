# SPDX-License-Identifier: Apache-2.0
"""
The ground plane from frame to frame: tracking, holding, and falling back on calibration.

Source
    RSS07 and IROS08-DBN, algorithms.md A1.
"""

from dataclasses import replace

import numpy as np

from perception.config import MountConfig, PlaneConfig
from perception.ground_plane import fit_plane, sample_points
from perception.stereo import DEPTH_BASELINE_M
from perception.types import DepthGrid, Frame, GroundPlane, PlaneEstimate


def plane_from_mount(frame: Frame, mount: MountConfig) -> GroundPlane | None:
    """The plane that calibration implies: z = 0 of the robot frame, or the configured mount."""
    focal_baseline = frame.camera.fx * (frame.baseline_m or DEPTH_BASELINE_M)
    if mount.height_m > 0:
        cos_r, sin_r = np.cos(mount.roll_rad), np.sin(mount.roll_rad)
        cos_p, sin_p = np.cos(mount.pitch_rad), np.sin(mount.pitch_rad)
        normal = np.array([-sin_r, -cos_r * cos_p, -cos_r * sin_p])
        return GroundPlane.from_normal(normal, mount.height_m, frame.camera, focal_baseline)
    if frame.base_from_camera is None:
        return None
    up, height = frame.base_from_camera[2, :3], float(frame.base_from_camera[2, 3])
    if height <= 0 or up[1] >= 0:
        return None
    return GroundPlane.from_normal(up, height, frame.camera, focal_baseline)


def moved_plane(plane: GroundPlane, before: Frame, now: Frame) -> GroundPlane:
    """The same ground seen from where odometry says the camera is now (unchanged without it)."""
    poses = [frame.odom_from_base @ frame.base_from_camera for frame in (before, now)
             if frame.odom_from_base is not None and frame.base_from_camera is not None]
    if len(poses) < 2:
        return plane
    before_from_now = np.linalg.inv(poses[0]) @ poses[1]
    normal, offset = plane.normal_offset
    moved = before_from_now[:3, :3].T @ normal
    height = offset + float(normal @ before_from_now[:3, 3])
    if height <= 0:
        return plane
    return GroundPlane.from_normal(moved, height, plane.camera, plane.focal_baseline)


TrackerState = tuple[tuple[GroundPlane, Frame] | None, float, float]


class PlaneTracker:
    """
    The ground plane over time.

    Tracks from the last plane; votes anew where that fails; holds a lost plane for ``hold_s``,
    carried by odometry; then falls back on calibration. Only 'hough' and 'tracked' are fresh.
    State: the last accepted plane with its frame, and the smoothed camera height.
    """

    def __init__(self, config: PlaneConfig, mount: MountConfig) -> None:
        self._config = config
        self._mount = mount
        self.reset()

    def reset(self) -> None:
        """Forget the last plane and the height."""
        self.restore((None, 0.0, 0.0))

    def save(self) -> TrackerState:
        """All the tracker remembers."""
        return self._last, self._height_m, self._scale_height_m

    def restore(self, state: TrackerState) -> None:
        """Return to a saved state."""
        self._last, self._height_m, self._scale_height_m = state

    def update(self, grid: DepthGrid | None, frame: Frame) -> PlaneEstimate | None:
        """The plane of this frame; None where neither measurement nor calibration gives one."""
        estimate = self._fit(grid) if grid is not None else None
        if estimate is not None:
            light = Frame(frame.stamp_ns, frame.image[:1], frame.camera,
                          odom_from_base=frame.odom_from_base,
                          base_from_camera=frame.base_from_camera)
            self._last = (estimate.plane, light)
        else:
            estimate = self._fall_back(frame)
        return estimate and self._scaled(estimate)

    def _scaled(self, estimate: PlaneEstimate) -> PlaneEstimate:
        """With the height the pyramid uses: smoothed, and changed in steps, not every frame."""
        height = estimate.plane.height_m
        change = self._config.smoothing if self._height_m else 1.0
        self._height_m += change * (height - self._height_m)
        if abs(self._height_m - self._scale_height_m) > (
                self._config.rebuild_change * self._scale_height_m):
            self._scale_height_m = self._height_m
        return replace(estimate, scale_height_m=self._scale_height_m)

    def _fit(self, grid: DepthGrid) -> PlaneEstimate | None:
        samples = sample_points(grid, self._config)
        if self._last is not None:
            tracked = fit_plane(samples, self._config, self._last[0])
            if tracked is not None:
                return PlaneEstimate(tracked.plane, 'tracked', tracked.inlier_share)
        found = fit_plane(samples, self._config, known_height_m=self._mount.height_m)
        if found is None:
            return None
        return PlaneEstimate(found.plane, 'hough', found.inlier_share)

    def _fall_back(self, frame: Frame) -> PlaneEstimate | None:
        if self._last is not None:
            plane, seen = self._last
            age_s = (frame.stamp_ns - seen.stamp_ns) * 1e-9
            if 0 <= age_s <= self._config.hold_s and plane.camera == frame.camera:
                return PlaneEstimate(moved_plane(plane, seen, frame), 'held')
        calibrated = plane_from_mount(frame, self._mount)
        return None if calibrated is None else PlaneEstimate(calibrated, 'calibration')
