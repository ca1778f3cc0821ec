# SPDX-License-Identifier: Apache-2.0
"""Parts of windows: they share the weight, stay inside the window, and leave no gaps."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from perception.config import MapConfig
from perception.footprints import split_windows
from perception.polar_map import PolarMap
from perception.types import Evidence

CONFIG = MapConfig()


def test_a_window_at_30_m_is_split_along_the_ray_only():
    # a row from 27.8 to 32.6 m: rings 109.8 to 116.1, three parts; 0.87 degrees: one column
    part = split_windows(np.array([0.2]), np.array([30.0]), np.array([0.16]),
                         np.array([0.0152]), CONFIG)
    assert part.window.tolist() == [0, 0, 0]
    np.testing.assert_allclose(part.share, 1 / 3)
    np.testing.assert_allclose(part.bearing_rad, 0.2)
    np.testing.assert_allclose(part.distance_m, 30 / (1 + 0.16 * np.array([-1, 0, 1]) / 3))


def test_sky_stays_one_part():
    part = split_windows(np.array([0.2, 0.3]), np.array([np.nan, 20.0]), np.array([0.0, 0.01]),
                         np.array([0.01, 0.05]), CONFIG)
    assert part.window.tolist() == [0, 1, 1]
    assert np.isnan(part.distance_m[0])
    np.testing.assert_allclose(part.bearing_rad[1:], [0.2875, 0.3125])


@given(st.integers(0, 2**32 - 1))
def test_parts_share_the_weight_and_stay_in_the_window(seed):
    rng = np.random.default_rng(seed)
    bearing, distance = rng.uniform(-0.6, 0.6, 30), rng.uniform(3, 150, 30)
    row, column = rng.uniform(0.02, 0.5, 30), rng.uniform(0.005, 0.08, 30)
    part = split_windows(bearing, distance, row, column, CONFIG)
    np.testing.assert_allclose(np.bincount(part.window, part.share), 1.0)
    w = part.window
    assert (np.abs(part.bearing_rad - bearing[w]) < column[w] / 2).all()
    assert (np.abs(distance[w] / part.distance_m - 1) < row[w] / 2).all()


def test_one_row_of_windows_covers_the_ring_it_crosses():
    bearing = (np.arange(40) - 19.5) * 0.05  # 0.05 rad: 3.2 planning cells
    distance = np.full(40, 6.0)
    part = split_windows(bearing, distance, np.full(40, 0.08), np.full(40, 0.05), CONFIG)
    x, y = part.distance_m * np.cos(part.bearing_rad), part.distance_m * np.sin(part.bearing_rad)
    polar_map = PolarMap(CONFIG)
    polar_map.add(Evidence(np.stack([x, y, 0 * x], -1), part.share[:, None] * np.eye(5)[[0]]))
    covered = polar_map.planning().touched[30]
    assert covered[:60].all()
    assert covered[-60:].all()
    assert not covered[70:-70].any()
