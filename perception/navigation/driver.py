# SPDX-License-Identifier: Apache-2.0
"""The driver: frames and bumps in, wheel commands out. It knows nothing of the world's truth."""

from collections import deque
from typing import Literal

import numpy as np

from perception.config import Config
from perception.costmap import rolling_grid
from perception.inference import Network
from perception.navigation.arcs import Choice, choose, way_back_is_free
from perception.navigation.planner import Plan, plan
from perception.navigation.short_range import ShortRange, bump_evidence
from perception.navigation.vehicle import MAX_TURN_RAD_S, Command, Pose
from perception.pipeline import Pipeline, Result
from perception.polar_map import PolarMap
from perception.types import Costmap, Float, Frame

LongRange = Literal['off', 'w0', 'online']
RETREAT_M, RETREAT_M_S = 0.7, 0.5
STUCK_S, STUCK_M = 8.0, 1.0


class Driver:
    """
    Short range, long range and what to do when stuck.

    The planner reads the map of the whole pipeline, or with long range ``off`` that of 5 m
    stereo; everything else is the same.

    Parameters
    ----------
    goal : (2,) float
        In odom [m].

    Attributes
    ----------
    bumper : list of int
        Stamps at which a bumper was hit [ns].
    """

    def __init__(
        self, config: Config, network: Network, goal: Float, long_range: LongRange
    ) -> None:
        self.pipeline = Pipeline(config, network)
        self.short = ShortRange(config)
        self.goal = np.asarray(goal, float)
        self.long_range = long_range
        self.bumper: list[int] = []
        self.choice: Choice | None = None
        self._plan: Plan | None = None
        self._stamp_ns = 0
        self._command = Command(0.0, 0.0)
        self._retreat_m = 0.0
        self._recent: deque[tuple[float, Float]] = deque()

    @property
    def map(self) -> PolarMap:
        """The map that the planner reads."""
        return self.short.map if self.long_range == 'off' else self.pipeline.mapper.map

    def costmap(self) -> Costmap:
        """The grid that the planner's map gives now."""
        return rolling_grid(self.map, self.pipeline.config.cost, self._stamp_ns)

    def see(self, frame: Frame) -> Result:
        """Take in a frame and plan anew."""
        result = self.pipeline.process(frame)
        self.short.add(result)
        self._stamp_ns = frame.stamp_ns
        self._plan = plan(self.map, self.pipeline.config.cost, self.goal)
        return result

    def bump(self, odom_from_base: Float, stamp_ns: int, *, rear: bool = False) -> None:
        """Note that the front or rear bumper was hit: remember what stands there, back off."""
        self.bumper.append(stamp_ns)
        evidence = bump_evidence(odom_from_base, rear=rear)
        for polar_map in (self.short.map, self.pipeline.mapper.map):
            polar_map.add(evidence)
        self._retreat_m = 0.0 if rear else RETREAT_M

    def decide(self, pose: Pose, time_s: float) -> Command:
        """Command until the next decision; the first frame must have been seen."""
        self._note(pose, time_s)
        grid = self.short.grid(self._stamp_ns)
        if self._retreat_m > 0 and way_back_is_free(pose, grid, 0.3):
            return self._set(Command(-RETREAT_M_S, 0.0))
        self._retreat_m = 0.0
        if self._plan is None:
            return self._set(Command(0.0, 0.0))
        self.choice = choose(pose, grid, self._plan.price_at, self._plan.cost_to_goal,
                             self._command.turn)
        if self.choice is not None:
            return self._set(self.choice.command)
        self._retreat_m = RETREAT_M if way_back_is_free(pose, grid, 0.3) else 0.0
        side = 1.0 if self._command.turn >= 0 else -1.0
        return self._set(Command(0.0, side * MAX_TURN_RAD_S))

    def _set(self, command: Command) -> Command:
        self._command = command
        return command

    def _note(self, pose: Pose, time_s: float) -> None:
        """Count down a retreat, and start one where the rover has been at one place too long."""
        if self._recent:
            self._retreat_m -= float(np.linalg.norm(pose.xy - self._recent[-1][1]))
        self._recent.append((time_s, pose.xy))
        while time_s - self._recent[0][0] > STUCK_S:
            self._recent.popleft()
        places = np.array([xy for _, xy in self._recent])
        long_here = time_s - self._recent[0][0] > STUCK_S - 1
        if long_here and np.ptp(places, axis=0).max() < STUCK_M:
            self._retreat_m = RETREAT_M
            self._recent.clear()
            self._recent.append((time_s, pose.xy))
