# SPDX-License-Identifier: Apache-2.0
"""What stands where: instances of each kind, scattered over a terrain."""

from dataclasses import dataclass

import numpy as np

from perception.types import Float, Mask
from perception.world.seasons import Season
from perception.world.spec import WorldSpec
from perception.world.terrain import PATH_STEP_M, SIZE_M, Terrain
from perception.world.textures import fractal_noise

COUNTS = {'tree': 250, 'conifer': 90, 'bush': 170, 'rock': 90, 'log': 24, 'hay': 20,
          'tall': 4600, 'tuft': 15000}
SCALES = {'tree': (0.75, 1.5), 'conifer': (0.6, 1.5), 'bush': (0.55, 1.35),
          'rock': (0.35, 1.1), 'log': (0.9, 1.4), 'hay': (0.8, 1.1),
          'tall': (0.5, 1.15), 'tuft': (0.12, 0.235)}
SINK_M = {'tree': 0.1, 'conifer': 0.1, 'bush': 0.05, 'rock': 0.08, 'log': -0.14, 'hay': 0.02,
          'tall': 0.03, 'tuft': 0.01}
CLEARANCE_M = {'tree': 3.6, 'conifer': 4.4, 'bush': 2.9, 'rock': 2.7, 'log': 3.2, 'hay': 3.0,
               'tall': 2.1, 'tuft': 1.3}
NEAR_KINDS = ('rock', 'bush', 'log', 'hay', 'tree')
NEAR_SHARES = (0.38, 0.26, 0.12, 0.10, 0.14)
NEAR_EVERY_M = 1.3
FENCE_POST_M = 2.5
MARGIN_M = 1.5
LANE_SAVING_M = 0.7  # things stand this much closer to the lane than to the path


@dataclass(frozen=True)
class Instances:
    """
    Copies of one kind of thing.

    ``position`` (N, 3) [m] world; ``yaw`` (N,) [rad]; ``scale`` (N,); ``stretch`` (N,) of the
    height alone; ``tint`` (N, 3) RGB factors; ``variant`` (N,) 0 or 1, the texture pair.
    """

    position: Float
    yaw: Float
    scale: Float
    stretch: Float
    tint: Float
    variant: Float

    def __len__(self) -> int:
        """Count the copies."""
        return len(self.position)


def scatter_objects(
    spec: WorldSpec, terrain: Terrain, season: Season
) -> dict[str, Instances]:
    """Place every kind for one world; nothing stands on the path."""
    rng = np.random.default_rng([spec.seed, 3])
    wood = np.clip((_field(rng, 2.4, 3) - 0.45) * 3, 0.03, 1)
    meadow = np.clip((_field(rng, 2.0, 6) - 0.62) * 9, 0, 1)
    short = np.clip(0.25 + (_field(rng, 1.4, 6) - 0.5) * 2, 0.05, 1)
    density = {'tree': wood, 'conifer': wood, 'bush': np.clip(wood + 0.2, 0, 1), 'log': wood,
               'hay': 1 - wood, 'tall': meadow, 'tuft': short, 'rock': np.ones_like(wood)}
    near = _near_path(rng, terrain)
    conifers = rng.uniform(0, 2)
    richness = {'tree': season.trees * (1.3 - 0.3 * conifers) * rng.uniform(0.7, 1.2),
                'conifer': season.trees * conifers, 'bush': season.bushes * rng.uniform(0.7, 1.3),
                'tall': season.tall_grass * rng.uniform(0.7, 1.25)}
    objects = {}
    for kind, count in COUNTS.items():
        wanted = int(count * richness.get(kind, 1.0))
        points = _scatter(rng, terrain, density[kind], wanted, kind)
        points = np.vstack([points, near.get(kind, np.empty((0, 2)))])
        objects[kind] = _instances(rng, terrain, kind, points)
    return objects


def fence_posts(spec: WorldSpec, terrain: Terrain) -> list[Float]:
    """Fences that follow the path at one side: a list of (N, 2) world points of posts [m]."""
    rng = np.random.default_rng([spec.seed, 4])
    path = terrain.path
    fences = []
    for start in rng.permutation(4)[:3] * len(path) // 4:
        side = rng.choice([-1.0, 1.0]) * rng.uniform(4.5, 7.5)
        index = (start + np.arange(int(rng.uniform(20, 45) / PATH_STEP_M))) % len(path)
        line = path[index] + side * terrain.normal[index]
        along = np.r_[0, np.cumsum(np.hypot(*np.diff(line, axis=0).T))]
        posts = np.arange(0, along[-1], FENCE_POST_M)
        line = np.stack([np.interp(posts, along, line[:, k]) for k in (0, 1)], -1)
        fences.append(line[_is_clear(terrain, line, 'rock')])
    return [fence for fence in fences if len(fence) > 2]


def _field(rng: np.random.Generator, beta: float, low: float) -> Float:
    return fractal_noise(512, rng, beta, low=low)


def _scatter(
    rng: np.random.Generator, terrain: Terrain, density: Float, count: int, kind: str
) -> Float:
    """Up to ``count`` random points, thinned by density and kept off path and lane."""
    half = SIZE_M / 2 - MARGIN_M
    points = rng.uniform(-half, half, (count * 12 + 50, 2))
    keep = rng.random(len(points)) < terrain.at(density, points)
    keep &= _is_clear(terrain, points, kind)
    return points[keep][:count]


def _near_path(rng: np.random.Generator, terrain: Terrain) -> dict[str, Float]:
    """Things beside the path, evenly along it, so that every drive meets each kind."""
    path = terrain.path
    count = int(len(path) * PATH_STEP_M / NEAR_EVERY_M)
    index = (np.linspace(0, len(path), count, endpoint=False)).astype(int)
    side = rng.choice([-1.0, 1.0], count) * rng.uniform(2.7, 11.0, count)
    points = path[index] + side[:, None] * terrain.normal[index] + rng.normal(0, 0.3, (count, 2))
    kinds = rng.choice(len(NEAR_KINDS), count, p=NEAR_SHARES)
    return {
        kind: points[(kinds == k) & _is_clear(terrain, points, kind)]
        for k, kind in enumerate(NEAR_KINDS)
    }


def _is_clear(terrain: Terrain, points: Float, kind: str) -> Mask:
    """Tell which points leave room on the path and, but for short grass, on the lane."""
    clear: Mask = terrain.at(terrain.path_distance, points) > CLEARANCE_M[kind]
    if kind != 'tuft':
        clear &= terrain.at(terrain.lane_distance, points) > CLEARANCE_M[kind] - LANE_SAVING_M
    return clear


def _instances(
    rng: np.random.Generator, terrain: Terrain, kind: str, points: Float
) -> Instances:
    count = len(points)
    scale = rng.uniform(*SCALES[kind], count)
    if kind == 'rock':  # a few boulders
        scale = np.where(rng.random(count) < 0.1, scale * 1.5, scale)
    z = terrain.height(points[:, 0], points[:, 1]) - SINK_M[kind]
    shade = 1 + rng.normal(0, 0.12, (count, 1)) + rng.normal(0, 0.045, (count, 3))
    return Instances(
        position=np.c_[points, z], yaw=rng.uniform(0, 2 * np.pi, count), scale=scale,
        stretch=np.ones(count) if kind in ('log', 'hay', 'tuft') else rng.uniform(
            0.85, 1.2, count),
        tint=np.clip(shade, 0.55, 1.5),
        variant=(rng.random(count) < rng.uniform(0.15, 0.6)).astype(float),
    )
