# SPDX-License-Identifier: Apache-2.0
"""Drive a rover through a world: frames as a pipeline takes them, with their truth."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from perception.types import Costmap, Float, Frame, Image
from perception.world.content import Content, build_content
from perception.world.renderer import Renderer
from perception.world.rover import RATE_HZ, Motion, plan_motion
from perception.world.sensors import BASELINE_M, Rig, base_from_left, expose, rig_of
from perception.world.spec import WorldSpec
from perception.world.truth import obstacle_grid, obstacle_mask

START_NS = 1_700_000_000_000_000_000


@dataclass(frozen=True)
class World:
    """One world with its top-down truth and its camera."""

    content: Content
    obstacles: Costmap
    rig: Rig


@dataclass(frozen=True)
class WorldFrame:
    """
    A frame, and the truth of its left picture.

    ``class_ids`` (H, W) uint8 by ``spec.CLASS_NAMES``; ``obstacle`` (H, W) uint8: 0 free,
    1 obstacle, 255 ignored; ``depth`` (H, W) float32 [m], NaN = sky; ``instance`` (H, W) int32;
    ``world_from_base`` (4, 4) exact; ``gyro`` (3,) [rad/s] and ``acceleration`` (3,) [m/s2].
    """

    frame: Frame
    class_ids: Image
    obstacle: Image
    depth: Float
    instance: Float
    world_from_base: Float
    gyro: Float
    acceleration: Float


def build_world(spec: WorldSpec) -> World:
    """Make one world; needs no graphics."""
    content = build_content(spec)
    return World(content, obstacle_grid(content), rig_of(spec))


def drive(spec: WorldSpec, seconds: float, rate_hz: float = 10.0) -> Iterator[WorldFrame]:
    """
    Build a world and drive through it.

    Parameters
    ----------
    seconds : float
        Length of the drive [s]; the path closes on itself, so any length works.
    rate_hz : float
        Frames a second; the rover moves 1.5-2 m in a second whatever the rate.

    Yields
    ------
    WorldFrame
        The same for the same arguments.

    Raises
    ------
    WorldError
        No EGL here, or no way through this world.
    """
    world = build_world(spec)
    motion = plan_motion(spec, world.content.terrain, world.obstacles, seconds)
    yield from render_drive(world, motion, frame_indices(seconds, rate_hz))


def frame_indices(seconds: float, rate_hz: float) -> list[int]:
    """Sample of the motion that each frame is taken at."""
    return [round(k * RATE_HZ / rate_hz) for k in range(max(round(seconds * rate_hz), 1))]


def stamp_of(motion: Motion, index: int) -> int:
    """Stamp of one sample of the motion [ns]."""
    return START_NS + round(float(motion.time_s[index]) * 1e9)


def render_drive(world: World, motion: Motion, indices: list[int]) -> Iterator[WorldFrame]:
    """Render the given samples of a motion."""
    with Renderer(world.content, world.rig.camera) as renderer:
        for index in indices:
            yield _frame(world, motion, index, renderer)


def _frame(world: World, motion: Motion, index: int, renderer: Renderer) -> WorldFrame:
    rig, camera = world.rig, world.rig.camera
    world_from_left, world_from_right = rig.world_from_eyes(motion.world_from_base[index])
    ideal = renderer.stereo(world_from_left, world_from_right)
    rng = np.random.default_rng([world.content.spec.seed, 9, index])
    left, right = expose(ideal.left, ideal.right, rig, rng)
    frame = Frame(
        stamp_of(motion, index), left, camera, right=right, baseline_m=BASELINE_M,
        odom_from_base=motion.odom_from_base[index], base_from_camera=base_from_left())
    obstacle = obstacle_mask(
        ideal.class_ids, ideal.depth, world_from_left, camera, world.content.terrain)
    return WorldFrame(
        frame, ideal.class_ids, obstacle, ideal.depth, ideal.instance,
        motion.world_from_base[index], motion.gyro[index], motion.acceleration[index])
