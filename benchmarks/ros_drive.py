# SPDX-License-Identifier: Apache-2.0
"""
A recorded drive played into the nodes at recorded speed, against its offline replay.

``python benchmarks/ros_drive.py BAG --json FILE``: how many frames were answered, and how many
cells of the live cost maps equal those of ``lagr replay`` with the same parameters (mount from
the ground plane in both, as the wheels have no tf2). Needs the extra ros.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.rosbag2 import Reader

from perception.bag_encode import typestore

LAGR = str(Path(sys.executable).with_name('lagr'))
PARAMS = '/**:\n  ros__parameters:\n    mount:\n      source: plane\n'
GRID, INPUT = 'nav_msgs/msg/OccupancyGrid', '/traversability_node: input'
MAP = {'/costmap_node: input': ('dropped',), '/costmap_node: output': ('published',)}
PATIENCE_S = 60.0


class Listener:
    """Cost maps by stamp, and the newest counts of the traversability node."""

    def __init__(self) -> None:
        import rclpy
        from diagnostic_msgs.msg import DiagnosticArray
        from rclpy.executors import SingleThreadedExecutor

        from perception.nodes.fastdds import apply_profile
        from perception.nodes.wire import latched, message_class

        apply_profile()
        rclpy.init()
        qos = latched()
        qos.depth = 100  # to miss none of two that come together
        self.node = rclpy.create_node('listener')
        self.grids: dict[int, np.ndarray] = {}
        self.counts: dict[str, int] = {}
        self.changed = threading.Condition()
        self.node.create_subscription(message_class(GRID), '/costmap', self._grid, qos, raw=True)
        self.node.create_subscription(DiagnosticArray, '/diagnostics', self._status, 10)
        executor = SingleThreadedExecutor()
        executor.add_node(self.node)
        threading.Thread(target=executor.spin, daemon=True).start()

    def _grid(self, data: bytes) -> None:
        with self.changed:
            self.grids.update(read_grid(data))
            self.changed.notify_all()

    def _status(self, message: Any) -> None:
        for status in message.status:
            found = {v.key: int(v.value) for v in status.values if v.value.isdigit()}
            with self.changed:
                if status.name == INPUT:
                    self.counts.update(found)
                for key in MAP.get(status.name, ()):
                    self.counts[f'map_{key}'] = found.get(key, 0)
                self.changed.notify_all()

    def wait_for(self, frames: int) -> None:
        """Wait until the diagnostics account for so many frames."""
        def done() -> bool:
            c = self.counts
            ended = sum(c.get(k, 0) for k in ('answered', 'dropped', 'refused', 'without_plane',
                                              'unmatched', 'lost_in_transport'))
            return ended >= frames and c.get('map_published', 0) + c.get('map_dropped', 0) >= (
                c.get('answered', 0))

        with self.changed:
            if not self.changed.wait_for(done, PATIENCE_S):
                raise SystemExit(f'not all of {frames} frames came to an end: {self.counts}')


def read_grid(data: bytes) -> dict[int, np.ndarray]:
    """Stamp [ns] -> cells of an OccupancyGrid."""
    grid = typestore().deserialize_cdr(data, GRID)
    stamp = grid.header.stamp.sec * 1_000_000_000 + grid.header.stamp.nanosec
    return {stamp: np.array(grid.data).reshape(grid.info.height, grid.info.width)}


def replayed(bag: Path, folder: Path, params: Path) -> dict[int, np.ndarray]:
    """Cost maps of an offline replay, by stamp."""
    subprocess.run([LAGR, 'replay', str(bag), '--out', str(folder), '--config', str(params)],
                   check=True, stdout=subprocess.DEVNULL)
    grids: dict[int, np.ndarray] = {}
    with Reader(folder / 'replay') as reader:
        for _, _, data in reader.messages([c for c in reader.connections if c.msgtype == GRID]):
            grids.update(read_grid(data))
    return grids


def live(bag: Path, params: Path, frames: int, rate: float) -> Listener:
    """Play the bag into the nodes; what came out."""
    up = subprocess.Popen([LAGR, 'up', '--params', str(params)], stderr=subprocess.PIPE, text=True,
                          start_new_session=True)
    assert up.stderr is not None
    for line in up.stderr:  # the log of rclpy
        if re.search('network .* loaded', line):
            break
    threading.Thread(target=up.stderr.read, daemon=True).start()
    try:
        listener = Listener()
        subprocess.run([LAGR, 'play', str(bag), '--rate', str(rate)], check=True,
                       stderr=subprocess.DEVNULL)
        listener.wait_for(frames)
    finally:
        up.send_signal(signal.SIGINT)
        up.wait(20)
    return listener


def main() -> None:
    """Run both ways, print and write."""
    parser = argparse.ArgumentParser()
    parser.add_argument('bag', type=Path)
    parser.add_argument('--json', type=Path)
    parser.add_argument('--rate', type=float, default=1.0)
    options = parser.parse_args()
    os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
    os.environ['ROS_DOMAIN_ID'] = str(os.getpid() % 30 + 1)
    with tempfile.TemporaryDirectory() as name:
        params = Path(name) / 'params.yaml'
        params.write_text(PARAMS)
        expected = replayed(options.bag, Path(name) / 'out', params)
        found = live(options.bag, params, len(expected), options.rate)
    common = sorted(set(expected) & set(found.grids))
    equal = [float(np.mean(expected[s] == found.grids[s])) for s in common]
    result = {'bag': options.bag.name, 'rate': options.rate, 'frames': len(expected),
              'counts': found.counts, 'grids_with_input_stamp': len(common),
              'equal_cells': {'least': min(equal), 'mean': float(np.mean(equal))}}
    print(json.dumps(result, indent=1))
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + '\n')
    sys.stdout.flush()
    os._exit(0)  # the executor's thread is in the middle of a wait


if __name__ == '__main__':
    main()
