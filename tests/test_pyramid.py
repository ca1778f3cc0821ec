# SPDX-License-Identifier: Apache-2.0
import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scenes import CAMERA, plane

from perception.camera import ground_points, project
from perception.errors import GroundPlaneError
from perception.horizon import apply_affine
from perception.pyramid import (
    FOCAL_HEIGHT,
    build_pyramid,
    inside_mask,
    make_bands,
    scale_factor,
    window_counts,
    window_shares,
)
from perception.types import Camera

LAGR = Camera(512, 384, 346.5, 346.5, 255.5, 191.5)
PRINTED = {2: (50.7, np.inf), 3: (24.2, np.inf), 4: (13.8, 86.8), 5: (9.0, 34.5), 6: (5.8, 17.6),
           7: (4.1, 11.3)}


def test_seven_bands_have_the_sizes_of_the_paper():
    bands = make_bands('bands7', 512, 1.0)
    assert [(b.height, 4 * b.columns) for b in bands] == [
        (36, 484), (20, 352), (20, 256), (20, 184), (20, 136), (20, 96), (20, 72)]
    assert bands[0].width == 505
    assert sum(b.height for b in bands) == 156
    assert sum(b.rows * b.columns for b in bands) == 5491


def test_printed_ranges_within_one_per_cent():
    bands = make_bands('bands7', 512, 1.0)
    compared = 0
    for k, printed in PRINTED.items():
        for ours, theirs in zip(bands[k - 1].distance_range_m(FOCAL_HEIGHT), printed, strict=True):
            assert ours == theirs if np.isinf(theirs) else ours == pytest.approx(theirs, rel=0.01)
            compared += not np.isinf(theirs)
    assert compared == 10
    assert bands[0].distance_range_m(FOCAL_HEIGHT)[0] == pytest.approx(112.3, rel=0.01)


@given(st.floats(1.0, 6.0), st.integers(320, 1920))
def test_port_rule_keeps_metres_for_every_camera(g, width):
    for ported in make_bands('bands7', width, g):
        ours = ported.distance_range_m(FOCAL_HEIGHT * g)
        lagr = make_bands('bands7', 512, 1.0)[ported.index].distance_range_m(FOCAL_HEIGHT)
        np.testing.assert_allclose(ours, lagr)


def test_bands_are_never_up_sampled():
    assert [b.index for b in make_bands('bands7', 640, 0.5)] == [3, 4, 5, 6]
    with pytest.raises(GroundPlaneError, match='leaves no band'):
        build_pyramid(plane(height_m=0.02))


def test_dense_preset_has_24_bands_from_the_slides():
    bands = make_bands('bands24', 512, 1.0)
    assert len(bands) == 24
    assert (bands[0].height, bands[-1].height) == (36, 20)
    assert bands[-1].scale == pytest.approx(500 / 36)
    tops = [b.offset_px - b.scale * b.footline_row for b in bands]
    assert tops[0] == pytest.approx(-27.4)
    np.testing.assert_allclose(tops[1:], -13.1)


def test_footline_row_lies_at_its_offset_below_the_horizon():
    pyramid = build_pyramid(plane(), g=1.1)
    for band, affine in zip(pyramid.bands, pyramid.image_from_band, strict=True):
        ends = np.array([[0.0, band.footline_row], [band.width - 1.0, band.footline_row]])
        uv = apply_affine(affine, ends)
        below = (uv[:, 1] - pyramid.plane.row(uv[:, 0])) * np.cos(pyramid.plane.roll_rad)
        np.testing.assert_allclose(below, band.offset_px, atol=1e-9)
        np.testing.assert_allclose(np.hypot(*(uv[1] - uv[0])), band.scale * (band.width - 1))


@given(st.floats(-0.15, 0.15), st.integers(0, 6), st.floats(0, 60), st.floats(0, 19))
def test_band_pixel_to_image_pixel_and_back(roll, position, x, y):
    pyramid = build_pyramid(plane(roll=roll), g=1.0)
    uv = apply_affine(pyramid.image_from_band[position], np.array([x, y]))
    np.testing.assert_allclose(apply_affine(pyramid.band_from_image[position], uv), [x, y],
                               atol=1e-8)


def test_window_centres_ground_points_and_pixels_agree():
    pyramid = build_pyramid(plane(), g=1.08, row_stride=2)
    windows = pyramid.windows
    seen = np.isfinite(windows.depth)
    np.testing.assert_allclose(project(windows.ground_optical[seen], CAMERA), windows.uv[seen],
                               atol=1e-6)
    assert (windows.row % 2 == 0).all()
    one = np.flatnonzero((windows.band == 6) & (windows.row == 4) & (windows.column == 3))[0]
    np.testing.assert_allclose(
        windows.uv[one], apply_affine(pyramid.image_from_band[6], np.array([24.0, 10.0])))
    expected = ground_points(windows.uv[one], pyramid.plane)
    np.testing.assert_allclose(windows.ground_optical[one], expected)


def test_kitti_car_and_low_robot_both_get_windows_in_stereo_range():
    for camera, height in ((Camera(1226, 370, 707.1, 707.1, 601.9, 183.1), 1.65),
                           (Camera(640, 480, 450.0, 452.0, 322.0, 236.0), 0.35)):
        pyramid = build_pyramid(plane(height, 0.02, 0.0, camera, camera.fx * 0.3))
        distance = pyramid.windows.distance[pyramid.windows.valid]
        assert np.count_nonzero((distance > 7) & (distance < 12)) > 50


def test_outside_share_matches_a_naive_count():
    pyramid = build_pyramid(plane(roll=0.1), g=1.3)
    rng = np.random.default_rng(1)
    for n in rng.choice(len(pyramid.windows.band), 40, replace=False):
        position = pyramid.windows.band[n]
        x, y = np.meshgrid(4 * pyramid.windows.column[n] + np.arange(25),
                           pyramid.windows.row[n] + np.arange(12))
        u, v = apply_affine(pyramid.image_from_band[position], np.stack([x, y], -1)).T
        inside = (u >= -0.5) & (u <= CAMERA.width - 0.5) & (v >= -0.5) & (v <= CAMERA.height - 0.5)
        assert pyramid.windows.outside[n] == pytest.approx(1 - inside.mean(), abs=1e-5)


def test_window_shares_match_a_naive_window():
    pyramid = build_pyramid(plane(), g=1.1)
    mask = np.zeros((CAMERA.height // 2, CAMERA.width // 2, 2), np.uint8)
    cv2.circle(mask[..., 0].copy(), (120, 130), 30, 1, -1)
    yy, xx = np.mgrid[:mask.shape[0], :mask.shape[1]]
    mask[..., 0] = np.hypot(xx - 120, yy - 130) < 33
    mask[..., 1] = yy > 120
    shares = window_shares(mask, 2, pyramid)
    rng = np.random.default_rng(2)
    inside = np.flatnonzero(pyramid.windows.outside == 0)
    for n in rng.choice(inside, 60, replace=False):
        position = pyramid.windows.band[n]
        x, y = np.meshgrid(4 * pyramid.windows.column[n] + np.arange(25),
                           pyramid.windows.row[n] + np.arange(12))
        uv = apply_affine(pyramid.image_from_band[position], np.stack([x, y], -1))
        grid = np.rint((uv - 0.5) / 2).astype(int)
        naive = mask[np.clip(grid[..., 1], 0, None), grid[..., 0]].mean((0, 1))
        np.testing.assert_allclose(shares[n], naive, atol=0.04)  # rounding at mask edges


def test_window_counts_match_a_naive_count():
    pyramid = build_pyramid(plane(), g=1.1, row_stride=2)
    rng = np.random.default_rng(3)
    uv = rng.uniform((0, 150), (CAMERA.width, 300), (500, 2))
    counts = window_counts(uv, pyramid)
    for n in rng.choice(len(counts), 50, replace=False):
        position = pyramid.windows.band[n]
        centre = np.array([4 * pyramid.windows.column[n] + 12, pyramid.windows.row[n] + 6])
        xy = np.rint(apply_affine(pyramid.band_from_image[position], uv))
        band = pyramid.bands[position]
        near = (np.abs(xy[:, 0] - centre[0]) <= 6) & (np.abs(xy[:, 1] - centre[1]) <= 2)
        near &= np.all((xy >= 0) & (xy < (band.width, band.height)), axis=1)
        assert counts[n] == near.sum()


def test_inside_mask_by_hand():
    shift = np.array([[1.0, 0, -2], [0, 1, CAMERA.height - 3]])
    mask = inside_mask(shift, (5, 6), CAMERA)
    assert mask[0].tolist() == [0, 0, 255, 255, 255, 255]
    assert mask[:, 3].tolist() == [255, 255, 255, 0, 0]


def test_scale_factor_of_the_lagr_camera_is_one():
    assert scale_factor(LAGR, 1.0) == 1
