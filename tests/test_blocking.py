# SPDX-License-Identifier: Apache-2.0
"""A trunk at 30 m as all bands see it: one lethal blob at its foot, nothing free behind it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import label

from perception.blocking import place_windows
from perception.config import CostConfig, MapConfig
from perception.costmap import evidence_score
from perception.footprints import split_windows
from perception.polar_geometry import planning_cells
from perception.polar_map import PolarMap
from perception.types import FOOTLINE, GROUND, OBSTACLE, SUPER_GROUND, Evidence, Float

CONFIG, COST = MapConfig(), CostConfig()
FOCAL, HEIGHT, WIDTH = 500.0, 0.69, 640  # f h = 345 px m: the pyramid of A2.2 at its own scale
BAND_WIDTHS = (352, 256, 184, 136, 96, 72)


def soft(label: Float) -> Float:
    """0.9 on the label, the rest on its neighbours: what a trained network says."""
    spread = np.array([[.9, .1, 0, 0, 0], [.05, .9, .05, 0, 0], [0, .05, .9, .05, 0],
                       [0, 0, .05, .9, .05], [0, 0, 0, .1, .9]])
    return spread[label]


def windows() -> tuple[Float, Float, Float, Float]:
    """Bearing, row below the horizon, distance and row height of bands 2-7 (A2.2)."""
    rows, columns, scales = [], [], []
    for width in BAND_WIDTHS:
        s = 484 / width
        y = s * (np.arange(6, 15) - 10) + 10.5 * s - 13.1
        u = (np.arange(width // 4) - (width // 4 - 1) / 2) * 4 * s
        grid = np.meshgrid(y, u, indexing='ij')
        rows.append(grid[0].ravel())
        columns.append(grid[1].ravel())
        scales.append(np.full(grid[0].size, s))
    y, u, s = (np.concatenate(part) for part in (rows, columns, scales))
    with np.errstate(divide='ignore'):
        depth = np.where(y > 0, FOCAL * HEIGHT / y, np.nan)
    return np.arctan2(-u, FOCAL), y, np.hypot(depth, depth * u / FOCAL), s


def trunk_labels(distance: float, bearing: float, half_width: float = 0.15) -> Float:
    """Labels of all windows when one trunk, 6 m tall, stands on flat ground (A5)."""
    angle, y, _, s = windows()
    u, centre = -np.tan(angle) * FOCAL, -np.tan(bearing) * FOCAL
    depth = distance * np.cos(bearing)
    foot, half = FOCAL * HEIGHT / depth, FOCAL * half_width / depth
    beside = np.abs(u - centre) <= half + 6 * s
    labels = np.full(len(y), SUPER_GROUND)
    labels[beside & (np.abs(y - foot) <= 2 * s)] = FOOTLINE
    labels[beside & (y < foot - 2 * s)] = OBSTACLE
    return labels


def seen(probabilities: Float) -> Evidence:
    """What windows with these probabilities tell the map, camera at the origin."""
    bearing, y, distance, s = windows()
    extent = s / np.where(y > 0, y, np.inf)
    part = split_windows(bearing, distance, extent, 4 * s / FOCAL, CONFIG)
    placed = place_windows(part.bearing_rad, part.distance_m, probabilities[part.window], CONFIG,
                           row_extent=extent[part.window])
    keep, where, angle = placed.keep, placed.distance_m, part.bearing_rad
    weight = part.share * np.minimum(1, CONFIG.distance_decay_m / where)
    points = np.stack([where * np.cos(angle), where * np.sin(angle), 0 * angle], -1)
    return Evidence(points[keep], (probabilities[part.window] * weight[:, None])[keep])


def scored(probabilities: Float, frames: int = 1) -> Float:
    """Scores S of the planning cells after some frames from the same place."""
    polar_map = PolarMap(CONFIG)
    for _ in range(frames):
        polar_map.decay()
        polar_map.add(seen(probabilities))
    return evidence_score(polar_map.planning().histogram, COST)


def ring_and_angle(distance: float, bearing: float) -> tuple[int, int]:
    xy = np.array([distance * np.cos(bearing), distance * np.sin(bearing)])
    ring, angle = divmod(int(planning_cells(xy, CONFIG)), CONFIG.angular_cells)
    return ring, angle


TRUNKS = [(distance, bearing) for distance in (30.0, 45.0) for bearing in (0.0, 0.13, -0.31)]


@pytest.mark.parametrize(('distance', 'bearing'), TRUNKS)
@pytest.mark.parametrize('frames', [0, 10])
def test_trunk_gives_one_lethal_blob_at_its_foot(distance, bearing, frames):
    labels = trunk_labels(distance, bearing)
    # 0: a perfect network for one frame; 10: a trained one for a second of driving
    score = scored(soft(labels), frames) if frames else scored(np.eye(5)[labels])
    lethal = np.roll(score >= 1, 200, axis=1)  # bearing 0 away from the seam
    ring, angle = ring_and_angle(distance, bearing)
    assert label(lethal, np.ones((3, 3)))[1] == 1
    rings, angles = np.nonzero(lethal)
    assert rings.min() - 1 <= ring <= rings.max() + 1
    assert np.ptp(rings) <= 4
    assert abs(angles.mean() - (angle + 200) % 400) <= 1.5


@pytest.mark.parametrize(('distance', 'bearing'), [*TRUNKS, (8.0, 0.0), (14.0, 0.13)])
def test_nothing_is_free_behind_the_trunk(distance, bearing):
    labels = trunk_labels(distance, bearing)
    ring, angle = ring_and_angle(distance, bearing)
    free = scored(np.eye(5)[np.full_like(labels, SUPER_GROUND)])[ring + 3:146, angle]
    assert (free < 0).all()  # without the trunk all of it would be ground
    assert (scored(np.eye(5)[labels])[ring + 3:, angle] >= 0).all()


def test_ground_before_and_beside_the_trunk_stays_free():
    score = scored(soft(trunk_labels(30.0, 0.0)))
    ring, _ = ring_and_angle(30.0, 0.0)
    assert np.median(score[40:ring - 15, 0]) < -0.5
    assert np.median(score[ring - 5:ring + 5, 10:25]) < -0.5


def test_without_blocking_the_trunk_would_be_painted_to_the_horizon():
    angle, _, distance, _ = windows()
    labels = trunk_labels(30.0, 0.0)
    painted = (labels >= FOOTLINE) & (distance > 40)
    assert painted.sum() > 10  # the case is real
    placed = place_windows(angle, distance, soft(labels), CONFIG)
    assert placed.distance_m[placed.keep & painted].max(initial=0) < 40


def test_foot_is_the_mean_of_its_rows_not_the_nearest():
    distance = 30 / (1 + 0.08 * np.array([2, 1, 0, -1, -2, -4, -6, -8]))
    labels = np.array([FOOTLINE] * 5 + [OBSTACLE] * 3)
    placed = place_windows(np.full(8, 0.003), distance, soft(labels), CONFIG, row_extent=0.08)
    assert placed.keep.tolist() == [True] * 5 + [False] * 3
    np.testing.assert_allclose(placed.distance_m[:5], 30.0, rtol=1e-3)


def test_two_trunks_one_behind_the_other_leave_the_nearer():
    near, far = trunk_labels(12.0, 0.1), trunk_labels(40.0, 0.1)
    score = scored(soft(np.maximum(near, far)), 10)
    ring, angle = ring_and_angle(40.0, 0.1)
    assert (score[ring - 3:ring + 4, angle] == 0).all()
    ring, angle = ring_and_angle(12.0, 0.1)
    assert score[ring - 2:ring + 3, angle].max() > 0.8


def test_stereo_obstacles_block_and_place_windows():
    placed = place_windows(
        np.array([0.1, 0.1, 0.1, 0.5]), np.array([5.0, 10.4, 25.0, 25.0]),
        soft(np.array([GROUND, FOOTLINE, GROUND, GROUND])), CONFIG,
        blockers=(np.array([0.1, 0.1, 0.1, 0.5]), np.array([10.0, 10.2, 10.1, 6.0])),
    )
    assert placed.keep.tolist() == [True, True, False, True]  # one point at 0.5 is an error
    np.testing.assert_allclose(placed.distance_m[:2], [5.0, 10.0])


def test_no_obstacle_points_block_nothing():
    keep = place_windows(np.array([0.1]), np.array([25.0]), soft(np.array([GROUND])), CONFIG,
                         blockers=(np.empty(0), np.empty(0))).keep
    assert keep.all()


def test_a_lone_error_among_ground_does_not_block():
    angle, _, distance, _ = windows()
    labels = np.full(len(angle), SUPER_GROUND)
    wrong = int(np.nanargmin(np.abs(distance - 20) + 50 * np.abs(angle)))
    labels[wrong] = OBSTACLE
    keep = place_windows(angle, distance, soft(labels), CONFIG).keep
    np.testing.assert_array_equal(keep, np.isfinite(distance))


def test_obstacles_beside_the_bearing_leave_the_ground():
    bearing = np.array([0.0, 0.2, 0.2])
    labels = np.array([FOOTLINE, GROUND, FOOTLINE])
    keep = place_windows(bearing, np.array([10.0, 20.0, 50.0]), soft(labels), CONFIG).keep
    assert keep.all()


def test_a_wall_across_the_seam_of_bearings_blocks_on_both_sides():
    bearing = np.pi - np.array([0.001, -0.001])
    labels = soft(np.array([FOOTLINE, GROUND]))
    placed = place_windows(bearing, np.array([10.0, 20.0]), labels, CONFIG)
    assert placed.keep.tolist() == [True, False]


def test_sky_and_empty_frames():
    sky = place_windows(np.array([0.1, np.nan]), np.array([np.nan, 3.0]),
                    soft(np.array([OBSTACLE, GROUND])), CONFIG).keep
    assert not sky.any()
    assert place_windows(np.empty(0), np.empty(0), np.empty((0, 5)), CONFIG).keep.shape == (0,)


@given(st.integers(0, 2**32 - 1), st.floats(-3.1, 3.1))
def test_turning_everything_changes_no_decision(seed, turn):
    rng = np.random.default_rng(seed)
    cells = rng.integers(-40, 40, 60) + 0.5
    distance, labels = rng.uniform(4, 80, 60), rng.integers(0, 5, 60)
    bearing, step = cells * np.pi / CONFIG.angular_cells, np.pi / CONFIG.angular_cells
    turned = bearing + round(turn / step) * step
    a, b = (place_windows(angle, distance, soft(labels), CONFIG) for angle in (bearing, turned))
    np.testing.assert_array_equal(a.keep, b.keep)
    np.testing.assert_allclose(a.distance_m[a.keep], b.distance_m[b.keep], rtol=1e-12)


@given(st.integers(0, 2**32 - 1))
def test_no_window_is_ever_moved_away_from_the_nearest_obstacle_of_its_bin(seed):
    rng = np.random.default_rng(seed)
    bearing, distance = rng.uniform(-0.5, 0.5, 80), rng.uniform(4, 80, 80)
    labels = rng.integers(0, 5, 80)
    placed = place_windows(bearing, distance, soft(labels), CONFIG)
    ground = placed.keep & (labels <= GROUND)
    np.testing.assert_allclose(placed.distance_m[ground], distance[ground])
    assert np.isfinite(placed.distance_m[placed.keep]).all()
    assert (placed.distance_m[placed.keep] <= distance[placed.keep] * 2.5).all()
