# SPDX-License-Identifier: Apache-2.0
"""The ``/truth`` topics of a bag made by ``lagr world``."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from perception.bag import BagSource
from perception.bag_messages import image_from_message
from perception.bag_poses import pose_matrix
from perception.errors import BagError
from perception.evaluation.truth import TruthFrame
from perception.types import Float, Frame, Image

OBSTACLE_TOPIC, DEPTH_TOPIC, POSE_TOPIC = TOPICS = (
    '/truth/left/obstacle', '/truth/left/depth', '/truth/odom'
)
MILLIMETRE = np.float32(1e-3)
POSE_TOLERANCE_NS = 20_000_000


@dataclass(frozen=True)
class Truth:
    """
    Truth of a whole bag by stamp [ns].

    ``obstacle`` (H, W) uint8 and ``depth_mm`` (H, W) uint16 (0 = sky or beyond 65.5 m) of some
    frames; ``world_from_base`` (4, 4) float64 many times a second.
    """

    obstacle: dict[int, Image]
    depth_mm: dict[int, Image]
    world_from_base: dict[int, Float]

    @property
    def stamps(self) -> list[int]:
        """Stamps that have everything, in order."""
        return sorted(s for s in self.obstacle.keys() & self.depth_mm.keys()
                      if self._nearest_pose(s) is not None)

    def at(self, frame: Frame) -> TruthFrame:
        """
        Truth in the pixels of a frame, whose stamp is one of ``stamps``.

        Raises
        ------
        BagError
            The frame has no mount, or another size than the truth.
        """
        stamp, camera = frame.stamp_ns, frame.camera
        if frame.base_from_camera is None:
            raise BagError(
                '/tf_static: no mount of the camera; evaluation needs base_link -> camera there'
            )
        mask, pose = self.obstacle[stamp], self._nearest_pose(stamp)
        assert pose is not None
        if mask.shape != (camera.height, camera.width):
            raise BagError(
                f'{OBSTACLE_TOPIC}: {mask.shape[1]}x{mask.shape[0]} does not fit the camera '
                f'{camera.width}x{camera.height}; record the bag again with lagr world'
            )
        return TruthFrame(stamp, camera, mask, metres(self.depth_mm[stamp]),
                          pose @ frame.base_from_camera, pose[:2, 3])

    def _nearest_pose(self, stamp: int) -> Float | None:
        """Exact pose within ``POSE_TOLERANCE_NS``, or None."""
        stamps = self._pose_stamps
        index = int(np.searchsorted(stamps, stamp))
        around = stamps[max(index - 1, 0):index + 1]
        nearest = min(around, key=lambda s: abs(s - stamp), default=None)
        if nearest is None or abs(nearest - stamp) > POSE_TOLERANCE_NS:
            return None
        return self.world_from_base[nearest]

    @cached_property
    def _pose_stamps(self) -> list[int]:
        return sorted(self.world_from_base)


def metres(depth_mm: Image) -> Float:
    """Depth (H, W) float32 [m] from millimetres; 0 becomes NaN."""
    return np.where(depth_mm > 0, depth_mm * MILLIMETRE, np.float32(np.nan))


def read_truth(source: BagSource, path: Path) -> Truth:
    """
    Read all truth of a bag.

    Raises
    ------
    BagError
        A truth topic is missing or empty; the text says how to record it.
    """
    truth = Truth({}, {}, {})
    for topic in TOPICS:
        if topic not in source.topics:
            raise BagError(_remedy(path, f'no topic {topic}'))
    for topic, stamp, message in source.messages(list(TOPICS)):
        if topic == POSE_TOPIC:
            pose = pose_matrix(message.pose.pose.position, message.pose.pose.orientation)
            if pose is not None:
                truth.world_from_base[stamp] = pose
        else:
            store = truth.obstacle if topic == OBSTACLE_TOPIC else truth.depth_mm
            store[stamp] = image_from_message(message, topic)
    if not truth.stamps:
        raise BagError(_remedy(path, 'no stamp with obstacle mask, depth and pose'))
    return truth


def _remedy(path: Path, what: str) -> str:
    return f'{path}: {what}, so no full truth to compare with; use lagr world --truth full'
