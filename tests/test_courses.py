# SPDX-License-Identifier: Apache-2.0
"""The courses: a free way, seeds that differ, the same seed the same course."""

import numpy as np
import pytest

from perception.errors import WorldError
from perception.types import Costmap
from perception.world.course_layout import Stage, resampled
from perception.world.courses import COURSES, Course, build_course
from perception.world.free_way import FREE_WAY_M, ROBOT_RADIUS_M, free_way, shortest_way
from perception.world.rover import clearance
from perception.world.spec import SEASON_NAMES, WorldSpec
from perception.world.terrain import SIZE_M, Terrain, make_terrain

CELLS = 720


@pytest.fixture(scope='module')
def terrain() -> Terrain:
    return make_terrain(WorldSpec(5))


@pytest.fixture(scope='module')
def course() -> Course:
    return build_course(5, 2)


def world_with_wall(gap: tuple[float, float] | None = None) -> Costmap:
    """A wall along x = 0 over the whole world, open between two y."""
    data = np.zeros((CELLS, CELLS), np.int8)
    data[:, 360:362] = 100
    if gap:
        low, high = (round((y + SIZE_M / 2) / 0.2) for y in gap)
        data[low:high, 360:362] = 0
    return Costmap(data, 0.2, (-SIZE_M / 2, -SIZE_M / 2), 0, frame_id='world')


@pytest.mark.parametrize('number', COURSES)
def test_every_course_lies_in_the_world_and_is_long_enough(number: int, terrain: Terrain) -> None:
    name, season, maker = COURSES[number]
    assert season in SEASON_NAMES
    assert name
    for seed in (1, 2):
        layout = maker(np.random.default_rng(seed), terrain)
        again = maker(np.random.default_rng(seed), terrain)
        np.testing.assert_array_equal(layout.goal, again.goal)
        assert 55 < np.linalg.norm(layout.goal - layout.start) < 120
        for points in (layout.start[None], layout.goal[None], *layout.things.values(),
                       *layout.fences):
            assert np.abs(points).max(initial=0) < SIZE_M / 2
        assert sum(map(len, layout.things.values())) + sum(map(len, layout.fences)) > 40


def test_all_seasons_are_used_and_most_are_new_to_the_network() -> None:
    seasons = [season for _, season, _ in COURSES.values()]
    assert set(seasons) == set(SEASON_NAMES)
    assert sum(season in ('clear', 'autumn') for season in seasons) <= 3


def test_seeds_mirror_and_move_a_stage() -> None:
    """The left unit vector of a stage comes out left or right of the way, by the seed."""
    sides, ends = set(), []
    for seed in range(8):
        stage = Stage(np.random.default_rng(seed), 60.0)
        stage.fence([(10.0, 1.0), (10.0, 5.0)])
        layout = stage.laid()
        assert np.linalg.norm(layout.goal - layout.start) == pytest.approx(60.0)
        ahead = (layout.goal - layout.start) / 60.0
        post = layout.fences[0][-1] - layout.start
        assert post @ ahead == pytest.approx(10.0)
        left = float(post @ [-ahead[1], ahead[0]])
        assert abs(left) == pytest.approx(5.0)
        sides.add(np.sign(left))
        ends.append(layout.goal)
    assert sides == {-1.0, 1.0}
    assert len(np.unique(np.round(ends, 3), axis=0)) == 8


def test_a_wall_leaves_no_room_between_its_things() -> None:
    stage = Stage(np.random.default_rng(3), 60.0)
    stage.wall(('bush', 'rock'), [(20.0, -6.0), (20.0, 6.0)])
    points = np.concatenate(list(stage.laid().things.values()))
    apart = np.linalg.norm(points[:, None] - points, axis=-1) + 99 * np.eye(len(points))
    assert apart.min(1).max() < 1.1


def test_resampled_by_hand() -> None:
    np.testing.assert_allclose(
        resampled([(0, 0), (3, 0), (3, 4)], 2.0, start=1.0), [[1, 0], [3, 0], [3, 2], [3, 4]])


def test_the_shortest_way_around_a_corner_by_hand() -> None:
    """From (-12, 1) to (12, 1) through a gap from y = 9: over the gap's edge."""
    grid = world_with_wall((9.0, 20.0))
    way = shortest_way(clearance(grid), np.array([-12.0, 1.0]), np.array([12.0, 1.0]), 0.35)
    assert way is not None
    length = np.hypot(*np.diff(way, axis=0).T).sum()
    assert length == pytest.approx(2 * np.hypot(12, 8.35), rel=0.02)
    assert len(way) <= 5


def test_no_way_and_a_way_too_narrow() -> None:
    start, goal = np.array([-12.0, 1.0]), np.array([12.0, 1.0])
    assert free_way(world_with_wall(), start, goal) is None
    assert free_way(world_with_wall((3.0, 5.0)), start, goal) is None  # 2 m wide
    assert free_way(world_with_wall((3.0, 6.0)), start, goal) is not None
    open_ground = Costmap(np.zeros((CELLS, CELLS), np.int8), 0.2, (-72.0, -72.0), 0)
    way = free_way(open_ground, start, goal)
    np.testing.assert_allclose(way, [start, goal])


def test_a_course_has_a_free_way(course: Course) -> None:
    room = clearance(course.world.obstacles)
    assert shortest_way(room, course.start, course.goal, FREE_WAY_M) is not None
    cell = np.floor((course.shortest + SIZE_M / 2) / 0.2).astype(int)
    assert room[cell[:, 1], cell[:, 0]].min() >= ROBOT_RADIUS_M
    assert course.straight_line_m < course.optimal_length_m < 1.6 * course.straight_line_m
    ahead = course.goal - course.start
    assert np.arctan2(ahead[1], ahead[0]) == pytest.approx(course.start_yaw_rad)


def test_the_same_seed_is_the_same_course(course: Course) -> None:
    again = build_course(5, 2)
    np.testing.assert_array_equal(again.world.obstacles.data, course.world.obstacles.data)
    np.testing.assert_array_equal(again.start, course.start)


@pytest.mark.parametrize(('number', 'season', 'text'), [
    (13, None, 'course 13.*1 to 12'), (0, None, 'course 0'), (1, 'monsoon', 'monsoon')])
def test_what_cannot_be_is_refused(number: int, season: str | None, text: str) -> None:
    with pytest.raises(WorldError, match=text):
        build_course(number, 1, season)
