# SPDX-License-Identifier: Apache-2.0
"""Loops of the cost grid against naive twins."""

import numpy as np
import pytest
from scipy.ndimage import convolve

from perception.grid_loops import BLOCK, SPREAD, around_costs, grid_sums

SETTINGS = np.array([1.2, 1.0, 0.2])
ANGLES, FINE, START, STOP = 7, 2, 2, 5
WEIGHTS = np.array([-1, -0.5, 1, 0.7, 1], np.float32)


def naive_cost(around, own):
    """One cell: sums (2,) of weighted and plain evidence, of the neighbourhood and its own."""
    if around[1] < 0.2:
        return -1
    s, alone = (1.2 * weighted / (plain + 1.0) for weighted, plain in (around, own))
    s = max(s, alone) if alone > 0 else s
    return 0 if s <= -1 else 100 if s >= 1 else 1 + round(97 * (s + 1) / 2)


@pytest.mark.parametrize('wrap', [False, True])
@pytest.mark.parametrize('alone', [False, True])
def test_costs_of_neighbourhoods_are_their_naive_twin(wrap, alone):
    rng = np.random.default_rng(3)
    height, width = 6, 9
    plain = rng.gamma(0.3, 1.0, (height, width)) * (rng.random((height, width)) < 0.4)
    sums = np.stack([plain * rng.uniform(-1, 1, plain.shape), plain])
    padded = np.pad(sums, ((0, 0), (1, 1), (0, 0))).reshape(2, -1)
    mode = 'wrap' if wrap else 'constant'
    sides = np.pad(sums, ((0, 0), (0, 0), (1, 1)), mode=mode)
    around = np.stack([convolve(part, np.ones((3, 3)), mode='constant')[:, 1:-1]
                       for part in sides])
    own = sums if alone else around
    expected = [naive_cost(around[:, r, c], own[:, r, c])
                for r in range(height) for c in range(width)]
    assert {-1, 0, 100} < set(expected) or len(set(expected)) > 10
    costs = around_costs(padded, (height, width), (wrap, alone), SETTINGS)
    assert costs.tolist() == expected


def test_sums_of_the_grid_are_their_naive_twin():
    rng = np.random.default_rng(5)
    count, step, left, top, width, height = 2 * BLOCK + 77, 0.25, -3, 4, 5, 6
    xyz = rng.uniform(-1.5, 3.0, (3, count))
    planes = rng.random((5, count), np.float32)
    cell = rng.integers(0, 7 * ANGLES * FINE * FINE, count).astype(np.int32)
    far, near = grid_sums((xyz, planes, cell), WEIGHTS, (ANGLES, FINE, START, STOP),
                          (step, (left, top, width, height)))
    expected_far = np.zeros((2, STOP - START + 2, ANGLES))
    expected_near = np.zeros((2, height + 2, width))
    for k in range(count):
        both = WEIGHTS @ planes[:, k], planes[:, k].sum()
        ring, angle = divmod(int(cell[k]), ANGLES * FINE)
        if START <= ring // FINE < STOP:
            expected_far[:, ring // FINE - START + 1, angle // FINE] += both
        column, row = (int(np.floor(xyz[axis, k] / step)) for axis in (0, 1))
        if left <= column < left + width and top <= row < top + height:
            expected_near[:, row - top + 1, column - left] += both
    assert expected_near.any()
    for sums, expected in ((far, expected_far), (near, expected_near)):
        np.testing.assert_allclose(sums[:, :-SPREAD].reshape(expected.shape), expected, rtol=1e-5,
                                   atol=1e-5)
        np.testing.assert_allclose(sums[1].sum(), planes.sum(), rtol=1e-5)


def test_without_a_near_window_the_far_cells_remain():
    nothing = np.zeros((3, 0)), np.zeros((5, 0), np.float32), np.zeros(0, np.int32)
    far, near = grid_sums(nothing, WEIGHTS, (ANGLES, FINE, START, STOP), (0.2, (0, 0, 0, 0)))
    assert (far.shape, near.shape) == ((2, 5 * ANGLES + SPREAD), (2, SPREAD))
    assert around_costs(near, (0, 0), (False, True), SETTINGS).tolist() == []
    assert set(around_costs(far, (3, ANGLES), (True, False), SETTINGS)) == {-1}
