# SPDX-License-Identifier: Apache-2.0
"""How the rover moves, stands, and touches things."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perception.navigation.vehicle import (
    MAX_ACCELERATION_M_S2,
    MAX_SPEED_M_S,
    MAX_TURN_RAD_S,
    Command,
    Pose,
    limited,
    moved,
    touches,
    world_from_base,
)
from perception.world.terrain import PATH_STEP_M, SIZE_M, Terrain

SPEEDS, TURNS = st.floats(-1.5, 1.5), st.floats(-1.2, 1.2)


def sloped_terrain(rise: float) -> Terrain:
    """Ground z = rise * y."""
    posts = np.linspace(-SIZE_M / 2, SIZE_M / 2, 9)
    heights = np.repeat(rise * posts[:, None], 9, axis=1).astype(np.float32)
    path = np.stack([np.arange(-20, 20, PATH_STEP_M), np.zeros(80)], -1)
    far, splat = np.full((16, 16), 50, np.float32), np.zeros((16, 16, 4), np.uint8)
    return Terrain(heights, splat, path, 0 * path, np.zeros(80), far, far)


@given(SPEEDS, TURNS, st.floats(0.01, 3.0), st.floats(0.05, 0.95))
@settings(max_examples=50)
def test_two_parts_of_a_step_make_the_step(
    speed: float, turn: float, seconds: float, share: float
) -> None:
    start, command = Pose(3.0, -2.0, 0.7), Command(speed, turn)
    whole = moved(start, command, seconds)
    parts = moved(moved(start, command, share * seconds), command, (1 - share) * seconds)
    assert (parts.x, parts.y, parts.yaw) == pytest.approx((whole.x, whole.y, whole.yaw), abs=1e-9)


def test_moves_by_hand() -> None:
    back = moved(Pose(1.0, 2.0, np.pi / 2), Command(-0.5, 0.0), 3.0)
    assert (back.x, back.y, back.yaw) == pytest.approx((1.0, 0.5, np.pi / 2))
    right = moved(Pose(1.0, 2.0, np.pi / 2), Command(np.pi, -np.pi), 0.5)  # circle of 1 m
    assert (right.x, right.y, right.yaw) == pytest.approx((2.0, 3.0, 0.0))
    spun = moved(Pose(1.0, 2.0, 0.5), Command(0.0, -1.0), 0.25)
    assert (spun.x, spun.y, spun.yaw) == pytest.approx((1.0, 2.0, 0.25))


@given(st.floats(-9, 9), st.floats(-9, 9), SPEEDS, TURNS)
def test_the_drive_keeps_its_limits(
    speed: float, turn: float, now: float, turning: float
) -> None:
    reached = limited(Command(speed, turn), Command(now, turning), 0.1)
    assert abs(reached.speed) <= MAX_SPEED_M_S
    assert abs(reached.turn) <= MAX_TURN_RAD_S
    assert abs(reached.speed - now) <= 0.1 * MAX_ACCELERATION_M_S2 + 1e-12
    assert limited(Command(9.0, -9.0), Command(1.45, -1.1), 0.1) == Command(
        MAX_SPEED_M_S, -MAX_TURN_RAD_S)


def test_the_circle_touches_within_its_radius() -> None:
    room = np.full((16, 16), 5.0)  # cells of 9 m
    room[3, 12] = 0.34
    ground = sloped_terrain(0.0)
    assert touches(room, ground, Pose(-72 + 12.5 * 9, -72 + 3.5 * 9, 0.0))
    assert not touches(room, ground, Pose(-72 + 3.5 * 9, -72 + 12.5 * 9, 0.0))


def test_the_body_leans_with_the_slope() -> None:
    """Ground rises by 0.1 per metre along y: uphill the nose goes up, across it rolls."""
    up = world_from_base(sloped_terrain(0.1), Pose(4.0, 7.0, np.pi / 2))
    np.testing.assert_allclose(up[:3, 3], [4.0, 7.0, 0.7], atol=1e-6)
    assert up[2, 0] == pytest.approx(np.sin(np.arctan(0.1)), abs=1e-6)
    assert up[2, 1] == pytest.approx(0.0, abs=1e-6)
    across = world_from_base(sloped_terrain(0.1), Pose(4.0, 7.0, 0.0))
    assert across[2, 1] == pytest.approx(np.sin(np.arctan(0.1)), abs=1e-6)  # left side up
    np.testing.assert_allclose(across[:3, :3] @ across[:3, :3].T, np.eye(3), atol=1e-12)
