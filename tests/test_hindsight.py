# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes import CAMERA, FOCAL_BASELINE, plane, plane_grid, with_wall
from sights import GROUND, MOUNT, PYRAMID, pose_at

from perception.camera import ground_points, level_from_camera, transform
from perception.hindsight import (
    FAR_FROM_M,
    FAR_TO_M,
    NEAREST_M,
    NOTE_EVERY_M,
    VIEW_EVERY_M,
    Memory,
    levelled_pose,
    window_ranges,
)
from perception.places import BUMPED, DRIVEN, SEEN_GROUND, Places
from perception.types import DepthGrid

RANGE_M = window_ranges(PYRAMID, None)
MAPS = [np.full((2, 3, 5), 0.1, np.float32)]


def memory(capacity=4, jump_m=5.0):
    return Memory(capacity, jump_m)


def keep(kept, x):
    kept.keep(PYRAMID, MAPS, RANGE_M, pose_at(x) @ MOUNT)


def note(kept, xyz, kind):
    kept.note(Places(kept.travelled_m, np.asarray(xyz, np.float32), np.asarray(kind, np.uint8)))


def ground_between(near_m, far_m):
    x, y = np.meshgrid(np.arange(near_m, far_m, 0.2), np.arange(-6, 6, 0.1))
    xyz = np.stack([x, y, np.zeros_like(x)], -1).reshape(-1, 3)
    return xyz, np.full(len(xyz), SEEN_GROUND)


ANGLES = st.floats(-0.25, 0.25)


@settings(max_examples=50, derandomize=True)
@given(st.floats(-3.1, 3.1), st.floats(-1e3, 1e3), st.floats(-50, 50), ANGLES, ANGLES)
def test_a_levelled_pose_keeps_heading_and_place_and_stands_on_its_plane(yaw, x, z, pitch, roll):
    ground, other = plane(1.3, pitch, roll), plane(0.9, -pitch / 2, -roll)
    pose = pose_at(x, -x / 3, yaw)
    pose[2, 3] = z  # odometry may climb, and its tilt differ from the plane's
    pose = pose @ level_from_camera(*other.normal_offset)
    level = levelled_pose(pose, ground)
    assert np.arctan2(level[1, 2], level[0, 2]) == pytest.approx(
        np.arctan2(pose[1, 2], pose[0, 2]), abs=1e-9)
    np.testing.assert_allclose(level[:2, 3], [x, -x / 3], atol=1e-9)
    assert level[2, 3] == pytest.approx(1.3)
    np.testing.assert_allclose(level[:3, :3] @ level[:3, :3].T, np.eye(3), atol=1e-9)
    assert np.linalg.det(level[:3, :3]) == pytest.approx(1)
    rows = ground.row(np.array([40.0, 480.0]), 3.0)
    points = ground_points(np.stack([[40.0, 480.0], rows], -1), ground)
    np.testing.assert_allclose(transform(level, points)[:, 2], 0, atol=1e-8)


@settings(max_examples=20, derandomize=True)
@given(st.floats(-3.1, 3.1), st.floats(-20, 20))
def test_levelling_twice_changes_nothing(yaw, z):
    pose = pose_at(3.0, 4.0, yaw) @ MOUNT
    pose[2, 3] += z
    once = levelled_pose(pose, GROUND)
    np.testing.assert_allclose(levelled_pose(once, GROUND), once, atol=1e-9)


def test_a_levelled_pose_by_hand():
    """At (10, 20, 7), looking along y and 0.6 down; the plane says 0.28 down from 1.5 m."""
    pose = np.array([[1.0, 0, 0, 10], [0, -0.6, 0.8, 20], [0, -0.8, -0.6, 7], [0, 0, 0, 1]])
    ground = type(GROUND).from_normal(np.array([0, -0.96, -0.28]), 1.5, CAMERA, FOCAL_BASELINE)
    np.testing.assert_allclose(levelled_pose(pose, ground), [
        [1, 0, 0, 10], [0, -0.28, 0.96, 20], [0, -0.96, -0.28, 1.5], [0, 0, 0, 1]], atol=1e-12)


def test_window_ranges_are_depth_within_reach_and_else_the_ground():
    grid = with_wall(plane_grid(GROUND), 6.0, slice(100, 160), 20, 110)
    beyond = with_wall(grid, 12.5, slice(200, 250), 20, 110)  # out of the teacher's reach
    ours = window_ranges(PYRAMID, beyond)
    windows, depth, distance = PYRAMID.windows, beyond.depth, PYRAMID.windows.distance
    for i in range(0, len(ours), 7):
        column, row = (round((w - 0.5) / 2) for w in windows.uv[i])
        at = depth[min(max(row, 0), 189), min(max(column, 0), 259)]
        ground = distance[i]
        twin = at if at < FAR_FROM_M else np.inf if np.isnan(ground) else ground
        assert ours[i] == pytest.approx(twin, rel=1e-6), i
    on_wall = (np.abs(windows.uv - [260, 130]) < [50, 80]).all(1)
    assert on_wall.sum() > 50
    np.testing.assert_allclose(ours[on_wall], 6.0, rtol=1e-6)  # though some look at the sky
    assert not np.isnan(ours).any()


def test_window_ranges_without_depth_are_those_of_the_ground():
    distance = PYRAMID.windows.distance
    sky = np.isnan(distance)
    assert sky.any()
    assert np.isinf(RANGE_M[sky]).all()
    np.testing.assert_array_equal(RANGE_M[~sky], distance[~sky])
    blind = DepthGrid(np.full((190, 260), np.nan, np.float32), CAMERA, FOCAL_BASELINE, 2)
    np.testing.assert_array_equal(window_ranges(PYRAMID, blind), RANGE_M)


def test_the_way_adds_up():
    kept = memory()
    for xy in ((10.0, 5.0), (13.0, 9.0), (13.0, 8.0)):
        kept.move(np.array(xy))
    assert kept.travelled_m == pytest.approx(6.0)
    assert kept.jumps == 0


@pytest.mark.parametrize('where', [(5.5, 0.0), (np.nan, 0.0), (0.0, np.nan)])
def test_a_jump_forgets_all_and_is_counted(where):
    kept = memory()
    kept.move(np.zeros(2))
    kept.move(np.array([0.0, 2.0]))
    keep(kept, 0.0)
    note(kept, [[3, 0, 0]], [DRIVEN])
    kept.move(np.array([0.0, 2.0]) + where)
    assert kept.jumps == 1
    assert not kept.views
    assert not kept.places
    assert kept.travelled_m == 2.0  # a jump is no way


def test_after_a_lost_pose_it_goes_on():
    kept = memory()
    for x in (0.0, np.nan, 1.0, 2.0):
        kept.move(np.array([x, 0.0]))
    assert kept.jumps == 2  # into the unknown, and out of it
    assert kept.travelled_m == 1.0
    keep(kept, 2.0)
    kept.move(np.array([3.0, 0.0]))
    assert len(kept.views) == 1


def test_a_step_of_the_limit_is_no_jump():
    kept = memory(jump_m=5.0)
    kept.move(np.array([1.0, 1.0]))
    kept.move(np.array([4.0, 5.0]))
    assert (kept.jumps, kept.travelled_m) == (0, 5.0)


def test_views_and_notes_are_due_by_the_way_driven():
    kept, views, notes = memory(capacity=100), [], []
    for k in range(29):
        x = k / 8
        kept.move(np.array([x, 0.0]))
        if kept.view_due:
            views.append(x)
            keep(kept, x)
        if kept.note_due:
            notes.append(x)
            note(kept, [[x, 0, 0]], [DRIVEN])
    assert views == [0, 1.5, 3.0]
    assert notes == [0, 0.875, 1.75, 2.625, 3.5]
    assert (VIEW_EVERY_M, NOTE_EVERY_M) == (1.5, 0.8)


def test_memory_is_bounded():
    kept = memory(capacity=3)
    for k in range(200):
        kept.move(np.array([float(k), 0.0]))
        if kept.view_due:
            keep(kept, float(k))
        if kept.note_due:
            note(kept, [[k, 0, 0]], [DRIVEN])
        assert len(kept.views) <= 3
        assert len(kept.places) <= 7  # those of the way since the oldest view
    assert kept.views[0].travelled_m == 194
    assert kept.places[0].travelled_m >= 194


def test_without_views_only_the_newest_places_stay():
    kept = memory()
    for k in range(50):
        kept.move(np.array([float(k), 0.0]))
        note(kept, [[k, 0, 0]], [DRIVEN])
    assert len(kept.places) == 1


def test_places_do_not_pile_up_when_no_view_is_kept_any_more():
    """As when the plane is lost for good: what no view looks back at is dropped."""
    kept = memory()
    kept.move(np.zeros(2))
    keep(kept, 0.0)
    for k in range(1, 200):
        kept.move(np.array([float(k), 0.0]))
        note(kept, [[k, 0, 0]], [DRIVEN])
        if kept.due():
            kept.look_back(kept.due())
        assert len(kept.places) <= 61
    assert len(kept.places) == 1


def test_kept_features_are_small_and_its_own():
    kept, maps = memory(), [np.full((2, 3, 5), 0.1, np.float32)]
    kept.keep(PYRAMID, maps, RANGE_M, MOUNT)
    maps[0][:] = 7
    view = kept.views[0]
    assert view.maps[0].dtype == np.float16
    assert (view.maps[0] == np.float16(0.1)).all()


def test_open_windows_are_valid_and_neither_too_near_nor_too_far():
    kept = memory()
    range_m = RANGE_M.copy()
    range_m[::5] = NEAREST_M  # something close before the camera
    kept.keep(PYRAMID, MAPS, range_m, MOUNT)
    outside, distance = PYRAMID.windows.outside, PYRAMID.windows.distance
    for i in range(len(range_m)):
        twin = outside[i] <= 0.3 and distance[i] <= FAR_TO_M and range_m[i] > NEAREST_M
        assert kept.views[0].open[i] == twin, i


def test_the_view_that_waited_longest_is_looked_back_at_first():
    kept = memory(capacity=10)
    order = []
    for k in range(60):
        kept.move(np.array([float(k), 0.0]))
        if k in (0, 4):
            keep(kept, float(k))
        view = kept.due()
        if view is not None:
            order.append((k, view.travelled_m))
            kept.look_back(view)
            assert view.done_m == k - view.travelled_m
    assert order == [(10, 0), (14, 4), (20, 0), (24, 4), (30, 0), (34, 4), (40, 0), (44, 4),
                     (50, 0), (54, 4)]


def test_of_two_that_wait_the_longer_goes_first_and_none_for_ever():
    kept = memory(capacity=10)
    for k in range(0, 31, 3):
        kept.move(np.array([float(k), 0.0]))
        if k in (3, 6):
            keep(kept, float(k))
    for view in kept.views:
        assert kept.due() is view
        kept.look_back(view)
    assert kept.due() is None
    for k in range(33, 200, 3):
        kept.move(np.array([float(k), 0.0]))
        if kept.due():
            kept.look_back(kept.due())
    assert kept.due() is None
    assert all(view.done_m >= FAR_TO_M for view in kept.views)  # the last word on what it saw


def test_each_window_is_labelled_once_and_only_far_away():
    kept, given = memory(), []
    kept.move(np.zeros(2))
    keep(kept, 0.0)
    for k in range(1, 8):
        kept.move(np.array([4.0 * k, 0.0]))
        note(kept, *ground_between(4.0 * k + 3, 4.0 * k + 8))
        if kept.due():
            hindsight = kept.look_back(kept.due())
            assert hindsight.view is kept.views[0]
            given.append(hindsight.index)
            assert not hindsight.view.open[hindsight.index].any()
    assert len(given) == 2
    assert all(len(index) for index in given)
    all_ = np.concatenate(given)
    assert len(set(all_.tolist())) == len(all_)
    assert (PYRAMID.windows.distance[all_] >= FAR_FROM_M).all()
    assert (PYRAMID.windows.distance[all_] <= FAR_TO_M).all()


def test_what_was_felt_counts_nearby_too():
    kept = memory()
    kept.move(np.zeros(2))
    keep(kept, 0.0)
    xyz = ground_between(5.0, 10.0)[0]
    kept.move(np.array([5.0, 0.0]))
    note(kept, xyz, np.full(len(xyz), SEEN_GROUND))
    kept.move(np.array([10.0, 0.0]))
    bump = [(9.0, y, z) for y in np.arange(-0.5, 0.5, 0.05) for z in np.arange(0.1, 0.8, 0.05)]
    note(kept, bump, [BUMPED] * len(bump))
    hindsight = kept.look_back(kept.due())
    near = PYRAMID.windows.distance[hindsight.index] < FAR_FROM_M
    assert near.any()
    assert hindsight.labels.felt[hindsight.index[near]].all()


def test_places_older_than_a_view_are_not_in_it():
    kept = memory()
    kept.move(np.zeros(2))
    xyz = ground_between(10.0, 60.0)[0]
    note(kept, xyz, np.full(len(xyz), DRIVEN))  # what was felt then may have moved since
    kept.move(np.array([1.0, 0.0]))
    keep(kept, 1.0)
    for x in (4.0, 8.0, 12.0):
        kept.move(np.array([x, 0.0]))
    assert not len(kept.look_back(kept.due()).index)


def test_nobody_is_due_in_an_empty_memory():
    assert memory().due() is None
    assert memory().view_due
    assert memory().note_due
