# SPDX-License-Identifier: Apache-2.0
"""What the navigation courses are made of: walls, fences, fields, and where they lie."""

from dataclasses import dataclass

import numpy as np

from perception.types import Float
from perception.world.terrain import PATH_STEP_M, Terrain

Rng = np.random.Generator
Corners = list[tuple[float, float]]

PITCH_M = {'hay': 1.15, 'bush': 0.75, 'rock': 0.65, 'log': 1.0, 'tall': 0.4}
ROW_M = {'hay': 1.1, 'bush': 0.7, 'rock': 0.7, 'log': 0.8, 'tall': 0.35}
PALE_M = 0.5
"""Posts of a fence stand so close that only a gap lets a rover through."""
OFFSET_M = 5.0
JITTER = 0.12  # of the pitch
FILL_PITCH_M = 1.5
FILL_FROM_PATH_M = 2.4
FILL_HALF_WIDTH_M = 13.0
BAY_RADIUS_M, BAY_OFF_PATH_M, BAYS = 4.2, 4.5, (0.5, 0.7)
RIDE_HALF_WIDTH_M, RIDE_M = 3.2, (20.0, 24.0)
WAY_M = (62.0, 80.0)  # along the path
CHORD_M = (56.0, 74.0)
MIN_BEND_M = 8.0


@dataclass(frozen=True)
class Layout:
    """
    Where a course begins and ends, and what stands on it; all points in one frame [m].

    ``start``, ``goal`` (2,); ``things`` kind -> (N, 2); ``fences`` list of (N, 2) posts in
    order; ``clear`` (M, 3) circles x, y, radius in which nothing else may stand.
    """

    start: Float
    goal: Float
    things: dict[str, Float]
    fences: list[Float]
    clear: Float


class Stage:
    """
    A course under construction: x leads from the start (0, 0) to the goal, y to the left.

    ``laid`` mirrors it, or not, turns it and shifts it, so that seeds differ by more than noise.
    """

    def __init__(self, rng: Rng, length_m: float) -> None:
        self.rng, self.length_m = rng, length_m
        self._things: list[tuple[str, Float]] = []
        self._fences: list[Float] = []
        self._clear: list[tuple[float, float, float]] = []

    def wall(self, kinds: tuple[str, ...], corners: Corners, rows: int = 2) -> None:
        """Stand things along a line of corners, in staggered rows, too close to pass between."""
        pitch = min(PITCH_M[kind] for kind in kinds)
        depth = max(ROW_M[kind] for kind in kinds)
        for row in range(rows):
            points = resampled(corners, pitch, start=0.5 * pitch * (row % 2))
            points = points + _normals(points) * depth * (row - (rows - 1) / 2)
            points += self.rng.normal(0, JITTER * pitch, points.shape)
            chosen = self.rng.integers(len(kinds), size=len(points))
            self._things += [(kind, points[chosen == k]) for k, kind in enumerate(kinds)]

    def fence(self, corners: Corners) -> None:
        """Stand a fence along a line of corners."""
        self._fences.append(resampled(corners, PALE_M))

    def gap(self, x: float, y: float, radius_m: float = 4.0) -> None:
        """Let nothing of the world around stand here."""
        self._clear.append((x, y, radius_m))

    def laid(self) -> Layout:
        """Place the stage in the world, by the seed."""
        turn, side = self.rng.uniform(0, 2 * np.pi), self.rng.choice([-1.0, 1.0])
        ahead = np.array([np.cos(turn), np.sin(turn)])
        frame = np.stack([ahead, side * np.array([-ahead[1], ahead[0]])])
        origin = self.rng.uniform(-OFFSET_M, OFFSET_M, 2) - self.length_m / 2 * ahead

        def placed(points: Float) -> Float:
            return np.asarray(np.asarray(points, float).reshape(-1, 2) @ frame + origin)

        clear = np.array(self._clear).reshape(-1, 3)
        return Layout(
            origin, placed(np.array([self.length_m, 0.0]))[0],
            collected([(kind, placed(points)) for kind, points in self._things]),
            [placed(posts) for posts in self._fences],
            np.c_[placed(clear[:, :2]), clear[:, 2]])


def collected(parts: list[tuple[str, Float]]) -> dict[str, Float]:
    """All points of each kind, (N, 2)."""
    kinds = dict.fromkeys(kind for kind, _ in parts)
    return {kind: np.concatenate([points for name, points in parts if name == kind])
            for kind in kinds}


def resampled(
    corners: Corners | Float, pitch: float, start: float = 0.0, *, keep: bool = False
) -> Float:
    """Points (N, 2) at even steps along a line of corners; with ``keep`` all corners too."""
    line = np.asarray(corners, float)
    along = np.r_[0, np.cumsum(np.hypot(*np.diff(line, axis=0).T))]
    steps = np.arange(start, along[-1] + 1e-9, pitch)
    steps = np.union1d(steps, along) if keep else steps
    return np.stack([np.interp(steps, along, line[:, k]) for k in (0, 1)], -1)


def path_layout(rng: Rng, terrain: Terrain, kinds: tuple[str, ...]) -> Layout:
    """
    Start and goal on the bent path of the world, and dense growth over the straight way.

    A ride straight towards the goal, and bays off the path, lead nowhere.
    """
    way = _bent_way(rng, terrain)
    start, goal = way[0], way[-1]
    points = _fill(rng, terrain, start, goal)
    bays = _bays(way)
    apart = np.linalg.norm(points[:, None] - bays, axis=-1).min(1)
    along = (points - start) @ (goal - start) / np.linalg.norm(goal - start)
    ride = (np.abs(_off_line(points, start, goal)) < RIDE_HALF_WIDTH_M) & (
        along < rng.uniform(*RIDE_M))
    points = points[(apart > BAY_RADIUS_M) & ~ride]
    chosen = rng.integers(len(kinds), size=len(points))
    things = {kind: points[chosen == k] for k, kind in enumerate(kinds)}
    clear = np.c_[way[::6], np.full(len(way[::6]), FILL_FROM_PATH_M)]
    return Layout(start, goal, things, [], clear)


def _bent_way(rng: Rng, terrain: Terrain) -> Float:
    """Part of the path between two points as far apart as a course asks, well bent."""
    path = terrain.path
    best, most = path[:1], -1.0
    for first in rng.permutation(len(path))[:60]:
        count = int(rng.uniform(*WAY_M) / PATH_STEP_M)
        way = path[(first + np.arange(count)) % len(path)]
        chord = float(np.linalg.norm(way[-1] - way[0]))
        bend = float(np.abs(_off_line(way, way[0], way[-1])).max())
        if CHORD_M[0] <= chord <= CHORD_M[1] and bend > most:
            best, most = way, bend
        if most >= MIN_BEND_M:
            break
    return np.asarray(best)


def _fill(rng: Rng, terrain: Terrain, start: Float, goal: Float) -> Float:
    """Points over a band about the straight way, off the path and off both ends."""
    length = float(np.linalg.norm(goal - start))
    ahead = (goal - start) / length
    x = np.arange(6.0, length - 6.0, FILL_PITCH_M)
    y = np.arange(-FILL_HALF_WIDTH_M, FILL_HALF_WIDTH_M, FILL_PITCH_M)
    grid = np.stack(np.meshgrid(x, y), -1).reshape(-1, 2)
    grid = grid + rng.uniform(-0.3, 0.3, grid.shape) * FILL_PITCH_M
    points = start + grid @ np.stack([ahead, [-ahead[1], ahead[0]]])
    return np.asarray(points[terrain.at(terrain.path_distance, points) > FILL_FROM_PATH_M])


def _bays(way: Float) -> Float:
    """Middles of bays beside the path, on the side of the straight way, (M, 2)."""
    at = (np.array(BAYS) * len(way)).astype(int)
    off = _off_line(way, way[0], way[-1])
    normals = _normals(way)
    along = way[-1] - way[0]
    left = np.array([-along[1], along[0]]) / np.linalg.norm(along)
    towards = -np.sign(off[at] * (normals[at] @ left))
    return np.asarray(way[at] + towards[:, None] * normals[at] * BAY_OFF_PATH_M)


def _off_line(points: Float, start: Float, goal: Float) -> Float:
    """Signed distance of points (N, 2) from the line through two points, left positive [m]."""
    ahead = (goal - start) / np.linalg.norm(goal - start)
    return np.asarray((points - start) @ np.array([-ahead[1], ahead[0]]))


def _normals(points: Float) -> Float:
    """Left unit normals (N, 2) along a line of points."""
    tangent = np.gradient(points, axis=0)
    normal = np.stack([-tangent[:, 1], tangent[:, 0]], -1)
    return np.asarray(normal / np.linalg.norm(normal, axis=1, keepdims=True))
