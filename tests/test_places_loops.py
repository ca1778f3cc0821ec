# SPDX-License-Identifier: Apache-2.0
import cv2
import numpy as np
import pytest

from perception.places_loops import closed_masks, first_in_voxels


@pytest.mark.parametrize('seed', range(3))
def test_the_first_of_each_kind_in_a_voxel_stays(seed):
    rng = np.random.default_rng(seed)
    xyz = rng.uniform(-0.7, 0.7, (800, 3)).astype(np.float32) + [-1e3, 2e3, 0.0]
    xyz = xyz.astype(np.float32)
    kind = rng.integers(0, 3, 800).astype(np.uint8)
    cells = np.c_[np.floor(xyz * np.float32(5)), kind]
    first = np.sort(np.unique(cells, axis=0, return_index=True)[1])
    assert 100 < len(first) < 800
    np.testing.assert_array_equal(first_in_voxels(xyz, kind, 5.0), first)
    assert first_in_voxels(xyz[:0], kind[:0], 5.0).shape == (0,)


def test_masks_are_closed_as_opencv_closes_each():
    rng = np.random.default_rng(0)
    cell = rng.permutation(9 * 14)[:60]
    kind = rng.integers(0, 5, 60).astype(np.uint8)
    codes = closed_masks(cell, kind, (9, 14))
    for k in range(5):
        mask = np.zeros(9 * 14, np.uint8)
        mask[cell[kind == k]] = 1
        closed = cv2.morphologyEx(mask.reshape(9, 14), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
        np.testing.assert_array_equal(codes >> k & 1, closed)
