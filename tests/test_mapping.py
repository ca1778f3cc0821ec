# SPDX-License-Identifier: Apache-2.0
"""The last stage: the same as a map used by hand, and forgetting with several cameras."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perception.config import CostConfig, MapConfig
from perception.costmap import rolling_grid
from perception.grid_loops import UNKNOWN
from perception.mapping import Mapper, unknown_like
from perception.polar_map import PolarMap
from perception.projection import place
from perception.types import SUPER_GROUND, SUPER_OBSTACLE, Costmap, Observation

CONFIG, COST = MapConfig(), CostConfig(width_m=40.0)
NOTHING = Observation(np.empty((0, 3), np.float32), np.empty((0, 5), np.float32),
                      np.empty(0, np.float32))


def observation(seed=0, count=400):
    """Points on and above the ground ahead of a camera 1 m high, no class twice as likely."""
    rng = np.random.default_rng(seed)
    points = np.stack([rng.uniform(-15, 15, count), rng.uniform(-0.5, 1, count),
                       rng.uniform(1, 30, count)], 1)
    return Observation(points.astype(np.float32),
                       rng.dirichlet(np.ones(5), count).astype(np.float32),
                       rng.uniform(0.1, 2, count).astype(np.float32))


def pose(x, y, yaw):
    """odom_from_camera of a level optical frame, 1 m above (x, y)."""
    cos, sin = np.cos(yaw), np.sin(yaw)
    return np.array([[sin, 0, cos, x], [-cos, 0, sin, y], [0, -1, 0, 1.0], [0, 0, 0, 1]])


def assert_same_map(one, other):
    for name in ('centre_m', 'points_odom', 'histogram', 'counter', 'cell'):
        np.testing.assert_array_equal(getattr(one.save(), name), getattr(other.save(), name))


def test_fuse_is_the_map_used_by_hand():
    mapper, by_hand = Mapper(CONFIG, COST), PolarMap(CONFIG)
    for index in range(4):
        x, y, yaw = 3.0 * index, -1.5 * index, 0.3 * index
        seen = observation(index)
        costmap = mapper.fuse(seen, pose(x + 0.3, y, yaw), (x, y), 1000 + index)
        by_hand.move_to(x, y)
        by_hand.decay(1.0)
        by_hand.add(place(seen, pose(x + 0.3, y, yaw)))
        expected = rolling_grid(by_hand, COST, 1000 + index)
        assert_same_map(mapper.map, by_hand)
        np.testing.assert_array_equal(costmap.data, expected.data)
        assert (costmap.origin_m, costmap.stamp_ns) == (expected.origin_m, 1000 + index)
    assert len(np.unique(costmap.data)) > 20


def test_one_point_by_hand():
    """A camera at (2, 1) that looks along y: what is 5 m ahead and 2 m right stands at (4, 6)."""
    seen = Observation(np.array([[2, 0.5, 5]], np.float32),
                       np.array([[0, 0, 0, 0, 1]], np.float32), np.array([30.0], np.float32))
    costmap = Mapper(CONFIG, COST).fuse(seen, pose(2, 1, np.pi / 2), (2.0, 1.0), 9)

    def cell(x, y):
        column, row = (int(np.floor((value - origin) / costmap.resolution_m))
                       for value, origin in zip((x, y), costmap.origin_m, strict=True))
        return costmap.data[row, column]

    assert cell(4.01, 6.01) == 100
    assert cell(6.01, 4.01) == UNKNOWN
    assert (costmap.data == 100).sum() <= 9  # widened by one cell at most
    assert costmap.frame_id == 'odom'


@settings(deadline=None)
@given(st.integers(1, 4), st.floats(0.5, 1.0))
def test_shares_of_decay_multiply_to_one_frame(cameras, decay):
    """However many cameras feed the map, a round of all of them fades it as one camera would."""
    config = MapConfig(decay=decay)
    alone, shared = Mapper(config, COST), Mapper(config, COST)
    for mapper in (alone, shared):
        mapper.fuse(observation(), pose(0, 0, 0), (0.0, 0.0), 0)
    before = alone.map.save().histogram.copy()
    alone.fuse(NOTHING, pose(0, 0, 0), (0.0, 0.0), 1)
    for index in range(cameras):
        shared.fuse(NOTHING, pose(0, 0, 0), (0.0, 0.0), 1 + index, cameras=cameras)
    one, several = alone.map.save().histogram, shared.map.save().histogram
    np.testing.assert_allclose(several, one, rtol=2e-6)
    np.testing.assert_allclose(one, decay * before, rtol=1e-6)


def test_half_a_decay_by_hand():
    mapper = Mapper(MapConfig(decay=0.81), COST)
    seen = observation(count=1)
    for cameras in (1, 2, 2):
        mapper.fuse(seen, pose(0, 0, 0), (0.0, 0.0), 0, cameras=cameras)
    weight = float(seen.weight[0])  # (1 * 0.9 + 1) * 0.9 + 1
    assert mapper.map.save().histogram.sum() == pytest.approx(2.71 * weight, rel=1e-5)


def test_reset_forgets():
    mapper = Mapper(CONFIG, COST)
    mapper.fuse(observation(), pose(40, 0, 0), (40.0, 0.0), 0)
    mapper.reset()
    assert_same_map(mapper.map, PolarMap(CONFIG))
    costmap = mapper.fuse(NOTHING, pose(0, 0, 0), (0.0, 0.0), 1)
    assert (costmap.data == UNKNOWN).all()


def test_new_weights_keep_the_map():
    mapper = Mapper(CONFIG, COST)
    mapper.fuse(observation(), pose(0, 0, 0), (3.0, 0.0), 0)
    other = mapper.reconfigured(MapConfig(decay=0.5), CostConfig(gain=3.0))
    assert_same_map(other.map, mapper.map)
    assert other.map.config.decay == 0.5
    assert other.cost.gain == 3.0
    before = mapper.map.save()
    other.fuse(observation(1), pose(0, 0, 0), (3.0, 0.0), 1)  # and they go on apart
    assert mapper.map.save() is before


@pytest.mark.parametrize('changes', [
    {'cell_m': 0.25}, {'angular_cells': 360}, {'max_radius_m': 100.0},
    {'constant_cells': 76}, {'image_height_m': 0.98, 'hyperbolic_cells': 76},
])
def test_new_cells_drop_the_map(changes):
    mapper = Mapper(CONFIG, COST)
    mapper.fuse(observation(), pose(0, 0, 0), (0.0, 0.0), 0)
    config = MapConfig(**changes)
    other = mapper.reconfigured(config, COST)
    assert_same_map(other.map, PolarMap(config))
    assert len(mapper.map.save().cell) > 100
    other.fuse(observation(), pose(0, 0, 0), (0.0, 0.0), 1)
    assert len(other.map.save().cell) > 100


def test_unknown_grid_of_a_dead_input():
    costmap = Costmap(np.arange(6, dtype=np.int8).reshape(2, 3), 0.4, (-3.2, 7.6), 5, 'world')
    dead = unknown_like(costmap, 77)
    assert dead.data.tolist() == [[-1] * 3] * 2
    assert dead.data.dtype == np.int8
    assert replace(dead, data=costmap.data, stamp_ns=5) == costmap
    assert costmap.data.tolist() == [[0, 1, 2], [3, 4, 5]]


def test_ground_is_cheap_and_obstacles_are_dear():
    for klass, cost in ((SUPER_GROUND, 0), (SUPER_OBSTACLE, 100)):
        histogram = np.zeros((400, 5), np.float32)
        histogram[:, klass] = 1
        seen = replace(observation(), histogram=histogram, weight=np.full(400, 20, np.float32))
        costmap = Mapper(CONFIG, COST).fuse(seen, pose(0, 0, 0), (0.0, 0.0), 0)
        assert set(np.unique(costmap.data)) == {UNKNOWN, cost}
