# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from perception.supervisor import occlusion_edges
from perception.teacher_loops import point_codes


@pytest.mark.parametrize('shape', [(7, 11), (1, 6), (5, 1)])
def test_edges_are_their_naive_twin(shape):
    """A step: highest and lowest of nine differ by 1 px and 12 % of the highest; no value = 0."""
    rng = np.random.default_rng(len(shape) + shape[0])
    disparity = rng.choice([9.0, 9.9, 10.4, 12.0], shape, p=[0.8, 0.1, 0.06, 0.04])
    disparity[rng.random(shape) < 0.04] = np.nan
    disparity.flat[4] = 12.0
    filled, step, edge = np.nan_to_num(disparity), np.zeros(shape, bool), np.zeros(shape, bool)

    def around(values, v, u):
        return values[max(v - 1, 0):v + 2, max(u - 1, 0):u + 2]

    for v, u in np.ndindex(*shape):
        nine = around(filled, v, u)
        step[v, u] = nine.max() - nine.min() > 1 + 0.12 * nine.max()
    for v, u in np.ndindex(*shape):
        edge[v, u] = around(step, v, u).any()
    assert edge.any()
    np.testing.assert_array_equal(occlusion_edges(disparity.astype(np.float32)), edge)


def test_codes_of_points_by_hand():
    """Ground, obstacle, low obstacle, ground on an edge, high nothing on an edge, no point."""
    ground = np.array([[True, False, False, True, False, False]])
    obstacle = np.array([[False, True, True, False, False, False]])
    edge = np.array([[False, False, False, True, True, False]])
    height = np.array([[0.1, 0.9, 0.3, 0.1, 2.5, np.nan]], np.float32)
    codes = point_codes(ground, obstacle, edge, height, 0.3500001)
    assert codes.tolist() == [[0b001, 0b110, 0b010, 0, 0b100, 0]]
