# SPDX-License-Identifier: Apache-2.0
"""
Short range: candidate ways to end points around the rover, and the one to take.

A candidate is an arc, or a turn on the spot and a straight line. It ends on a circle of 5 m or a
smaller one; those whose body would touch an obstacle of the 5 m map are out.

Source
    IROS08-MAP, ISR 2008; algorithms.md A8. Differs: arcs of constant curvature take the place of
    recorded trajectories.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from perception.navigation.planner import gaps, sampled
from perception.navigation.vehicle import MAX_SPEED_M_S, MAX_TURN_RAD_S, Command, Pose
from perception.types import Costmap, Float

RADII_M = (5.0, 3.5, 2.2, 1.2)
SAMPLES = 25
ARC_BEARINGS_RAD = np.radians(np.arange(-75, 76, 5))
TURN_BEARINGS_RAD = np.radians(np.arange(-175, 181, 10))
LETHAL = 60
KEEP_OFF_M = 0.5
STEP_OUT_M = 0.02
TURN_COST_M = 0.6
SWING_COST_M = 1.5
ALIGNED_RAD = np.radians(12)
CAUTION_M, SLOW_M_S = 0.6, 0.5
AHEAD_M = 2.0
SIGHT_M = (1.9, 3.5)
UNSEEN_COST_M = 3.0
"""For an arc into ground that no frame has shown yet: turning and looking first is better."""


@dataclass(frozen=True)
class Bank:
    """
    Candidates in the rover's frame.

    ``points`` (K, S, 2) [m], evenly along each way from the rover; ``length`` (K,) [m];
    ``spin`` (K,) [rad] to turn on the spot first; ``curvature`` (K,) [1/m] of the way after it.
    """

    points: Float
    length: Float
    spin: Float
    curvature: Float


@dataclass(frozen=True)
class Choice:
    """The candidate to take: its command, and its points (S, 2) in odom [m]."""

    command: Command
    points: Float


@lru_cache(maxsize=1)
def bank() -> Bank:
    """All candidates: arcs ahead, and straight lines all around."""
    parts = []
    for radius in RADII_M:
        parts += [_arc(bearing, radius) for bearing in ARC_BEARINGS_RAD]
        parts += [_line(bearing, radius) for bearing in TURN_BEARINGS_RAD]
    points, length, spin, curvature = zip(*parts, strict=True)
    return Bank(np.stack(points), np.array(length), np.array(spin), np.array(curvature))


def choose(
    pose: Pose, grid: Costmap, price: Callable[[Float], Float],
    to_goal: Callable[[Float], Float], last_turn: float = 0.0,
) -> Choice | None:
    """
    Cheapest candidate that is free, or None where none is.

    Parameters
    ----------
    pose : Pose
        In odom.
    grid : Costmap
        Obstacles within 5 m, in odom.
    price, to_goal : (..., 2) float -> (...) float
        Price of a metre at a point, and cost from there to the goal.
    last_turn : float
        Turn rate that the rover has [rad/s]: swinging to the other side costs.
    """
    ways = bank()
    points = in_odom(ways.points, pose)
    gap = gaps(grid.data >= LETHAL, grid.resolution_m)
    room = sampled(gap, grid, points)
    here = float(sampled(gap, grid, pose.xy[None])[0])
    free = room.min(1) >= min(KEEP_OFF_M, here - STEP_OUT_M)
    if not free.any():
        return None
    blind = _unseen(grid, points[:, -1], pose) * (ways.spin == 0)
    swing = np.sign(ways.spin) * np.sign(last_turn) < 0
    total = (price(points).mean(1) * ways.length + to_goal(points[:, -1])
             + TURN_COST_M * np.abs(ways.spin) + SWING_COST_M * swing + UNSEEN_COST_M * blind)
    best = int(np.where(free, total, np.inf).argmin())
    return Choice(_command(ways, best, room[best]), points[best])


def _unseen(grid: Costmap, ends: Float, pose: Pose) -> Float:
    """Share of the ground towards each end (K, 2), at ``SIGHT_M``, of which nothing is known."""
    reach = np.arange(*SIGHT_M, grid.resolution_m)
    points = pose.xy + reach[:, None] * _directions(ends, pose)[:, None]
    return np.asarray((sampled(grid.data, grid, points) < 0).mean(1))


def _directions(ends: Float, pose: Pose) -> Float:
    """Unit vectors (K, 2) from the rover to points (K, 2)."""
    return np.asarray((ends - pose.xy) / np.linalg.norm(ends - pose.xy, axis=-1, keepdims=True))


def in_odom(points: Float, pose: Pose) -> Float:
    """Points (..., 2) of the rover's frame in the frame of its pose [m]."""
    cos, sin = np.cos(pose.yaw), np.sin(pose.yaw)
    return np.asarray(points @ np.array([[cos, sin], [-sin, cos]]) + pose.xy)


def way_back_is_free(pose: Pose, grid: Costmap, length_m: float) -> bool:
    """Tell whether nothing is known to stand within ``length_m`` behind the rover."""
    line = pose.xy - np.linspace(0, length_m, SAMPLES)[:, None] * pose.ahead
    room = sampled(gaps(grid.data >= LETHAL, grid.resolution_m), grid, line)
    return bool(room.min() >= min(KEEP_OFF_M, float(room[0]) - STEP_OUT_M))


def _command(ways: Bank, index: int, room: Float) -> Command:
    """Speed and turn rate that start a candidate; slower where its first metres are narrow."""
    spin = float(ways.spin[index])
    if abs(spin) > ALIGNED_RAD:
        return Command(0.0, float(np.sign(spin)) * MAX_TURN_RAD_S)
    step = float(ways.length[index]) / (SAMPLES - 1)
    narrow = float(room[:1 + int(AHEAD_M / step)].min()) - KEEP_OFF_M
    speed = float(np.interp(narrow, (0.0, CAUTION_M), (SLOW_M_S, MAX_SPEED_M_S)))
    curvature = float(ways.curvature[index])
    speed = min(speed, MAX_TURN_RAD_S / max(abs(curvature), 1e-9))
    return Command(speed, speed * curvature + 1.5 * spin)


def _arc(bearing: float, radius: float) -> tuple[Float, float, float, float]:
    """Arc that leaves ahead and ends at a bearing on a circle: chord 5 m, half angle = bearing."""
    curvature = 2 * np.sin(bearing) / radius
    length = radius * (bearing / np.sin(bearing) if abs(bearing) > 1e-9 else 1.0)
    along = np.linspace(0, length, SAMPLES)
    half = curvature * along / 2
    reach = along * np.sinc(half / np.pi)
    points = reach[:, None] * np.stack([np.cos(half), np.sin(half)], -1)
    return points, float(length), 0.0, float(curvature)


def _line(bearing: float, radius: float) -> tuple[Float, float, float, float]:
    """Straight line to a bearing on a circle, after a turn on the spot."""
    ahead = np.array([np.cos(bearing), np.sin(bearing)])
    return np.linspace(0, radius, SAMPLES)[:, None] * ahead, radius, float(bearing), 0.0
