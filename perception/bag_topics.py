# SPDX-License-Identifier: Apache-2.0
"""Which topics of a bag are cameras: image, CameraInfo, first picture."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from perception.bag_file import is_truth
from perception.bag_lens import Calibration, calibration_from_info
from perception.bag_messages import image_from_message
from perception.errors import (
    BagError,
    CalibrationError,
    ImageError,
    MessageError,
    PerceptionError,
)

IMAGE_TYPES = ('sensor_msgs/Image', 'sensor_msgs/CompressedImage')
_TRANSPORTS = ('/compressed', '/compressedDepth')
_UNREADABLE = ('/theora', '/ffmpeg', '/zstd')


class Topics(Protocol):
    """Where topics and their first messages are looked up: a bag, or a running ROS graph."""

    @property
    def path(self) -> Path:
        """Name for error messages."""

    @property
    def topics(self) -> dict[str, str]:
        """Topic -> type, such as ``sensor_msgs/msg/Image``."""

    def of_type(self, *kinds: str) -> list[str]:
        """Topics with messages of these types (``package/Name``), sorted; never /truth."""

    def first(self, topic: str) -> tuple[int, Any] | None:
        """Stamp [ns] and first message of a topic, or None."""


@dataclass(frozen=True)
class CameraTopic:
    """An image topic, what its first message holds, and its calibration (depth may lack one)."""

    topic: str
    info_topic: str
    pixels: Literal['colour', 'grey', 'depth']
    width: int
    height: int
    frame_id: str
    first_stamp_ns: int
    calibration: Calibration | None

    @property
    def rectified(self) -> bool:
        """True where the recorded images need no rectification."""
        named = 'rect' in base_name(self.topic).rsplit('/', 1)[-1]
        return named or (self.calibration is not None and self.calibration.undistorted)

    @property
    def tx(self) -> float:
        """P[0, 3] of the CameraInfo [px m]: -fx baseline for the right camera of a pair."""
        return self.calibration.tx if self.calibration else 0.0

    @property
    def rank(self) -> tuple[Any, ...]:
        """Sort key: rectified, colour and uncompressed first, then by name."""
        named = 'rect' in base_name(self.topic).rsplit('/', 1)[-1]
        return (not named, self.pixels != 'colour', self.topic != base_name(self.topic),
                self.topic)


@dataclass(frozen=True)
class Scan:
    """Cameras with calibration, depth topics, and image topics that fail, with the error."""

    cameras: list[CameraTopic]
    depths: list[CameraTopic]
    failed: dict[str, PerceptionError]


def base_name(topic: str) -> str:
    """Topic without the transport's ending."""
    for transport in _TRANSPORTS:
        topic = topic.removesuffix(transport)
    return topic


def info_names(topic: str) -> list[str]:
    """Where the CameraInfo of an image topic may be: beside it, or below it."""
    base = base_name(topic)
    return [base.rsplit('/', 1)[0] + '/camera_info', base + '/camera_info']


def image_topics(bag: Topics) -> list[str]:
    """Image topics with messages, sorted, never /truth."""
    return [t for t in bag.of_type(*IMAGE_TYPES) if not t.endswith(_UNREADABLE)]


def scan(bag: Topics) -> Scan:
    """
    Look at the first message of every image topic and of its CameraInfo.

    Raises
    ------
    BagError
        No image topic, or none with messages.
    """
    topics = image_topics(bag)
    if not topics:
        raise _no_camera(bag)
    cameras: dict[str, CameraTopic] = {}
    failed: dict[str, PerceptionError] = {}
    for topic in topics:
        try:
            cameras[topic] = _inspect(bag, topic)
        except (BagError, ImageError, CalibrationError, MessageError) as error:
            failed[topic] = error
    found = list(cameras.values())
    return Scan(
        sorted((c for c in found if c.pixels != 'depth'), key=lambda c: c.rank),
        # 32FC1 may also be a confidence or disparity map: what is called depth comes first
        sorted((c for c in found if c.pixels == 'depth'),
               key=lambda c: ('depth' not in c.topic, c.rank)),
        failed,
    )


def missing_info(bag: Topics, topic: str) -> BagError:
    """The error for an image topic without CameraInfo."""
    looked = ' and '.join(info_names(topic))
    return BagError(
        f'{bag.path}: no CameraInfo for {topic}; looked for {looked}; record it too'
    )


def check_size(camera: CameraTopic, shape: tuple[int, ...]) -> None:
    """Raise CalibrationError where an image has another size than its CameraInfo."""
    if camera.calibration is None:
        return
    model = camera.calibration.camera
    if shape[:2] != (model.height, model.width):
        raise CalibrationError(
            f'{camera.topic}: image is {shape[1]} x {shape[0]} but {camera.info_topic} says '
            f'{model.width} x {model.height}; record the CameraInfo that belongs to the images'
        )


def _inspect(bag: Topics, topic: str) -> CameraTopic:
    first = bag.first(topic)
    if first is None:
        raise BagError(f'{bag.path}: {topic}: no message can be read; check the recording')
    stamp_ns, message = first
    info_topic, calibration = _calibration(bag, topic)
    try:
        pixels = image_from_message(message, topic)
    except ImageError:
        if calibration is None:  # no camera at all, so its pixels matter to nobody
            raise missing_info(bag, topic) from None
        raise
    is_depth = pixels.dtype != np.uint8
    if calibration is None and not is_depth:
        raise missing_info(bag, topic)
    camera = CameraTopic(
        topic, info_topic, 'depth' if is_depth else 'colour' if pixels.ndim == 3 else 'grey',
        pixels.shape[1], pixels.shape[0], message.header.frame_id.lstrip('/'), stamp_ns,
        calibration,
    )
    check_size(camera, pixels.shape)
    return camera


def _calibration(bag: Topics, topic: str) -> tuple[str, Calibration | None]:
    known = bag.of_type('sensor_msgs/CameraInfo')
    for name in info_names(topic):
        first = bag.first(name) if name in known else None
        if first is not None:
            return name, calibration_from_info(first[1], name)
    return '', None


def _no_camera(bag: Topics) -> BagError:
    names = {kind.replace('/', '/msg/') for kind in IMAGE_TYPES}
    empty = sorted(t for t, kind in bag.topics.items() if kind in names and not is_truth(t))
    if empty:
        return BagError(f'{bag.path}: zero frames: no message on {", ".join(empty)}; record again')
    held = ', '.join(sorted(bag.topics)) or 'nothing'
    return BagError(
        f'{bag.path}: no camera: no topic of type sensor_msgs/Image or CompressedImage '
        f'(the bag holds {held}); record the camera topics'
    )
