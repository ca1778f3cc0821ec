# SPDX-License-Identifier: Apache-2.0
"""Horizon of the ground plane, and the levelled frame in which it is a straight row."""

import numpy as np

from perception.types import Float, GroundPlane


def horizon_row(plane: GroundPlane, u: Float | float) -> Float | float:
    """
    Row of the horizon at column u.

    Source
        algorithms.md A2.1, disparity -> 0. IROS08 prints it at disparity 1 px: see
        ``left_y_offset``.
    """
    row: Float | float = plane.row(u, 0.0)
    return row


def left_y_offset(plane: GroundPlane) -> float:
    """
    Row where the footline of disparity 1 px meets the left border, as IROS 2008 prints it.

    Source
        IROS08-DBN: (p1 0.5 w + p2 + p3) / (-p0) - 0.5 w sin(alpha); sin for tan, as published.
    """
    half = 0.5 * plane.camera.width
    middle = (plane.p1 * half + plane.p2 + plane.p3) / -plane.p0
    return float(middle - half * np.sin(plane.roll_rad))


def image_from_levelled(plane: GroundPlane) -> Float:
    """
    Affine that levels the horizon.

    Levelled pixels (x, y): x runs along the horizon from the image's middle column, y straight
    down from the horizon, both in image pixels.

    Returns
    -------
    (2, 3) float64
        uv = A @ (x, y, 1).
    """
    alpha = plane.roll_rad
    middle = plane.camera.width / 2
    return np.array([
        [np.cos(alpha), -np.sin(alpha), middle],
        [np.sin(alpha), np.cos(alpha), float(horizon_row(plane, middle))],
    ])


def invert_affine(affine: Float) -> Float:
    """Inverse of affines (..., 2, 3), float64."""
    linear = np.linalg.inv(affine[..., :2])
    return np.concatenate([linear, -linear @ affine[..., 2:]], -1)


def apply_affine(affine: Float, xy: Float) -> Float:
    """Map points (..., 2) by a (2, 3) affine."""
    return np.asarray(xy, float) @ affine[:, :2].T + affine[:, 2]
