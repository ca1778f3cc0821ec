# SPDX-License-Identifier: Apache-2.0
"""How hard a world is: how far its ground leaves a plane, and what stands along a drive."""

import numpy as np

from perception.camera import transform
from perception.types import Float, Image
from perception.world.content import Content
from perception.world.rover import Motion
from perception.world.terrain import Terrain

COUNTED_KINDS = ('tree', 'conifer', 'bush', 'rock', 'log', 'hay')
NEAR_M, MIDDLE_M, FAR_M = 2.5, 12.0, 30.0
HALF_VIEW_RAD = 0.6
POSES = 40


def ground_tilt_deviation(terrain: Terrain, motion: Motion) -> float:
    """
    Measure how well a plane fitted to the near ground predicts the ground further on.

    Returns
    -------
    float
        Root mean square angle [rad], seen from the foot of the robot, between the plane fitted
        to the ground 2.5-12 m ahead and the ground 12-30 m ahead, over the poses of a drive.
    """
    rng = np.random.default_rng(0)
    chosen = np.linspace(0, len(motion.time_s) - 1, POSES).astype(int)
    angles = []
    for pose in motion.world_from_base[chosen]:
        near, _ = _ground_ahead(rng, terrain, pose, (NEAR_M, MIDDLE_M))
        far, reach = _ground_ahead(rng, terrain, pose, (MIDDLE_M, FAR_M))
        plane = np.linalg.lstsq(_with_one(near), near[:, 2], rcond=None)[0]
        angles.append(np.arctan((far[:, 2] - _with_one(far) @ plane) / reach))
    return float(np.sqrt(np.mean(np.concatenate(angles) ** 2)))


def near_obstacles(content: Content, motion: Motion, reach_m: float = 12.0) -> int:
    """Count trees, bushes, rocks, logs and hay bales that the drive passes within reach."""
    track = motion.world_from_base[::20, :2, 3]
    count = 0
    for thing in content.things:
        if thing.kind in COUNTED_KINDS:
            gap = thing.instances.position[:, None, :2] - track
            count += int((np.linalg.norm(gap, axis=-1).min(1) < reach_m).sum())
    return count


def countable_ids(content: Content) -> Float:
    """Instance ids of trees, bushes, rocks, logs and hay bales, ascending."""
    ids = [thing.first_id + np.arange(len(thing.instances))
           for thing in content.things if thing.kind in COUNTED_KINDS]
    return np.sort(np.concatenate(ids))


def visible_ids(
    instance: Float, obstacle: Image, depth: Float, *,
    span_m: tuple[float, float] = (12.0, 60.0), min_pixels: int = 6,
) -> Float:
    """Ids of things with at least so many obstacle pixels within the span of depths."""
    seen = (obstacle == 1) & (depth >= span_m[0]) & (depth <= span_m[1])
    ids, pixels = np.unique(instance[seen], return_counts=True)
    return np.asarray(ids[pixels >= min_pixels])


def _ground_ahead(
    rng: np.random.Generator, terrain: Terrain, world_from_base: Float,
    span: tuple[float, float],
) -> tuple[Float, Float]:
    """Ground points in view (N, 3) and their distance (N,) [m]."""
    reach, bearing = rng.uniform(*span, 300), rng.uniform(-HALF_VIEW_RAD, HALF_VIEW_RAD, 300)
    ahead = np.stack([reach * np.cos(bearing), reach * np.sin(bearing), 0 * reach], -1)
    points = transform(world_from_base, ahead)
    points[:, 2] = terrain.height(points[:, 0], points[:, 1])
    known = np.isfinite(points[:, 2])
    return points[known], reach[known]


def _with_one(points: Float) -> Float:
    return np.asarray(np.c_[points[:, :2], np.ones(len(points))])
