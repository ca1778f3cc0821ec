# SPDX-License-Identifier: Apache-2.0
"""Compiled loops of the plane fit: samples of a disparity grid, and refits by PCA."""

import numpy as np
from numba import types

from perception.compiled import BOOL, F4, F8, I8, compiled, given
from perception.types import Float, Mask

MIN_POINTS = 10

Plane = tuple[float, float, float]
Fitted = tuple[float, float, float, float, float]

_AXES = types.UniTuple(F8[::1], 3)
_SAMPLES = types.UniTuple(given(F8, 1), 3)
_PLANE, _LENS, _FITTED = (types.UniTuple(F8, size) for size in (3, 7, 5))


@compiled(_AXES, given(F4, 2), I8, I8, F8)
def sampled(
    disparity: Float, stride: int, step: int, least: float
) -> tuple[Float, Float, Float]:
    """
    Column, row and disparity of an even sub-grid, (n,) float64 each.

    ``disparity`` (h, w) float32 [px]; every ``stride`` columns and rows, where it is at least
    ``least``. Columns and rows are those of an image ``step`` times finer than the grid.
    """
    height, width = disparity.shape
    size = -(-height // stride) * -(-width // stride)
    u, v, d, n = np.empty(size), np.empty(size), np.empty(size), 0
    half = (step - 1) / 2
    for row in range(0, height, stride):
        for column in range(0, width, stride):
            if disparity[row, column] >= np.float32(least):
                u[n], v[n], d[n] = column * step + half, row * step + half, disparity[row, column]
                n += 1
    return u[:n].copy(), v[:n].copy(), d[:n].copy()


@compiled(BOOL[::1], _SAMPLES, _PLANE, types.UniTuple(F8, 2))
def below(
    samples: tuple[Float, Float, Float], plane: Plane, limits: tuple[float, float]
) -> Mask:
    """
    Which samples lie below a plane, (n,) bool.

    Parameters
    ----------
    samples : tuple
        Columns, rows and disparities, (n,) float64 each [px].
    plane : float, float, float
        p0, p1, p3.
    limits : float, float
        How far below at least [px], and how many times as far for each pixel of disparity.
    """
    (u, v, d), (p0, p1, p3), (least, bump) = samples, plane, limits
    lower = np.empty(len(d), np.bool_)
    for i in range(len(d)):
        spread = np.sqrt(1 + bump * d[i] * (bump * d[i]))
        lower[i] = d[i] - (p0 * v[i] + p1 * u[i] + p3) < -least * spread
    return lower


@compiled(F8, _PLANE, _LENS)
def _bump(plane: Plane, lens: tuple[float, ...]) -> float:
    """Deviation of the disparity that unevenness makes, in inlier bands for each pixel of it."""
    (p0, p1, p3), (fx, fy, cx, cy, focal_baseline, roughness, inlier) = plane, lens
    x, y, z = p1 * fx, p0 * fy, p0 * cy + p1 * cx + p3
    return float(roughness * np.sqrt(x * x + y * y + z * z) / focal_baseline / inlier)


@compiled(F8[::1], _SAMPLES, _PLANE, F8, F8)
def _weights(
    samples: tuple[Float, Float, Float], plane: Plane, band: float, bump: float
) -> Float:
    """Weight of each sample in a band about a plane, (n,); 0 outside of it."""
    (u, v, d), (p0, p1, p3) = samples, plane
    weights = np.empty(len(d))
    for i in range(len(d)):
        variance = 1 + bump * d[i] * (bump * d[i])
        inside = abs(d[i] - (p0 * v[i] + p1 * u[i] + p3)) < band * np.sqrt(variance)
        weights[i] = 1 / variance if inside else 0
    return weights


@compiled(types.Tuple((F8[::1], F8[:, ::1])), _SAMPLES, given(F8, 1))
def _moments(samples: tuple[Float, Float, Float], weights: Float) -> tuple[Float, Float]:
    """Weighted mean (3,) and covariance (3, 3) of row, column and disparity."""
    u, v, d = samples
    total, row, column, disparity = 0.0, 0.0, 0.0, 0.0
    for i in range(len(d)):
        if weights[i] > 0:
            total += weights[i]
            row += weights[i] * v[i]
            column += weights[i] * u[i]
            disparity += weights[i] * d[i]
    mean = np.array([row / total, column / total, disparity / total])
    spread = np.zeros((3, 3))
    for i in range(len(d)):
        if weights[i] > 0:
            a, b, c = v[i] - mean[0], u[i] - mean[1], d[i] - mean[2]
            spread[0, 0] += weights[i] * a * a
            spread[0, 1] += weights[i] * a * b
            spread[0, 2] += weights[i] * a * c
            spread[1, 1] += weights[i] * b * b
            spread[1, 2] += weights[i] * b * c
            spread[2, 2] += weights[i] * c * c
    spread[1, 0], spread[2, 0], spread[2, 1] = spread[0, 1], spread[0, 2], spread[1, 2]
    return mean, spread / total


@compiled(_FITTED, _SAMPLES, _PLANE, given(F8, 1), _LENS)
def refitted(
    samples: tuple[Float, Float, Float], start: Plane, bands: Float, lens: tuple[float, ...]
) -> Fitted:
    """
    Fit a plane to the samples near one, again for each band.

    Parameters
    ----------
    samples : three times (n,) float64
        Columns, rows, disparities [px].
    start : float, float, float
        p0, p1, p3 of the plane to begin with.
    bands : (m,) float64 [px]
        Wide ones first; all but the last grow with the unevenness of ground that is near.
    lens : seven floats
        fx, fy, cx, cy, focal length x baseline, roughness of good ground [m], inlier band [px].

    Returns
    -------
    p0, p1, p3, smallest eigenvalue over the middle one, and how many samples lie in the last band,
    widened like the others; no samples where no plane was found.
    """
    plane, flatness = start, np.inf
    for k in range(len(bands)):
        # the last fit trusts what is even; whether it is ground, uneven points may say too
        bump = 0.0 if k == len(bands) - 1 else _bump(plane, lens)
        weights = _weights(samples, plane, bands[k], bump)
        if np.count_nonzero(weights) < MIN_POINTS:
            return 0.0, 0.0, 0.0, np.inf, 0.0
        mean, covariance = _moments(samples, weights)
        spread = np.sqrt(np.diag(covariance))
        if spread.min() <= 0:
            return 0.0, 0.0, 0.0, np.inf, 0.0
        values, vectors = np.linalg.eigh(covariance / spread / spread.reshape(3, 1))
        normal = vectors[:, 0] / spread
        if abs(normal[2]) < 1e-9 or normal[0] == 0:
            return 0.0, 0.0, 0.0, np.inf, 0.0
        p0, p1 = -normal[0] / normal[2], -normal[1] / normal[2]
        plane = (p0, p1, mean[2] - p0 * mean[0] - p1 * mean[1])
        flatness = values[0] / values[1]
    inliers = np.count_nonzero(_weights(samples, plane, bands[-1], _bump(plane, lens)))
    return plane[0], plane[1], plane[2], flatness, float(inliers)
