# SPDX-License-Identifier: Apache-2.0
"""
Closed loop in a synthetic world: render, perceive, plan, move, until the goal or the limit.

The pose in odom is exact, odom is the world's frame, and the goal is known in it, as from GPS.
Truth decides contact and arrival and nothing else. Perception takes no simulated time.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from perception.config import Config, config_hash, with_values
from perception.inference import Network, load_configured
from perception.navigation.driver import Driver, LongRange
from perception.navigation.short_range import RANGE_M
from perception.navigation.vehicle import (
    STOP,
    Command,
    Pose,
    limited,
    moved,
    touches,
    world_from_base,
)
from perception.pipeline import Result
from perception.types import Costmap, Float, Frame
from perception.world.courses import Course
from perception.world.drive import START_NS, World
from perception.world.renderer import Renderer
from perception.world.rover import clearance
from perception.world.sensors import BASELINE_M, base_from_left, expose

LIMIT_S = 300.0
CONTROL_S, FRAME_S = 0.1, 0.5
GOAL_M = 1.5
SHOT_S = 4.0
MOVED_M, TURNED_RAD = 0.02, 0.01

OnProgress = Callable[[float, float], None]


@dataclass(frozen=True)
class Shot:
    """What the rover saw and knew at one time, for the film."""

    time_s: float
    pose: Pose
    result: Result
    costmap: Costmap
    way: Float | None


@dataclass
class Trial:
    """
    One run and what came of it.

    ``track`` rows of time [s], x, y [m] in the world; ``contacts`` rows of x, y.
    """

    course: Course
    long_range: LongRange
    config: Config
    limit_s: float = LIMIT_S
    goal_reached: bool = False
    time_s: float = LIMIT_S
    frames: int = 0
    contact_s: float = 0.0
    track: list[tuple[float, float, float]] = field(default_factory=list)
    contacts: list[tuple[float, float]] = field(default_factory=list)
    shots: list[Shot] = field(default_factory=list)

    @property
    def length_m(self) -> float:
        """Length of the way driven, back and forth [m]."""
        xy = np.array(self.track)[:, 1:]
        return float(np.hypot(*np.diff(xy, axis=0).T).sum())

    def summary(self) -> dict[str, Any]:
        """Everything for the JSON file."""
        course = self.course
        return {
            'goal_reached': self.goal_reached, 'time_s': round(self.time_s, 1),
            'length_m': round(self.length_m, 2),
            'optimal_length_m': round(course.optimal_length_m, 2),
            'collisions': len(self.contacts), 'contact_s': round(self.contact_s, 1),
            'course': course.number, 'course_name': course.name, 'seed': course.seed,
            'season': course.world.content.spec.season, 'long_range': self.long_range,
            'straight_line_m': round(course.straight_line_m, 2), 'frames': self.frames,
            'limit_s': self.limit_s, 'short_range_m': RANGE_M,
            'stereo_range_m': self.config.supervisor.max_range_m, 'pose': 'exact',
            'config_hash': config_hash(self.config),
            'contacts': [[round(v, 2) for v in xy] for xy in self.contacts],
            'track': [[round(v, 2) for v in row] for row in self.track],
        }


def run_trial(
    course: Course, long_range: LongRange, config: Config, *,
    limit_s: float = LIMIT_S, film: bool = False, on_progress: OnProgress | None = None,
) -> Trial:
    """
    Drive one course.

    Parameters
    ----------
    film : bool
        Keep pictures for the film strip.
    on_progress : optional
        Called at every frame with the time [s] and the distance to the goal [m].

    Raises
    ------
    WorldError
        No EGL here.
    NetworkError
        The network cannot be loaded.
    """
    config = mode_config(config, long_range)
    chosen = load_configured(config.network)
    trial = Trial(course, long_range, config, limit_s, time_s=limit_s)
    with Eye(course.world) as eye:
        _Run(trial, eye, chosen, film=film).drive(on_progress)
    return trial


def mode_config(config: Config, long_range: LongRange) -> Config:
    """The configuration of a mode: only ``online`` learns."""
    return with_values(config, {'near_to_far.enabled': long_range == 'online'})


class Eye:
    """The rover's stereo camera in a world, as a context manager."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.renderer = Renderer(world.content, world.rig.camera)

    def __enter__(self) -> 'Eye':
        """Return the camera."""
        return self

    def __exit__(self, *_: object) -> None:
        """Free the graphics context."""
        self.renderer.scene.release()

    def frame(self, body: Float, index: int, time_s: float) -> Frame:
        """Picture pair from a body's pose (4, 4) in the world; its noise goes by the index."""
        world = self.world
        ideal = self.renderer.stereo(*world.rig.world_from_eyes(body))
        rng = np.random.default_rng([world.content.spec.seed, 12, index])
        left, right = expose(ideal.left, ideal.right, world.rig, rng)
        return Frame(START_NS + round(time_s * 1e9), left, world.rig.camera, right=right,
                     baseline_m=BASELINE_M, odom_from_base=body,
                     base_from_camera=base_from_left())


class _Run:
    """The loop of one trial: what changes from step to step."""

    def __init__(
        self, trial: Trial, eye: Eye, network: Network, *, film: bool
    ) -> None:
        course = trial.course
        self.trial, self.eye, self.film = trial, eye, film
        self.driver = Driver(trial.config, network, course.goal, trial.long_range)
        self.terrain = course.world.content.terrain
        self.room = clearance(course.world.obstacles)
        self.pose = Pose(float(course.start[0]), float(course.start[1]), course.start_yaw_rad)
        self.command = STOP
        self.blocked = False
        self._seen: Pose | None = None

    def drive(self, on_progress: OnProgress | None) -> None:
        """Run until the goal or the limit."""
        trial, ticks = self.trial, round(FRAME_S / CONTROL_S)
        wanted = STOP
        for tick in range(round(trial.limit_s / CONTROL_S)):
            time = tick * CONTROL_S
            trial.track.append((time, self.pose.x, self.pose.y))
            away = float(np.linalg.norm(self.pose.xy - trial.course.goal))
            if away < GOAL_M:
                trial.goal_reached, trial.time_s = True, time
                return
            if tick % ticks == 0:
                self._look(time)
                wanted = self.driver.decide(self.pose, time)
                if on_progress:
                    on_progress(time, away)
            if self._step(wanted, time):
                wanted = STOP

    def _look(self, time: float) -> None:
        """Take a frame, unless the rover stands where the last one was taken, or backs."""
        if self._seen is not None and (self.command.speed < 0 or self._is_near(self._seen)):
            return
        frame = self.eye.frame(world_from_base(self.terrain, self.pose), self.trial.frames, time)
        result = self.driver.see(frame)
        self._seen, self.trial.frames = self.pose, self.trial.frames + 1
        last = self.trial.shots[-1].time_s if self.trial.shots else -np.inf
        if self.film and time - last >= SHOT_S:
            choice = self.driver.choice
            self.trial.shots.append(Shot(
                time, self.pose, result, self.driver.costmap(),
                choice.points if choice else None))

    def _is_near(self, other: Pose) -> bool:
        gap = float(np.linalg.norm(self.pose.xy - other.xy))
        return gap < MOVED_M and abs(self.pose.yaw - other.yaw) < TURNED_RAD

    def _step(self, wanted: Command, time: float) -> bool:
        """Move for one control step; tell whether an obstacle stopped the rover."""
        self.command = limited(wanted, self.command, CONTROL_S)
        there = moved(self.pose, self.command, CONTROL_S)
        now, then = (float(self.terrain.at(self.room, p.xy[None])[0]) for p in (self.pose, there))
        stopped = touches(self.room, self.terrain, there) and then <= now and (
            self.command.speed != 0)
        if not stopped:
            self.pose, self.blocked = there, False
            return False
        self.trial.contact_s += CONTROL_S
        if not self.blocked:
            self.trial.contacts.append((self.pose.x, self.pose.y))
            self.driver.bump(world_from_base(self.terrain, self.pose), round(time * 1e9),
                             rear=self.command.speed < 0)
        self.command, self.blocked = STOP, True
        return True
