# SPDX-License-Identifier: Apache-2.0
"""
A skid-steer rover that weaves about the path and never drives through an obstacle.

Kinematic: it stands on the height map, follows a planned track at 1.5-2 m/s, and reports
wheel odometry that drifts and an IMU that is noisy.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from perception.errors import WorldError
from perception.types import Costmap, Float, Mask
from perception.world.spec import WorldSpec
from perception.world.terrain import PATH_STEP_M, Terrain

RATE_HZ = 100
PAD = 60  # samples driven before and after, where smoothing would slow the rover down
GRAVITY = 9.81
SPEED_M_S = (1.55, 1.95)
KEEP_OFF_M = 0.9
NEVER_M = 0.55
OFFSETS_M = np.arange(-6.0, 6.01, 0.125)
HALF_LENGTH_M, HALF_WIDTH_M = 0.4, 0.3


@dataclass(frozen=True)
class Motion:
    """
    One drive, sampled ``RATE_HZ`` times a second.

    ``time_s`` (N,); ``world_from_base`` and ``odom_from_base`` (N, 4, 4); ``twist`` (N, 2) as the
    wheels report it: forward [m/s] and turn rate [rad/s]; ``gyro`` (N, 3) [rad/s] and
    ``acceleration`` (N, 3) [m/s2, gravity included] in the robot's frame.
    """

    time_s: Float
    world_from_base: Float
    odom_from_base: Float
    twist: Float
    gyro: Float
    acceleration: Float


def plan_motion(
    spec: WorldSpec, terrain: Terrain, obstacles: Costmap, seconds: float
) -> Motion:
    """Plan a track around the obstacles and drive it; same spec, same motion."""
    rng = np.random.default_rng([spec.seed, 7])
    time = np.arange(round(seconds * RATE_HZ) + 1 + 2 * PAD) / RATE_HZ
    low, high = SPEED_M_S
    wave = np.sin(time * rng.uniform(0.3, 0.6) + rng.uniform(0, 6.28))
    driven = np.r_[0, np.cumsum((low + high) / 2 + (high - low) / 2 * wave)[:-1] / RATE_HZ]
    track = _plan_track(rng, terrain, obstacles, driven[-1] + 10)
    along = np.r_[0, np.cumsum(np.hypot(*np.diff(track, axis=0).T))]
    xy = np.stack([np.interp(driven + 2, along, track[:, k]) for k in (0, 1)], -1)
    xy = gaussian_filter1d(xy, 12, axis=0, mode='nearest')
    world_from_base = _on_ground(rng, terrain, xy, spec.amplitude_m)
    gyro, acceleration = _imu(rng, world_from_base)
    kept = slice(PAD, len(time) - PAD)
    odom_from_base, twist = _wheel_odometry(rng, world_from_base[kept])
    return Motion(time[kept] - time[PAD], world_from_base[kept], odom_from_base, twist,
                  gyro[kept], acceleration[kept])


def clearance(obstacles: Costmap) -> Float:
    """Distance of every cell to the nearest obstacle, (H, W) float32 [m]."""
    free = (obstacles.data < 100).astype(np.uint8)
    return np.asarray(cv2.distanceTransform(free, cv2.DIST_L2, 5) * obstacles.resolution_m,
                      np.float32)


def _plan_track(
    rng: np.random.Generator, terrain: Terrain, obstacles: Costmap, length: float
) -> Float:
    """Offset from the path at every step by dynamic programming, then smoothed."""
    count = int(length * 1.25 / PATH_STEP_M) + 8
    index = (rng.integers(len(terrain.path)) + np.arange(count)) % len(terrain.path)
    centre, side = terrain.path[index], terrain.normal[index]
    room = clearance(obstacles)
    free = terrain.at(room, (centre[:, None] + OFFSETS_M[:, None] * side[:, None]).reshape(-1, 2))
    blocked = free.reshape(count, -1) < KEEP_OFF_M
    best = _best_offsets(terrain.lane_offset[index], blocked)
    offset = gaussian_filter1d(OFFSETS_M[best], 3, mode='nearest')
    track = centre + offset[:, None] * side
    if terrain.at(room, track).min() < NEVER_M:
        raise WorldError('no way past the obstacles in this world; take another seed')
    return np.asarray(track)


def _best_offsets(wish: Float, blocked: Mask) -> Float:
    """Cheapest row of offset indices: near the wish, no jumps, not blocked."""
    cost = 0.5 * (OFFSETS_M - wish[:, None]) ** 2 + 1e4 * blocked
    total, back = cost[0], []
    for row in cost[1:]:
        padded = np.pad(total, 1, constant_values=np.inf)
        options = np.stack([padded[:-2] + 0.1, padded[1:-1], padded[2:] + 0.1])
        step = options.argmin(0)
        back.append(step - 1)
        total = row + options.min(0)
    best = [int(total.argmin())]
    for step in reversed(back):
        best.append(best[-1] + int(step[best[-1]]))
    return np.array(best[::-1])


def _on_ground(
    rng: np.random.Generator, terrain: Terrain, xy: Float, amplitude: float
) -> Float:
    """Poses (N, 4, 4) of a body that stands on the ground, with a little shaking."""
    heading = np.gradient(xy, axis=0)
    yaw = np.unwrap(np.arctan2(heading[:, 1], heading[:, 0]))
    ahead = np.stack([np.cos(yaw), np.sin(yaw)], -1) * HALF_LENGTH_M
    left = np.stack([-np.sin(yaw), np.cos(yaw)], -1) * HALF_WIDTH_M

    def level(points: Float) -> Float:
        heights = terrain.height(points[:, 0], points[:, 1])
        return np.asarray(gaussian_filter1d(heights, 10, mode='nearest'))

    front, rear, port, starboard = (level(xy + d) for d in (ahead, -ahead, left, -left))
    shake = gaussian_filter1d(rng.normal(0, 1, (len(xy), 2)), 8, axis=0) * 5.3
    shake *= 0.004 * min(amplitude / 0.5, 1.0)
    pitch = -np.arctan2(front - rear, 2 * HALF_LENGTH_M) + shake[:, 0]
    roll = np.arctan2(port - starboard, 2 * HALF_WIDTH_M) + shake[:, 1]
    poses = np.tile(np.eye(4), (len(xy), 1, 1))
    poses[:, :3, :3] = Rotation.from_euler('ZYX', np.stack([yaw, pitch, roll], -1)).as_matrix()
    poses[:, :2, 3] = xy
    poses[:, 2, 3] = (front + rear + port + starboard) / 4
    return poses


def _wheel_odometry(rng: np.random.Generator, world_from_base: Float) -> tuple[Float, Float]:
    """
    Dead reckoning from wheel speeds that slip, with roll and pitch as an IMU filter gives them.

    Returns poses (N, 4, 4), the first at the origin with yaw 0, and the reported twist (N, 2).
    """
    rotation = Rotation.from_matrix(world_from_base[:, :3, :3])
    yaw, pitch, roll = np.unwrap(rotation.as_euler('ZYX'), axis=0).T
    count, dt = len(yaw), 1 / RATE_HZ
    speed = np.linalg.norm(np.gradient(world_from_base[:, :3, 3], dt, axis=0), axis=1)
    speed = speed * (1 + rng.normal(0, 0.012)) + rng.normal(0, 0.03, count)
    turn = np.gradient(yaw, dt) * (1 + rng.normal(0, 0.02)) + rng.normal(0, 0.0015)
    turn = turn + rng.normal(0, 0.02, count)
    tilt_error = gaussian_filter1d(rng.normal(0, 1, (count, 2)), 50, axis=0) * 13.3 * 0.002
    angles = np.stack([np.r_[0, np.cumsum(turn[:-1]) * dt], pitch + tilt_error[:, 0],
                       roll + tilt_error[:, 1]], -1)
    poses = np.tile(np.eye(4), (count, 1, 1))
    poses[:, :3, :3] = Rotation.from_euler('ZYX', angles).as_matrix()
    steps = poses[:-1, :3, 0] * speed[:-1, None] * dt
    poses[1:, :3, 3] = np.cumsum(steps, axis=0)
    return poses, np.stack([speed, turn], -1)


def _imu(rng: np.random.Generator, world_from_base: Float) -> tuple[Float, Float]:
    """Turn rates and accelerations of the body with bias and white noise."""
    rotation = Rotation.from_matrix(world_from_base[:, :3, :3])
    count = len(world_from_base)
    rates = (rotation[:-1].inv() * rotation[1:]).as_rotvec() * RATE_HZ
    rates = np.vstack([rates, rates[-1:]])
    position = gaussian_filter1d(world_from_base[:, :3, 3], 5, axis=0, mode='nearest')
    force = np.gradient(np.gradient(position, axis=0), axis=0) * RATE_HZ**2 + (0, 0, GRAVITY)
    gyro = rates + rng.normal(0, 0.002, 3) + rng.normal(0, 0.005, (count, 3))
    acceleration = rotation.inv().apply(force) + rng.normal(0, 0.03, 3)
    return gyro, acceleration + rng.normal(0, 0.08, (count, 3))
