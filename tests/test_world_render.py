# SPDX-License-Identifier: Apache-2.0
"""Rendered frames agree with the geometry they were made from."""

import itertools
from dataclasses import replace

import cv2
import numpy as np
import pytest

from perception.camera import pixel_rays, transform
from perception.types import Float
from perception.world.drive import World, WorldFrame, build_world, render_drive
from perception.world.rover import plan_motion
from perception.world.sensors import BASELINE_M, base_from_left
from perception.world.spec import GROUND_CLASSES, PATH, SKY, TALL_GRASS, TRUNK, WorldSpec
from perception.world.survey import countable_ids, visible_ids

pytestmark = [pytest.mark.egl, pytest.mark.usefixtures('egl')]
SPEC = WorldSpec(seed=31, season='autumn')
INDICES = [0, 300, 600]


@pytest.fixture(scope='module')
def world() -> World:
    return build_world(SPEC)


@pytest.fixture(scope='module')
def frames(world: World, egl: None) -> list[WorldFrame]:
    motion = plan_motion(SPEC, world.content.terrain, world.obstacles, 6.0)
    return list(render_drive(world, motion, INDICES))


def world_points(frame: WorldFrame) -> Float:
    """Every pixel's point in the world, (H, W, 3)."""
    v, u = np.indices(frame.depth.shape)
    rays = pixel_rays(np.stack([u, v], -1), frame.frame.camera)
    world_from_left = frame.world_from_base @ base_from_left()
    return transform(world_from_left, rays * frame.depth[..., None])


def test_ground_pixels_lie_on_the_height_map(world: World, frames: list[WorldFrame]) -> None:
    for frame in frames:
        on_path = (frame.class_ids == PATH) & (frame.depth < 40)
        points = world_points(frame)[on_path]
        error = np.abs(points[:, 2] - world.content.terrain.height(points[:, 0], points[:, 1]))
        assert len(points) > 1000
        assert np.median(error) < 0.002
        assert error.max() < 0.05


def test_stereo_measures_the_rendered_depth(frames: list[WorldFrame]) -> None:
    matcher = cv2.StereoSGBM_create(
        0, 96, 7, 392, 1568, 1, 31, 10, 100, 2, cv2.STEREO_SGBM_MODE_SGBM_3WAY)
    for frame in frames:
        camera = frame.frame.camera
        grey = cv2.cvtColor(frame.frame.image, cv2.COLOR_BGR2GRAY)
        measured = matcher.compute(grey, frame.frame.right).astype(np.float32) / 16
        expected = camera.fx * BASELINE_M / frame.depth
        near = (frame.depth < 12) & (measured > 0)
        near[:, :96] = False
        error = (measured - expected)[near]
        assert near.sum() > 20000
        assert np.mean(np.abs(error) < 1) > 0.93
        ground = near & np.isin(frame.class_ids, GROUND_CLASSES)
        assert abs(np.median((measured - expected)[ground])) < 0.15  # no half-pixel slip


def test_obstacle_pixels_are_obstacle_cells(world: World, frames: list[WorldFrame]) -> None:
    """The picture's truth and the top-down truth come by two ways and agree."""
    marked = cv2.dilate((world.obstacles.data == 100).astype(np.uint8), np.ones((3, 3)))
    pixels = 0
    for frame in frames:
        points = world_points(frame)[(frame.obstacle == 1) & (frame.depth < 20)]
        pixels += len(points)
        cell = np.floor((points[:, :2] - world.obstacles.origin_m) / 0.2).astype(int)
        assert len(points) == 0 or marked[cell[:, 1], cell[:, 0]].mean() > 0.98
    assert pixels > 2000


def test_classes_and_heights_fit(frames: list[WorldFrame]) -> None:
    for frame in frames:
        ground = np.isin(frame.class_ids, GROUND_CLASSES)
        assert (frame.obstacle[ground] == 0).all()
        assert (frame.obstacle[frame.class_ids == SKY] == 255).all()
        assert np.isnan(frame.depth[frame.class_ids == SKY]).all()
        assert (frame.instance[ground & (frame.depth < 10)] >= 0).all()
    all_ids = np.concatenate([f.class_ids[f.obstacle == 1] for f in frames])
    assert {TRUNK, TALL_GRASS} <= set(all_ids.tolist())


def test_the_drive_sees_things_far_away(world: World, frames: list[WorldFrame]) -> None:
    seen = set()
    for frame in frames:
        seen.update(visible_ids(frame.instance, frame.obstacle, frame.depth).tolist())
    assert len(seen & set(countable_ids(world.content).tolist())) >= 30


def test_the_same_drive_is_the_same_to_the_bit(world: World, frames: list[WorldFrame]) -> None:
    motion = plan_motion(SPEC, world.content.terrain, world.obstacles, 6.0)
    again = next(itertools.islice(render_drive(world, motion, INDICES[1:]), 1))
    assert np.array_equal(again.frame.image, frames[1].frame.image)
    assert np.array_equal(again.frame.right, frames[1].frame.right)
    assert np.array_equal(again.depth, frames[1].depth, equal_nan=True)


def test_the_right_picture_is_grey_and_a_little_off_in_gain(frames: list[WorldFrame]) -> None:
    frame = frames[0].frame
    assert frame.image.shape == (384, 512, 3)
    assert frame.right is not None
    assert frame.right.shape == (384, 512)
    grey = cv2.cvtColor(frame.image, cv2.COLOR_BGR2GRAY).astype(float)
    assert abs(frame.right.mean() / grey.mean() - 1) < 0.1
    assert frames[0].gyro.shape == frames[0].acceleration.shape == (3,)


def test_a_flat_world_renders_a_flat_ground(world: World) -> None:
    content = world.content
    flat = np.zeros_like(content.terrain.heights)
    level = replace(content, things=[], terrain=replace(content.terrain, heights=flat))
    spec = replace(SPEC, flat=True)
    motion = plan_motion(spec, level.terrain, world.obstacles, 1.0)
    frame = next(render_drive(replace(world, content=level), motion, [0]))
    ground = (frame.class_ids == PATH) & (frame.depth < 30)
    np.testing.assert_allclose(world_points(frame)[ground][:, 2], 0, atol=2e-4)
    assert not (frame.obstacle == 1).any()
