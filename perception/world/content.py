# SPDX-License-Identifier: Apache-2.0
"""All that a world spec makes before anything is drawn: ground, things, textures."""

from dataclasses import dataclass

import numpy as np

from perception.types import Float, Image
from perception.world.layout import Instances, fence_posts, scatter_objects
from perception.world.meshes import Part, fence_rails, kinds_of_parts
from perception.world.scene import far_hills
from perception.world.seasons import Look, look_of
from perception.world.spec import FENCE, WorldSpec
from perception.world.terrain import SIZE_M, Terrain, make_terrain
from perception.world.textures import (
    fractal_noise,
    ground_textures,
    recolour,
    surface_textures,
)

FAR_TREES = 1000


@dataclass(frozen=True)
class Thing:
    """Copies of one kind with their parts, and the id of the first copy."""

    kind: str
    instances: Instances
    parts: list[Part]
    radius_m: float
    first_id: int


@dataclass(frozen=True)
class Textures:
    """Ground layers and object cards in the colours of the world, noise, and the tile [m]."""

    ground: list[Image]
    surfaces: dict[str, Image]
    noise: Image
    tile_m: float


@dataclass(frozen=True)
class Content:
    """One world in memory; needs no graphics."""

    spec: WorldSpec
    look: Look
    terrain: Terrain
    things: list[Thing]
    textures: Textures


def build_content(spec: WorldSpec) -> Content:
    """Make terrain and things of one world; needs no graphics."""
    look, terrain = look_of(spec), make_terrain(spec)
    objects = scatter_objects(spec, terrain, look.season)
    return furnish(spec, terrain, objects, fence_posts(spec, terrain))


def furnish(
    spec: WorldSpec, terrain: Terrain, objects: dict[str, Instances], fences: list[Float]
) -> Content:
    """
    Make a world of a terrain, the given things on it, and far trees around.

    Parameters
    ----------
    objects : dict
        Copies of each kind of ``layout.SCALES``.
    fences : list of (N, 2) float
        Posts of each fence, in order, in the world [m].
    """
    look = look_of(spec)
    rng = np.random.default_rng([spec.seed, 5])
    kinds = kinds_of_parts(rng)
    instances = dict(objects)
    instances['far_tree'] = _far_trees(rng, terrain)
    instances['post'] = _standing(np.concatenate([np.empty((0, 2)), *fences]), terrain)
    things, next_id = [], 1
    for kind, copies in instances.items():
        if len(copies) == 0:
            continue
        parts, radius = kinds[kind]
        things.append(Thing(kind, copies, parts, radius, next_id))
        next_id += len(copies)
    for posts in fences:
        mesh = fence_rails(posts, terrain.height(*posts.T))
        if len(mesh) == 0:
            continue
        rails = Part(mesh, FENCE, card=False, paired=False)
        things.append(Thing('rails', _single(), [rails], SIZE_M, next_id))
        next_id += 1
    return Content(spec, look, terrain, things, _textures(spec, look))


def _textures(spec: WorldSpec, look: Look) -> Textures:
    """Draw the textures of one world and give them its colours."""
    rng = np.random.default_rng([spec.seed, 6])
    matrices = (look.grass, look.path, look.path, look.grass)
    ground = [recolour(t, m) for t, m in zip(ground_textures(rng), matrices, strict=True)]
    surfaces = surface_textures(rng)
    for name, image in surfaces.items():
        if name.startswith(('leaf', 'needle')):
            surfaces[name] = recolour(image, look.leaf)
        if name.startswith('stalk'):
            surfaces[name] = recolour(image, look.tall)
    noise = (fractal_noise(512, rng, 2.2, low=2) * 255).astype(np.uint8)
    return Textures(ground, surfaces, noise, float(rng.uniform(1.7, 2.9)))


def _far_trees(rng: np.random.Generator, terrain: Terrain) -> Instances:
    """Light crowns from the edge of the world out to the hills."""
    angle = rng.uniform(0, 2 * np.pi, FAR_TREES)
    reach = SIZE_M * (0.62 + 1.7 * rng.random(FAR_TREES) ** 1.5)
    points = reach[:, None] * np.stack([np.cos(angle), np.sin(angle)], -1)
    posts, hills = far_hills(terrain)
    cell = np.searchsorted(posts, points).clip(0, len(posts) - 1)
    ground = hills[cell[:, 1], cell[:, 0]]
    inside = (np.abs(points) < SIZE_M / 2 + 1).all(1)
    keep = ~inside
    count = int(keep.sum())
    return Instances(
        position=np.c_[points, ground - 0.8][keep], yaw=rng.uniform(0, 6.28, count),
        scale=rng.uniform(1.2, 2.6, count), stretch=np.ones(count),
        tint=np.repeat(rng.uniform(0.6, 1.0, (count, 1)), 3, 1),
        variant=(rng.random(count) < 0.4).astype(float))


def _standing(points: Float, terrain: Terrain) -> Instances:
    """Untinted copies that stand 0.1 m deep in the ground."""
    count = len(points)
    z = terrain.height(points[:, 0], points[:, 1]) - 0.1
    ones = np.ones(count)
    return Instances(np.c_[points, z], 0 * ones, ones, ones, np.ones((count, 3)), 0 * ones)


def _single() -> Instances:
    """One copy at the origin, for a mesh that is already in the world."""
    one = np.ones(1)
    return Instances(np.zeros((1, 3)), 0 * one, one, one, np.ones((1, 3)), 0 * one)
