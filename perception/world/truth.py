# SPDX-License-Identifier: Apache-2.0
"""
Geometric truth: what stands between 0.25 and 2.0 m above the local ground.

Source
    architecture.md, definitions used by every number.
"""

import numpy as np
from numpy.typing import NDArray

from perception.camera import pixel_rays, transform
from perception.types import Camera, Costmap, Float, Image
from perception.world.content import Content, Textures, Thing
from perception.world.meshes import LAYERS, Part
from perception.world.spec import GROUND_CLASSES
from perception.world.terrain import SIZE_M, Terrain

OBSTACLE_M, CROWN_M = 0.25, 2.0
Grid = NDArray[np.int8]
FREE, OBSTACLE, IGNORED = 0, 1, 255
CELL_M = 0.2
SAMPLE_M = 0.11  # distance of mesh samples, so that no cell is stepped over
ALPHA_TEST = 0.42 * 255


def obstacle_mask(
    class_ids: Image, depth: Float, world_from_camera: Float, camera: Camera, terrain: Terrain
) -> Image:
    """
    Label every pixel by the height of its rendered point above the local ground.

    Parameters
    ----------
    class_ids : (H, W) uint8
    depth : (H, W) float32 [m], NaN = sky
    world_from_camera : (4, 4), of the optical frame

    Returns
    -------
    (H, W) uint8
        0 ground or free, 1 obstacle, 255 ignored: sky, above 2 m, things beyond the world.
    """
    height = height_above_ground(depth, world_from_camera, camera, terrain)
    ground = np.isin(class_ids, GROUND_CLASSES)
    mask = np.full(depth.shape, IGNORED, np.uint8)
    mask[(height >= OBSTACLE_M) & (height <= CROWN_M)] = OBSTACLE
    mask[(height < OBSTACLE_M) | (ground & np.isnan(height))] = FREE
    return mask


def height_above_ground(
    depth: Float, world_from_camera: Float, camera: Camera, terrain: Terrain
) -> Float:
    """Height [m] of every pixel's point above the ground below it; NaN in sky and outside."""
    v, u = np.nonzero(np.isfinite(depth))
    rays = pixel_rays(np.stack([u, v], -1), camera)
    points = transform(world_from_camera, rays * depth[v, u][:, None])
    height = np.full(depth.shape, np.nan, np.float32)
    height[v, u] = points[:, 2] - terrain.height(points[:, 0], points[:, 1])
    return height


def obstacle_grid(content: Content) -> Costmap:
    """
    Mark every cell that something stands over, from the meshes themselves.

    Returns
    -------
    Costmap
        Frame ``world``, 0.2 m cells over the whole world: 0 free, 100 obstacle.
    """
    cells = round(SIZE_M / CELL_M)
    data = np.zeros((cells, cells), np.int8)
    for thing in content.things:
        solid = thing.kind not in ('tuft', 'far_tree')
        for part in (part for part in thing.parts if solid and part.near_m == 0):
            _mark(data, content, thing, part)
    return Costmap(data, CELL_M, (-SIZE_M / 2, -SIZE_M / 2), 0, frame_id='world')


def _mark(data: Grid, content: Content, thing: Thing, part: Part) -> None:
    """Mark the cells under one part of all copies of a thing."""
    copies = thing.instances
    variants = copies.variant if part.paired else np.zeros(len(copies))
    for variant in np.unique(variants):
        points, own_scale = _samples(part, int(variant), content.textures), copies.scale
        low = points[:, 2] * np.min(copies.scale * copies.stretch)
        points = points[low < CROWN_M + 1.5]
        for k in np.flatnonzero(variants == variant):
            c, s = np.cos(copies.yaw[k]), np.sin(copies.yaw[k])
            turn = np.array([[c, s, 0], [-s, c, 0], [0, 0, copies.stretch[k]]])
            world = points @ turn * own_scale[k] + copies.position[k]
            height = world[:, 2] - content.terrain.height(world[:, 0], world[:, 1])
            standing = world[(height >= OBSTACLE_M) & (height <= CROWN_M), :2]
            cell = np.floor((standing + SIZE_M / 2) / CELL_M).astype(int)
            data[cell[:, 1], cell[:, 0]] = 100


def _samples(part: Part, variant: int, textures: Textures) -> Float:
    """Points (N, 3) spread over the triangles of a part, without cut-out texels."""
    triangles = part.mesh.reshape(-1, 3, 9)
    edges = triangles[:, :, :3] - np.roll(triangles[:, :, :3], 1, axis=1)
    steps = int(np.ceil(np.linalg.norm(edges, axis=-1).max() / SAMPLE_M))
    i, j = np.meshgrid(np.arange(steps + 1), np.arange(steps + 1))
    inside = i + j <= steps
    a, b = i[inside] / steps, j[inside] / steps
    weights = np.stack([1 - a - b, a, b], -1)
    rows = np.einsum('sk,tkc->tsc', weights, triangles).reshape(-1, 9)
    if part.card:
        card = textures.surfaces[LAYERS[int(part.mesh[0, 8]) + variant]]
        n = card.shape[0]
        texel = np.clip((rows[:, 6:8] * n).astype(int), 0, n - 1)
        rows = rows[card[texel[:, 1], texel[:, 0], 3] > ALPHA_TEST]
    return np.asarray(rows[:, :3], float)
