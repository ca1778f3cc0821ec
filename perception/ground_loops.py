# SPDX-License-Identifier: Apache-2.0
"""Compiled loops over depth points: their place on a grid of cells, its ground, what stands up."""

import numpy as np
from numba import types

from perception.compiled import BOOL, F4, F8, I4, I8, compiled, given
from perception.types import Float, Index, Mask

HEIGHT_BIN_M, LOWEST_M, HIGHEST_M = 0.05, -1.5, 1.5
BINS = int((HIGHEST_M - LOWEST_M) / HEIGHT_BIN_M)
FOOT_RUN = 6  # obstacle points above each other that make a foot
NONE = -1

_LEVELLED = types.Tuple((F4[:, ::1], I4[:, ::1], I4[:, ::1]))


@compiled(types.void, given(I4, 1), I4[::1])
def _count(place: Index, bins: Index) -> None:
    """Count places in their bins; neighbours are often alike, and are added at once."""
    last, count = place[0], 0
    for u in range(len(place)):
        if place[u] != last:
            if last >= 0:
                bins[last] += count
            last, count = place[u], 0
        count += 1
    if last >= 0:
        bins[last] += count


@compiled(_LEVELLED, given(F4, 2), given(F4, 2), given(F4, 2), given(F4, 1), I8)
def levelled(
    disparity: Float, of_column: Float, of_row: Float, measures: Float, cells: int
) -> tuple[Float, Index, Index]:
    """
    Heights of points above the ground plane, and their histogram in each cell of a grid.

    Parameters
    ----------
    disparity : (h, w) float32 [px]
    of_column, of_row : (3, w), (3, h) float32
        Terms that add up to rays: forward and left in cells, up in metres, per metre of depth.
    measures : (4,) float32
        Focal length x baseline, least disparity, height of the camera, cells on a side.
    cells : int
        Of the grid, twice as wide as long.

    Returns
    -------
    height (h, w) float32 [m], NaN below the least disparity; flat cell (h, w) int32, rows without
    a point begin with ``NONE``; histogram (cells, BINS) int32.
    """
    focal_baseline, limit, height, side = measures
    nothing, lowest, highest = np.float32(np.nan), np.float32(LOWEST_M), np.float32(HIGHEST_M)
    zero, last_row, last_column = np.float32(0), side - np.float32(1), side + side - np.float32(1)
    z, cell = np.empty(disparity.shape, np.float32), np.empty(disparity.shape, np.int32)
    histogram = np.zeros((cells, BINS), np.int32)
    bins, bin_m = histogram.reshape(-1), np.float32(HEIGHT_BIN_M)
    place = np.empty(disparity.shape[1], np.int32)
    for v in range(len(disparity)):
        near = False
        for u in range(len(place)):
            near |= disparity[v, u] >= limit
        if not near:  # the sky above costs time and says nothing
            z[v], cell[v, 0] = nothing, NONE
            continue
        ahead, left, up = of_row[0, v], of_row[1, v], of_row[2, v]
        for u in range(len(place)):
            here = disparity[v, u] >= limit
            depth = focal_baseline / (disparity[v, u] if here else limit)
            row = (of_column[0, u] + ahead) * depth
            column = (of_column[1, u] + left) * depth + side
            row, column = row if row > zero else zero, column if column > zero else zero
            cell[v, u] = (np.int32(min(row, last_row)) * np.int32(side + side)
                          + np.int32(min(column, last_column)))
            z[v, u] = (of_column[2, u] + up) * depth + height if here else nothing
        for u in range(len(place)):
            level = min(np.int32((z[v, u] - lowest) / bin_m), np.int32(BINS - 1))
            counts = z[v, u] >= lowest and z[v, u] < highest
            place[u] = cell[v, u] * np.int32(BINS) + level if counts else np.int32(NONE)
        _count(place, bins)
    return z, cell, histogram


@compiled(F4[:, ::1], given(I4, 2), given(F8, 2), given(F8, 1))
def lowest_ground(histogram: Index, distance: Float, settings: Float) -> Float:
    """
    Ground of each cell: the lowest of a low percentile over 3 x 3 cells.

    Parameters
    ----------
    histogram : (cells, BINS) int32
    distance : (rows, columns) float64 [m]
        Of the cells.
    settings : (5,) float64
        Points a cell must have, part of them below its ground, how far the ground may leave the
        plane [m] and how much farther at each metre, what to add at each metre.

    Returns
    -------
    (rows, columns) float32 [m]
        Infinite where all nine have too few points, or none that is near enough to the plane.
    """
    least, part, slack, slope, raised = settings
    rows, columns = distance.shape
    low = np.full((rows + 2, columns + 2), np.inf, np.float32)
    for k in range(len(histogram)):
        total = 0
        for level in range(BINS):
            total += histogram[k, level]
        if total < least:
            continue
        level, running, wanted = 0, histogram[k, 0], max(total * part, 1.0)
        while running < wanted:
            level += 1
            running += histogram[k, level]
        height, away = LOWEST_M + (level + 0.5) * HEIGHT_BIN_M, distance[k // columns, k % columns]
        if abs(height) <= slack + slope * away:
            low[k // columns + 1, k % columns + 1] = height + raised * away
    ground = np.empty((rows, columns), np.float32)
    of_three = np.empty(columns + 2, np.float32)
    for r in range(rows):
        for c in range(columns + 2):
            of_three[c] = min(low[r, c], low[r + 1, c], low[r + 2, c])
        for c in range(columns):
            ground[r, c] = min(of_three[c], of_three[c + 1], of_three[c + 2])
    return ground


@compiled(types.void, F4[:, ::1], given(I4, 2), given(F4, 1))
def lower(z: Float, cell: Index, ground: Float) -> None:
    """Subtract from heights (h, w) float32 that of the ground (cells,) in their flat cells."""
    for v in range(len(z)):
        if cell[v, 0] != NONE:
            for u in range(z.shape[1]):
                z[v, u] -= ground[cell[v, u]]


@compiled(types.UniTuple(BOOL[:, ::1], 3), given(F4, 2), given(F4, 2), given(F4, 1))
def told_apart(height: Float, disparity: Float, limits: Float) -> tuple[Mask, Mask, Mask]:
    """
    Ground, obstacles, and feet of these.

    Parameters
    ----------
    height, disparity : (h, w) float32 [m], [px]
    limits : (6,) float32
        Greatest height of ground, least and greatest of obstacles, greatest of a foot [m], focal
        length x baseline, and the deviation of a height for each metre of depth.

    Returns
    -------
    three times (h, w) bool
    """
    flat, least, most, foot, focal_baseline, noise = limits
    ground = np.empty(height.shape, np.bool_)
    obstacle, feet = np.empty_like(ground), np.empty_like(ground)
    run = np.zeros(height.shape[1], np.int32)  # obstacle points above each other
    for v in range(len(height)):
        for u in range(len(run)):
            deviation = focal_baseline / disparity[v, u] * noise
            ground[v, u] = abs(height[v, u]) <= flat
            stands = height[v, u] > max(np.float32(3) * deviation, least) and height[v, u] < most
            obstacle[v, u] = stands
            run[u] = run[u] + 1 if stands else 0
            feet[v, u] = run[u] >= min(FOOT_RUN, v + 1) and height[v, u] < foot
    for v in range(len(height) - 1):
        for u in range(len(run)):
            feet[v, u] &= not obstacle[v + 1, u]
    return ground, obstacle, feet
