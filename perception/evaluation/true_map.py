# SPDX-License-Identifier: Apache-2.0
"""True obstacles of a synthetic drive, to be drawn under a cost map and used for nothing else."""

import numpy as np

from perception.bag import BagSource
from perception.bag_poses import pose_matrix
from perception.draw_map import TrueMap
from perception.types import Costmap, Frame

GRID, POSE = '/truth/obstacles', '/truth/odom'


def read_true_map(source: BagSource, last: Frame | None) -> TrueMap | None:
    """
    True obstacles of the bag, laid into odom where it stood at the last frame.

    Returns
    -------
    TrueMap or None
        None where the bag has no truth, or the last frame no pose.
    """
    known = GRID in source.topics and POSE in source.topics
    if not known or last is None or last.odom_from_base is None:
        return None
    grid = next(message for _, _, message in source.messages([GRID]))
    poses = {stamp: message for _, stamp, message in source.messages([POSE])}
    nearest = min(poses, key=lambda stamp: abs(stamp - last.stamp_ns))
    pose = poses[nearest].pose.pose
    world_from_base = pose_matrix(pose.position, pose.orientation)
    if world_from_base is None:
        return None
    info = grid.info
    shape = (info.height, info.width)
    costmap = Costmap(
        np.array(grid.data, np.int8).reshape(shape), float(info.resolution),
        (float(info.origin.position.x), float(info.origin.position.y)), nearest,
        grid.header.frame_id,
    )
    return TrueMap(costmap, last.odom_from_base @ np.linalg.inv(world_from_base))
