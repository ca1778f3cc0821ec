# SPDX-License-Identifier: Apache-2.0
"""Exact little scenes for tests: a textured plane and boxes, seen by an uneven camera."""

import cv2
import numpy as np

from perception.types import Camera, DepthGrid, GroundPlane

# non-square, fx != fy, principal point off centre
CAMERA = Camera(520, 380, 362.0, 356.0, 249.5, 196.0, 'left')
BASELINE_M = 0.12
FOCAL_BASELINE = CAMERA.fx * BASELINE_M


def plane(height_m=1.05, pitch=0.09, roll=0.06, camera=CAMERA, focal_baseline=FOCAL_BASELINE):
    """Ground seen by a camera at that height, looking down by pitch, right side down by roll."""
    normal = np.array([-np.sin(roll), -np.cos(roll) * np.cos(pitch),
                       -np.cos(roll) * np.sin(pitch)])
    return GroundPlane.from_normal(normal, height_m, camera, focal_baseline)


def plane_grid(ground, step=2, noise_px=0.0, seed=0):
    """DepthGrid of nothing but the plane, NaN above the horizon."""
    camera = ground.camera
    shape = (camera.height // step, camera.width // step)
    grid = DepthGrid(np.zeros(shape, np.float32), camera, ground.focal_baseline, step)
    u, v = grid.uv
    disparity = ground.disparity(u[None], v[:, None])
    disparity = disparity + np.random.default_rng(seed).normal(0, noise_px, shape)
    disparity[disparity < 0.3] = np.nan
    return DepthGrid(disparity.astype(np.float32), camera, ground.focal_baseline, step)


def with_wall(grid, depth_m, columns, top_row, foot_row):
    """The grid with a wall at one depth over some columns and rows (grid pixels)."""
    disparity = grid.disparity.copy()
    disparity[top_row:foot_row, columns] = grid.focal_baseline / depth_m
    return DepthGrid(disparity, grid.camera, grid.focal_baseline, grid.step)


def texture(shape, seed=0):
    """Image with detail at several scales, (H, W) uint8."""
    rng = np.random.default_rng(seed)
    image = np.zeros(shape, np.float32)
    for cell in (2, 5, 13, 40):
        small = rng.random((shape[0] // cell + 1, shape[1] // cell + 1)).astype(np.float32)
        image += cv2.resize(small, shape[::-1], interpolation=cv2.INTER_CUBIC)
    return np.clip(image / 4 * 255, 0, 255).astype(np.uint8)


def stereo_pair(ground, seed=0):
    """Left and right image of the textured plane; above the horizon a far backdrop at 1 px."""
    camera = ground.camera
    u, v = np.meshgrid(np.arange(camera.width, dtype=float), np.arange(camera.height, dtype=float))
    right = texture((camera.height, camera.width), seed)
    shift = np.maximum(ground.disparity(u, v), 1.0)
    left = cv2.remap(right, (u - shift).astype(np.float32), v.astype(np.float32), cv2.INTER_LINEAR,
                     borderMode=cv2.BORDER_REFLECT)
    return left, right
