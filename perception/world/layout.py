# SPDX-License-Identifier: Apache-2.0
"""What stands where: instances of each kind, scattered over a terrain."""

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from perception.types import Float, Mask
from perception.world.seasons import Season
from perception.world.spec import WorldSpec
from perception.world.terrain import PATH_STEP_M, SIZE_M, Terrain
from perception.world.textures import fractal_noise

# Things stand in thickets with open ground between them, or alone: a robot's-eye view of evenly
# scattered things would end after 15 m.
ALONE = {'tree': 30, 'conifer': 6, 'bush': 2, 'rock': 10, 'log': 1, 'hay': 2, 'tall': 6,
         'tuft': 15000}
THICKET_KINDS = ('tree', 'conifer', 'bush', 'rock', 'log', 'hay')
THICKET_SHARES = (0.36, 0.08, 0.16, 0.24, 0.09, 0.07)
THICKET_MEMBERS = (7, 11)
THICKET_GRASS = (0, 16)
THICKET_RADIUS_M = (0.9, 2.2)
NEAR_EVERY_M = 10.0
NEAR_SIDE_M = (4.0, 7.0)
FAR_EVERY_M = 20.0
FAR_SIDE_M = 10.0
SCALES = {'tree': (0.95, 1.6), 'conifer': (0.8, 1.5), 'bush': (0.5, 1.2),
          'rock': (0.34, 0.85), 'log': (0.9, 1.4), 'hay': (0.8, 1.1),
          'tall': (0.4, 1.1), 'tuft': (0.12, 0.235)}
SINK_M = {'tree': 0.1, 'conifer': 0.1, 'bush': 0.05, 'rock': 0.08, 'log': -0.14, 'hay': 0.02,
          'tall': 0.03, 'tuft': 0.01}
CLEARANCE_M = {'tree': 3.0, 'conifer': 3.6, 'bush': 2.7, 'rock': 2.5, 'log': 3.0, 'hay': 2.7,
               'tall': 2.1, 'tuft': 1.3}
LANE_SAVING_M = 0.7  # things stand this much closer to the lane than to the path
FENCE_POST_M = 2.5
MARGIN_M = 1.5


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

    def only(self, keep: Mask) -> 'Instances':
        """The copies where ``keep`` (N,) holds."""
        return Instances(*(getattr(self, field.name)[keep] for field in fields(self)))

    def joined(self, other: 'Instances') -> 'Instances':
        """These copies, then the others."""
        return Instances(*(np.concatenate([getattr(self, field.name), getattr(other, field.name)])
                           for field in fields(self)))


def scatter_objects(
    spec: WorldSpec, terrain: Terrain, season: Season
) -> dict[str, Instances]:
    """Place every kind for one world; nothing stands on the path or the lane."""
    rng = np.random.default_rng([spec.seed, 3])
    richness = {'tree': season.trees * rng.uniform(0.6, 1.3),
                'conifer': season.trees * rng.uniform(0, 2),
                'bush': season.bushes * rng.uniform(0.6, 1.3),
                'tall': season.tall_grass * rng.uniform(0.6, 1.3)}
    centres = _thicket_centres(rng, terrain, season)
    crowd = _thicket_members(rng, centres, richness['tall'])
    short = np.clip(0.25 + (fractal_noise(512, rng, 1.4, low=6) - 0.5) * 2, 0.05, 1)
    objects = {}
    for kind, count in ALONE.items():
        wanted = int(count * richness.get(kind, 1.0))
        density = short if kind == 'tuft' else np.ones_like(short)
        points = np.vstack([_scatter(rng, terrain, density, wanted), crowd[kind]])
        clear = points[_is_clear(terrain, points, kind)]
        objects[kind] = place_instances(rng, terrain, kind, clear)
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


def _scatter(
    rng: np.random.Generator, terrain: Terrain, density: Float, count: int
) -> Float:
    """``count`` random points over the world, thinned by a density in [0, 1]."""
    half = SIZE_M / 2 - MARGIN_M
    points = rng.uniform(-half, half, (count * 6 + 50, 2))
    return points[rng.random(len(points)) < terrain.at(density, points)][:count]


def _thicket_centres(rng: np.random.Generator, terrain: Terrain, season: Season) -> Float:
    """Middles of thickets: at even steps beside path and lane, and all over the rest."""
    path = terrain.path
    count = int(len(path) * PATH_STEP_M / NEAR_EVERY_M)
    index = (np.linspace(0, len(path), count, endpoint=False) + rng.integers(0, 5, count))
    index = index.astype(int) % len(path)
    side = rng.choice([-1.0, 1.0], count)
    beyond = np.maximum(side * terrain.lane_offset[index], 0) + rng.uniform(*NEAR_SIDE_M, count)
    near = path[index] + (side * beyond)[:, None] * terrain.normal[index]
    pitch = FAR_EVERY_M / season.trees**0.25
    posts = np.arange(-SIZE_M / 2 + MARGIN_M, SIZE_M / 2 - MARGIN_M, pitch)
    far = np.stack(np.meshgrid(posts, posts), -1).reshape(-1, 2)
    far = far + rng.uniform(0.1, 0.9, far.shape) * pitch
    return np.vstack([near, far[terrain.at(terrain.path_distance, far) > FAR_SIDE_M]])


def _thicket_members(
    rng: np.random.Generator, centres: Float, grass: float
) -> dict[str, Float]:
    """Points of every kind around the middles, denser towards them."""
    radius = rng.uniform(*THICKET_RADIUS_M, len(centres))
    things = rng.integers(*THICKET_MEMBERS, len(centres))
    stalks = (rng.integers(*THICKET_GRASS, len(centres)) * grass).astype(int)

    def around(count: NDArray[np.int64]) -> Float:
        owner = np.repeat(np.arange(len(centres)), count)
        angle = rng.uniform(0, 2 * np.pi, len(owner))
        reach = radius[owner] * np.sqrt(rng.random(len(owner)))
        turn = np.stack([np.cos(angle), np.sin(angle)], -1)
        return np.asarray(centres[owner] + reach[:, None] * turn)

    points = around(things)
    kind_of = rng.choice(len(THICKET_KINDS), len(points), p=THICKET_SHARES)
    members = {kind: points[kind_of == k] for k, kind in enumerate(THICKET_KINDS)}
    return members | {'tall': around(stalks), 'tuft': np.empty((0, 2))}


def _is_clear(terrain: Terrain, points: Float, kind: str) -> Mask:
    """Tell which points of the world leave room on path and lane (short grass: on the path)."""
    clear: Mask = np.all(np.abs(points) < SIZE_M / 2 - MARGIN_M, axis=1)
    clear &= terrain.at(terrain.path_distance, points) > CLEARANCE_M[kind]
    if kind != 'tuft':
        clear &= terrain.at(terrain.lane_distance, points) > CLEARANCE_M[kind] - LANE_SAVING_M
    return clear


def place_instances(
    rng: np.random.Generator, terrain: Terrain, kind: str, points: Float
) -> Instances:
    """Copies of one kind at points (N, 2) of the world [m], with random size, turn and tint."""
    count = len(points)
    scale = rng.uniform(*SCALES[kind], count)
    if kind == 'rock':  # a few boulders
        scale = np.where(rng.random(count) < 0.08, scale * 1.6, scale)
    z = terrain.height(points[:, 0], points[:, 1]) - SINK_M[kind]
    shade = 1 + rng.normal(0, 0.12, (count, 1)) + rng.normal(0, 0.045, (count, 3))
    return Instances(
        position=np.c_[points, z], yaw=rng.uniform(0, 2 * np.pi, count), scale=scale,
        stretch=np.ones(count) if kind in ('log', 'hay', 'tuft') else rng.uniform(
            0.85, 1.2, count),
        tint=np.clip(shade, 0.55, 1.5),
        variant=(rng.random(count) < rng.uniform(0.15, 0.6)).astype(float),
    )
