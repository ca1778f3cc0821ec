# SPDX-License-Identifier: Apache-2.0
"""One short drive end to end, and what the driver does when it is hit or stuck."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from perception.config import Config
from perception.costmap import rolling_grid
from perception.inference import load_network
from perception.navigation.driver import Driver
from perception.navigation.short_range import RANGE_M, ShortRange, bump_evidence
from perception.navigation.trial import Trial, mode_config, run_trial
from perception.navigation.vehicle import MAX_SPEED_M_S, Pose
from perception.types import Costmap
from perception.world.courses import Course
from perception.world.drive import World, build_world
from perception.world.rover import clearance
from perception.world.spec import WorldSpec

CONFIG = Config()


@pytest.fixture(scope='module')
def world() -> World:
    return build_world(WorldSpec(117, 'clear'))


def on_the_path(world: World, metres: float) -> Course:
    """A course of some metres along the path of a world."""
    path = world.content.terrain.path
    start, goal = path[10], path[10 + round(metres / 0.5)]
    ahead = path[14] - start
    return Course(1, 'path', 117, world, start, goal, float(np.arctan2(ahead[1], ahead[0])),
                  np.stack([start, goal]))


@pytest.fixture(scope='module')
def trial(world: World, egl: None) -> Trial:
    return run_trial(on_the_path(world, 9.0), 'off', CONFIG, limit_s=20.0, film=True)


@pytest.mark.egl
def test_a_short_drive_reaches_its_goal(trial: Trial) -> None:
    summary = trial.summary()
    assert summary['goal_reached'] is True
    assert 3.0 < summary['time_s'] < 14.0
    assert summary['length_m'] == pytest.approx(summary['optimal_length_m'] - 1.5, abs=1.5)
    assert summary['collisions'] == 0
    assert summary['contact_s'] == 0
    assert summary['frames'] >= 2 * summary['time_s'] - 3
    steps = np.hypot(*np.diff(np.array(trial.track)[:, 1:], axis=0).T)
    assert steps.max() <= MAX_SPEED_M_S * 0.1 + 1e-9


@pytest.mark.egl
def test_the_same_drive_twice_is_the_same(world: World, trial: Trial) -> None:
    again = run_trial(on_the_path(world, 9.0), 'off', CONFIG, limit_s=1.0)
    assert again.track == trial.track[:len(again.track)]


@pytest.mark.egl
def test_an_unseen_wall_stops_the_rover_and_is_counted(world: World, egl: None) -> None:
    """Truth has a wall that no picture shows: the bumper finds it, the rover backs off."""
    course = on_the_path(world, 9.0)
    data = world.obstacles.data.copy()
    column, row = np.floor((course.start + 72) / 0.2).astype(int)
    ring = np.hypot(*(np.indices(data.shape) - np.array([row, column])[:, None, None])) * 0.2
    data[(ring > 1.6) & (ring < 2.2)] = 100
    closed = replace(course, world=World(
        world.content, replace(world.obstacles, data=data), world.rig))
    trial = run_trial(closed, 'off', CONFIG, limit_s=6.0)
    assert not trial.goal_reached
    assert trial.time_s == 6.0
    assert len(trial.contacts) >= 1
    assert trial.contact_s >= 0.1
    xy = np.array(trial.track)[:, 1:]
    assert np.hypot(*(xy - course.start).T).max() < 1.6
    backwards = np.diff(np.hypot(*(xy - course.start).T)) < -0.01
    assert backwards.any()


@pytest.mark.egl
def test_pictures_are_written(trial: Trial, tmp_path: Path) -> None:
    from perception.navigation.draw_trial import write_film, write_plot

    write_film(trial, tmp_path / 'sub' / 'film.png')
    write_plot(trial, tmp_path / 'sub' / 'plot.png')
    film, plot = (cv2.imread(str(tmp_path / 'sub' / name)) for name in ('film.png', 'plot.png'))
    assert film is not None and film.shape[1] > 2 * 450
    assert plot is not None and plot.shape[0] > 300


def test_only_the_mode_online_learns() -> None:
    assert mode_config(CONFIG, 'online').near_to_far.enabled
    assert not mode_config(CONFIG, 'w0').near_to_far.enabled
    assert not mode_config(CONFIG, 'off').near_to_far.enabled


def body_at(x: float, y: float, yaw: float) -> np.ndarray:
    body = np.eye(4)
    body[:2, :2] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]
    body[:2, 3] = x, y
    return body


def test_a_bump_stands_in_front_of_the_rover() -> None:
    points = bump_evidence(body_at(10.0, 4.0, np.pi / 2)).points_odom
    assert points[:, 1].min() == pytest.approx(4.45)
    assert points[:, 1].max() == pytest.approx(4.65)
    assert (points[:, 0].min(), points[:, 0].max()) == pytest.approx((9.7, 10.3))
    behind = bump_evidence(body_at(10.0, 4.0, np.pi / 2), rear=True).points_odom
    assert behind[:, 1].max() == pytest.approx(3.55)


def test_the_driver_backs_off_after_a_bump_and_remembers_it() -> None:
    driver = Driver(CONFIG, load_network('default'), np.array([30.0, 4.0]), 'w0')
    for polar_map in (driver.short.map, driver.pipeline.mapper.map):
        polar_map.move_to(10.0, 4.0)
    driver.bump(body_at(10.0, 4.0, 0.0), 5)
    assert driver.bumper == [5]
    assert driver.decide(Pose(10.0, 4.0, 0.0), 0.0).speed < 0
    assert driver.decide(Pose(9.2, 4.0, 0.0), 1.0).speed == 0  # no plan without a frame
    for polar_map in (driver.short.map, driver.pipeline.mapper.map):
        grid: Costmap = rolling_grid(polar_map, CONFIG.cost, 0)
        column, row = np.floor((np.array([10.55, 4.1]) - grid.origin_m) / 0.2).astype(int)
        assert grid.data[row, column] == 100


def test_a_bump_at_the_rear_ends_the_retreat() -> None:
    driver = Driver(CONFIG, load_network('default'), np.array([30.0, 4.0]), 'off')
    for polar_map in (driver.short.map, driver.pipeline.mapper.map):
        polar_map.move_to(10.0, 4.0)
    driver.bump(body_at(10.0, 4.0, 0.0), 5)
    driver.bump(body_at(9.8, 4.0, 0.0), 7, rear=True)
    assert driver.bumper == [5, 7]
    assert driver.decide(Pose(9.8, 4.0, 0.0), 0.0).speed == 0


def test_modes_differ_in_the_map_that_is_planned_on() -> None:
    network = load_network('default')
    off, on = (Driver(CONFIG, network, np.zeros(2), mode) for mode in ('off', 'w0'))
    assert off.map is off.short.map
    assert on.map is on.pipeline.mapper.map
    assert isinstance(off.short, ShortRange)
    assert RANGE_M == 5.0


def test_the_rover_starts_clear_of_obstacles(world: World) -> None:
    course = on_the_path(world, 9.0)
    room = clearance(world.obstacles)
    assert world.content.terrain.at(room, course.start[None])[0] > 0.6
