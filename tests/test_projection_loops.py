# SPDX-License-Identifier: Apache-2.0
"""Loops over observed points against naive twins."""

import numpy as np
import pytest

from perception.projection_loops import observed, placed, set_points, turned, weighed


@pytest.mark.parametrize('shape', [(6, 16), (7, 9), (1, 3)])
def test_points_of_masks_are_their_naive_twin(shape):
    rng = np.random.default_rng(1)
    ground, obstacle = rng.random(shape) < 0.5, rng.random(shape) < 0.3
    ground[0, 0] = obstacle[-1, -1] = True
    disparity = rng.uniform(1, 9, shape).astype(np.float32)
    rays = rng.random(shape[1], np.float32), rng.random(shape[0], np.float32)
    xyz, first = set_points((ground, obstacle), disparity, rays, 12.0, 2)
    pixels = [(v, u) for v, u in np.argwhere(ground) if v % 2 == u % 2 == 0]
    assert first == len(pixels) > 0
    pixels += [(v, u) for v, u in np.argwhere(obstacle)]
    depth = [12.0 / disparity[v, u] for v, u in pixels]
    expected = [[z * rays[0][u], z * rays[1][v], z]
                for z, (v, u) in zip(depth, pixels, strict=True)]
    np.testing.assert_allclose(xyz, np.array(expected).T, rtol=1e-6)


def test_nothing_is_set():
    nothing = np.zeros((5, 11), bool)
    rays = np.ones(11, np.float32), np.ones(5, np.float32)
    xyz, first = set_points((nothing, nothing), np.ones((5, 11), np.float32), rays, 1.0, 2)
    assert (xyz.shape, first) == ((3, 0), 0)


def test_points_turn_and_shift_by_hand():
    """x of b is y of a, y of b is -x of a; b lies at (10, 20, 2)."""
    pose = np.array([[0.0, -1, 0, 10], [1, 0, 0, 20], [0, 0, 1, 2], [0, 0, 0, 1]])
    xyz = np.array([[9, 3, 5], [9, 4, 6], [9, 1, 7]], np.float32)
    assert placed(xyz, 1, pose).tolist() == [[6, 4], [23, 25], [3, 9]]
    found = turned(np.ascontiguousarray(xyz.T, float), np.array([2, 1]), pose)
    np.testing.assert_allclose(found, [[-6, -4], [5, 3], [np.hypot(6, 5), 5]])
    assert weighed(xyz[:2], np.array([1, 2, 0.5], np.float32)).tolist() == [[9, 6, 2.5], [9, 8, 3]]


def test_observed_joins_both_and_leaves_silence_out():
    near = np.array([[1, 2, 3], [0, 0, 1], [4, 5, 6]], np.float32)
    far = np.array([[1.0, 2, 3], [7, 8, 9], [4, 5, 6]])
    evidence = np.array([[1, 0, 3, 0, 0], [0] * 5, [0, 0, 0, 0, 2]], np.float32)
    pose = np.eye(4)
    pose[:3, 3] = 10, 20, 30
    points, histogram, weight = observed(near, (2, 0.25), far, evidence, pose)
    assert points.T.tolist() == [*near.T.tolist(), [11, 22, 33], [14, 25, 36]]
    assert histogram.T.tolist() == [[1, 0, 0, 0, 0]] * 2 + [[0, 0, 0, 0, 1]] + [
        [0.25, 0, 0.75, 0, 0], [0, 0, 0, 0, 1]]
    assert weight.tolist() == [0.25, 0.25, 0.25, 4, 2]
