# SPDX-License-Identifier: Apache-2.0
"""What of a labelled image enters the map: ground where it is seen, feet, nothing behind them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes import CAMERA, plane, plane_grid

from perception.camera import (
    ground_points,
    levelled_base_from_camera,
    project,
    transform,
)
from perception.config import CostConfig, MapConfig, SceneConfig
from perception.costmap import occupancy
from perception.errors import ConfigError
from perception.polar_map import PolarMap
from perception.projection import place
from perception.scene import SceneLabels, SceneSpec
from perception.scene_view import FOOT_GAIN, class_costs, joined, scene_observation
from perception.supervisor import PointLabels
from perception.types import FOOTLINE, SUPER_GROUND, SUPER_OBSTACLE, Camera, GroundPlane
from perception.window_view import BEARING_CELLS

CLASSES = ('path', 'mud', 'wall', 'sky')
PATH, MUD, WALL, SKY = range(4)
CONFIG = SceneConfig(costs=['path=0', 'mud=0.25', 'wall=0.9', 'sky=none'], standing=['wall'],
                     weight=1.5)
SPEC = SceneSpec(task='scene', name='hand', sha256='', architecture='none', preprocess='bgr',
                 stride=4, classes=CLASSES, colours=((1, 2, 3),) * 4, trained=False, licence='')
COSTS, MAP = class_costs(CONFIG, SPEC), MapConfig()
GROUND = plane()  # roll and pitch; fx differs from fy, the principal point is off centre
SHAPE = CAMERA.height, CAMERA.width


def labels(confidence=0.8):
    """Path below the horizon, sky above."""
    u, v = np.meshgrid(np.arange(SHAPE[1]), np.arange(SHAPE[0]))
    label = np.where(v > GROUND.row(u), PATH, SKY).astype(np.uint8)
    return SceneLabels(label, np.full(SHAPE, confidence, np.float32))


def observed(scene, config=CONFIG, **options):
    return scene_observation(scene, GROUND, COSTS, config, MAP, **options)


def pixels(observation):
    return project(observation.points_optical, CAMERA)


def test_open_ground_lies_on_the_plane_with_the_weight_of_its_distance():
    observation = observed(labels())
    points, weight = observation.points_optical, observation.weight
    assert (points.dtype, observation.histogram.dtype, weight.dtype) == (np.float32,) * 3
    normal, offset = GROUND.normal_offset
    np.testing.assert_allclose(points @ normal + offset, 0, atol=1e-4)
    np.testing.assert_array_equal(observation.histogram[:, SUPER_GROUND], 1)
    base = transform(levelled_base_from_camera(GROUND), points)
    distance = np.hypot(base[:, 0], base[:, 1])
    np.testing.assert_allclose(
        weight, 1.5 * 0.8 * np.minimum(1, MAP.distance_decay_m / distance), rtol=1e-3)
    assert distance.max() == pytest.approx(CONFIG.max_range_m, rel=0.05)
    assert distance.max() <= CONFIG.max_range_m


def test_a_level_camera_by_hand():
    """A level camera 1.2 m up: row v sees the ground at depth 1.2 fy / (v - cy)."""
    camera = Camera(100, 80, 60.0, 48.0, 41.0, 22.0)
    ground = GroundPlane.from_normal(np.array([0.0, -1.0, 0.0]), 1.2, camera, 10.0)
    label = np.full((80, 100), SKY, np.uint8)
    label[46, 71] = MUD  # depth 1.2 * 48 / 24 = 2.4 m, 2.4 * (71 - 41) / 60 = 1.2 m to the right
    scene = SceneLabels(label, np.ones(label.shape, np.float32))
    fine = MapConfig(angular_cells=377)  # one column a pixel
    observation = scene_observation(scene, ground, COSTS, CONFIG, fine)
    assert len(observation.weight) >= 1
    x, y, z = observation.points_optical.T
    assert np.abs(z - 2.4).max() < 2.4 * 0.03
    np.testing.assert_allclose(x, 0.5 * z, rtol=1e-5)
    np.testing.assert_allclose(y, 1.2, rtol=1e-5)
    np.testing.assert_allclose(observation.histogram[:, [SUPER_GROUND, SUPER_OBSTACLE]],
                               [[0.75, 0.25]] * len(z))
    np.testing.assert_allclose(observation.weight, 1.5)


def with_wall(top=150, foot=262, left=300, right=379):
    """A wall over some columns; its lowest row is ``foot``."""
    scene = labels()
    scene.label[top:foot + 1, left:right + 1] = WALL
    return scene


def test_a_wall_enters_at_its_foot_and_hides_what_is_behind():
    observation = observed(with_wall())
    uv, histogram = pixels(observation), observation.histogram
    foot = histogram[:, FOOTLINE] > 0
    assert foot.sum() == len(np.unique(np.rint(uv[foot, 0])))  # one a column
    np.testing.assert_allclose(uv[foot, 1], 262.5, atol=1e-2)  # it meets the ground below row 262
    np.testing.assert_allclose(histogram[foot][:, [SUPER_GROUND, FOOTLINE]],
                               [[0.1, 0.9]] * foot.sum(), rtol=1e-5)
    assert uv[foot, 0].min() >= 300 - 1e-2
    assert uv[foot, 0].max() <= 379 + 1e-2
    expected = ground_points(np.column_stack([np.rint(uv[foot, 0]), uv[foot, 1]]), GROUND)
    np.testing.assert_allclose(observation.points_optical[foot], expected, rtol=1e-4)
    beside = (uv[:, 0] > 299.5) & (uv[:, 0] < 379.5)
    assert uv[beside & ~foot, 1].min() > 262  # ground above the wall is not entered
    assert (~beside).sum() > 1000


@pytest.mark.parametrize('left', range(300, 312))
def test_a_post_of_two_pixels_is_seen_wherever_it_stands(left):
    observation = observed(with_wall(left=left, right=left + 1))
    uv = pixels(observation)
    foot = observation.histogram[:, FOOTLINE] > 0
    assert 1 <= foot.sum() <= 2  # two strips where it stands between them
    assert np.isin(np.rint(uv[foot, 0]), (left, left + 1)).all()
    strip = np.rint(uv[:, 0]) // round(BEARING_CELLS * 2 * np.pi / MAP.angular_cells * CAMERA.fx)
    assert not (np.isin(strip, strip[foot]) & ~foot & (uv[:, 1] < 262)).any()


def test_specks_hide_nothing():
    scene = labels()
    scene.label[262:264, 300:302] = WALL
    np.testing.assert_array_equal(observed(scene).weight, observed(labels()).weight)


def test_what_nobody_knows_hides_and_has_no_foot():
    scene = with_wall()
    scene.label[scene.label == WALL] = 255
    observation, uv = observed(scene), pixels(observed(scene))
    assert not observation.histogram[:, FOOTLINE].any()
    assert uv[(uv[:, 0] > 300) & (uv[:, 0] < 379), 1].min() > 262


def test_a_foot_counts_more_than_the_ground_around_it():
    observation = observed(with_wall())
    foot = observation.histogram[:, FOOTLINE] > 0
    base = transform(levelled_base_from_camera(GROUND), observation.points_optical)
    decay = np.minimum(1, MAP.distance_decay_m / np.hypot(base[:, 0], base[:, 1]))
    np.testing.assert_allclose(observation.weight[foot], FOOT_GAIN * 1.5 * 0.8 * decay[foot],
                               rtol=1e-3)


def test_no_foot_without_ground_below_it():
    bottom = observed(with_wall(foot=SHAPE[0] - 1))
    assert not bottom.histogram[:, FOOTLINE].any()
    scene = with_wall()
    scene.label[263:270, 300:380] = SKY
    floating = observed(scene)
    assert not floating.histogram[:, FOOTLINE].any()
    uv = pixels(floating)
    assert uv[(uv[:, 0] > 300) & (uv[:, 0] < 379), 1].min() > 269


def test_a_wall_above_the_horizon_or_out_of_range_has_no_foot():
    for foot in (150, 159, 163):
        observation = observed(with_wall(top=100, foot=foot))
        assert not observation.histogram[:, FOOTLINE].any()


def test_void_and_classes_without_a_say_enter_nothing():
    scene = labels()
    scene.label[:] = 255
    assert len(observed(scene).weight) == 0
    scene.label[:] = SKY
    assert len(observed(scene).weight) == 0


def test_measured_points_hide_what_labels_call_ground():
    grid = plane_grid(GROUND)
    nothing = np.zeros(grid.disparity.shape, bool)
    feet = nothing.copy()
    feet[130, 100:120] = True
    grid.disparity[130, 100:120] = grid.focal_baseline / 4.0
    depth = (PointLabels(nothing, nothing, feet, grid.disparity), grid)
    scene = with_wall(foot=235, left=205, right=219)  # a foot far behind the points
    assert observed(scene).histogram[:, FOOTLINE].any()
    observation = observed(scene, depth=depth)
    u, z = pixels(observation)[:, 0], observation.points_optical[:, 2]
    inside = (u > 199.5) & (u < 240.5)
    assert z[inside].max() <= 1.05 * 4.0
    assert z[inside].max() > 3.8
    assert z[~inside].max() > 30
    assert not observation.histogram[:, FOOTLINE].any()


def test_the_map_shows_a_lethal_wall_with_free_ground_before_it():
    scene = with_wall(foot=188, left=0, right=519, top=100)
    polar_map = PolarMap(MAP)
    pose = levelled_base_from_camera(GROUND)
    for _ in range(5):
        polar_map.decay()
        polar_map.add(place(observed(scene), pose))
    planning = polar_map.planning()
    cost = occupancy(planning.histogram, CostConfig())
    foot_m = transform(pose, ground_points(np.array([CAMERA.cx, 188.0]), GROUND))[0]
    x, y = planning.xy[..., 0], planning.xy[..., 1]
    ahead = np.abs(np.arctan2(y, x)) < 0.03
    assert 10 < foot_m < 25
    assert cost[ahead & (np.abs(x - foot_m) < 0.03 * foot_m)].max() > 90
    assert (cost[ahead & (x > 3) & (x < 0.8 * foot_m)] == 0).all()
    assert (cost[ahead & (x > 1.25 * foot_m)] == -1).all()


@given(st.floats(0.0, 1.0), st.integers(0, 3))
@settings(max_examples=30, deadline=None)
def test_shares_sum_to_one_and_weights_grow_with_confidence(confidence, seed):
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 4, (SHAPE[0] // 20, SHAPE[1] // 20)).astype(np.uint8)
    label = blocks.repeat(20, 0).repeat(20, 1)
    sure = observed(SceneLabels(label, np.ones(SHAPE, np.float32)))
    doubtful = observed(SceneLabels(label, np.full(SHAPE, confidence, np.float32)))
    np.testing.assert_allclose(sure.histogram.sum(1), 1, rtol=1e-6)
    assert (sure.weight > 0).all()
    if confidence > 1e-6:
        np.testing.assert_allclose(doubtful.weight, confidence * sure.weight, rtol=1e-5)
    both = joined(sure, doubtful)
    assert len(both.weight) == len(sure.weight) + len(doubtful.weight)
    assert both.histogram.shape == (len(both.weight), 5)
    np.testing.assert_array_equal(both.points_optical[:len(sure.weight)], sure.points_optical)


@pytest.mark.parametrize(('changes', 'text'), [
    ({'costs': ['path=0', 'road=1', 'mud=0', 'wall=1', 'sky=none']},
     r"scene\.costs: no class 'road': the network's classes are path, mud, wall, sky"),
    ({'standing': ['tree']}, r"scene\.standing: no class 'tree': .*path, mud, wall, sky"),
    ({'costs': ['path=0', 'wall=1']}, r'scene\.costs: no cost of mud: .* mud=none'),
])
def test_costs_that_do_not_fit_the_network_are_named(changes, text):
    with pytest.raises(ConfigError, match=text):
        class_costs(CONFIG.model_copy(update=changes), SPEC)


def test_classes_cost_what_their_common_ones_do_unless_they_are_listed():
    spec = SPEC.model_copy(update={'common': ('smooth_ground', 'rough_ground', 'obstacle', None)})
    costs = class_costs(SceneConfig(), spec)
    np.testing.assert_allclose(costs.cost[:4], [0, 0.2, 1, np.nan], atol=1e-7)
    assert costs.standing[:4].tolist() == [False, False, True, False]
    listed = SceneConfig(costs=['mud=0.6', 'smooth_ground=0.1'], standing=['mud'])
    costs = class_costs(listed, spec)
    np.testing.assert_allclose(costs.cost[:4], [0.1, 0.6, 1, np.nan], atol=1e-7)
    assert costs.standing[:4].tolist() == [False, True, False, False]
    assert np.isnan(costs.cost[4:]).all()
