# SPDX-License-Identifier: Apache-2.0
"""Compiled loops over what one frame observes: labelled depth pixels, and evidence of windows."""

import numpy as np
from numba import types

from perception.compiled import BOOL, F4, F8, I8, compiled, given
from perception.types import Float, Mask

SUPER_GROUND, SUPER_OBSTACLE, CLASSES = 0, 4, 5  # of a histogram, as loops read no other module


@compiled(types.void, given(BOOL, 2), I8, given(F4, 2), types.UniTuple(given(F4, 1), 2), F4,
          types.Array(F4, 2, 'A'))
def _fill(
    mask: Mask, stride: int, disparity: Float, rays: tuple[Float, Float], scale: float, xyz: Float
) -> None:
    """Points of the set pixels, one after the other; ``scale`` is depth times disparity."""
    k = 0
    for v in range(0, mask.shape[0], stride):
        for u in range(0, mask.shape[1], stride):
            if mask[v, u]:
                z = scale / disparity[v, u]
                xyz[0, k], xyz[1, k], xyz[2, k] = z * rays[0][u], z * rays[1][v], z
                k += 1


@compiled(types.void, types.UniTuple(given(BOOL, 2), 2), given(F4, 2),
          types.UniTuple(given(F4, 1), 2), F4, types.UniTuple(I8, 2), F4[:, ::1])
def set_points(
    masks: tuple[Mask, Mask], disparity: Float, rays: tuple[Float, Float], focal_baseline: float,
    thinned: tuple[int, int], xyz: Float,
) -> None:
    """
    Thinned points of a first mask, then all points of a second one.

    Parameters
    ----------
    masks : (h, w) bool each
    disparity : (h, w) float32 [px]
        Valid where a mask is set.
    rays : (w,) and (h,) float32
        How far a pixel lies to the right and down, at a depth of one.
    focal_baseline : float
        Depth times disparity.
    thinned : int, int
        Every how many rows and columns the first mask counts, and how many pixels that are.
    xyz : (3, N) float32 [m]
        Written: points in the optical frame.
    """
    stride, first = thinned
    _fill(masks[0], stride, disparity, rays, focal_baseline, xyz[:, :first])
    _fill(masks[1], 1, disparity, rays, focal_baseline, xyz[:, first:])


@compiled(types.Tuple((F4[:, ::1], F4[:, ::1], F4[::1])), given(F4, 2), types.Tuple((I8, F4)),
          given(F8, 2), given(F4, 2))
def observed(
    near: Float, depth: tuple[int, float], far: Float, evidence: Float
) -> tuple[Float, Float, Float]:
    """
    Join depth points and evidence of windows.

    Parameters
    ----------
    near : (3, N) float32 [m]
        Depth points: ground, then obstacles.
    depth : int, float
        How many of them are ground, and the weight of a depth point.
    far : (3, M) float64 [m]
        Points of windows.
    evidence : (M, 5) float32
        Weighted histograms of these; rows of zeros are left out.

    Returns
    -------
    Points (3, K) float32, histograms (5, K) float32 that sum to 1, and weights (K,) float32.
    """
    (ground, weight), first = depth, near.shape[1] if depth[1] > 0 else 0
    points = np.empty((3, first + len(evidence)), np.float32)
    histogram = np.zeros((CLASSES, points.shape[1]), np.float32)
    weights = np.empty(points.shape[1], np.float32)
    points[:, :first], weights[:first] = near[:, :first], weight
    histogram[SUPER_GROUND, :ground if first else 0] = 1
    histogram[SUPER_OBSTACLE, ground:first] = 1
    k = first
    for i in range(len(evidence)):
        total = np.float32(0)
        for plane in range(CLASSES):
            total += evidence[i, plane]
        if total != 0:
            for plane in range(CLASSES):
                histogram[plane, k] = evidence[i, plane] / total
            points[0, k], points[1, k], points[2, k] = far[0, i], far[1, i], far[2, i]
            weights[k] = total
            k += 1
    return points[:, :k].copy(), histogram[:, :k].copy(), weights[:k]
