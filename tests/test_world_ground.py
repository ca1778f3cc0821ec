# SPDX-License-Identifier: Apache-2.0
"""Worlds before anything is drawn: ground, things, top-down truth, the rover's drive."""

import numpy as np
import pytest

from perception.errors import WorldError
from perception.types import Camera, Costmap
from perception.world.content import Content, Textures, Thing, build_content
from perception.world.layout import CLEARANCE_M, Instances, scatter_objects
from perception.world.meshes import LAYERS, Part, fence_rails, kinds_of_parts
from perception.world.rover import GRAVITY, RATE_HZ, clearance, plan_motion
from perception.world.seasons import SEASONS, look_of
from perception.world.sensors import BASELINE_M, base_from_left, base_from_right, rig_of
from perception.world.spec import FENCE, GRASS, ROCK, SEASON_NAMES, SKY, TRUNK, WorldSpec
from perception.world.survey import ground_tilt_deviation, near_obstacles, visible_ids
from perception.world.terrain import PATH_STEP_M, SIZE_M, Terrain, make_terrain
from perception.world.textures import fractal_noise, recolour
from perception.world.truth import height_above_ground, obstacle_grid, obstacle_mask

SPEC = WorldSpec(seed=11, season='clear')


@pytest.fixture(scope='module')
def terrain() -> Terrain:
    return make_terrain(SPEC)


@pytest.fixture(scope='module')
def content() -> Content:
    return build_content(SPEC)


def sloped_terrain(rise: float = 0.1) -> Terrain:
    """Ground z = rise * y, path along y = 0."""
    posts = np.linspace(-SIZE_M / 2, SIZE_M / 2, 9)
    heights = np.repeat(rise * posts[:, None], 9, axis=1).astype(np.float32)
    path = np.stack([np.arange(-20, 20, PATH_STEP_M), np.zeros(80)], -1)
    far = np.full((16, 16), 50, np.float32)
    left = np.tile([0.0, 1.0], (80, 1))
    return Terrain(heights, np.zeros((16, 16, 4), np.uint8), path, left, np.zeros(80), far, far)


def no_textures() -> Textures:
    solid = np.full((8, 8, 4), 255, np.uint8)
    return Textures([], dict.fromkeys(LAYERS, solid), np.zeros((4, 4), np.uint8), 2.0)


def one_thing(part: Part, position: tuple[float, float, float], scale: float = 1.0) -> Thing:
    one = np.ones(1)
    copies = Instances(
        np.array([position]), 0 * one, scale * one, one, np.ones((1, 3)), 0 * one)
    return Thing('block', copies, [part], 3.0, 1)


def column(half: float, height: float) -> np.ndarray:
    """A wall of two triangles along x, from the ground up."""
    corners = [(-half, 0, 0), (half, 0, 0), (half, 0, height),
               (-half, 0, 0), (half, 0, height), (-half, 0, height)]
    return np.array([[*c, 0, 1, 0, 0.5, 0.5, 0] for c in corners], np.float32)


@pytest.mark.parametrize(('arguments', 'text'), [
    ({'seed': 1, 'season': 'monsoon'}, 'monsoon.*clear'),
    ({'seed': -1}, 'seed -1'),
    ({'seed': 1, 'relief': 99.0}, 'relief 99'),
])
def test_a_world_that_cannot_be_is_refused(arguments: dict, text: str) -> None:
    with pytest.raises(WorldError, match=text):
        WorldSpec(**arguments)


def test_every_season_has_its_own_colours() -> None:
    assert tuple(SEASONS) == SEASON_NAMES
    looks = [look_of(WorldSpec(3, season)) for season in SEASON_NAMES]
    greens = [look.leaf[1] @ [70, 100, 40] - look.leaf[0] @ [70, 100, 40] for look in looks]
    by_name = dict(zip(SEASON_NAMES, greens))
    assert min(by_name['clear'], by_name['straw'], by_name['forest']) > 0  # green leaves
    assert max(by_name['autumn'], by_name['frost']) < 0  # red to brown ones


def test_noise_is_tileable_and_within_its_band() -> None:
    noise = fractal_noise(64, np.random.default_rng(0), 2.0, low=3, high=6)
    assert 0 <= noise.min() < noise.max() <= 1
    steps = np.abs(np.diff(np.c_[noise, noise[:, :1]], axis=1))
    assert steps[:, -1].max() <= 1.5 * steps[:, :-1].max()


def test_recolour_maps_columns_of_rgb_and_keeps_alpha() -> None:
    texture = np.array([[[10, 20, 30, 7]]], np.uint8)
    matrix = np.array([[0, 1, 0], [2, 0, 0], [0, 0, 20.0]])
    assert recolour(texture, matrix).tolist() == [[[20, 20, 255, 7]]]


def test_height_is_linear_between_posts_and_nan_outside() -> None:
    terrain = sloped_terrain(0.1)
    assert terrain.height(np.array([3.0, -50.0]), np.array([10.0, -31.3])) == pytest.approx(
        [1.0, -3.13], abs=1e-5)
    assert np.isnan(terrain.height(np.array([SIZE_M]), np.array([0.0]))).all()


def test_flat_is_exactly_flat_and_relief_scales() -> None:
    assert not make_terrain(WorldSpec(5, flat=True)).heights.any()
    low, high = (make_terrain(WorldSpec(5, relief=r)).heights for r in (0.4, 0.8))
    np.testing.assert_allclose(2 * low, high, atol=1e-5)


def test_the_path_closes_with_even_steps(terrain: Terrain) -> None:
    steps = np.linalg.norm(np.roll(terrain.path, -1, 0) - terrain.path, axis=1)
    assert steps.max() < 1.1 * PATH_STEP_M
    assert np.median(steps) == pytest.approx(PATH_STEP_M, rel=0.02)
    assert terrain.at(terrain.path_distance, terrain.path).max() < 0.3
    lane = terrain.path + terrain.lane_offset[:, None] * terrain.normal
    assert terrain.at(terrain.lane_distance, lane).max() < 0.3


def test_things_leave_the_path_free(terrain: Terrain) -> None:
    for kind, copies in scatter_objects(SPEC, terrain, SEASONS['forest']).items():
        if len(copies):
            gap = terrain.at(terrain.path_distance, copies.position[:, :2])
            assert gap.min() > CLEARANCE_M[kind] - 0.15
            assert np.isfinite(copies.position).all()


def test_a_seed_gives_one_world_and_another_seed_another(content: Content) -> None:
    again, other = build_content(SPEC), make_terrain(WorldSpec(12))
    assert np.array_equal(content.terrain.heights, again.terrain.heights)
    assert np.array_equal(content.textures.ground[1], again.textures.ground[1])
    for a, b in zip(content.things, again.things, strict=True):
        assert np.array_equal(a.instances.position, b.instances.position)
        assert all(np.array_equal(p.mesh, q.mesh) for p, q in zip(a.parts, b.parts, strict=True))
    assert not np.array_equal(content.terrain.heights, other.heights)


def test_kinds_have_their_heights() -> None:
    parts = kinds_of_parts(np.random.default_rng(0))
    tops = {kind: max(p.mesh[:, 2].max() for p in members) for kind, (members, _) in parts.items()}
    assert tops['hay'] == pytest.approx(1.5, abs=0.01)
    assert tops['post'] == pytest.approx(1.35)
    assert tops['tuft'] == pytest.approx(1.0)
    assert tops['tree'] > 5
    assert 0.6 < tops['rock'] < 1.4


def test_rails_span_neighbours_but_not_gaps() -> None:
    posts = np.array([[0.0, 0], [2.5, 0], [10, 0]])
    mesh = fence_rails(posts, np.array([1.0, 2.0, 3.0]))
    assert mesh[:, 0].max() == pytest.approx(2.5)
    low, high = mesh[:, 2].min(), mesh[:, 2].max()
    assert (low, high) == pytest.approx((1 + 0.55 - 0.055, 2 + 1.0 + 0.055), abs=1e-5)


def test_the_grid_marks_what_stands_between_knee_and_crown() -> None:
    """Wall 2 m long at (10, 20), on ground 2 m up: z from 2.0, marked cells along x only."""
    terrain, wall = sloped_terrain(0.1), Part(column(1.0, 0.6), FENCE, card=False)
    spec = WorldSpec(0)
    thing = one_thing(wall, (10.05, 20.05, 2.005))
    grid = obstacle_grid(Content(spec, look_of(spec), terrain, [thing], no_textures()))
    row, columns = np.nonzero(grid.data == 100)
    cell = round((20.0 + SIZE_M / 2) / 0.2)
    assert set(row.tolist()) == {cell}
    first = round((9.0 + SIZE_M / 2) / 0.2)
    assert columns.tolist() == list(range(first, first + 11))
    assert grid.frame_id == 'world'
    assert grid.origin_m == (-SIZE_M / 2, -SIZE_M / 2)


@pytest.mark.parametrize(('foot', 'height', 'marked'), [
    (0.0, 0.2, False), (0.0, 0.3, True), (2.1, 1.0, False), (1.0, 3.0, True)])
def test_the_grid_keeps_to_its_heights(foot: float, height: float, marked: bool) -> None:
    spec = WorldSpec(0)
    thing = one_thing(Part(column(0.5, height), FENCE, card=False), (3.0, 0.0, foot))
    content = Content(spec, look_of(spec), sloped_terrain(0.0), [thing], no_textures())
    assert (obstacle_grid(content).data == 100).any() == marked


def test_obstacle_pixels_by_hand() -> None:
    """
    Camera 1 m above level ground, looking along +x; fx 100, fy 80, cx 2.5, cy 1.25.

    Depth z in row v is at height 1 - (v - 1.25) / 80 * z, and x = z: 72 m is the world's edge.
    """
    camera = Camera(5, 3, 100.0, 80.0, 2.5, 1.25)
    pose = np.eye(4)
    pose[:3, :3] = [[0, 0, 1], [-1, 0, 0], [0, -1, 0]]
    pose[2, 3] = 1.0
    depth = np.array([
        [np.nan, 10, 60, 70, 200],  # sky, 1.16, 1.94, 2.09 m; beyond the world
        [10, 10, 10, 10, 10],  # all 1.03 m
        [10, 70, 79.5, 106.6, 72.5],  # 0.91, 0.34 m; beyond the world from here
    ], np.float32)
    ids = np.full((3, 5), TRUNK, np.uint8)
    ids[0, 0], ids[2, 3] = SKY, GRASS
    height = height_above_ground(depth, pose, camera, sloped_terrain(0.0))
    assert height[0, 1:4] == pytest.approx([1 + 1.25 / 80 * z for z in (10, 60, 70)], abs=1e-5)
    assert obstacle_mask(ids, depth, pose, camera, sloped_terrain(0.0)).tolist() == [
        [255, 1, 1, 255, 255],
        [1, 1, 1, 1, 1],
        [1, 1, 255, 0, 255],  # ground beyond the world stays free, things there are ignored
    ]


def test_obstacle_mask_on_a_slope_uses_the_local_ground() -> None:
    camera = Camera(4, 3, 90.0, 110.0, 1.25, 1.5)
    pose = np.eye(4)
    pose[:3, :3] = [[1, 0, 0], [0, 0, 1], [0, -1, 0]]  # looks along +y, uphill
    pose[2, 3] = 1.0
    depth = np.full((3, 4), 9.0, np.float32)
    height = height_above_ground(depth, pose, camera, sloped_terrain(0.1))
    np.testing.assert_allclose(height[2], 1 - 0.5 / 110 * 9 - 0.1 * 9, atol=1e-5)
    mask = obstacle_mask(np.full((3, 4), ROCK, np.uint8), depth, pose, camera, sloped_terrain(0.1))
    assert (mask[2] == 0).all()
    flat = obstacle_mask(np.full((3, 4), ROCK, np.uint8), depth, pose, camera, sloped_terrain(0))
    assert (flat == 1).all()


@pytest.mark.parametrize('season', SEASON_NAMES)
def test_a_default_drive_passes_enough_obstacles(season: str) -> None:
    spec = WorldSpec(SEASON_NAMES.index(season) + 40, season)
    terrain = make_terrain(spec)
    things = [Thing(kind, copies, [], 1.0, 1) for kind, copies in
              scatter_objects(spec, terrain, SEASONS[season]).items()]
    content = Content(spec, look_of(spec), terrain, things, no_textures())
    free = Costmap(np.zeros((720, 720), np.int8), 0.2, (-72.0, -72.0), 0)
    motion = plan_motion(spec, terrain, free, 8.0)
    assert near_obstacles(content, motion) >= 15
    assert ground_tilt_deviation(terrain, motion) < 0.03


def test_the_tilt_deviation_of_a_plane_is_zero_and_of_a_ramp_is_not() -> None:
    spec, terrain = WorldSpec(1, flat=True), make_terrain(WorldSpec(1, flat=True))
    free = Costmap(np.zeros((720, 720), np.int8), 0.2, (-72.0, -72.0), 0)
    motion = plan_motion(spec, terrain, free, 5.0)
    assert ground_tilt_deviation(terrain, motion) < 1e-9
    rough = make_terrain(WorldSpec(1, relief=2.0))
    assert ground_tilt_deviation(rough, motion) > 0.01


def test_visible_ids_count_obstacle_pixels_within_the_span() -> None:
    instance = np.array([[1, 1, 1, 2, 2], [3, 3, 3, 4, 4]])
    obstacle = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]], np.uint8)
    depth = np.array([[20, 20, 20, 20, 20], [5, 5, 5, 20, 20.0]])
    assert visible_ids(instance, obstacle, depth, min_pixels=3).tolist() == [1]
    assert visible_ids(instance, obstacle, depth, min_pixels=2).tolist() == [1, 2]


def test_the_rover_drives_steadily_and_never_through_obstacles(content: Content) -> None:
    obstacles = obstacle_grid(content)
    motion = plan_motion(SPEC, content.terrain, obstacles, 40.0)
    track = motion.world_from_base[:, :3, 3]
    assert content.terrain.at(clearance(obstacles), track[:, :2]).min() > 0.5
    speed = np.linalg.norm(np.diff(track, axis=0), axis=1) * RATE_HZ
    assert 1.4 < speed.min() <= speed.max() < 2.3
    off_path = content.terrain.at(content.terrain.path_distance, track[:, :2]) > 1.5
    assert 0.1 < off_path.mean() < 0.95
    ground = content.terrain.height(track[:, 0], track[:, 1])
    assert np.abs(track[:, 2] - ground).max() < 0.06


def test_poses_are_rigid_and_stand_on_the_slope() -> None:
    terrain = make_terrain(WorldSpec(4, relief=2.5))
    free = Costmap(np.zeros((720, 720), np.int8), 0.2, (-72.0, -72.0), 0)
    motion = plan_motion(WorldSpec(4, relief=2.5), terrain, free, 10.0)
    rotation = motion.world_from_base[::50, :3, :3]
    np.testing.assert_allclose(
        rotation @ rotation.transpose(0, 2, 1), np.broadcast_to(np.eye(3), rotation.shape),
        atol=1e-12)
    slope = np.gradient(motion.world_from_base[:, 2, 3])
    travel = np.linalg.norm(np.gradient(motion.world_from_base[:, :3, 3], axis=0), axis=1)
    np.testing.assert_allclose(motion.world_from_base[50:-50, 2, 0],
                               (slope / travel)[50:-50], atol=0.05)


def test_odometry_drifts_by_percents_and_starts_at_the_origin(content: Content) -> None:
    motion = plan_motion(SPEC, content.terrain, obstacle_grid(content), 40.0)
    true = np.linalg.inv(motion.world_from_base[0]) @ motion.world_from_base
    np.testing.assert_allclose(motion.odom_from_base[0, :3, 3], 0, atol=1e-12)
    error = np.linalg.norm((motion.odom_from_base - true)[-1, :2, 3])
    driven = np.linalg.norm(np.diff(true[:, :3, 3], axis=0), axis=1).sum()
    assert 0.0005 < error / driven < 0.08
    assert motion.twist[:, 0].mean() == pytest.approx(driven / 40, rel=0.05)


def test_the_imu_feels_gravity_and_the_turn(content: Content) -> None:
    motion = plan_motion(SPEC, content.terrain, obstacle_grid(content), 30.0)
    assert np.linalg.norm(motion.acceleration.mean(0)) == pytest.approx(GRAVITY, abs=0.15)
    assert np.abs(motion.acceleration[:, :2]).max() < 3  # no jolts, not at the ends either
    forward = motion.world_from_base[:, :2, 0]
    yaw = np.unwrap(np.arctan2(forward[:, 1], forward[:, 0]))
    assert motion.gyro[:, 2].sum() / RATE_HZ == pytest.approx(yaw[-1] - yaw[0], abs=0.25)


def test_the_right_eye_is_a_baseline_to_the_right_but_for_a_small_tilt() -> None:
    rig = rig_of(SPEC)
    left, right = rig.world_from_eyes(np.eye(4))
    np.testing.assert_allclose(
        np.linalg.inv(left) @ right[:, 3], [BASELINE_M, 0, 0, 1], atol=1e-12)
    offset = np.linalg.inv(right[:3, :3]) @ left[:3, :3] @ [0, 0, 1.0] * rig.camera.fy
    assert 0.19 < abs(offset[1]) < 0.31  # rows
    np.testing.assert_allclose(base_from_left()[1, 3] - base_from_right()[1, 3], BASELINE_M)
    assert base_from_left()[2, 2] == pytest.approx(-np.sin(0.09))  # looks down
