# SPDX-License-Identifier: Apache-2.0
"""Triangle lists: rows of position (3), normal (3), texture (2) and layer, all float32."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from perception.types import Float
from perception.world.spec import (
    BUSH,
    CROWN,
    FENCE,
    GRASS,
    HAY,
    LOG,
    ROCK,
    TALL_GRASS,
    TRUNK,
)

LAYERS = ('bark', 'bark_pale', 'rock', 'rock_warm', 'straw', 'wood',
          'leaf', 'leaf_pale', 'needle', 'needle_pale', 'stalk', 'stalk_green')
LAYER = {name: index for index, name in enumerate(LAYERS)}
FAR = 1e9
RAIL_M = 3.0
SQUARE_UV = ((0.0, 1.0), (1.0, 1.0), (1.0, 0.0), (0.0, 0.0))
TWO_TRIANGLES = [0, 1, 2, 0, 2, 3]
Rng = np.random.Generator


@dataclass(frozen=True)
class Part:
    """
    One mesh of a kind: class id, cut-out card or solid, and the distances it is drawn at.

    ``paired`` parts take the next layer for instances of variant 1.
    """

    mesh: Float
    class_id: int
    card: bool
    near_m: float = 0.0
    far_m: float = FAR
    paired: bool = True


def kinds_of_parts(rng: Rng) -> dict[str, tuple[list[Part], float]]:
    """Parts of every kind for one world, and the radius at scale 1 [m] for culling."""
    return {
        'tree': (_tree(rng), 7.5),
        'conifer': (_conifer(rng), 8.0),
        'bush': (_bush(rng), 1.8),
        'rock': ([Part(_stone(rng), ROCK, card=False)], 1.6),
        'log': ([Part(_cylinder((0.21, 0.17), 2.4, 10, LAYER['bark'], repeat=(2, 3),
                                lying=True),
                      LOG, card=False)], 2.6),
        'hay': ([Part(_cylinder((0.75, 0.75), 1.3, 18, LAYER['straw'], repeat=(3, 1),
                                lying=True),
                      HAY, card=False, paired=False)], 1.8),
        'tall': ([Part(_tussock(3), TALL_GRASS, card=True, far_m=14),
                  Part(_tussock(2), TALL_GRASS, card=True, near_m=14, far_m=75)], 1.2),
        'tuft': ([Part(_tussock(2), GRASS, card=True, far_m=22)], 1.2),
        'post': ([Part(_cylinder((0.07, 0.065), 1.35, 8, LAYER['wood'], repeat=(1, 2)), FENCE,
                       card=False, paired=False)], 1.6),
        'far_tree': ([Part(_cards(rng, 9, (0, 0, 2.6), np.array([1.2, 1.2, 1.6]),
                                  (1.5, -0.9), LAYER['leaf']), CROWN, card=True)], 9.0),
    }


def fence_rails(posts: Float, ground: Float) -> Float:
    """
    Two rails between posts that stand next to each other, as one mesh in the world.

    Parameters
    ----------
    posts : (N, 2) float [m]
    ground : (N,) float [m]
        Height of the ground under each post.
    """
    feet = np.c_[posts, ground]
    quads = []
    for a, b in zip(feet[:-1], feet[1:], strict=True):
        if np.linalg.norm(b - a) > RAIL_M:
            continue  # a gap where posts were left out
        for height in (0.55, 1.0):
            quads += _rail(a + (0, 0, height), b + (0, 0, height))
    return np.concatenate(quads) if quads else np.zeros((0, 9), np.float32)


def _rail(a: Float, b: Float) -> list[Float]:
    half = (b - a) / 2
    side = np.array([half[1], -half[0], 0]) / np.hypot(half[0], half[1])
    up, middle = np.array([0, 0, 0.055]), (a + b) / 2
    uv = ((0, 0.1), (0, 3), (0.15, 3), (0.15, 0.1))
    faces = [(middle + side * 0.03 * s, half, up, side * s) for s in (1, -1)]
    faces += [(middle + up * s, half, side * 0.03, np.array([0, 0, float(s)])) for s in (1, -1)]
    return [_quad(c, u, v, n, LAYER['wood'], uv) for c, u, v, n in faces]


def _quad(
    centre: Float, u: Float, v: Float, normal: Float, layer: int,
    uv: Sequence[tuple[float, float]] = SQUARE_UV,
) -> Float:
    """Rectangle spanned by half sides u and v, (6, 9)."""
    corners = np.stack([centre - u - v, centre + u - v, centre + u + v, centre - u + v])
    rows = np.c_[corners, np.tile(normal, (4, 1)), uv, np.full(4, layer)]
    return np.asarray(rows[TWO_TRIANGLES], np.float32)


def _cylinder(
    radii: tuple[float, float], length: float, sides: int, layer: int,
    *, repeat: tuple[float, float], lying: bool = False,
) -> Float:
    """Closed cone frustum along z, or along x (centred) when lying."""
    foot, top = radii
    edge = np.linspace(0, 2 * np.pi, sides + 1)
    ring = np.stack([np.cos(edge), np.sin(edge)], -1)
    share = np.linspace(0, repeat[0], sides + 1)

    def row(k: int, radius: float, z: float, v: float) -> Float:
        return np.array([*ring[k] * radius, z, *ring[k], 0.05, share[k], v, layer])

    def cap(k: int, radius: float, z: float, sign: float) -> Float:
        at = ring[k] * radius
        return np.array([*at, z, 0, 0, sign, *at * 0.6 + 0.5, layer])

    rows = []
    for k in range(sides):
        side = [row(k, foot, 0, repeat[1]), row(k + 1, foot, 0, repeat[1]),
                row(k + 1, top, length, 0), row(k, top, length, 0)]
        rows += [side[i] for i in TWO_TRIANGLES]
        for z, radius, sign in ((0.0, foot, -1.0), (length, top, 1.0)):
            rows += [cap(k, 0, z, sign), cap(k, radius, z, sign), cap(k + 1, radius, z, sign)]
    mesh = np.array(rows, np.float32)
    if lying:
        mesh[:, 2] -= length / 2
        mesh[:, :3], mesh[:, 3:6] = mesh[:, [2, 1, 0]], mesh[:, [5, 4, 3]]
        mesh[:, 2] += foot if foot > 0.5 else 0.0
    return mesh


def _stone(rng: Rng, divisions: int = 2) -> Float:
    """Lumpy boulder of about 0.9 m radius, standing a quarter in the ground."""
    sphere = _sphere(divisions)
    waves, phase = rng.normal(0, 1.6, (10, 3)), rng.uniform(0, 2 * np.pi, 10)
    rough = rng.uniform(0.16, 0.28) / 3
    lumps = 1 + rough * np.sin(sphere @ waves.T + phase).sum(-1, keepdims=True)
    points = sphere * lumps * (1, rng.uniform(0.7, 1), rng.uniform(0.55, 0.9)) * 0.9
    points[..., 2] += 0.25
    face = np.cross(points[:, 1] - points[:, 0], points[:, 2] - points[:, 0])
    face /= np.linalg.norm(face, axis=1, keepdims=True)
    face *= np.sign((face * sphere[:, 0]).sum(1, keepdims=True))
    normals = 0.5 * face[:, None] + 0.5 * sphere
    longitude = np.arctan2(sphere[..., 1], sphere[..., 0]) * 0.5
    longitude -= np.round((longitude - longitude[:, :1]) / np.pi) * np.pi  # close the seam
    uv = np.stack([longitude, sphere[..., 2] * 0.9], -1)
    layer = np.full((*points.shape[:2], 1), LAYER['rock'])
    return np.concatenate([points, normals, uv, layer], -1).reshape(-1, 9).astype(np.float32)


def _sphere(divisions: int) -> Float:
    """Octahedron divided: (T, 3, 3) unit triangles."""
    x, y, z = np.eye(3)
    signs = [(a, b, c) for a in (1, -1) for b in (1, -1) for c in (1, -1)]
    triangles = np.array([[a * x, b * y, c * z] for a, b, c in signs])
    for _ in range(divisions + 1):
        a, b, c = triangles[:, 0], triangles[:, 1], triangles[:, 2]
        ab, bc, ca = (a + b) / 2, (b + c) / 2, (c + a) / 2
        triangles = np.concatenate([np.stack(t, 1) for t in (
            (a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))])
        triangles /= np.linalg.norm(triangles, axis=2, keepdims=True)
    return triangles


def _cards(
    rng: Rng, count: int, centre: Sequence[float], radii: Float,
    size_low: tuple[float, float], layer: int,
) -> Float:
    """Leaf cards over an ellipsoid, from its top down to ``size_low[1]`` (-1 = all round)."""
    size, low = size_low
    rows = []
    for i in range(count):
        z = 1 - (1 - low) * (i + 0.5) / count
        angle = i * 2.39996 + rng.normal(0, 0.2)  # golden angle
        ring = np.sqrt(max(1 - z * z, 0))
        out = np.array([ring * np.cos(angle), ring * np.sin(angle), z])
        at = np.asarray(centre) + out * radii * rng.uniform(0.62, 0.95)
        rows.append(_card(rng, at, out, size * rng.uniform(0.75, 1.2), layer))
    return np.concatenate(rows)


def _card(rng: Rng, at: Float, out: Float, size: float, layer: int) -> Float:
    """One card facing roughly outwards; its shading normal points away from the plant."""
    facing = out + rng.normal(0, 0.55, 3)
    facing /= np.linalg.norm(facing)
    u = np.cross(np.array([0, 0, 1.0]) + rng.normal(0, 0.4, 3), facing)
    u /= np.linalg.norm(u)
    shading = out * 0.85 + (0, 0, 0.35)
    return _quad(at, u * size, np.cross(facing, u) * size,
                 shading / np.linalg.norm(shading), layer)


def _tree(rng: Rng) -> list[Part]:
    height, spread = rng.uniform(3.7, 4.6), rng.uniform(1.4, 2.1)
    tall = rng.uniform(1.5, 2.1)
    radius = rng.uniform(0.11, 0.2)
    trunk = _cylinder((radius, radius * 0.4), height, 8, LAYER['bark'], repeat=(2, 5))
    centre = (0, 0, height - 0.2)

    def crown(count: int, share: float, size: float) -> Float:
        radii = np.array([spread, spread, tall]) * share
        return _cards(rng, count, centre, radii, (size, -0.55), LAYER['leaf'])

    return [Part(trunk, TRUNK, card=False), *_levels(
        [crown(46, 1, 0.8), crown(20, 0.92, 1.15), crown(9, 0.7, 1.6)], CROWN, (22, 45))]


def _levels(meshes: list[Float], class_id: int, steps: tuple[float, float]) -> list[Part]:
    edges = (0.0, *steps, FAR)
    return [Part(mesh, class_id, card=True, near_m=edges[k], far_m=edges[k + 1])
            for k, mesh in enumerate(meshes)]


def _conifer(rng: Rng) -> list[Part]:
    """Cone of drooping branches around a straight trunk."""
    height, spread, start = rng.uniform(5, 7), rng.uniform(1.0, 1.6), rng.uniform(1.3, 2.6)
    trunk = _cylinder((0.15, 0.03), height * 0.95, 8, LAYER['bark'], repeat=(2, 6))

    def branches(count: int, size: float) -> Float:
        rows = []
        for i in range(count):
            t = (i + 0.5) / count
            angle = i * 2.39996
            out = np.array([np.cos(angle), np.sin(angle), 0.25])
            reach = spread * (1 - t) * 0.7
            at = np.array([0, 0, start + (height - start) * t]) + out * reach * (1, 1, 0)
            rows.append(_card(rng, at, out, size * (1.15 - 0.75 * t), LAYER['needle']))
        return np.concatenate(rows)

    levels = _levels([branches(44, 0.62), branches(20, 0.9), branches(10, 1.2)], CROWN, (22, 45))
    return [Part(trunk, TRUNK, card=False), *levels]


def _bush(rng: Rng) -> list[Part]:
    radii = np.array([0.75, rng.uniform(0.6, 0.9), rng.uniform(0.5, 0.75)])
    centre = (0.0, 0.0, rng.uniform(0.36, 0.5))

    def ball(count: int, size: float) -> Float:
        return _cards(rng, count, centre, radii, (size, -0.35), LAYER['leaf'])

    return _levels([ball(22, 0.46), ball(12, 0.6), ball(7, 0.75)], BUSH, (18, 45))


def _tussock(cards: int) -> Float:
    """Upright crossed cards, 1 m high and 0.96 m wide at scale 1."""
    rows = []
    for k in range(cards):
        angle = k * np.pi / cards + 0.2
        u = np.array([np.cos(angle), np.sin(angle), 0]) * 0.48
        rows.append(_quad(np.array([0, 0, 0.5]), u, np.array([0, 0, 0.5]),
                          np.array([0, 0, 1.0]), LAYER['stalk']))
    return np.concatenate(rows)
