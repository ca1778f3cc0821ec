# SPDX-License-Identifier: Apache-2.0
"""The shortest way through a world on its truth, for a disc."""

import numpy as np

from perception.types import Costmap, Float, Mask
from perception.world.course_layout import resampled
from perception.world.rover import clearance
from perception.world.terrain import SIZE_M
from perception.world.truth import CELL_M

FREE_WAY_M = 1.2
ROBOT_RADIUS_M = 0.35
EDGE_M = 3.0
PULLS, PULL_STEP_M = 6, 0.4


def free_way(obstacles: Costmap, start: Float, goal: Float) -> Float | None:
    """
    Shortest way on truth for the robot, or None where none has ``FREE_WAY_M`` on both sides.

    Returns
    -------
    (N, 2) float64 or None
        Corners of the way in the world [m].
    """
    room = clearance(obstacles)
    if shortest_way(room, start, goal, FREE_WAY_M) is None:
        return None
    return shortest_way(room, start, goal, ROBOT_RADIUS_M)


def shortest_way(room: Float, start: Float, goal: Float, radius_m: float) -> Float | None:
    """
    Shortest way for a disc, with the corners of the grid cut where the line of sight is free.

    Parameters
    ----------
    room : (n, n) float
        Distance of each cell of the world to the nearest obstacle [m].
    """
    from skimage.graph import MCP_Geometric

    inside = _edge_free(room) & (room >= radius_m)
    first, last = _cell(start), _cell(goal)
    if not (inside[first] and inside[last]):
        return None
    search = MCP_Geometric(np.where(inside, 1.0, -1.0))
    search.find_costs([first], [last])
    try:
        cells = np.array(search.traceback(last))
    except ValueError:
        return None
    way = (cells[:, ::-1] + 0.5) * CELL_M - SIZE_M / 2
    return _pulled(np.vstack([start, way[1:-1], goal]), inside)


def _pulled(way: Float, inside: Mask) -> Float:
    """Way pulled taut, from both ends in turn: no straight line leaves out a part of it."""
    for _ in range(PULLS):
        way = _cut(resampled(way, PULL_STEP_M, keep=True)[::-1], inside)
    return way


def _cut(way: Float, inside: Mask) -> Float:
    """Corners of a way that stay when each leads to the farthest point in sight."""
    corners, at = [0], 0
    while at < len(way) - 1:
        ahead = range(len(way) - 1, at, -1)
        at = next(k for k in ahead if k == at + 1 or _sees(way[at], way[k], inside))
        corners.append(at)
    return np.asarray(way[corners])


def _sees(a: Float, b: Float, inside: Mask) -> bool:
    """Tell whether the straight line from a to b stays inside."""
    steps = max(int(np.linalg.norm(b - a) / (CELL_M / 2)), 1)
    line = a + np.linspace(0, 1, steps + 1)[:, None] * (b - a)
    cell = np.floor((line + SIZE_M / 2) / CELL_M).astype(int)
    return bool(inside[cell[:, 1], cell[:, 0]].all())


def _edge_free(room: Float) -> Mask:
    """Cells that are not at the edge of the world, (n, n) bool."""
    inside = np.zeros(room.shape, bool)
    edge = round(EDGE_M / CELL_M)
    inside[edge:-edge, edge:-edge] = True
    return inside


def _cell(point: Float) -> tuple[int, int]:
    """Row and column of a point of the world."""
    column, row = np.floor((np.asarray(point) + SIZE_M / 2) / CELL_M).astype(int)
    return int(row), int(column)
