# SPDX-License-Identifier: Apache-2.0
"""Messages of the chosen cameras -> frames: decoded, checked and rectified."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from perception.bag_inputs import Inputs
from perception.bag_lens import Lens, Maps, rectify, rectify_maps
from perception.bag_messages import depth_from_pixels, grey, image_from_message
from perception.bag_topics import CameraTopic, check_size
from perception.errors import ImageError
from perception.lidar import depth_from_points, moved, points_from_message
from perception.types import Camera, Float, Frame


@dataclass(frozen=True)
class FrameBuilder:
    """The camera of the frames, and the maps that the raw images still need."""

    inputs: Inputs
    camera: Camera
    left: Maps | None
    right: Maps | None

    @classmethod
    def of(cls, inputs: Inputs) -> 'FrameBuilder':
        """Builder for chosen inputs, whose images must have a calibration."""
        calibration = inputs.image.calibration
        assert calibration is not None
        model = calibration.camera
        frame_id = inputs.image.frame_id or model.frame_id
        camera = Camera(model.width, model.height, model.fx, model.fy, model.cx, model.cy,
                        frame_id)
        right = _maps(inputs.right, camera) if inputs.right else None
        return cls(inputs, camera, _maps(inputs.image, camera), right)

    @property
    def rectified(self) -> bool:
        """True where the images need no rectification."""
        return self.left is None and self.right is None

    def build(
        self, stamp_ns: int, image: Any, partner: Any = None, *,
        odom_from_base: Float | None = None, base_from_camera: Float | None = None,
        camera_from_lidar: Float | None = None,
    ) -> Frame:
        """
        Frame of an image message and, for a pair, its partner: right image, depth or cloud.

        A cloud needs ``camera_from_lidar`` (4, 4), and becomes the depth of the frame.

        Raises
        ------
        ImageError, CalibrationError, MessageError
            An image or cloud that cannot be decoded, or an image of another size than its
            CameraInfo.
        """
        chosen = self.inputs
        pixels = _pixels(image, chosen.image)
        right = depth = None
        if chosen.right:
            right = _remap(grey(_pixels(partner, chosen.right)), self.right)
        if chosen.depth:
            depth = self._depth(_pixels(partner, chosen.depth), chosen.depth)
        if chosen.lidar and camera_from_lidar is not None:
            points = points_from_message(partner, chosen.lidar.topic)
            depth = depth_from_points(moved(points, camera_from_lidar), self.camera)
        return Frame(
            stamp_ns=stamp_ns, image=_remap(pixels, self.left), camera=self.camera, right=right,
            baseline_m=chosen.baseline_m, depth=depth, odom_from_base=odom_from_base,
            base_from_camera=base_from_camera,
        )

    def _depth(self, pixels: NDArray[Any], topic: CameraTopic) -> Float:
        """Metres in the pixels of the rectified image; nearest, as depth must not be mixed."""
        depth = depth_from_pixels(pixels, topic.topic)
        size = (self.inputs.image.width, self.inputs.image.height)
        if depth.shape != size[::-1]:
            depth = np.asarray(cv2.resize(depth, size, interpolation=cv2.INTER_NEAREST_EXACT))
        if self.left is not None and not topic.rectified:
            depth = rectify(depth, self.left, nearest=True)
            depth[depth == 0] = np.nan  # outside of the raw image
        return depth


def _maps(topic: CameraTopic, camera: Camera) -> Maps | None:
    """Maps to ``camera``; a right camera with another principal point is shifted to it too."""
    calibration = topic.calibration
    assert calibration is not None
    if not topic.rectified:
        return rectify_maps(calibration.lens, camera)
    if np.allclose(calibration.camera.K, camera.K, atol=1e-3):
        return None
    return rectify_maps(Lens(calibration.camera.K), camera)


def _pixels(message: Any, topic: CameraTopic) -> NDArray[Any]:
    pixels = image_from_message(message, topic.topic)
    check_size(topic, pixels.shape)
    if (pixels.dtype != np.uint8) != (topic.pixels == 'depth'):
        raise ImageError(f'{topic.topic}: turned from {topic.pixels} to {pixels.dtype} pixels')
    return pixels


def _remap(image: NDArray[Any], maps: Maps | None) -> NDArray[Any]:
    return image if maps is None else rectify(image, maps)
