# SPDX-License-Identifier: Apache-2.0
"""
Ground plane in (row, column, disparity): Hough, PCA refit, acceptance, further planes.

Source
    RSS07 and IROS08-DBN, algorithms.md A1; bins and thresholds are its [Rec] values.
"""

from dataclasses import dataclass
from math import sqrt

import numpy as np

from perception.camera import pixel_rays
from perception.config import PlaneConfig
from perception.plane_loops import below, refitted, sampled
from perception.types import Camera, DepthGrid, Float, GroundPlane, Mask

ANGLE_BINS, HEIGHT_BINS = 49, 32
HOUGH_POINTS, FIT_POINTS, FURTHER_POINTS = 400, 3000, 1000
WIDE_BANDS = (4.0, 2.0)  # multiples of the first inlier band, from a coarse start inwards
HEIGHT_SLACK_M = 0.25  # Hough search about a known camera height
MAX_TILT_BETWEEN_PLANES = 0.26  # further planes are near-parallel to the first [rad]


@dataclass(frozen=True)
class Samples:
    """Points for fitting: columns u, rows v, disparities d, (n,) float64 [px], one camera."""

    u: Float
    v: Float
    d: Float
    camera: Camera
    focal_baseline: float
    pixels_each: float  # full-image pixels that one sample stands for

    def take(self, chosen: Mask) -> 'Samples':
        """The chosen samples."""
        return Samples(self.u[chosen], self.v[chosen], self.d[chosen], self.camera,
                       self.focal_baseline, self.pixels_each)

    def below(self, plane: GroundPlane, config: PlaneConfig) -> Mask:
        """
        Which samples lie farther below a plane than good ground may, (n,) bool.

        Matching noise is alike everywhere in pixels, unevenness in metres: a bump e metres high
        shifts the disparity by d e / h, many pixels in front of a wide baseline.
        """
        bump = config.roughness_m / plane.height_m / config.inlier_px
        return below((self.u, self.v, self.d), (plane.p0, plane.p1, plane.p3),
                     (2 * config.inlier_px, bump))

    def residual(self, plane: GroundPlane) -> Float:
        """Disparity above the plane's, (n,) [px]; positive = in front of or above it."""
        return np.asarray(self.d - plane.disparity(self.u, self.v), float)


def sample_points(grid: DepthGrid, config: PlaneConfig, wanted: int = FIT_POINTS) -> Samples:
    """An even sub-grid of the valid points within range."""
    h, w = grid.disparity.shape
    stride = max(1, int(sqrt(h * w / wanted / 2)))
    samples = sampled(np.ascontiguousarray(grid.disparity, np.float32), stride, grid.step,
                      grid.focal_baseline / config.max_range_m)
    return Samples(*samples, grid.camera, grid.focal_baseline, float((stride * grid.step) ** 2))


def hough_plane(
    samples: Samples, config: PlaneConfig, known_height_m: float = 0.0
) -> GroundPlane | None:
    """
    Vote for pitch, roll and camera height.

    Each point votes, for each of 49 x 49 tilts, for the height (32 logarithmic bins) that puts
    it on the ground.

    Parameters
    ----------
    known_height_m : float
        Calibrated camera height; 0 = search all of the configured range.

    Returns
    -------
    GroundPlane or None
        The fullest bin, good to a few per cent; None with fewer than three points.
    """
    step = max(1, len(samples.u) // HOUGH_POINTS)
    u, v, d = samples.u[::step], samples.v[::step], samples.d[::step]
    if len(u) < 3:
        return None
    low, high = config.min_height_m, config.max_height_m
    if known_height_m > 0:
        low, high = max(known_height_m - HEIGHT_SLACK_M, 0.02), known_height_m + HEIGHT_SLACK_M
    normals = _tilted_normals(config)
    depth = samples.focal_baseline / d
    points = pixel_rays(np.stack([u, v], -1), samples.camera) * depth[:, None]
    heights = -(normals.astype(np.float32) @ points.T.astype(np.float32))  # (tilts, n)
    bins = np.log(np.maximum(heights, 1e-6) / low) * (HEIGHT_BINS / np.log(high / low))
    inside = (bins >= 0) & (bins < HEIGHT_BINS)
    index = bins.astype(np.int64) + np.arange(len(normals))[:, None] * HEIGHT_BINS
    votes = np.bincount(index[inside], minlength=len(normals) * HEIGHT_BINS)
    tilt, height_bin = divmod(int(votes.argmax()), HEIGHT_BINS)
    height = low * (high / low) ** ((height_bin + 0.5) / HEIGHT_BINS)
    return GroundPlane.from_normal(normals[tilt], height, samples.camera, samples.focal_baseline)


def _tilted_normals(config: PlaneConfig) -> Float:
    """Up-pointing unit normals of all tilts in the search box, (tilts, 3), optical frame."""
    pitch, roll = np.meshgrid(
        np.linspace(-config.max_pitch_rad, config.max_pitch_rad, ANGLE_BINS),
        np.linspace(-config.max_roll_rad, config.max_roll_rad, ANGLE_BINS), indexing='ij',
    )
    return np.stack([np.sin(roll), -np.cos(roll) * np.cos(pitch), -np.cos(roll) * np.sin(pitch)],
                    -1).reshape(-1, 3)


@dataclass(frozen=True)
class Fit:
    """A plane, the share of samples on it, and lambda_min / lambda_mid of its inliers."""

    plane: GroundPlane
    inliers: int
    inlier_share: float
    flatness: float


def refit(
    samples: Samples, start: GroundPlane, bands_px: tuple[float, ...], config: PlaneConfig
) -> Fit | None:
    """
    Fit by PCA to the points near a plane, once for each band width, the last one narrowest.

    Returns
    -------
    Fit or None
        None where fewer than ten points stay.

    Source
        IROS08-DBN "PCA robust refit"; axes scaled by their spread (algorithms.md A1).
    """
    lens = start.camera
    settings = (lens.fx, lens.fy, lens.cx, lens.cy, start.focal_baseline, config.roughness_m,
                config.inlier_px)
    p0, p1, p3, flatness, inliers = refitted(
        (samples.u, samples.v, samples.d), (start.p0, start.p1, start.p3),
        np.array(bands_px, float), tuple(float(value) for value in settings))
    if not inliers:
        return None
    plane = GroundPlane(p0, p1, p3, samples.camera, samples.focal_baseline)
    return Fit(plane, int(inliers), inliers / max(len(samples.u), 1), flatness)


def accepted(fit: Fit | None, samples: Samples, config: PlaneConfig) -> bool:
    """Whether a fit has enough inliers, is flat, and is a plausible ground (A1 acceptance)."""
    if fit is None or fit.plane.p0 <= 0:
        return False
    plane, camera = fit.plane, samples.camera
    needed = config.min_inliers_per_mpx * camera.width * camera.height * 1e-6
    return (
        fit.inlier_share >= config.min_inlier_share
        and fit.inliers * samples.pixels_each >= needed
        and fit.flatness < config.max_flatness
        and abs(plane.pitch_rad) <= config.max_pitch_rad
        and abs(plane.roll_rad) <= config.max_roll_rad
        and config.min_height_m <= plane.height_m <= config.max_height_m
    )


def fit_plane(
    samples: Samples, config: PlaneConfig, start: GroundPlane | None = None,
    known_height_m: float = 0.0,
) -> Fit | None:
    """
    The accepted ground plane of the samples.

    Parameters
    ----------
    start : GroundPlane, optional
        Plane of the frame before; None votes for one.

    Returns
    -------
    Fit or None
        None where nothing passes the acceptance test.
    """
    first, last = config.first_inlier_px, config.inlier_px
    bands: tuple[float, ...] = (2 * first, first, last, last)
    if start is None:
        start = hough_plane(samples, config, known_height_m)
        bands = (*(first * wide for wide in WIDE_BANDS), first, last, last)
    fit = refit(samples, start, bands, config) if start is not None else None
    return fit if accepted(fit, samples, config) else None


def fit_planes(grid: DepthGrid, plane: GroundPlane, config: PlaneConfig) -> list[GroundPlane]:
    """
    The ground plane and up to three more ground surfaces below it (a dip, a lower terrace).

    A free search settles on bushes and tall grass (near_to_far_probe.md), so further planes must
    be near-parallel to the first and lie below it.

    Returns
    -------
    list of GroundPlane
        At most ``config.max_planes``, ``plane`` first.
    """
    planes = [plane]
    rest = sample_points(grid, config, FURTHER_POINTS)
    minimum = config.min_inlier_share * len(rest.u)
    while len(planes) < config.max_planes:
        rest = rest.take(rest.below(planes[-1], config))
        if len(rest.u) < max(minimum, 10):
            break
        further = _plane_below(rest, planes[0], config)
        if further is None:
            break
        planes.append(further)
    return planes


def _plane_below(rest: Samples, first: GroundPlane, config: PlaneConfig) -> GroundPlane | None:
    """A near-parallel plane through points that all lie below the first."""
    lowered = float(np.median(rest.residual(first)))
    start = GroundPlane(first.p0, first.p1, first.p3 + lowered, first.camera,
                        first.focal_baseline)
    fit = refit(rest, start, (2 * config.first_inlier_px, config.inlier_px), config)
    if fit is None or fit.plane.p0 <= 0 or fit.inlier_share < 0.5:
        return None
    cosine = float(fit.plane.normal_offset[0] @ first.normal_offset[0])
    return fit.plane if cosine > np.cos(MAX_TILT_BETWEEN_PLANES) else None
