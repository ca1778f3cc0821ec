# SPDX-License-Identifier: Apache-2.0
"""Candidate ways: where they end, and which one is taken."""

import numpy as np
import pytest

from perception.navigation.arcs import (
    KEEP_OFF_M,
    RADII_M,
    bank,
    choose,
    in_odom,
    way_back_is_free,
)
from perception.navigation.vehicle import MAX_SPEED_M_S, MAX_TURN_RAD_S, Command, Pose, moved
from perception.types import Costmap, Float

POSE = Pose(20.0, -7.0, 0.5)


def empty() -> Costmap:
    """16 m of free ground around the pose; wider than high in nothing but its offset."""
    return Costmap(np.zeros((80, 80), np.int8), 0.2, (12.0, -15.0), 0)


def with_obstacles(points: Float) -> Costmap:
    """The same with lethal cells at points (N, 2) in the rover's frame."""
    grid = empty()
    cell = np.floor((in_odom(points, POSE) - grid.origin_m) / 0.2).astype(int)
    data = grid.data.copy()
    data[cell[:, 1], cell[:, 0]] = 100
    return Costmap(data, 0.2, grid.origin_m, 0)


def towards(bearing: float) -> tuple[object, object]:
    """Price 1 everywhere, and a goal 40 m away at a bearing of the rover."""
    goal = in_odom(40 * np.array([np.cos(bearing), np.sin(bearing)]), POSE)

    def price(xy: Float) -> Float:
        return np.ones(xy.shape[:-1])

    def to_goal(xy: Float) -> Float:
        return np.linalg.norm(xy - goal, axis=-1)

    return price, to_goal


def bearing_of(point: Float) -> float:
    """Bearing of a point in odom, from the rover's heading [rad]."""
    x, y = point - POSE.xy
    return float((np.arctan2(y, x) - POSE.yaw + np.pi) % (2 * np.pi) - np.pi)


def test_every_candidate_leaves_the_rover_and_ends_on_its_circle() -> None:
    ways = bank()
    np.testing.assert_allclose(ways.points[:, 0], 0, atol=1e-12)
    ends = np.linalg.norm(ways.points[:, -1], axis=-1)
    assert np.abs(ends[:, None] - RADII_M).min(1).max() < 1e-9
    steps = np.linalg.norm(np.diff(ways.points, axis=1), axis=-1)
    assert (steps.sum(1) <= ways.length + 1e-9).all()
    assert (steps.sum(1) > 0.995 * ways.length).all()
    assert steps.max() < 0.3  # little more than a cell of the grid


def test_an_arc_is_what_its_curvature_drives() -> None:
    ways = bank()
    for k in np.flatnonzero(ways.spin == 0)[::7]:
        seconds = ways.length[k] / 1.0
        end = moved(Pose(0, 0, 0), Command(1.0, float(ways.curvature[k])), float(seconds))
        np.testing.assert_allclose(ways.points[k, -1], [end.x, end.y], atol=1e-9)


def test_frames_by_hand() -> None:
    np.testing.assert_allclose(
        in_odom(np.array([[2.0, 1.0]]), Pose(10.0, 20.0, np.pi / 2)), [[9.0, 22.0]])


def test_free_ground_is_driven_straight_at_full_speed() -> None:
    choice = choose(POSE, empty(), *towards(0.0))
    assert choice is not None
    assert choice.command == Command(pytest.approx(MAX_SPEED_M_S), pytest.approx(0.0))
    np.testing.assert_allclose(choice.points[-1], in_odom(np.array([5.0, 0.0]), POSE))


@pytest.mark.parametrize('side', [1.0, -1.0])
def test_a_wall_is_passed_where_it_ends(side: float) -> None:
    """A wall 1.5 m ahead from 0.6 m on one side to 3 m on the other."""
    y = np.arange(-3.0, 0.61, 0.1) * side
    grid = with_obstacles(np.stack([np.full_like(y, 1.5), y], -1))
    choice = choose(POSE, grid, *towards(0.0))
    assert choice is not None
    assert choice.command.turn * side > 0 or choice.command == Command(
        0.0, pytest.approx(side * MAX_TURN_RAD_S))
    obstacles = in_odom(np.stack([np.full_like(y, 1.5), y], -1), POSE)
    apart = np.linalg.norm(choice.points[:, None] - obstacles, axis=-1)
    assert apart.min() > KEEP_OFF_M - 0.2


def test_a_narrow_way_is_driven_slowly() -> None:
    x = np.arange(0.0, 6.0, 0.1)
    walls = np.concatenate([np.stack([x, np.full_like(x, s * 0.85)], -1) for s in (1, -1)])
    price, _ = towards(0.0)

    def to_goal(xy: Float) -> Float:
        return np.linalg.norm(xy - in_odom(np.array([5.0, 0.0]), POSE), axis=-1)

    choice = choose(POSE, with_obstacles(walls), price, to_goal)
    assert choice is not None
    assert 0.4 < choice.command.speed < 1.2


def test_a_closed_ring_leaves_nothing() -> None:
    angle = np.linspace(0, 2 * np.pi, 200)
    ring = 0.9 * np.stack([np.cos(angle), np.sin(angle)], -1)
    assert choose(POSE, with_obstacles(ring), *towards(0.3)) is None


@pytest.mark.parametrize('side', [1.0, -1.0])
def test_unseen_ground_is_looked_at_before_it_is_driven_to(side: float) -> None:
    """All is unknown but a cone ahead: a goal at the side is turned to, not driven to."""
    grid = empty()
    rows, columns = np.indices(grid.data.shape)
    xy = (np.stack([columns, rows], -1) + 0.5) * 0.2 + grid.origin_m - POSE.xy
    away = (np.arctan2(xy[..., 1], xy[..., 0]) - POSE.yaw + np.pi) % (2 * np.pi) - np.pi
    data = np.where(np.abs(away) < 0.5, 0, -1).astype(np.int8)
    choice = choose(POSE, Costmap(data, 0.2, grid.origin_m, 0), *towards(side * 1.1))
    assert choice is not None
    assert bearing_of(choice.points[-1]) * side < 0.5 or choice.command.speed == 0
    known = choose(POSE, empty(), *towards(side * 1.1))
    assert known is not None
    assert bearing_of(known.points[-1]) * side > 0.6
    assert known.command.speed > 0


@pytest.mark.parametrize('side', [1.0, -1.0])
def test_a_turn_that_has_begun_goes_on(side: float) -> None:
    """A goal straight behind: the rover goes on turning to the side it turns to already."""
    closed = with_obstacles(np.stack([np.full(61, 1.1), np.linspace(-3, 3, 61)], -1))
    choice = choose(POSE, closed, *towards(np.pi), side)
    assert choice is not None
    assert choice.command == Command(0.0, side * MAX_TURN_RAD_S)


def test_the_way_back() -> None:
    assert way_back_is_free(POSE, empty(), 1.0)
    assert not way_back_is_free(POSE, with_obstacles(np.array([[-1.2, 0.1]])), 1.0)
    assert way_back_is_free(POSE, with_obstacles(np.array([[1.2, 0.1]])), 1.0)
