# SPDX-License-Identifier: Apache-2.0
"""The stereo camera of the rover, and what it does to an ideal picture."""

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from perception.types import Camera, Float, Image
from perception.world.spec import WorldSpec

WIDTH, HEIGHT = 512, 384
FIELD_OF_VIEW_RAD = np.radians(70.0)
BASELINE_M = 0.12
MOUNT_X_M, MOUNT_Z_M, MOUNT_PITCH_RAD = 0.25, 1.05, 0.09
BLUR_PX = 0.5
NOISE = 2.0
LEFT_FRAME, RIGHT_FRAME = 'left_optical', 'right_optical'
BODY_FROM_OPTICAL = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])


@dataclass(frozen=True)
class Rig:
    """
    A rectified stereo camera with one world's small faults.

    ``right_tilt`` (3,) rotation vector [rad]: how far the real right eye is off its calibration.
    ``left_gain`` (3,) BGR and ``right_gain`` scale the brightness.
    """

    camera: Camera
    right_tilt: Float
    left_gain: Float
    right_gain: float

    def world_from_eyes(self, world_from_base: Float) -> tuple[Float, Float]:
        """Poses (4, 4) the left and right pictures are really taken from."""
        left = world_from_base @ base_from_left()
        right = world_from_base @ base_from_right()
        right[:3, :3] = right[:3, :3] @ Rotation.from_rotvec(self.right_tilt).as_matrix()
        return left, right


def rig_of(spec: WorldSpec) -> Rig:
    """Make the camera of one world: 0.2-0.3 px row error, 2 % gain mismatch."""
    rng = np.random.default_rng([spec.seed, 8])
    focal = WIDTH / 2 / np.tan(FIELD_OF_VIEW_RAD / 2)
    camera = Camera(WIDTH, HEIGHT, focal, focal, (WIDTH - 1) / 2, (HEIGHT - 1) / 2, LEFT_FRAME)
    rows = rng.uniform(0.2, 0.3) * rng.choice([-1, 1])
    tilt = np.array([rows / focal, 0.0, rng.uniform(-2e-4, 2e-4)])
    exposure = rng.uniform(0.92, 1.1)
    left_gain = exposure * rng.uniform(0.97, 1.03, 3)
    right_gain = exposure * (1 + rng.choice([-0.02, 0.02]))
    return Rig(camera, tilt, left_gain, float(right_gain))


def base_from_left() -> Float:
    """Mount of the left eye, (4, 4): optical frame to robot frame."""
    return _mount(BASELINE_M / 2)


def base_from_right() -> Float:
    """Mount of the right eye as calibrated, (4, 4): optical frame to robot frame."""
    return _mount(-BASELINE_M / 2)


def expose(
    left: Image, right: Image, rig: Rig, rng: np.random.Generator
) -> tuple[Image, Image]:
    """Left BGR and right grey pictures with blur, gain and noise, from ideal BGR ones."""
    grey = cv2.cvtColor(right, cv2.COLOR_BGR2GRAY)
    return (_degrade(left, rig.left_gain.astype(np.float32), rng),
            _degrade(grey, np.float32(rig.right_gain), rng))


def _degrade(image: Image, gain: Float | np.float32, rng: np.random.Generator) -> Image:
    blurred = cv2.GaussianBlur(image.astype(np.float32), (0, 0), BLUR_PX)
    noise = rng.standard_normal(image.shape, dtype=np.float32) * np.float32(NOISE)
    return np.asarray(np.clip(blurred * gain + noise + np.float32(0.5), 0, 255), np.uint8)


def _mount(y: float) -> Float:
    pitched = Rotation.from_euler('y', MOUNT_PITCH_RAD).as_matrix()
    pose = np.eye(4)
    pose[:3, :3] = pitched @ BODY_FROM_OPTICAL
    pose[:3, 3] = MOUNT_X_M, y, MOUNT_Z_M
    return pose
