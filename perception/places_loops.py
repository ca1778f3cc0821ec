# SPDX-License-Identifier: Apache-2.0
"""Compiled loops over noted points: gather them, thin them, vote on them, look at them again."""

import numpy as np
from numba import types

from perception.compiled import BOOL, F4, F8, I8, U1, compiled, given
from perception.types import Cells, Float, Image, Mask

GROUND, OBSTACLE, LOW, DRIVEN = range(4)
GONE = 255  # a point that counts no more

_POINTS = types.Tuple((F4[:, ::1], U1[::1]))
_PER_POINT = 2  # slots of the table, at least
_AXIS_BITS = 20
_SPREAD = 0x9E3779B97F4A7C15  # Knuth's multiplicative hashing


@compiled(_POINTS, given(F4, 2), given(U1, 2), given(F4, 1), given(F4, 1), given(F8, 2),
          types.UniTuple(F8, 3))
def noted(
    disparity: Float, codes: Image, across: Float, down: Float, pose: Float,
    limits: tuple[float, float, float],
) -> tuple[Float, Image]:
    """
    Points of a frame within a range of depth, where they stand and what they are.

    Parameters
    ----------
    disparity : (h, w) float32 [px]
    codes : (h, w) uint8
        As of ``teacher_loops.point_codes``; raised points are obstacles beyond doubt.
    across, down : (w,), (h,) float32
        Rays of the columns and rows: x and y for each metre of depth.
    pose : (3, 4) float64
        Of the camera.
    limits : float, float, float
        Focal length x baseline, least and greatest depth [m].

    Returns
    -------
    xyz (n, 3) float32 [m], kind (n,) uint8
    """
    focal_baseline, least, most = limits
    xyz, kind = np.empty((codes.size, 3), np.float32), np.empty(codes.size, np.uint8)
    found = 0
    for v in range(len(codes)):
        for u in range(len(across)):
            if codes[v, u] & 3 == 0:
                continue
            depth = np.float32(focal_baseline) / disparity[v, u]
            if not least <= depth <= most:
                continue
            x, y, z = float(depth * across[u]), float(depth * down[v]), float(depth)
            for axis in range(3):
                xyz[found, axis] = (pose[axis, 0] * x + pose[axis, 1] * y + pose[axis, 2] * z
                                    + pose[axis, 3])
            standing = OBSTACLE if codes[v, u] & 4 else LOW
            kind[found] = GROUND if codes[v, u] & 1 else standing
            found += 1
    return xyz[:found].copy(), kind[:found].copy()


@compiled(I8[::1], given(F4, 2), given(U1, 1), F8)
def first_in_voxels(xyz: Float, kind: Image, per_m: float) -> Cells:
    """
    Index (k,) int64 of the first point of each kind in each voxel.

    ``xyz`` (n, 3) float32 [m], ``kind`` (n,) uint8, ``per_m`` voxels a metre.
    """
    slots = 1
    while slots < _PER_POINT * len(xyz):
        slots *= 2
    keys, empty = np.empty(slots, np.int64), np.ones(slots, np.bool_)
    first, found = np.empty(len(xyz), np.int64), 0
    scale, axis, last = np.float32(per_m), np.int64((1 << _AXIS_BITS) - 1), np.int64(-1)
    for i in range(len(xyz)):
        key = np.int64(kind[i])
        for k in range(3):
            key = key << _AXIS_BITS | np.int64(np.floor(xyz[i, k] * scale)) & axis
        if key == last:  # neighbours often share a voxel
            continue
        last = key
        slot = np.int64(np.uint64(key) * np.uint64(_SPREAD) >> np.uint64(32)) & (slots - 1)
        while not empty[slot] and keys[slot] != key:
            slot = (slot + 1) & (slots - 1)
        if empty[slot]:
            keys[slot], empty[slot], first[found] = key, False, i
            found += 1
    return first[:found].copy()


@compiled(BOOL[::1], given(F4, 2), given(U1, 1), types.UniTuple(F8, 3))
def borne_out(xyz: Float, kind: Image, rule: tuple[float, float, float]) -> Mask:
    """
    Points that the others on their spot of ground bear out.

    Parameters
    ----------
    xyz, kind : (n, 3) float32 [m], (n,) uint8
        ``GONE`` takes no part.
    rule : float, float, float
        Spots a metre, obstacle points an obstacle needs, standing points for each of the ground
        that ground bears.

    Returns
    -------
    (n,) bool
    """
    per_m, needed, dissent = np.float32(rule[0]), rule[1], rule[2]
    spot, borne = np.floor(xyz[:, :2] * per_m), np.empty(len(xyz), np.bool_)
    low, high = np.full(2, np.inf), np.full(2, -np.inf)
    for i in range(len(xyz)):
        borne[i] = kind[i] != GONE and np.isfinite(spot[i, 0]) and np.isfinite(spot[i, 1])
        for k in range(2 if borne[i] else 0):
            low[k], high[k] = min(low[k], spot[i, k]), max(high[k], spot[i, k])
    width = np.int64(high[1] - low[1]) + 1 if high[1] >= low[1] else 0
    votes = np.zeros((np.int64(high[0] - low[0]) + 1 if width else 0) * width * 3, np.int32)
    here = np.zeros(len(xyz), np.int64)
    for i in range(len(xyz)):
        if borne[i]:
            row, column = np.int64(spot[i, 0] - low[0]), np.int64(spot[i, 1] - low[1])
            here[i] = (row * width + column) * 3
            if kind[i] < DRIVEN:
                votes[here[i] + kind[i]] += 1
    for i in range(len(xyz)):
        if not borne[i] or kind[i] >= DRIVEN:  # gone, or felt
            continue
        ground, standing, doubtful = votes[here[i]:here[i] + 3]
        flat = standing + doubtful <= dissent * ground
        stands = standing >= needed and standing > ground
        borne[i] = stands if kind[i] == OBSTACLE else flat == (kind[i] == GROUND)
    return borne


@compiled(types.Tuple((I8[::1], U1[::1])), given(F4, 2), given(U1, 1), given(F4, 2), given(F4, 1))
def cells_in_view(
    xyz: Float, kind: Image, pose: Float, lens: Float
) -> tuple[Cells, Image]:
    """
    Cells of a mask that points fall into.

    Parameters
    ----------
    xyz, kind : (n, 3) float32 [m], (n,) uint8
    pose : (3, 4) float32
        Of the camera.
    lens : (8,) float32
        fx, fy, cx, cy, width and height of the image, pixels a cell, and least depth [m].

    Returns
    -------
    cell (m,) int64, flat, of the points in view that are not ``GONE``, and their kind (m,) uint8
    """
    fx, fy, cx, cy, width, height, step, front = lens
    columns = np.int64(np.ceil(width / step))
    cells, kinds, found = np.empty(len(xyz), np.int64), np.empty(len(xyz), np.uint8), 0
    for i in range(len(xyz)):
        a, b, c = xyz[i, 0] - pose[0, 3], xyz[i, 1] - pose[1, 3], xyz[i, 2] - pose[2, 3]
        z = a * pose[0, 2] + b * pose[1, 2] + c * pose[2, 2]
        if kind[i] == GONE or not z > front:
            continue
        u = fx * (a * pose[0, 0] + b * pose[1, 0] + c * pose[2, 0]) / z + cx
        v = fy * (a * pose[0, 1] + b * pose[1, 1] + c * pose[2, 1]) / z + cy
        if 0 <= u < width and 0 <= v < height:
            cells[found], kinds[found] = np.int64(v / step) * columns + np.int64(u / step), kind[i]
            found += 1
    return cells[:found].copy(), kinds[:found].copy()


@compiled(U1[:, ::1], given(I8, 1), given(U1, 1), types.UniTuple(I8, 2))
def closed_masks(cell: Cells, kind: Image, shape: tuple[int, int]) -> Image:
    """
    Masks of all kinds at once, gaps of one cell closed.

    ``cell`` (n,) int64 flat, ``kind`` (n,) uint8; returns (h, w) uint8, a bit for each kind.
    """
    height, width = shape
    marked = np.zeros((height + 2, width + 2), np.uint8)
    for i in range(len(cell)):
        marked[cell[i] // width + 1, cell[i] % width + 1] |= 1 << kind[i]
    grown = np.full((height + 2, width + 2), 255, np.uint8)  # beyond the border all may be there
    for v in range(1, height + 1):
        for u in range(1, width + 1):
            grown[v, u] = (
                marked[v - 1, u - 1] | marked[v - 1, u] | marked[v - 1, u + 1] | marked[v, u - 1]
                | marked[v, u] | marked[v, u + 1] | marked[v + 1, u - 1] | marked[v + 1, u]
                | marked[v + 1, u + 1])
    closed = np.empty((height, width), np.uint8)
    for v in range(height):
        for u in range(width):
            closed[v, u] = (
                grown[v, u] & grown[v, u + 1] & grown[v, u + 2] & grown[v + 1, u]
                & grown[v + 1, u + 1] & grown[v + 1, u + 2] & grown[v + 2, u]
                & grown[v + 2, u + 1] & grown[v + 2, u + 2])
    return closed
