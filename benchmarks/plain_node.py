# SPDX-License-Identifier: Apache-2.0
"""The obvious alternative that ros_latency.py compares with: one plain node, queues of 10."""

from typing import Any

import numpy as np
import rclpy
from geometry_msgs.msg import Pose
from nav_msgs.msg import OccupancyGrid, Odometry
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image

from perception.bag_lens import calibration_from_info
from perception.bag_messages import image_from_message
from perception.bag_poses import pose_matrix
from perception.config import Config
from perception.inference import load_network
from perception.pipeline import Pipeline
from perception.types import Frame

QUEUE = 10


class PlainNode(Node):
    """Match by equal stamps, process in the callback, publish the grid."""

    def __init__(self) -> None:
        super().__init__('plain_node')
        self.pipeline = Pipeline(Config(), load_network())
        self.parts: dict[tuple[int, int], dict[str, Any]] = {}
        self.infos: dict[str, Any] = {}
        self.output = self.create_publisher(OccupancyGrid, '/costmap', QUEUE)
        for side in ('left', 'right'):
            self.create_subscription(Image, f'/stereo/{side}/image_rect',
                                     lambda m, side=side: self.take(side, m), QUEUE)
            self.create_subscription(CameraInfo, f'/stereo/{side}/camera_info',
                                     lambda m, side=side: self.infos.update({side: m}), QUEUE)
        self.create_subscription(Odometry, '/odom', lambda m: self.take('odom', m), QUEUE)

    def take(self, name: str, message: Any) -> None:
        """Keep a part; process once all three are there."""
        key = (message.header.stamp.sec, message.header.stamp.nanosec)
        parts = self.parts.setdefault(key, {})
        parts[name] = message
        if len(parts) < 3 or len(self.infos) < 2:
            return
        del self.parts[key]
        left, right = (calibration_from_info(self.infos[s]) for s in ('left', 'right'))
        pose = parts['odom'].pose.pose
        frame = Frame(
            key[0] * 1_000_000_000 + key[1], image_from_message(parts['left']), left.camera,
            image_from_message(parts['right']), -right.tx / right.camera.fx,
            odom_from_base=pose_matrix(pose.position, pose.orientation))
        costmap = self.pipeline.process(frame).costmap
        if costmap is None:
            return
        grid = OccupancyGrid()
        grid.header.stamp, grid.header.frame_id = parts['left'].header.stamp, 'odom'
        grid.info.resolution = costmap.resolution_m
        grid.info.height, grid.info.width = costmap.data.shape
        grid.info.origin = Pose()
        grid.info.origin.position.x, grid.info.origin.position.y = costmap.origin_m
        grid.data = np.ravel(costmap.data).tolist()
        self.output.publish(grid)


if __name__ == '__main__':
    rclpy.init()
    rclpy.spin(PlainNode())
