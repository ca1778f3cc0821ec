# SPDX-License-Identifier: Apache-2.0
"""A trunk, a low hedge and open ground as all bands see them: what enters the map, and where."""

import numpy as np
import pytest
from scenes import CAMERA, plane
from scipy.ndimage import label

from perception.camera import levelled_base_from_camera, project, transform
from perception.config import CostConfig, MapConfig, SupervisorConfig
from perception.costmap import evidence_score, occupancy
from perception.evaluation.truth import feet_uv
from perception.polar_map import PolarMap
from perception.projection import window_evidence
from perception.pyramid import build_pyramid
from perception.supervisor import labels_from_masks
from perception.types import FOOTLINE, SUPER_GROUND, UNLABELED
from perception.window_view import fuse_windows, view_evidence

GROUND = plane(roll=0.0)
POSE = levelled_base_from_camera(GROUND)
CONFIG, COST = MapConfig(), CostConfig()
GATES = SupervisorConfig(min_feet=1, min_valid=0.5)


def upright(distance, left, half_width, height):
    """Ground and obstacle masks of an upright board on flat ground; obstacles begin at 0.25 m."""
    corners = np.array([[distance, left - half_width, 0.25], [distance, left + half_width, 0.25],
                        [distance, left, height]])
    uv = project(transform(np.linalg.inv(POSE), corners), CAMERA)
    u, v = np.meshgrid(np.arange(CAMERA.width), np.arange(CAMERA.height))
    board = (u >= uv[1, 0]) & (u <= uv[0, 0]) & (v <= uv[0, 1]) & (v >= uv[2, 1])
    return (v > GROUND.row(u)) & ~board, board


def probabilities(ground, obstacle, pyramid, confidence=1.0):
    """What a network with these labels says; windows without a label say nothing."""
    labels = labels_from_masks(ground, obstacle, feet_uv(obstacle), 1, pyramid, GATES).label
    table = np.zeros((len(labels), 5), np.float32)
    known = labels != UNLABELED
    table[known] = (1 - confidence) / 5
    table[known, labels[known]] += confidence
    return table


def cells(table, frames=10):
    """Planning map after some frames from one place: cost (R, T), score, bearing, radius."""
    pyramid = build_pyramid(GROUND)
    evidence = window_evidence(pyramid, table, POSE, CONFIG)
    polar_map = PolarMap(CONFIG)
    for _ in range(frames):
        polar_map.decay()
        polar_map.add(evidence)
    planning = polar_map.planning()
    xy = planning.xy
    return (occupancy(planning.histogram, COST), evidence_score(planning.histogram, COST),
            np.arctan2(xy[..., 1], xy[..., 0]), np.hypot(xy[..., 0], xy[..., 1]))


@pytest.mark.parametrize('confidence', [1.0, 0.85])
@pytest.mark.parametrize(('distance', 'left'), [(30.0, 5.0), (30.0, -6.0), (45.0, -8.0)])
def test_a_trunk_is_one_lethal_blob_with_nothing_free_behind(distance, left, confidence):
    ground, trunk = upright(distance, left, 0.15, 6.0)
    table = probabilities(ground, trunk, build_pyramid(GROUND), confidence)
    cost, score, bearing, radius = cells(table, frames=20)
    blobs, count = label(cost == 100, np.ones((3, 3)))
    assert count == 1
    middle = np.average(radius[blobs == 1], weights=score[blobs == 1])
    assert middle == pytest.approx(np.hypot(distance, left), rel=0.15)
    behind = np.abs(bearing - np.arctan2(left, distance)) < 0.009
    behind &= radius > 1.3 * distance
    assert behind.sum() > 5
    assert not (score[behind] < 0).any()
    assert not (cost[behind] == 0).any()


def test_open_ground_is_free_where_windows_see_it():
    ground, nothing = upright(30.0, 0.0, 0.0, 0.0)
    table = probabilities(ground | nothing, np.zeros_like(nothing), build_pyramid(GROUND))
    cost, _, bearing, radius = cells(table)
    in_view = (np.abs(bearing) < 0.5) & (radius > 6) & (radius < 60)
    assert (cost[in_view] >= 0).mean() > 0.98
    assert (cost[in_view & (cost >= 0)] < 50).all()


def test_the_view_goes_on_over_a_low_hedge_but_not_over_a_wall():
    far_free = []
    for height in (0.35, 3.0):
        ground, board = upright(8.0, 0.0, 6.0, height)
        table = probabilities(ground, board, build_pyramid(GROUND))
        _, score, bearing, radius = cells(table)
        beyond = (np.abs(bearing) < 0.3) & (radius > 30) & (radius < 50)
        far_free.append((score[beyond] < 0).mean())
    assert far_free[0] > 0.8
    assert far_free[1] == 0


def test_points_of_stereo_hide_unsure_ground_behind_them():
    bearing = np.repeat(np.linspace(-0.2, 0.2, 41), 60)
    distance = np.tile(np.linspace(4, 40, 60), 41)
    table = np.tile(np.array([0.4, 0.6, 0, 0, 0]), (len(bearing), 1))
    view = fuse_windows(bearing, distance, table, row_extent=np.full(len(bearing), 0.05),
                        column_rad=np.full(len(bearing), 0.01), config=CONFIG)
    camera = np.array([5.0, -3.0, 1.0])
    points = np.array([[10.0, 0.001 * k, -0.5] for k in range(6)]) + camera  # half as high
    evidence = view_evidence(view, camera, 1.0, CONFIG, points)
    ray = evidence.points_odom[:, :2] - [5.0, -3.0]
    ahead = np.abs(np.arctan2(ray[:, 1], ray[:, 0])) < 0.004
    distances = np.hypot(*ray[ahead].T)
    assert not ((distances > 10.6) & (distances < 19.5)).any()  # the shadow of half a height
    assert ((distances > 21) & (distances < 35)).any()
    beside = np.arctan2(ray[:, 1], ray[:, 0]) > 0.1
    assert ((np.hypot(*ray[beside].T) > 11) & (np.hypot(*ray[beside].T) < 19)).any()
    assert evidence.points_odom[:, 2] == pytest.approx(0.0)


def test_a_finer_window_outweighs_a_coarse_one():
    here = np.zeros(2)
    table = np.array([[1.0, 0, 0, 0, 0], [0, 0, 1.0, 0, 0]])
    view = fuse_windows(here, here + 20, table, row_extent=np.array([0.03, 0.12]),
                        column_rad=here + 0.01, config=CONFIG)
    seen = view.probabilities[:, view.known]
    seen = seen[:, (seen[SUPER_GROUND] > 0) & (seen[FOOTLINE] > 0)]
    assert seen[SUPER_GROUND].max() > 0.95
    np.testing.assert_allclose(seen.sum(0), 1)
    shares = seen[FOOTLINE] / seen[SUPER_GROUND]
    # cubed by design: 1/64, less where the coarse window is split over more bins
    assert 0.005 < shares.max() < 0.02


def test_windows_at_the_very_feet_fuse_like_others():
    says = np.array([0.6, 0.2, 0.1, 0.07, 0.03], np.float32)
    count = 7
    view = fuse_windows(np.linspace(-0.1, 0.1, count), np.linspace(1.2, 1.9, count),
                        np.tile(says, (count, 1)), row_extent=np.full(count, 0.05),
                        column_rad=np.full(count, 0.03), config=CONFIG)
    assert view.known[:, 0].any()
    known = view.probabilities[:, view.known]
    np.testing.assert_allclose(known, np.tile(says[:, None], known.shape[1]), rtol=1e-6)


def test_weights_fall_with_distance():
    here = np.zeros(2)
    table = np.array([[1.0, 0, 0, 0, 0]] * 2)
    view = fuse_windows(here, np.array([8.0, 48.0]), table, row_extent=here + 0.05,
                        column_rad=here + 0.01, config=CONFIG)
    evidence = view_evidence(view, np.zeros(3), 1.0, CONFIG)
    distance = np.hypot(*evidence.points_odom[:, :2].T)
    expected = CONFIG.window_weight * np.minimum(1, CONFIG.distance_decay_m / distance)
    np.testing.assert_allclose(evidence.histogram.sum(1), expected, rtol=1e-5)
