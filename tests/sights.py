# SPDX-License-Identifier: Apache-2.0
"""What the learner sees on a drive along a wall, with features made up for the purpose."""

from dataclasses import replace
from functools import lru_cache

import numpy as np
from scenes import CAMERA, FOCAL_BASELINE, plane

from perception.camera import levelled_base_from_camera, pixel_rays
from perception.config import SupervisorConfig
from perception.contrast import pack_strips
from perception.inference import network_path, read_manifest
from perception.lesson import Sight
from perception.pyramid import COLUMN_STRIDE, build_pyramid
from perception.supervisor import label_points, supervise
from perception.types import DepthGrid, PlaneEstimate

SPEC = read_manifest(network_path('lagr2008'))
GROUND = plane()
MOUNT = levelled_base_from_camera(GROUND)
FRESH = PlaneEstimate(GROUND, 'tracked', 0.8, GROUND.height_m)
PYRAMID = build_pyramid(GROUND, row_stride=SPEC.row_stride)
WALL_Y, WALL_TOP = -2.0, 2.0  # to the right of the robot, along x
SURE, CLUE = 1.0, 0.7  # lengths of the features that W0 reads, and of those it ignores


def pose_at(x, y=0.0, yaw=0.0):
    pose = np.eye(4)
    pose[:2, :2] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]
    pose[:2, 3] = x, y
    return pose


def along_wall(uv):
    """Depth (NaN in the sky) of what pixels (..., 2) show, and whether it is the wall."""
    forward, left, up = np.moveaxis(pixel_rays(uv, CAMERA) @ MOUNT[:3, :3].T, -1, 0)
    assert np.all(forward > 0)
    with np.errstate(divide='ignore'):
        ground = np.where(up < 0, -GROUND.height_m / up, np.inf)
        wall = np.where(left < 0, WALL_Y / left, np.inf)
        wall = np.where(GROUND.height_m + wall * up < WALL_TOP, wall, np.inf)
    depth = np.minimum(ground, wall)
    return np.where(np.isfinite(depth), depth, np.nan), wall < ground


@lru_cache(maxsize=1)
def teacher():
    """Depth along the wall, its points told apart, and the labels of windows; never changes."""
    grid = DepthGrid(np.empty((CAMERA.height // 2, CAMERA.width // 2)), CAMERA, FOCAL_BASELINE, 2)
    depth = along_wall(np.stack(np.meshgrid(*grid.uv), -1))[0]
    disparity = (FOCAL_BASELINE / depth).astype(np.float32)
    disparity[disparity < 0.5] = np.nan
    grid = replace(grid, disparity=disparity)
    points = label_points(grid, [GROUND], SupervisorConfig())
    return grid, points, supervise(points, grid, PYRAMID, SupervisorConfig())


STANDING = along_wall(PYRAMID.windows.uv)[1]  # what the windows' centres show


def directions():
    """Unit features: one that W0 takes for ground, the opposite for obstacles; one it ignores."""
    weight = SPEC.weight.astype(float)
    ground = weight[:2].mean(0) - weight[2:].mean(0)
    basis = np.linalg.qr(weight.T)[0]
    ignored = np.random.default_rng(11).normal(size=SPEC.features)
    ignored -= basis @ (basis.T @ ignored)
    return ground / np.linalg.norm(ground), ignored / np.linalg.norm(ignored)


def features(says, clue, seed=0, noise=0.02):
    """
    Features (N, F) of all windows.

    ``says`` (N,): 1 where W0 is to answer obstacle, -1 ground; ``clue`` (N,): along what it
    ignores.
    """
    ground, ignored = directions()
    rng = np.random.default_rng(seed)
    rows = -SURE * says[:, None] * ground + CLUE * clue[:, None] * ignored
    return (rows + rng.normal(0, noise, rows.shape)).astype(np.float32)


@lru_cache(maxsize=8)
def fooled(seed=0):
    """W0 takes all for ground; a clue that it ignores tells the wall."""
    return features(-np.ones(len(STANDING)), np.where(STANDING, 1.0, -1.0), seed)


@lru_cache(maxsize=8)
def right(seed=0):
    """W0 knows it all; there is no other clue."""
    return features(np.where(STANDING, 1.0, -1.0), np.zeros(len(STANDING)), seed)


def maps_of(rows, pyramid=PYRAMID, receptive=SPEC.receptive):
    """Outputs of a network that ``gather`` takes to these rows (N, F); elsewhere -9."""
    maps = []
    for strip in pack_strips(pyramid.bands, receptive):
        shape = ((strip.height - receptive.rows) // receptive.row_stride + 1,
                 (strip.width - receptive.columns) // COLUMN_STRIDE + 1)
        output = np.full((rows.shape[1], *shape), -9, np.float32)
        for position, x in strip.places:
            band, first = pyramid.bands[position], x // COLUMN_STRIDE
            n_rows = -(-band.rows // receptive.row_stride)
            part = rows[pyramid.grid.slices[position]].T.reshape(-1, n_rows, band.columns)
            output[:, :n_rows, first:first + band.columns] = part
        maps.append(output)
    return maps


@lru_cache(maxsize=16)
def seen(rows_of, seed=0):
    """Maps of the features ``rows_of(seed)``."""
    return maps_of(rows_of(seed))


def sight(maps, x=None, **changes):
    """A frame with these maps, the teacher's labels, and the robot at x [m] where given."""
    grid, points, labels = teacher()
    frame = {'plane': FRESH, 'labels': labels, 'points': points, 'grid': grid}
    if x is not None:
        frame |= {'odom_from_camera': pose_at(x) @ MOUNT, 'odom_from_base': pose_at(x)}
    return Sight(PYRAMID, maps, **frame | changes)


def drive(learner, rows_of, frames, *, first=0, step_m=0.7, **changes):
    """Lessons of a straight drive of which three frames look different."""
    return [learner.learn(sight(seen(rows_of, k % 3), k * step_m, **changes))
            for k in range(first, first + frames)]
