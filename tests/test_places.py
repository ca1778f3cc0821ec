# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes import CAMERA, plane, plane_grid, with_wall
from sights import pose_at

from perception.camera import levelled_base_from_camera, project, transform
from perception.config import SupervisorConfig
from perception.places import (
    BUMPED,
    DRIVEN,
    SEEN_GROUND,
    SEEN_LOW,
    SEEN_OBSTACLE,
    STEP,
    VOXEL_M,
    Places,
    _mask_cells,
    agreed,
    bumped_places,
    driven_places,
    label_view,
    seen_places,
)
from perception.pyramid import build_pyramid
from perception.supervisor import label_points
from perception.types import FOOTLINE, GROUND, OBSTACLE, UNLABELED

PLANE = plane()
PYRAMID = build_pyramid(PLANE)
POSE = pose_at(7.0, -3.0, 0.8) @ levelled_base_from_camera(PLANE)  # somewhere, looking aside
WINDOWS = PYRAMID.windows
WALL_M = 15.0  # ahead of the camera


def sheet(x, y, z, kind, travelled_m=5.0):
    """Points of one kind on a lattice; x ahead of the camera's foot, y to its left."""
    points = np.stack(np.meshgrid(x, y, z, indexing='ij'), -1).reshape(-1, 3)
    return Places(travelled_m, transform(pose_at(7.0, -3.0, 0.8), points).astype(np.float32),
                  np.full(len(points), kind, np.uint8))


def flat(**fields):
    return sheet(np.arange(4, 60, 0.2), np.arange(-9, 9, 0.1), [0.0], SEEN_GROUND, **fields)


def wall(at_m=WALL_M, kind=SEEN_OBSTACLE, **fields):
    """A wall across the view, higher than the camera, three deep."""
    return sheet(at_m + np.arange(3) / 10, np.arange(-3, 3, 0.1), np.arange(0.3, 2.4, 0.1), kind,
                 **fields)


def seen_at(places, since_m=0.0):
    return label_view(places, since_m, POSE, PYRAMID)


def left_m():
    """Of the windows' ground points, to the left of the camera [m]."""
    return transform(levelled_base_from_camera(PLANE), WINDOWS.ground_optical)[:, 1]


def rows(depth_m, height_m):
    """Image row of a point in the middle of the view."""
    point = np.linalg.inv(levelled_base_from_camera(PLANE)) @ [depth_m, 0.0, height_m, 1]
    return project(point[:3], CAMERA)[1]


def test_a_point_falls_into_its_mask_cell_by_hand():
    """The camera at (10, 20, 2) looks along y; 4 ahead, 1 right and 0.5 below it."""
    pose = np.array([[1.0, 0, 0, 10], [0, 0, 1, 20], [0, -1, 0, 2], [0, 0, 0, 1]])
    xyz = np.array([[11, 24, 1.5], [10, 19, 2], [10, 20.9, 2], [13, 24, 2], [10, 24, 4.3]],
                   np.float32)  # then: behind, too close, out of view aside, out of view above
    cell, kind = _mask_cells(xyz, np.arange(5, dtype=np.uint8), pose, PYRAMID)
    u, v = 362 / 4 + 249.5, 356 / 8 + 196
    assert cell.tolist() == [int(v // STEP) * (520 // STEP) + int(u // STEP)] == [7885]
    assert kind.tolist() == [0]


@settings(max_examples=40, derandomize=True)
@given(st.floats(-3.1, 3.1), st.floats(-500, 500), st.integers(0, 1000))
def test_points_fall_where_the_camera_sees_them(yaw, x, seed):
    pose = pose_at(x, -x / 3, yaw) @ levelled_base_from_camera(PLANE)
    rng = np.random.default_rng(seed)
    uv = rng.uniform([2, 2], [CAMERA.width - 2, CAMERA.height - 2], (50, 2))
    uv = (uv // STEP) * STEP + 1.7  # away from the border of a cell: poses are rounded
    rays = np.c_[(uv - [CAMERA.cx, CAMERA.cy]) / [CAMERA.fx, CAMERA.fy], np.ones(50)]
    xyz = transform(pose, rays * rng.uniform(1.5, 40, (50, 1))).astype(np.float32)
    cell = _mask_cells(xyz, np.zeros(50, np.uint8), pose, PYRAMID)[0]
    columns = -(-CAMERA.width // STEP)
    twin = [int(v / STEP) * columns + int(u / STEP) for u, v in uv]
    assert cell.tolist() == twin


def test_flat_ground_is_labelled_ground_out_to_the_far():
    labels = seen_at([flat()])
    assert set(labels.label.tolist()) == {GROUND, UNLABELED}
    inside = (WINDOWS.distance > 13) & (WINDOWS.distance < 25) & (np.abs(left_m()) < 5)
    assert inside.sum() > 80
    assert (labels.label[inside & WINDOWS.valid] == GROUND).mean() > 0.95
    assert not labels.felt.any()
    assert labels.proof[labels.label == GROUND].mean() > 0.5
    assert not labels.proof[labels.label == UNLABELED].any()


def test_a_wall_is_foot_and_body_and_hides_the_ground_behind():
    labels = seen_at([flat(), wall()])
    (u, v), scale = WINDOWS.uv.T, np.array([b.scale for b in PYRAMID.bands])[WINDOWS.band]
    middle = np.abs(left_m()) < 1.5
    foot = rows(WALL_M, 0.3)  # points begin there
    at_foot = middle & (np.abs(v - foot) < scale)
    assert at_foot.sum() > 10
    assert set(labels.label[at_foot].tolist()) == {FOOTLINE}
    body = (np.abs(u - CAMERA.cx) < 40) & (v < foot - 7 * scale) & (v > rows(WALL_M, 2.2) + scale)
    assert body.sum() > 10
    assert set(labels.label[body].tolist()) == {OBSTACLE}
    open_ = seen_at([flat()]).label == GROUND
    behind = middle & (WINDOWS.distance > WALL_M + 1.5)
    assert (open_ & behind).sum() > 20
    assert not (labels.label[behind] == GROUND).any()
    before = open_ & middle & (v > foot + 7.5 * scale)
    assert before.sum() > 10
    np.testing.assert_array_equal(labels.label[before], GROUND)
    aside = open_ & (left_m() > 0.4 * WINDOWS.distance)
    assert aside.sum() > 10
    np.testing.assert_array_equal(labels.label[aside], GROUND)


def test_labels_do_not_depend_on_the_order_of_points():
    places = [flat(), wall()]
    shuffled = []
    for part in places[::-1]:
        order = np.random.default_rng(0).permutation(len(part.xyz))
        shuffled.append(Places(part.travelled_m, part.xyz[order], part.kind[order]))
    for ours, theirs in zip(vars(seen_at(places)).values(), vars(seen_at(shuffled)).values(),
                            strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_ground_counts_from_the_last_look_on_and_obstacles_for_ever():
    old_ground, new_ground = flat(travelled_m=5.0), flat(travelled_m=12.0)
    assert (seen_at([old_ground], 10.0).label == UNLABELED).all()
    assert (seen_at([new_ground], 10.0).label == GROUND).any()
    old_wall = seen_at([wall(travelled_m=5.0), new_ground], 10.0)
    new_wall = seen_at([wall(travelled_m=12.0), new_ground], 10.0)
    np.testing.assert_array_equal(old_wall.label, new_wall.label)


def test_doubtful_low_things_make_no_ground():
    low = sheet(np.arange(10, 24, 0.2), np.arange(-4, 4, 0.2), [0.3], SEEN_LOW)
    labels = seen_at([low])
    assert (labels.label == UNLABELED).all()  # and nothing by themselves
    among = (WINDOWS.distance > 14.5) & (WINDOWS.distance < 16.5) & (np.abs(left_m()) < 2)
    assert (seen_at([flat()]).label[among] == GROUND).any()
    assert not (seen_at([flat(), low]).label[among] == GROUND).any()


def test_what_was_felt_goes_before_what_was_seen():
    across = np.arange(-2, 2, 0.1)
    track = sheet(np.arange(12, 20, 0.1), across, [0.0], DRIVEN)
    driven = seen_at([track])
    assert set(driven.label.tolist()) == {GROUND, UNLABELED}
    np.testing.assert_array_equal(driven.felt, driven.label == GROUND)
    assert driven.felt.sum() > 10
    assert driven.proof[driven.felt].all()
    bump = sheet([14.0], across, np.arange(0.1, 0.8, 0.1), BUMPED)
    bumped = seen_at([flat(), track, bump])
    at_bump = np.abs(WINDOWS.uv[:, 1] - rows(14.0, 0.4)) < 3
    at_bump &= (np.abs(left_m()) < 1) & WINDOWS.valid
    assert at_bump.sum() > 5
    assert set(bumped.label[at_bump].tolist()) == {FOOTLINE}
    assert bumped.felt[at_bump].all()
    seen = seen_at([flat()]).label == GROUND
    aside = seen & (left_m() > 0.4 * WINDOWS.distance)
    np.testing.assert_array_equal(bumped.label[aside], GROUND)


def test_a_track_behind_a_wall_labels_nothing_of_the_wall():
    track = sheet(np.arange(16, 30, 0.1), np.arange(-2, 2, 0.1), [0.0], DRIVEN)
    np.testing.assert_array_equal(seen_at([wall(), track]).label, seen_at([wall()]).label)


def test_nothing_known_labels_nothing():
    for places in ([], [flat(travelled_m=1.0)]):
        labels = seen_at(places, 2.0)
        assert (labels.label == UNLABELED).all()
        assert not labels.felt.any()
        assert not labels.proof.any()


def spots(*counts):
    """Points of (ground, standing, low) on spots 3 m apart, and of each whether it is borne."""
    xyz, kind = [], []
    for spot, numbers in enumerate(counts):
        for k, number in zip((SEEN_GROUND, SEEN_OBSTACLE, SEEN_LOW), numbers, strict=True):
            xyz += [(3.0 * spot - 4, 2.1 - 3 * spot, 0.1 * n) for n in range(number)]
            kind += [k] * number
    return np.array(xyz, np.float32).reshape(-1, 3), np.array(kind, np.uint8)


@pytest.mark.parametrize(('counts', 'borne'), [
    ((4, 1, 0), (True, False, None)),  # 1 <= 0.3 * 4: flat
    ((2, 3, 0), (False, True, None)),
    ((0, 2, 0), (None, False, None)),  # two are too few
    ((3, 3, 0), (False, False, None)),  # no majority
    ((2, 0, 1), (False, None, True)),  # 1 > 0.6: doubtful
    ((4, 0, 1), (True, None, False)),
    ((0, 0, 1), (None, None, True)),
])
def test_votes_on_a_spot_by_hand(counts, borne):
    xyz, kind = spots((5, 0, 0), counts, (0, 7, 0))  # neighbours take no part
    mine = np.abs(xyz[:, 0] + 1) < 0.1
    votes = agreed(xyz, kind)
    assert votes[~mine].all()
    for k, expected in zip((SEEN_GROUND, SEEN_OBSTACLE, SEEN_LOW), borne, strict=True):
        wanted = set() if expected is None else {expected}
        assert set(votes[mine & (kind == k)].tolist()) == wanted


def test_what_was_felt_needs_no_vote():
    xyz, kind = spots((0, 9, 0))
    xyz = np.concatenate([xyz, xyz[:2]])
    assert agreed(xyz, np.append(kind, [DRIVEN, BUMPED]).astype(np.uint8)).all()
    assert agreed(np.empty((0, 3), np.float32), np.empty(0, np.uint8)).shape == (0,)


@settings(max_examples=30, derandomize=True)
@given(st.integers(0, 10_000))
def test_votes_are_their_naive_twin(seed):
    rng = np.random.default_rng(seed)
    xyz = rng.uniform([-1, 5, 0], [0.2, 5.7, 1], (40, 3)).astype(np.float32)
    kind = rng.integers(0, 5, 40).astype(np.uint8)
    spot = [tuple(np.floor(p[:2] * np.float32(1 / 0.3)).tolist()) for p in xyz]
    for i, vote in enumerate(agreed(xyz, kind)):
        here = [kind[j] for j in range(40) if spot[j] == spot[i]]
        ground, standing, low = (here.count(k) for k in range(3))
        level = standing + low <= 0.3 * ground
        assert vote == [level, standing >= 3 and standing > ground, not level, True,
                        True][kind[i]]


def seen_wall():
    grid = with_wall(plane_grid(PLANE), 6.0, slice(100, 160), 40, 120)
    config = SupervisorConfig()
    return label_points(grid, [PLANE], config), grid, config.obstacle_m


def test_seen_places_stand_where_they_are_in_odom():
    points, grid, obstacle_m = seen_wall()
    xyz, kind = seen_places(points, grid, POSE, obstacle_m)
    assert xyz.dtype == np.float32
    back = transform(np.linalg.inv(pose_at(7.0, -3.0, 0.8)), xyz)
    ground = kind == SEEN_GROUND
    assert ground.sum() > 200
    assert np.abs(back[ground, 2]).max() < 0.13
    assert back[ground, 0].min() > 2.5
    assert back[:, 0].max() < 8.5  # noted from 3 to 8 m
    standing = back[kind == SEEN_OBSTACLE]
    assert len(standing) > 20
    # depth is along the tilted axis: a point at height z is 6 / cos - (h - z) tan ahead
    assert standing[:, 0].mean() == pytest.approx(6.0, abs=0.15)
    assert standing[:, 2].min() > 0.3
    low = back[kind == SEEN_LOW]
    assert low[:, 2].max() < 1.4 * 0.25 + 0.1


def test_seen_places_are_one_a_voxel_and_kind():
    points, grid, obstacle_m = seen_wall()
    xyz, kind = seen_places(points, grid, POSE, obstacle_m)
    near = (grid.depth >= 3) & (grid.depth <= 8)
    cells = [tuple(np.floor(p * np.float32(1 / VOXEL_M)).tolist()) + (k,)
             for p, k in zip(xyz, kind, strict=True)]
    assert len(set(cells)) == len(cells)
    assert len(cells) < (near & (points.ground | points.obstacle)).sum() / 3
    mask = points.ground & (grid.depth > 3.5) & (grid.depth < 7)
    mask[:, 90:170] = False  # away from the wall, whose edges are left out
    every = transform(POSE, grid.points_optical[mask]).astype(np.float32)
    twin = {tuple(np.floor(p * np.float32(1 / VOXEL_M)).tolist()) + (SEEN_GROUND,) for p in every}
    assert twin <= set(cells)


def test_nothing_seen_gives_no_places():
    points, grid, obstacle_m = seen_wall()
    far = type(grid)(np.full_like(grid.disparity, 1.0), CAMERA, grid.focal_baseline, 2)
    xyz, kind = seen_places(points, far, POSE, obstacle_m)
    assert (xyz.shape, kind.shape) == ((0, 3), (0,))


def test_a_driven_track_by_hand():
    """0.5 m along (0.8, 0.6): three steps, four points across 0.6 m, left is (-0.6, 0.8)."""
    before, now = pose_at(1.0, 2.0, np.arctan2(3, 4)), pose_at(1.4, 2.3, np.arctan2(3, 4))
    xyz, kind = driven_places(before, now, 0.6)
    expected = [(1 + 0.4 * k / 3 - 0.6 * a, 2 + 0.3 * k / 3 + 0.8 * a, 0)
                for k in (1, 2, 3) for a in (-0.3, -0.1, 0.1, 0.3)]
    np.testing.assert_allclose(xyz, expected, atol=1e-6)
    assert set(kind.tolist()) == {DRIVEN}
    assert len(driven_places(now, now, 0.6)[0]) == 4  # standing still is one row


def test_a_bump_is_a_sheet_across_the_front_by_hand():
    xyz, kind = bumped_places(pose_at(1.0, 2.0, np.arctan2(3, 4)), 0.4, 0.5)
    assert xyz.shape == (21, 3)  # three across, seven up
    assert set(kind.tolist()) == {BUMPED}
    low = xyz[np.isclose(xyz[:, 2], 0.1)]
    np.testing.assert_allclose(low[:, :2], [(1.4 + 0.6 * 0.2, 2.3 - 0.8 * 0.2), (1.4, 2.3),
                                            (1.4 - 0.6 * 0.2, 2.3 + 0.8 * 0.2)], atol=1e-6)
    np.testing.assert_allclose(np.unique(xyz[:, 2]), np.arange(1, 8) / 10, atol=1e-6)


@settings(max_examples=30, derandomize=True)
@given(st.floats(-3.1, 3.1), st.floats(-0.4, 0.4), st.floats(-0.4, 0.4))
def test_track_and_bump_keep_their_width_on_a_tilted_robot(yaw, pitch, roll):
    cos, sin = np.cos([pitch, roll]), np.sin([pitch, roll])
    tilt = np.eye(4)
    tilt[:3, :3] = np.array([[cos[0], 0, sin[0]], [0, 1, 0], [-sin[0], 0, cos[0]]]) @ [
        [1, 0, 0], [0, cos[1], -sin[1]], [0, sin[1], cos[1]]]
    here = pose_at(3.0, 4.0, yaw) @ tilt
    there = pose_at(3.0 + np.cos(yaw), 4.0 + np.sin(yaw), yaw) @ tilt
    track, bump = driven_places(here, there, 0.7)[0], bumped_places(here, 0.7, 0.4)[0]
    assert not track[:, 2].any()
    for row in (track[:5], bump[:5]):
        assert np.hypot(*(row[-1, :2] - row[0, :2])) == pytest.approx(0.7, abs=1e-5)
    assert np.hypot(*(bump.mean(0)[:2] - here[:2, 3])) == pytest.approx(0.4, abs=1e-5)
