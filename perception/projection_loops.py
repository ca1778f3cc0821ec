# SPDX-License-Identifier: Apache-2.0
"""Compiled loop over a depth grid: its labelled pixels as points."""

import numpy as np
from numba import types

from perception.compiled import BOOL, F4, I8, compiled, given
from perception.types import Float, Mask


@compiled(I8, given(BOOL, 2), I8)
def _count(mask: Mask, stride: int) -> int:
    """Set pixels among every ``stride``-th row and column."""
    count = 0
    for v in range(0, mask.shape[0], stride):
        for u in range(0, mask.shape[1], stride):
            count += mask[v, u]
    return count


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


@compiled(types.Tuple((F4[:, ::1], I8)), types.UniTuple(given(BOOL, 2), 2), given(F4, 2),
          types.UniTuple(given(F4, 1), 2), F4, I8)
def optical_points(
    masks: tuple[Mask, Mask], disparity: Float, rays: tuple[Float, Float], focal_baseline: float,
    stride: int,
) -> tuple[Float, int]:
    """
    Thinned points of a first mask, then all points of a second one.

    Parameters
    ----------
    masks : (h, w) bool each
        Of the first every ``stride``-th row and column counts.
    disparity : (h, w) float32 [px]
        Valid where a mask is set.
    rays : (w,) and (h,) float32
        How far a pixel lies to the right and down, at a depth of one.
    focal_baseline : float
        Depth times disparity.

    Returns
    -------
    (3, N) float32 [m] in the optical frame, and how many of them are of the first mask.
    """
    first = _count(masks[0], stride)
    xyz = np.empty((3, first + _count(masks[1], 1)), np.float32)
    _fill(masks[0], stride, disparity, rays, focal_baseline, xyz[:, :first])
    _fill(masks[1], 1, disparity, rays, focal_baseline, xyz[:, first:])
    return xyz, first
