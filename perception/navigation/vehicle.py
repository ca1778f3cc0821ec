# SPDX-License-Identifier: Apache-2.0
"""A differential-drive rover: speeds within limits, exact arcs, a bumper, a body on the ground."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from perception.types import Float
from perception.world.rover import HALF_LENGTH_M, HALF_WIDTH_M
from perception.world.terrain import Terrain

MAX_SPEED_M_S = 1.5
MAX_TURN_RAD_S = 1.2
MAX_ACCELERATION_M_S2 = 2.0
MAX_TURN_CHANGE_RAD_S2 = 5.0
RADIUS_M = 0.35


@dataclass(frozen=True)
class Pose:
    """Where the rover stands: x, y [m] and heading [rad], counter-clockwise from x."""

    x: float
    y: float
    yaw: float

    @property
    def xy(self) -> Float:
        """Position (2,) [m]."""
        return np.array([self.x, self.y])

    @property
    def ahead(self) -> Float:
        """Unit vector (2,) of the heading."""
        return np.array([np.cos(self.yaw), np.sin(self.yaw)])


@dataclass(frozen=True)
class Command:
    """Wanted speed forward [m/s], negative = back, and turn rate [rad/s], positive = left."""

    speed: float
    turn: float


STOP = Command(0.0, 0.0)


def limited(wanted: Command, now: Command, seconds: float) -> Command:
    """The command that the drive reaches in so many seconds, within speed and acceleration."""
    speed = float(np.clip(wanted.speed, -MAX_SPEED_M_S, MAX_SPEED_M_S))
    turn = float(np.clip(wanted.turn, -MAX_TURN_RAD_S, MAX_TURN_RAD_S))
    reach, twist = MAX_ACCELERATION_M_S2 * seconds, MAX_TURN_CHANGE_RAD_S2 * seconds
    return Command(float(np.clip(speed, now.speed - reach, now.speed + reach)),
                   float(np.clip(turn, now.turn - twist, now.turn + twist)))


def moved(pose: Pose, command: Command, seconds: float) -> Pose:
    """
    Pose after driving an arc of constant speed and turn rate.

    Examples
    --------
    >>> moved(Pose(1.0, 2.0, 0.0), Command(np.pi, np.pi), 0.5)  # a quarter circle of 1 m
    Pose(x=2.0, y=3.0, yaw=1.5707963267948966)
    """
    angle, length = command.turn * seconds, command.speed * seconds
    if abs(angle) < 1e-9:
        forward, left = length, 0.5 * length * angle
    else:
        forward = length * np.sin(angle) / angle
        left = length * (1 - np.cos(angle)) / angle
    cos, sin = np.cos(pose.yaw), np.sin(pose.yaw)
    return Pose(float(pose.x + cos * forward - sin * left),
                float(pose.y + sin * forward + cos * left), pose.yaw + angle)


def touches(room: Float, terrain: Terrain, pose: Pose) -> bool:
    """
    Tell whether the rover's circle touches an obstacle.

    Parameters
    ----------
    room : (n, n) float
        Distance of each cell of the world to the nearest obstacle [m], as of ``rover.clearance``.
    """
    return float(terrain.at(room, pose.xy[None])[0]) < RADIUS_M


def world_from_base(terrain: Terrain, pose: Pose) -> Float:
    """Pose (4, 4) of a body that stands on the ground on four feet."""
    ahead, left = pose.ahead * HALF_LENGTH_M, pose.ahead[::-1] * (-1, 1) * HALF_WIDTH_M
    feet = pose.xy + np.array([ahead, -ahead, left, -left])
    front, rear, port, starboard = terrain.height(feet[:, 0], feet[:, 1])
    pitch = -np.arctan2(front - rear, 2 * HALF_LENGTH_M)
    roll = np.arctan2(port - starboard, 2 * HALF_WIDTH_M)
    body = np.eye(4)
    body[:3, :3] = Rotation.from_euler('ZYX', [pose.yaw, pitch, roll]).as_matrix()
    body[:3, 3] = pose.x, pose.y, (front + rear + port + starboard) / 4
    return body
