# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from scenes import CAMERA, plane

from perception.box_loops import BITS, integral_of, sums_at
from perception.pyramid import build_pyramid, sheet_integral, sums_around, window_shares
from perception.sheet import box_sums

BOX = (1, 2, 3, 4)  # of a window: from its second row and third column on, 3 rows, 4 columns


def test_fields_do_not_run_over_into_the_sums():
    """Sums over the whole sheet exceed a field by far; those over boxes are exact all the same."""
    rng = np.random.default_rng(0)
    codes = np.full((90, 300), 15, np.uint8)
    codes[20:50] = rng.integers(0, 16, (30, 300))
    counts = rng.integers(0, 900, codes.shape).astype(np.float32)
    corner = np.stack([rng.integers(0, 86, 50), rng.integers(0, 294, 50)])
    sums = sums_at(integral_of(codes, counts), corner, BOX)
    for n, (y, x) in enumerate(corner.T):
        here = (slice(y + 1, y + 4), slice(x + 2, x + 6))
        naive = [(codes[here] >> bit & 1).sum() for bit in range(BITS)] + [counts[here].sum()]
        assert sums[:, n].tolist() == naive


def test_bits_cut_at_once_are_masks_cut_one_by_one():
    pyramid = build_pyramid(plane(), g=1.1, row_stride=2)
    rng = np.random.default_rng(1)
    masks = rng.random((CAMERA.height // 2, CAMERA.width // 2, 3)) < [0.3, 0.5, 0.8]
    masks = masks.astype(np.uint8)
    codes = masks[..., 0] | masks[..., 1] << 1 | masks[..., 2] << 2
    uv = rng.uniform((0, 150), (CAMERA.width, 300), (200, 2))
    integral = sheet_integral(codes, 2, uv, pyramid)
    for size in ((12, 25), (5, 13)):
        shares, counts = sums_around(integral, pyramid, size)
        alone = window_shares(masks, 2, pyramid, size)
        # OpenCV before 5 rounds its pixels otherwise
        assert np.isclose(shares[:3].T, alone, atol=0.02).mean() > 0.99
        assert not shares[3].any()
        assert counts.max() > 3


@pytest.mark.parametrize('channels', [1, 4])
def test_boxes_of_masks_and_of_counts_agree(channels):
    rng = np.random.default_rng(2)
    masks = rng.integers(0, 2, (20, 40, channels)).astype(np.uint8)
    first = np.stack([rng.integers(0, 15, 9), rng.integers(0, 30, 9)])
    sums = box_sums(masks, first, (5, 10))
    for channel in range(channels):
        alone = box_sums(masks[..., channel].astype(np.float32), first, (5, 10))
        np.testing.assert_array_equal(sums[:, channel], alone[:, 0])
