# SPDX-License-Identifier: Apache-2.0
"""A camera driver as users have them: textured ground, stamped by the clock."""

import argparse
import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import rclpy
from rclpy.node import Node

sys.path.insert(0, str(Path(__file__).parents[1]))

import scenes

from perception import bag_encode as encode
from perception.nodes.wire import best_effort, message_class, reliable, to_bytes
from perception.types import Camera

FAULTS = ('none', 'encoding', 'info', 'zero', 'huge', 'short', 'half', 'clock', 'frame')


def camera_of(width: int, height: int) -> Camera:
    """Intrinsics for a size: fx differs from fy, the principal point is off centre."""
    return Camera(width, height, 0.72 * width, 0.71 * width, 0.48 * width, 0.51 * height,
                  'left_optical')


def pictures(camera: Camera, kind: str) -> dict[str, np.ndarray]:
    """Colour image of flat ground, and the grey right image or the depth in metres."""
    ground = scenes.plane(camera=camera, focal_baseline=camera.fx * scenes.BASELINE_M)
    left, right = scenes.stereo_pair(ground)
    found = {} if kind == 'right' else {'left/image_rect': np.dstack([left, left, left])}
    if kind in ('stereo', 'right'):
        found['right/image_rect'] = right
    if kind == 'rgbd':
        u, v = np.meshgrid(np.arange(camera.width), np.arange(camera.height))
        disparity = ground.disparity(u, v)
        depth = ground.focal_baseline / np.where(disparity > 1, disparity, np.nan)
        found['depth/image_rect'] = depth.astype(np.float32)
    return found


def damaged(message: object, fault: str) -> object:
    """The message with something wrong."""
    if fault == 'encoding':
        return replace(message, encoding='rgb9')
    if fault == 'zero':
        return replace(message, width=0, height=0, step=0, data=np.zeros(0, np.uint8))
    if fault == 'huge':
        return replace(message, width=7680, height=4320, step=7680 * 3,
                       data=np.zeros(100, np.uint8))
    if fault == 'short':
        return replace(message, data=message.data[:1000])
    return message


class Driver(Node):
    """Publish left, right and their CameraInfo at a rate; SIGUSR1 begins the fault."""

    def __init__(self, options: argparse.Namespace) -> None:
        super().__init__('camera_driver', namespace=options.namespace)
        width, height = (int(part) for part in options.size.split('x'))
        self.options, self.fault = options, options.fault if options.at_once else 'none'
        signal.signal(signal.SIGUSR1, lambda *_: setattr(self, 'fault', options.fault))
        self.stopped_ns = 0
        self.camera = replace(camera_of(width, height), frame_id=options.frame)
        self.images = pictures(self.camera, options.kind)
        qos = best_effort(1) if options.best_effort else reliable(1)
        self.outputs = [self.create_publisher(message_class('sensor_msgs/Image'), name, qos)
                        for name in self.images]
        self.infos = [self.create_publisher(message_class('sensor_msgs/CameraInfo'),
                                            name.replace('image_rect', 'camera_info'), reliable(1))
                      for name in self.images]
        self.create_timer(1 / options.rate, self.shoot)

    def shoot(self) -> None:
        """One instant."""
        now = time.time_ns() - round(self.options.age * 1e9)
        if self.options.triggered:
            now -= now % round(1e9 / self.options.rate)
        fault = self.fault
        if fault == 'clock':
            now = self.stopped_ns
        self.stopped_ns = now
        for (name, image), output, info in zip(self.images.items(), self.outputs, self.infos,
                                               strict=True):
            camera = self.camera
            if fault == 'info':
                camera = replace(camera, width=camera.width // 2)
            if fault == 'half' and 'right' in name:
                continue
            frame = 'other_optical' if fault == 'frame' else self.camera.frame_id
            header = encode.header(now, frame)
            kind = 'bgr8' if image.ndim == 3 else 'mono8' if image.itemsize == 1 else '32FC1'
            baseline = scenes.BASELINE_M if 'right' in name else 0.0
            message = encode.image_message(header, image, kind)
            info.publish(to_bytes(encode.camera_info_message(now, camera, baseline)))
            output.publish(to_bytes(damaged(message, fault)))


def main() -> None:
    """Run until killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument('--kind', choices=('stereo', 'rgbd', 'mono', 'right'), default='stereo')
    parser.add_argument('--namespace', default='/stereo')
    parser.add_argument('--frame', default='left_optical')
    parser.add_argument('--size', default='640x480')
    parser.add_argument('--rate', type=float, default=10.0)
    parser.add_argument('--age', type=float, default=0.0, help='stamps lie so far back [s]')
    parser.add_argument('--triggered', action='store_true', help='stamps of a common trigger')
    parser.add_argument('--best-effort', action='store_true')
    parser.add_argument('--fault', choices=FAULTS, default='none')
    parser.add_argument('--at-once', action='store_true', help='the fault from the start')
    options = parser.parse_args()
    cv2.setNumThreads(1)
    os.environ.setdefault('OPENBLAS_NUM_THREADS', '1')
    rclpy.init()
    rclpy.spin(Driver(options))


if __name__ == '__main__':
    main()
