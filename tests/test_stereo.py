# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import cv2
import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from scenes import BASELINE_M, CAMERA, FOCAL_BASELINE, plane, stereo_pair

from perception.config import StereoConfig
from perception.disparity_loops import to_pixels
from perception.errors import CalibrationError, ImageError
from perception.stereo import depth_grid, match, refine_subpixel, to_grey
from perception.types import Camera, Frame


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


def windows(values, n, mode='reflect', **options):
    return sliding_window_view(np.pad(values, n // 2, mode, **options), (n, n))


def naive_refinement(left, right, disparity, n, camera):
    """The step as formulas over whole windows, in float64."""
    h, w = disparity.shape
    known = np.isfinite(disparity)
    share = windows(known.astype(float), n).mean((2, 3))
    mean = windows(np.where(known, disparity, 0), n).mean((2, 3)) / np.maximum(share, 1e-9)
    high = windows(np.where(known, disparity, -np.inf), n, 'constant', constant_values=-np.inf)
    low = windows(np.where(known, disparity, np.inf), n, 'constant', constant_values=np.inf)
    smooth = known & (share > 0.8) & (high.max((2, 3)) - low.min((2, 3)) < 1.5)
    seen = np.array([np.interp(np.arange(w) - mean[v], np.arange(w), right[v]) for v in range(h)])
    both, error = left + seen, left - seen
    error -= windows(error, n).mean((2, 3))
    across, down = np.zeros((2, h, w))
    across[:, 1:-1] = (both[:, 2:] - both[:, :-2]) / 4
    down[1:-1] = (both[2:] - both[:-2]) / 4
    own = common = 0.0
    for v, u in np.ndindex(h // n, w // n):
        block = (slice(v * n, v * n + n), slice(u * n, u * n + n))
        x, y, e = across[block], down[block], error[block]
        if smooth[block].mean() > 0.8:
            own += (y * y).mean() - (x * y).mean() ** 2 / max((x * x).mean(), 2)
            common += (y * e).mean() - (x * y).mean() * (x * e).mean() / max((x * x).mean(), 2)
    row_error = np.clip(-common / own, -1, 1) if own > 2 else 0.0
    error += row_error * down
    step = -windows(across * error, n).mean((2, 3)) / np.maximum(
        windows(across ** 2, n).mean((2, 3)), 2)
    moved = np.where(smooth & (np.abs(step) < 0.75), mean + np.clip(step, -0.5, 0.5), disparity)
    y = (np.arange(h)[:, None] - camera.cy) / camera.fy
    return moved + (np.arange(w) - camera.cx - mean) * row_error / camera.fx * y / (1 + y * y)


@pytest.mark.parametrize(('n', 'height', 'width'), [(5, 41, 67), (13, 41, 67), (13, 5, 67),
                                                    (13, 41, 6), (31, 20, 40)])
def test_refinement_against_a_naive_twin(n, height, width):
    """Edges, holes, and pictures smaller than a window or half of one."""
    rng = np.random.default_rng(3)
    scene = cv2.GaussianBlur(rng.uniform(0, 255, (height + 1, width + 4)), (0, 0), 1.2)
    left, right = scene[:-1, :-4].astype(np.uint8), scene[1:, 4:].astype(np.uint8)
    plain = 3.2 + 0.03 * np.arange(height)[:, None] + 0.005 * np.arange(width)
    disparity = np.rint(16 * plain).astype(np.float32) / 16
    disparity[:, max(n, width - 4):] += 4
    disparity[rng.random((height, width)) < 0.1] = np.nan
    disparity[2:20, 50:60] = np.nan
    camera = Camera(width, height, 55.0, 50.0, width / 2 + 3, height / 2 - 4)
    refined = refine_subpixel(left, right, disparity, n, camera)
    np.testing.assert_allclose(
        refined, naive_refinement(left, right, disparity, n, camera), atol=1e-5)
    assert (np.abs(refined - disparity) > 0.05).any()  # something moved


def test_sixteenths_by_hand():
    """The second row is the first with a tenth of its pixels at one pixel or more."""
    raw = np.zeros((3, 10), np.int16)
    raw[0], raw[1, 3], raw[2, 4:6] = 15, 16, (40, -16)
    raw[1, 7] = 33
    disparity = np.empty(raw.shape, np.float32)
    assert to_pixels(raw, disparity) == 1
    assert (disparity[0] == 15 / 16).all()
    assert (disparity[1, 3], disparity[1, 7], disparity[2, 4]) == (1.0, 2.0625, 2.5)
    assert np.isnan(disparity[1:]).sum() == 17
    assert to_pixels(np.zeros_like(raw), disparity) == 0


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
