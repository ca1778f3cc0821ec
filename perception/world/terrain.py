# SPDX-License-Identifier: Apache-2.0
"""The ground of a world: height map, a path that closes on itself, and what covers it."""

from dataclasses import dataclass

import cv2
import numpy as np

from perception.types import Float, Image
from perception.world.spec import WorldSpec
from perception.world.textures import fractal_noise

SIZE_M = 144.0
HEIGHT_POSTS = 300
SPLAT_CELLS = 1024
PATH_STEP_M = 0.5


@dataclass(frozen=True)
class Terrain:
    """
    Ground over the square -``SIZE_M``/2 .. ``SIZE_M``/2, frame ``world``.

    ``heights`` (n, n) float32 [m], row = y, column = x; ``splat`` (m, m, 4) uint8 weights of
    grass, path, mud, dry grass; ``path`` (k, 2) float64 [m] closed, one point every
    ``PATH_STEP_M``, with its left ``normal`` (k, 2); ``lane_offset`` (k,) [m] to the left of it
    runs a lane that swings over both edges of the path and is kept clear as well.
    ``path_distance`` and ``lane_distance`` are (m, m) float32 [m].
    """

    heights: Float
    splat: Image
    path: Float
    normal: Float
    lane_offset: Float
    path_distance: Float
    lane_distance: Float

    def height(self, x: Float, y: Float) -> Float:
        """Bilinear ground height [m] at world points; NaN outside."""
        posts = self.heights
        n = posts.shape[0]
        u = (np.asarray(x) / SIZE_M + 0.5) * (n - 1)
        v = (np.asarray(y) / SIZE_M + 0.5) * (n - 1)
        outside = ~((u >= 0) & (u <= n - 1) & (v >= 0) & (v <= n - 1))
        u, v = np.where(outside, 0, u), np.where(outside, 0, v)
        j, i = np.minimum(u.astype(int), n - 2), np.minimum(v.astype(int), n - 2)
        a, b = u - j, v - i
        flat, start = posts.ravel(), i * n + j
        low = flat[start] * (1 - a) + flat[start + 1] * a
        high = flat[start + n] * (1 - a) + flat[start + n + 1] * a
        return np.where(outside, np.nan, low * (1 - b) + high * b)

    def at(self, grid: Float, points: Float) -> Float:
        """Nearest value of an (m, m) grid over the terrain at (N, 2) world points."""
        m = grid.shape[0]
        cell = np.clip(np.floor((points / SIZE_M + 0.5) * m).astype(int), 0, m - 1)
        return np.asarray(grid[cell[:, 1], cell[:, 0]])


def make_terrain(spec: WorldSpec) -> Terrain:
    """Build the ground of one world."""
    rng = np.random.default_rng([spec.seed, 2])
    path = _closed_path(rng)
    normal = _left_normals(path)
    lane_offset = _lane(rng, len(path))
    distance = _distance_to(path, SPLAT_CELLS)
    lane_distance = _distance_to(path + lane_offset[:, None] * normal, SPLAT_CELLS)
    heights = _heights(spec.amplitude_m, path, rng)
    splat = _splat(distance, heights, rng)
    return Terrain(heights, splat, path, normal, lane_offset, distance, lane_distance)


def _closed_path(rng: np.random.Generator) -> Float:
    """Star-shaped loop with bends both ways, resampled at equal steps; direction is random."""
    angle = np.linspace(0, 2 * np.pi, 4000, endpoint=False)
    radius = np.full_like(angle, rng.uniform(35, 42))
    for k, sigma in ((2, 5.0), (3, 3.5), (4, 2.2), (5, 1.5), (7, 0.6)):
        radius += np.clip(rng.normal(0, sigma), -1.7 * sigma, 1.7 * sigma) * np.cos(
            k * angle + rng.uniform(0, 2 * np.pi))
    radius = np.minimum(radius, 54)
    points = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], -1)
    points = points[::-1] if rng.random() < 0.5 else points
    closed = np.vstack([points, points[:1]])
    along = np.r_[0, np.cumsum(np.hypot(*np.diff(closed, axis=0).T))]
    steps = np.linspace(0, along[-1], int(along[-1] / PATH_STEP_M), endpoint=False)
    return np.stack([np.interp(steps, along, closed[:, k]) for k in (0, 1)], -1)


def _left_normals(path: Float) -> Float:
    tangent = np.roll(path, -3, 0) - np.roll(path, 3, 0)
    normal = np.stack([-tangent[:, 1], tangent[:, 0]], -1)
    return np.asarray(normal / np.linalg.norm(normal, axis=1, keepdims=True))


def _lane(rng: np.random.Generator, count: int) -> Float:
    """Offset of the lane [m]: slow swings, whole in number over one lap."""
    turn = np.linspace(0, 2 * np.pi, count, endpoint=False)
    swings = [size * np.sin(cycles * turn + rng.uniform(0, 2 * np.pi))
              for size, cycles in ((2.6, 4), (1.5, 7), (0.8, 11))]
    return np.asarray(np.sum(swings, axis=0))


def _distance_to(path: Float, cells: int) -> Float:
    """Distance of every cell to the path, (cells, cells) float32 [m]."""
    canvas = np.full((cells, cells), 255, np.uint8)
    pixels = ((path / SIZE_M + 0.5) * cells * 8).astype(np.int32)
    cv2.polylines(canvas, [pixels], True, 0, 1, cv2.LINE_8, 3)
    distance = cv2.distanceTransform(canvas, cv2.DIST_L2, 5)
    return np.asarray(distance * (SIZE_M / cells), np.float32)


def _heights(amplitude: float, path: Float, rng: np.random.Generator) -> Float:
    """Long swells and a little roughness, smoother along the path; zero where flat."""
    n = HEIGHT_POSTS
    # 1-3 cycles over the world: waves longer than 48 m, so that a plane fits what lies near
    swell = (fractal_noise(n, rng, 3.4, low=1, high=3) - 0.5) * 2
    rough = (fractal_noise(n, rng, 2.2, low=8, high=50) - 0.5) * 0.12
    distance = _distance_to(path, n)
    near = np.clip(1.6 - distance / 3.2, 0, 1)
    relief = swell + rough * (1 - 0.7 * near) - 0.06 * np.clip(1 - distance / 1.8, 0, 1)
    return np.asarray(relief * amplitude, np.float32)


def _splat(distance: Float, heights: Float, rng: np.random.Generator) -> Image:
    """Weights of grass, path, mud and dry grass, (m, m, 4) uint8."""
    m = distance.shape[0]
    wobble = (fractal_noise(m, rng, 1.4, low=8) - 0.5) * rng.uniform(0.5, 1.6)
    half_width = rng.uniform(1.1, 1.9)
    track = distance
    if rng.random() < 0.35:  # two wheel tracks with a grass strip between
        track = np.abs(distance - 0.8)
        half_width *= 0.36
    path = np.clip((half_width + wobble * min(half_width, 1) - track) / 0.35, 0, 1)
    level = cv2.resize(heights, (m, m), interpolation=cv2.INTER_CUBIC)
    level = (level - level.mean()) / max(float(level.std()), 1e-6)
    wet = fractal_noise(m, rng, 2.6, low=3) - 0.18 * level
    mud = np.clip((wet - rng.uniform(0.74, 0.86)) / 0.05, 0, 1) * (1 - path)
    dryness = fractal_noise(m, rng, 2.2, low=3) - rng.uniform(0.35, 0.65)
    dry = np.clip(dryness / 0.22, 0, 1) * (1 - path) * (1 - mud)
    weights = np.dstack([1 - path - mud - dry, path, mud, dry])
    return np.asarray(np.clip(weights * 255, 0, 255), np.uint8)
