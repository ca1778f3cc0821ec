# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from perception.horizon import apply_affine
from perception.sheet import box_sums, count, cut, inside_columns, lay_sheet, shifted
from perception.sheet_loops import fill_between
from perception.types import Camera

CAMERA = Camera(60, 40, 50.0, 50.0, 29.5, 19.5)


def turned(angle, scale, shift):
    """Affine (2, 3): scale and turn, then shift."""
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    return np.array([[cos, -sin, shift[0]], [sin, cos, shift[1]]])


def test_bands_lie_side_by_side():
    sheet = lay_sheet(((3, 7), (2, 5), (4, 6)))
    assert sheet.size == (4, 18)
    assert sheet.left.tolist() == [0, 7, 12]
    assert sheet.places[1] == (slice(0, 2), slice(7, 12))
    assert sheet.first_row.tolist() == [0, 3, 5]
    assert sheet.band.tolist() == [0, 0, 0, 1, 1, 2, 2, 2, 2]
    assert sheet.row.tolist() == [0, 1, 2, 0, 1, 0, 1, 2, 3]


def test_bands_are_cut_each_by_its_own_affine():
    image = np.arange(40 * 60, dtype=np.uint16).reshape(40, 60).astype(np.uint8)[..., None]
    sheet = lay_sheet(((3, 7), (4, 5)))
    affines = np.array([[[1.0, 0, 10], [0, 1, 20]], [[2.0, 0, 30], [0, 3, 5]]])
    canvas = cut(image, affines, sheet)
    np.testing.assert_array_equal(canvas[:3, :7], image[20:23, 10:17])
    np.testing.assert_array_equal(canvas[:4, 7:], image[5:17:3, 30:40:2])
    assert not canvas[3, :7].any()


def test_points_are_counted_on_every_band_that_shows_them():
    sheet = lay_sheet(((3, 7), (4, 5)))
    affines = np.array([[[1.0, 0, -10], [0, 1, -20]], [[0.5, 0, -5], [0, 0.5, -9]]])
    hits = count(np.array([[12.2, 21.4], [12.4, 20.6], [19.0, 25.0]]), affines, sheet)
    # band 0: (2.2, 1.4) and (2.4, 0.6), the third is beyond
    # band 1: (1.1, 1.7), (1.2, 1.3) and (4.5, 3.5), where 3.5 rounds to 4, below the last row
    expected = np.zeros((4, 12))
    expected[1, 2], expected[2, 8], expected[1, 8] = 2, 1, 1
    np.testing.assert_array_equal(hits, expected)


@pytest.mark.parametrize('size', [(2, 3), (4, 5)])
@pytest.mark.parametrize('kind', ['masks', 'counts'])
def test_box_sums_are_the_sums_over_the_boxes(size, kind):
    rng = np.random.default_rng(4)
    canvas = (rng.integers(0, 2, (9, 23, 3)).astype(np.uint8) if kind == 'masks'
              else rng.integers(0, 40, (9, 23)).astype(np.float32))
    first = np.array([[0, 3, 9 - size[0]], [0, 11, 23 - size[1]]])
    naive = [canvas[y:y + size[0], x:x + size[1]].sum((0, 1)) for y, x in first.T]
    np.testing.assert_array_equal(box_sums(canvas, first, size), np.reshape(naive, (3, -1)))


@pytest.mark.parametrize('angle', [0.0, 0.3, -0.2])
def test_inside_columns_are_those_whose_pixels_lie_in_the_image(angle):
    affine, (height, width) = turned(angle, 1.7, (-8.3, 11.2)), (25, 50)
    first, last = inside_columns(affine, np.arange(height), CAMERA)
    y, x = np.mgrid[:height, :width]
    u, v = apply_affine(affine, np.stack([x, y], -1)).transpose(2, 0, 1)
    inside = (u >= -0.5) & (u <= 59.5) & (v >= -0.5) & (v <= 39.5)
    mask = np.zeros((height, width), np.uint8)
    fill_between(first, last, mask)
    np.testing.assert_array_equal(mask, inside * 255)
    assert 0 < inside.sum() < inside.size


def test_a_row_on_the_border_is_inside_and_one_beyond_is_not():
    affine = np.array([[1.0, 0, 0], [0, 1, -0.5]])
    first, last = inside_columns(affine, np.array([-1, 0, 40, 41]), CAMERA)
    assert ((first <= 0) & (last >= 59)).tolist() == [False, True, True, False]
    assert np.isfinite([first, last]).all()
    barely = np.array([[1.0, 0, 0], [1e-200, 1, 0.2]])  # a roll that no float32 holds
    assert np.isfinite(inside_columns(barely, np.array([3]), CAMERA)).all()


def test_shifted_affines_start_elsewhere():
    affines = np.stack([turned(0.3, 1.7, (2, 3)), turned(-0.1, 0.9, (5, -4))])
    for moved, affine in zip(shifted(affines, (-6, 2)), affines, strict=True):
        np.testing.assert_allclose(apply_affine(moved, np.array([6.0, -2.0])),
                                   apply_affine(affine, np.array([0.0, 0.0])))
