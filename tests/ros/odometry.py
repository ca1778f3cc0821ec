# SPDX-License-Identifier: Apache-2.0
"""Wheel odometry as robots have it: straight ahead at 1 m/s, stamped by the clock."""

import argparse
import signal
import time

import numpy as np
import rclpy
from rclpy.node import Node

from perception import bag_encode as encode
from perception.nodes.wire import message_class, reliable, to_bytes


class Odometry(Node):
    """Publish nav_msgs/Odometry at 50 Hz; SIGUSR1 begins the fault."""

    def __init__(self, options: argparse.Namespace) -> None:
        super().__init__('wheel_odometry')
        self.options, self.fault, self.start = options, 'none', time.time_ns()
        signal.signal(signal.SIGUSR1, lambda *_: setattr(self, 'fault', options.fault))
        self.output = self.create_publisher(message_class('nav_msgs/Odometry'), options.topic,
                                            reliable(10))
        self.create_timer(0.02, self.tell)

    def tell(self) -> None:
        """One pose."""
        now = time.time_ns()
        pose = np.eye(4)
        moved = 0 if self.fault == 'twist' else now - self.start
        pose[0, 3] = self.options.speed * moved * 1e-9
        header = encode.header(now, self.options.frame)
        message = encode.odometry_message(header, 'base_link', pose, (self.options.speed, 0.0))
        if self.fault == 'nan':
            message.pose.pose.position.x = float('nan')
        if self.fault == 'quaternion':
            message.pose.pose.orientation.w = 0.0
        self.output.publish(to_bytes(message))


def main() -> None:
    """Run until killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument('--frame', default='odom')
    parser.add_argument('--topic', default='/odom')
    parser.add_argument('--speed', type=float, default=1.0)
    parser.add_argument('--fault', choices=('none', 'nan', 'quaternion', 'twist'), default='none')
    rclpy.init()
    rclpy.spin(Odometry(parser.parse_args()))


if __name__ == '__main__':
    main()
