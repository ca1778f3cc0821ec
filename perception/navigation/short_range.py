# SPDX-License-Identifier: Apache-2.0
"""
Short-range obstacle map: stereo within 5 m, remembered and fading; the same in every mode.

Source
    IROS08-DBN, IROS08-MAP (FastOD); algorithms.md A8. Its own algorithm is not published: here it
    is the pipeline's labelled stereo points, cut off at 5 m.
"""

import numpy as np

from perception.config import Config
from perception.costmap import rolling_grid
from perception.pipeline import Result
from perception.polar_map import PolarMap
from perception.projection import depth_evidence, odom_from_camera
from perception.types import CLASSES, SUPER_OBSTACLE, Costmap, Evidence, Float

RANGE_M = 5.0
BUMP_WEIGHT = 50.0
BUMP_AHEAD_M = (0.45, 0.65)
BUMP_HALF_WIDTH_M = 0.3
WIDTH_M = 16.0


class ShortRange:
    """Obstacles and ground that stereo saw within 5 m, on a map that fades as the long one."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.map = PolarMap(config.map)
        self._cost = config.cost.model_copy(update={'width_m': WIDTH_M})

    def add(self, result: Result) -> None:
        """Take in the stereo points of one frame."""
        frame = result.frame
        if frame.odom_from_base is None or result.plane is None:
            return
        here = frame.odom_from_base[:2, 3]
        self.map.move_to(*here)
        self.map.decay()
        if result.points is None or result.grid is None:
            return
        pose = odom_from_camera(frame, result.plane.plane, self.config.mount)
        evidence, _ = depth_evidence(result.points, result.grid, pose, self.config.map)
        near = np.linalg.norm(evidence.points_odom[:, :2] - here, axis=1) <= RANGE_M
        self.map.add(Evidence(evidence.points_odom[near], evidence.histogram[near]))

    def grid(self, stamp_ns: int) -> Costmap:
        """Cost map of what is known around the rover."""
        return rolling_grid(self.map, self._cost, stamp_ns)


def bump_evidence(odom_from_base: Float, *, rear: bool = False) -> Evidence:
    """What a hit bumper says: an obstacle across the rover's front, or its rear."""
    ahead = -np.array(BUMP_AHEAD_M) if rear else np.array(BUMP_AHEAD_M)
    x, y = np.meshgrid(ahead, np.linspace(-BUMP_HALF_WIDTH_M, BUMP_HALF_WIDTH_M, 4))
    local = np.stack([x.ravel(), y.ravel(), 0.3 * np.ones(x.size), np.ones(x.size)])
    histogram = np.zeros((x.size, len(CLASSES)), np.float32)
    histogram[:, SUPER_OBSTACLE] = BUMP_WEIGHT
    return Evidence((odom_from_base @ local)[:3].T, histogram)
