# SPDX-License-Identifier: Apache-2.0
"""Compiled loops over what one frame observes: labelled depth pixels, and evidence of windows."""

import numpy as np
from numba import types

from perception.compiled import BOOL, F4, F8, I4, I8, compiled, given
from perception.types import Cells, Float, Index, Mask

SUPER_GROUND, SUPER_OBSTACLE, CLASSES = 0, 4, 5  # of a histogram, as loops read no other module


@compiled(I8, given(BOOL, 2), I8, I4[::1])
def _thinned_pixels(mask: Mask, stride: int, flat: Index) -> int:
    """
    How many of every ``stride`` rows and columns are set; their flat pixels begin ``flat``.

    Every pixel is written, and kept or written over: branches would often be guessed wrong.
    """
    k, (height, width) = np.uint32(0), mask.shape
    for v in range(0, height, stride):
        row = mask[v]
        for u in range(0, width, stride):
            flat[k] = v * width + u
            k += np.uint32(row[u])
    return int(k)


@compiled(I8, given(BOOL, 2), I4[::1])
def _set_pixels(mask: Mask, flat: Index) -> int:
    """How many are set; their flat pixels begin ``flat``. Eight unset ones are passed at once."""
    k, pixels = np.uint32(0), mask.reshape(-1)
    eights = pixels[:len(pixels) // 8 * 8].view(np.uint64)
    for j in range(np.uint64(len(eights))):
        if eights[j]:
            for i in range(8 * j, 8 * j + np.uint64(8)):
                flat[k] = i
                k += np.uint32(pixels[i])
    for i in range(8 * len(eights), len(pixels)):
        flat[k] = i
        k += np.uint32(pixels[i])
    return int(k)


@compiled(F4[:, ::1], types.UniTuple(given(I4, 1), 2), given(F4, 2),
          types.UniTuple(given(F4, 1), 2), F4)
def _points_at(
    pixels: tuple[Index, Index], disparity: Float, rays: tuple[Float, Float], scale: float
) -> Float:
    """Points (3, N) at flat pixels; ``scale`` is depth times disparity."""
    first, width, seen = len(pixels[0]), disparity.shape[1], disparity.reshape(-1)
    xyz, of_column, of_row = np.empty((3, first + len(pixels[1])), np.float32), rays[0], rays[1]
    per_width = 1.0 / width  # quicker than to divide integers
    x, y, z = xyz[0], xyz[1], xyz[2]
    for part in range(2):
        flat, begin = pixels[part], np.uint64(first if part else 0)
        for i in range(np.uint64(len(flat))):
            v = np.int32((flat[i] + 0.5) * per_width)
            k, depth = begin + i, scale / seen[np.uint32(flat[i])]
            x[k] = depth * of_column[np.uint32(flat[i] - v * np.int32(width))]
            y[k], z[k] = depth * of_row[np.uint32(v)], depth
    return xyz


@compiled(types.Tuple((F4[:, ::1], I8)), types.UniTuple(given(BOOL, 2), 2), given(F4, 2),
          types.UniTuple(given(F4, 1), 2), F4, I8)
def set_points(
    masks: tuple[Mask, Mask], disparity: Float, rays: tuple[Float, Float], focal_baseline: float,
    stride: int,
) -> tuple[Float, int]:
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
    stride : int
        Every how many rows and columns the first mask counts.

    Returns
    -------
    Points in the optical frame, (3, N) float32 [m], and how many are of the first mask.
    """
    first, second = np.empty(disparity.size + 1, np.int32), np.empty(disparity.size + 1, np.int32)
    pixels = (first[:_thinned_pixels(masks[0], stride, first)],
              second[:_set_pixels(masks[1], second)])
    return _points_at(pixels, disparity, rays, focal_baseline), len(pixels[0])


@compiled(F8[:, ::1], given(F4, 2), I8, given(F8, 2))
def placed(xyz: Float, first: int, pose: Float) -> Float:
    """Points (3, N) float32 from the first on, by ``pose`` (4, 4) in another frame, float64."""
    to, begin = np.empty((3, xyz.shape[1] - first)), np.uint64(first)
    x, y, z = xyz[0], xyz[1], xyz[2]
    for axis in range(3):
        row, a, b, c, d = to[axis], pose[axis, 0], pose[axis, 1], pose[axis, 2], pose[axis, 3]
        for i in range(np.uint64(len(row))):
            k = begin + i
            row[i] = a * x[k] + b * y[k] + c * z[k] + d
    return to


@compiled(F4[:, ::1], given(F4, 2), given(F4, 1))
def weighed(planes: Float, weight: Float) -> Float:
    """Rows (K, N) float32, each times ``weight`` (N,) float32."""
    result = np.empty(planes.shape, np.float32)
    for k in range(len(planes)):
        row, to = planes[k], result[k]
        for i in range(len(to)):
            to[i] = row[i] * weight[i]
    return result


@compiled(F8[:, ::1], given(F8, 2), given(I8, 1), given(F8, 2))
def turned(points: Float, index: Cells, pose: Float) -> Float:
    """
    How far points of frame b lie from its origin along x and y of frame a, and in both.

    Parameters
    ----------
    points : (N, 3) float64 [m]
    index : (n,) int64
        The points that count.
    pose : (4, 4) float64
        a from b.

    Returns
    -------
    (3, n) float64 [m]
    """
    result = np.empty((3, len(index)))
    for i in range(len(index)):
        x, y, z = points[index[i], 0], points[index[i], 1], points[index[i], 2]
        ahead = pose[0, 0] * x + pose[0, 1] * y + pose[0, 2] * z
        left = pose[1, 0] * x + pose[1, 1] * y + pose[1, 2] * z
        result[0, i], result[1, i] = ahead, left
        result[2, i] = np.sqrt(ahead * ahead + left * left)
    return result


@compiled(F4[::1], given(F4, 2))
def _totals(evidence: Float) -> Float:
    """Sums (M,) over the classes (M, 5)."""
    total = np.empty(len(evidence), np.float32)
    for i in range(len(evidence)):
        total[i] = (evidence[i, 0] + evidence[i, 1] + evidence[i, 2] + evidence[i, 3]
                    + evidence[i, 4])
    return total


@compiled(types.Tuple((F4[:, ::1], F4[:, ::1], F4[::1])), given(F4, 2), types.Tuple((I8, F4)),
          given(F8, 2), given(F4, 2), given(F8, 2))
def observed(
    near: Float, depth: tuple[int, float], far: Float, evidence: Float, pose: Float
) -> tuple[Float, Float, Float]:
    """
    Join depth points and evidence of windows.

    Parameters
    ----------
    near : (3, N) float32 [m]
        Depth points: ground, then obstacles.
    depth : int, float
        How many of them are ground, and the weight of a depth point.
    far : (M, 3) float64 [m]
        Points of windows in another frame.
    evidence : (M, 5) float32
        Weighted histograms of these; rows of zeros are left out.
    pose : (4, 4) float64
        Of that frame in the camera's.

    Returns
    -------
    Points (3, K) float32, histograms (5, K) float32 that sum to 1, and weights (K,) float32.
    """
    (ground, weight), first = depth, near.shape[1] if depth[1] > 0 else 0
    total = _totals(evidence)
    points = np.empty((3, first + np.count_nonzero(total)), np.float32)
    histogram = np.zeros((CLASSES, points.shape[1]), np.float32)
    weights = np.empty(points.shape[1], np.float32)
    points[:, :first], weights[:first] = near[:, :first], weight
    histogram[SUPER_GROUND, :ground if first else 0] = 1
    histogram[SUPER_OBSTACLE, ground:first] = 1
    k = first
    for i in range(len(evidence)):
        if total[i] != 0:
            for plane in range(CLASSES):
                histogram[plane, k] = evidence[i, plane] / total[i]
            for axis in range(3):
                points[axis, k] = (pose[axis, 0] * far[i, 0] + pose[axis, 1] * far[i, 1]
                                   + pose[axis, 2] * far[i, 2] + pose[axis, 3])
            weights[k] = total[i]
            k += 1
    return points, histogram, weights
