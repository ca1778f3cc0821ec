# SPDX-License-Identifier: Apache-2.0
import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perception.draw import (
    CLASS_COLOURS,
    HORIZON_COLOUR,
    draw_geometry,
    film_strip,
    label_images,
    overlay,
    resize_to_width,
    window_index,
)
from perception.draw_map import (
    FREE_COLOUR,
    LETHAL_COLOUR,
    ROBOT_COLOUR,
    TRUTH_COLOUR,
    UNKNOWN_COLOUR,
    TrueMap,
    cost_colours,
    costmap_image,
    known_part,
    true_obstacles,
)
from perception.horizon import apply_affine
from perception.pyramid import COLUMN_STRIDE, build_pyramid
from perception.types import UNLABELED, Camera, Costmap, GroundPlane

CAMERA = Camera(230, 170, 210.0, 190.0, 121.0, 78.0)


def make_plane(pitch=0.1, roll=0.05, height=1.9):
    normal = np.array([
        np.sin(roll), -np.cos(roll) * np.cos(pitch), -np.cos(roll) * np.sin(pitch)])
    return GroundPlane.from_normal(normal, height, CAMERA, CAMERA.fx * 0.12)


def naive_index(pyramid, valid, u, v):
    """The nearest window of the most centred band whose tiles cover the pixel; else any band."""
    plane = pyramid.plane
    below = (v - plane.row(u)) * np.cos(plane.roll_rad)
    found = {}
    for position, band in enumerate(pyramid.bands):
        x, y = apply_affine(pyramid.band_from_image[position], np.array([u, v], float))
        column = round((x - 12) / COLUMN_STRIDE)
        row = round((y - 6) / pyramid.row_stride)
        rows = len(range(0, band.rows, pyramid.row_stride))
        if not (0 <= column < band.columns and 0 <= row < rows):
            continue
        number = pyramid.grid.slices[position].start + row * band.columns + column
        if valid[number]:
            middle = band.offset_px + band.scale * (6 + (band.rows - 1) / 2 - band.footline_row)
            found[position] = (abs(below - middle) / band.scale, number)
    best = min(
        range(len(pyramid.bands)),
        key=lambda k: abs(below - (
            pyramid.bands[k].offset_px + pyramid.bands[k].scale
            * (6 + (pyramid.bands[k].rows - 1) / 2 - pyramid.bands[k].footline_row)
        )) / pyramid.bands[k].scale,
    )
    if best in found:
        return found[best][1]
    return found[max(found)][1] if found else -1


@pytest.mark.parametrize('row_stride', [1, 2])
def test_window_index_agrees_with_naive_twin(row_stride):
    pyramid = build_pyramid(make_plane(), row_stride=row_stride)
    assert len(pyramid.bands) >= 5
    valid = pyramid.windows.outside < 0.2
    index = window_index(pyramid, valid)
    rng = np.random.default_rng(3)
    uv = np.stack([rng.integers(0, CAMERA.width, 400), rng.integers(0, CAMERA.height, 400)], -1)
    got = index[uv[:, 1], uv[:, 0]]
    expected = np.array([naive_index(pyramid, valid, u, v) for u, v in uv])
    # a pixel on the very border of two tiles may fall to either side
    assert np.mean(got == expected) > 0.97
    assert np.mean((got >= 0) == (expected >= 0)) > 0.99
    assert 0.2 < np.mean(expected >= 0) < 0.99


@settings(max_examples=40, deadline=None)
@given(st.floats(-0.1, 0.25), st.floats(-0.15, 0.15), st.floats(0.9, 2.5))
def test_window_centres_belong_to_their_own_band(pitch, roll, height):
    pyramid = build_pyramid(make_plane(pitch, roll, height))
    index = window_index(pyramid)
    windows = pyramid.windows
    pixel = np.rint(windows.uv).astype(int)
    size = (CAMERA.width, CAMERA.height)
    # a centre rounded to a whole pixel may leave the outermost tiles of its band
    last = np.array([(band.rows - 1, band.columns - 1) for band in pyramid.bands])[windows.band]
    inner = (windows.row > 0) & (windows.row < last[:, 0])
    inner &= (windows.column > 0) & (windows.column < last[:, 1])
    inside = inner & np.all((pixel >= 0) & (pixel < size), axis=1)
    chosen = index[pixel[inside, 1], pixel[inside, 0]]
    assert (chosen >= 0).all()
    own = windows.band[chosen] == windows.band[inside]
    # where the chosen window is of the same band, its centre is within one tile
    apart = np.abs(windows.column[chosen] - windows.column[inside])[own]
    assert (apart <= 1).all()
    assert own.any() or not inside.any()


def test_void_windows_are_not_shown():
    pyramid = build_pyramid(make_plane())
    valid = np.zeros(len(pyramid.grid.band), bool)
    valid[7] = True
    assert set(np.unique(window_index(pyramid, valid))) <= {-1, 7}


def test_label_images_by_hand():
    index = np.array([[-1, 0, 1], [2, 2, 3]])
    labels = np.array([4, UNLABELED, 0, 3])
    confidence = np.array([1.0, 0.9, 0.5, np.nan])
    label_image, confidence_image = label_images(labels, confidence, index)
    assert label_image.dtype == confidence_image.dtype == np.uint8
    np.testing.assert_array_equal(label_image, [[255, 4, 255], [0, 0, 3]])
    np.testing.assert_array_equal(confidence_image, [[0, 255, 0], [128, 128, 0]])


def test_overlay_paints_by_confidence():
    image = np.full((3, 4, 3), (10, 20, 30), np.uint8)
    label_image = np.full((3, 4), UNLABELED, np.uint8)
    confidence_image = np.zeros((3, 4), np.uint8)
    label_image[1, 2], confidence_image[1, 2] = 4, 255
    label_image[2, 0], confidence_image[2, 0] = 0, 0
    before = image.copy()
    picture = overlay(image, label_image, confidence_image, strongest=0.5)
    np.testing.assert_array_equal(image, before)
    expected = (image[1, 2].astype(float) + CLASS_COLOURS[4]) / 2
    np.testing.assert_allclose(picture[1, 2], expected, atol=1)
    untouched = np.ones((3, 4), bool)
    untouched[1, 2] = False
    np.testing.assert_array_equal(picture[untouched], image[untouched])


def test_overlay_of_grey_image_is_colour():
    grey = np.full((3, 5), 77, np.uint8)
    nothing = np.full((3, 5), UNLABELED, np.uint8)
    picture = overlay(grey, nothing, np.full((3, 5), 255, np.uint8))
    np.testing.assert_array_equal(picture, np.full((3, 5, 3), 77))


@pytest.mark.parametrize('zoom', [1, 3])
def test_horizon_is_drawn_where_the_plane_has_it(zoom):
    pyramid = build_pyramid(make_plane(pitch=0.08, roll=0.06))
    blank = np.zeros((CAMERA.height * zoom, CAMERA.width * zoom, 3), np.uint8)
    picture = draw_geometry(blank, pyramid, bands=False)
    assert not blank.any()
    assert HORIZON_COLOUR == (255, 255, 0)
    lit = np.clip(picture[..., 1].astype(int) - picture[..., 2], 0, None)
    for u in (20, 115, 180):
        column = round((u + 0.5) * zoom - 0.5)
        weight = lit[:, column]
        expected = (pyramid.plane.row(u) + 0.5) * zoom - 0.5
        assert weight.max() > 100
        assert abs(np.average(np.arange(len(weight)), weights=weight) - expected) <= 1.0


def test_bands_add_outlines():
    pyramid = build_pyramid(make_plane())
    blank = np.zeros((CAMERA.height, CAMERA.width, 3), np.uint8)
    assert np.any(draw_geometry(blank, pyramid) != draw_geometry(blank, pyramid, bands=False))


def test_resize_keeps_proportions():
    assert resize_to_width(np.zeros((30, 70, 3), np.uint8), 140).shape == (60, 140, 3)
    assert resize_to_width(np.zeros((30, 70), np.uint8), 35).shape == (15, 35)
    assert resize_to_width(np.zeros((480, 4), np.uint8), 720).shape == (65400, 545)


def test_film_strip_places_frames():
    pictures = [np.full((20, 40, 3), 50 * (k + 1), np.uint8) for k in range(3)]
    strip = film_strip(pictures, columns=2, width=20, gap=4)
    assert strip.shape == (2 * (10 + 4) + 4, 2 * (20 + 4) + 4, 3)
    assert (strip[4:14, 4:24] == 50).all()
    assert (strip[4:14, 28:48] == 100).all()
    assert (strip[18:28, 4:24] == 150).all()
    assert film_strip([], columns=3, width=30).ndim == 3


def costmap():
    data = np.full((5, 8), -1, np.int8)
    data[0, 1], data[2, 3], data[4, 7], data[1, 6] = 0, 100, 1, 98
    return Costmap(data, 0.5, (-2.0, 3.0), 5)


def test_costmap_image_orientation_and_colours():
    picture = costmap_image(costmap(), cell_px=3)
    assert picture.shape == (15, 24, 3)
    def cell(row, column):
        return tuple(picture[14 - 3 * row - 1, 3 * column + 1])
    assert cell(0, 1) == FREE_COLOUR
    assert cell(2, 3) == LETHAL_COLOUR
    assert cell(4, 0) == UNKNOWN_COLOUR
    assert cell(4, 7) == tuple(cost_colours()[2])
    assert cell(1, 6) == tuple(cost_colours()[99])


def test_cost_colours_darken_with_cost():
    grey = cv2.cvtColor(cost_colours()[None, 1:], cv2.COLOR_BGR2GRAY)[0].astype(int)
    assert len(grey) == 101
    assert (np.diff(grey) <= 1).all()
    assert grey[0] == 255
    assert grey[100] == 0
    assert len(np.unique(grey)) > 60


def test_true_obstacles_in_a_turned_world():
    truth = np.zeros((6, 4), np.int8)
    truth[5, 1] = 100  # world x in [1, 2), y in [5, 6)
    # odom is the world turned by +90 degrees and shifted: x_odom = 1 - y, y_odom = x + 2
    odom_from_world = np.eye(4)
    odom_from_world[:2, :2] = [[0, -1], [1, 0]]
    odom_from_world[:2, 3] = [1, 2]
    true_map = TrueMap(Costmap(truth, 1.0, (0.0, 0.0), 0, 'world'), odom_from_world)
    grid = Costmap(np.zeros((8, 16), np.int8), 0.5, (-7.0, 1.0), 0)
    standing = true_obstacles(grid, true_map)
    rows, columns = np.nonzero(standing)
    # x_odom in (-5, -4], y_odom in [3, 4): columns 4, 5 and rows 4, 5
    assert set(columns) == {4, 5}
    assert set(rows) == {4, 5}
    assert len(rows) == 4


def test_truth_and_path_are_drawn():
    truth = np.zeros((5, 8), np.int8)
    truth[2:4, 2:5] = 100
    true_map = TrueMap(Costmap(truth, 0.5, (-2.0, 3.0), 0, 'world'), np.eye(4))
    path = np.array([[-1.8, 3.2], [0.0, 3.3], [1.75, 5.25]])
    picture = costmap_image(costmap(), cell_px=9, truth=true_map, path_xy=path)
    assert np.all(picture == TRUTH_COLOUR, axis=2).any()
    # the robot stands at column (1.75 + 2) / 0.5 = 7.5, row (5.25 - 3) / 0.5 = 4.5
    assert tuple(picture[round(45 - 4.5 * 9), round(7.5 * 9)]) == ROBOT_COLOUR
    assert costmap_image(costmap(), path_xy=np.zeros((0, 2))).shape == (20, 32, 3)


def test_bands_that_miss_the_image_paint_nothing():
    pyramid = build_pyramid(make_plane(pitch=0.9, roll=0.0))
    index = window_index(pyramid)
    assert index.shape == (CAMERA.height, CAMERA.width)
    assert (index == -1).all()
    image = np.full((CAMERA.height, CAMERA.width, 3), 9, np.uint8)
    labels = np.zeros(len(pyramid.grid.band), int)
    shown = overlay(image, *label_images(labels, np.ones(len(labels)), index))
    np.testing.assert_array_equal(shown, image)
    assert draw_geometry(image, pyramid).shape == image.shape


def test_known_part_keeps_every_known_cell_in_place():
    data = np.full((40, 60), -1, np.int8)
    data[12, 30], data[20, 33] = 5, 100
    whole = Costmap(data, 0.5, (-10.0, 7.0), 3)
    part = known_part(whole, margin_m=1.0)
    assert part.data.shape == (20 - 12 + 1 + 4, 33 - 30 + 1 + 4)
    assert part.origin_m == (-10.0 + 28 * 0.5, 7.0 + 10 * 0.5)
    assert part.data[2, 2] == 5
    assert part.data[10, 5] == 100
    edge = known_part(Costmap(data[:21, :34], 0.5, (0.0, 0.0), 0), margin_m=50.0)
    assert edge.data.shape == (21, 34)
    unknown = Costmap(np.full((3, 4), -1, np.int8), 1.0, (0.0, 0.0), 0)
    assert known_part(unknown) is unknown
