# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import cv2
import numpy as np
import pytest
from scenes import BASELINE_M, CAMERA, FOCAL_BASELINE, plane, stereo_pair

from perception.config import StereoConfig
from perception.errors import CalibrationError, ImageError
from perception.stereo import depth_grid, match, refine_subpixel, to_grey
from perception.types import Frame


@pytest.fixture(scope='module')
def frame():
    left, right = stereo_pair(plane())
    return Frame(7, left, CAMERA, right, BASELINE_M)


@pytest.mark.parametrize('scale', [1, 2])
def test_disparity_of_a_textured_plane(frame, scale):
    grid = depth_grid(frame, StereoConfig(scale=scale))
    u, v = grid.uv
    truth = plane().disparity(u[None], v[:, None])
    measured = (truth > 2) & np.isfinite(grid.disparity)
    measured[:, :110 // scale] = False  # no partner beyond the left border
    error = np.abs(grid.disparity - truth)[measured]
    assert measured.sum() > 0.6 * (truth[:, 110 // scale:] > 2).sum()
    assert np.median(error) < 0.25
    assert abs(np.median((grid.disparity - truth)[measured])) < 0.1  # no half-pixel slip


@pytest.mark.parametrize('row_shift', [0.0, 0.3])
def test_refinement_undoes_pixel_locking_and_a_row_error(row_shift):
    ground = plane(roll=0.0)
    left, right = stereo_pair(ground)
    shift = np.float32([[1, 0, 0], [0, 1, -row_shift]])
    right = cv2.warpAffine(right, shift, right.shape[::-1], flags=cv2.INTER_CUBIC,
                           borderMode=cv2.BORDER_REPLICATE)
    u, v = np.meshgrid(np.arange(CAMERA.width), np.arange(CAMERA.height))
    truth = ground.disparity(u, v).astype(np.float32)
    locked = np.where(truth > 2, np.rint(truth), np.nan).astype(np.float32)
    refined = refine_subpixel(left, right, locked, 13)
    inner = (slice(CAMERA.height // 2 + 20, -20), slice(60, -60))
    before, after = (np.median(np.abs(d - truth)[inner]) for d in (locked, refined))
    assert before > 0.2  # rounded to whole pixels: far worse than any matcher
    assert after < before / 3  # by one step


def test_points_lie_on_the_plane(frame):
    grid = depth_grid(frame, StereoConfig())
    normal, offset = plane().normal_offset
    height = grid.points_optical @ normal + offset
    near = grid.depth < 6
    assert np.nanmedian(np.abs(height[near])) < 0.03


def test_grid_pixels_by_hand(frame):
    grid = depth_grid(frame, StereoConfig(scale=2))
    u, v = grid.uv
    assert (u[3], v[5]) == (6.5, 10.5)
    assert grid.focal_baseline == pytest.approx(FOCAL_BASELINE)


def test_depth_image_becomes_the_same_grid():
    depth = np.full((CAMERA.height, CAMERA.width), np.nan, np.float32)
    depth[100:200, 60:300] = 4.0
    depth[120, 80] = 3.0
    depth[121, 80] = 0.0
    depth[122, 82] = -2.0
    image = np.zeros(depth.shape, np.uint8)
    grid = depth_grid(Frame(0, image, CAMERA, depth=depth), StereoConfig())
    assert grid.depth[60, 40] == pytest.approx(3.0)  # nearest of its cell
    assert grid.depth[61, 41] == pytest.approx(4.0)  # the invalid neighbour does not count
    assert np.isnan(grid.depth[10, 10])
    np.testing.assert_allclose(
        grid.points_optical[75, 100],
        [(200.5 - CAMERA.cx) / CAMERA.fx * 4, (150.5 - CAMERA.cy) / CAMERA.fy * 4, 4], rtol=1e-5)


def test_one_camera_has_no_grid(frame):
    assert depth_grid(Frame(0, frame.image, CAMERA), StereoConfig()) is None


def test_bad_pairs_are_named(frame):
    with pytest.raises(ImageError, match='right image is 260x380, left is 520x380'):
        depth_grid(replace(frame, right=frame.right[:, :260]), StereoConfig())
    with pytest.raises(CalibrationError, match=r'stereo baseline -0\.1 m'):
        depth_grid(replace(frame, baseline_m=-0.1), StereoConfig())
    with pytest.raises(ImageError, match='depth image is 10x20'):
        depth_grid(Frame(0, frame.image, CAMERA, depth=np.ones((20, 10), np.float32)),
                   StereoConfig())
    with pytest.raises(ImageError, match='too small to match'):
        match(np.zeros((12, 20), np.uint8), np.zeros((12, 20), np.uint8), StereoConfig())


def test_to_grey_weights_channels():
    image = np.zeros((2, 3, 3), np.uint8)
    image[..., 2] = 200
    assert to_grey(image)[0, 0] == pytest.approx(0.299 * 200, abs=1)
