# SPDX-License-Identifier: Apache-2.0
"""
The nodes for half an hour of looped replay: rate, memory, threads and topics over time.

``python benchmarks/ros_soak.py --minutes 30 --json FILE`` plays the shipped bag with ``--loop``
into ``lagr up`` and samples every 10 s. Needs the extras ros and test (psutil).
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil

ROOT = Path(__file__).resolve().parents[1]
LAGR = str(Path(sys.executable).with_name('lagr'))
SAMPLE_S = 10.0


class Counter:
    """Cost maps received, and the topics of the graph."""

    def __init__(self) -> None:
        import rclpy
        from rclpy.executors import SingleThreadedExecutor

        from perception.nodes.fastdds import apply_profile
        from perception.nodes.wire import latched, message_class

        apply_profile()
        rclpy.init()
        self.node = rclpy.create_node('soak')
        self.grids = 0
        self.node.create_subscription(message_class('nav_msgs/OccupancyGrid'), '/costmap',
                                      self._count, latched(), raw=True)
        executor = SingleThreadedExecutor()
        executor.add_node(self.node)
        threading.Thread(target=executor.spin, daemon=True).start()

    def _count(self, _: bytes) -> None:
        self.grids += 1

    @property
    def topics(self) -> int:
        """Topics that exist now."""
        return len(self.node.get_topic_names_and_types())


def sample(counter: Counter, process: psutil.Process, started: float) -> dict[str, float]:
    """Take one row of the record."""
    return {'s': time.monotonic() - started, 'grids': counter.grids, 'topics': counter.topics,
            'rss_mb': process.memory_info().rss / 1e6, 'threads': process.num_threads(),
            'cpu_s': sum(process.cpu_times()[:2])}


def summary(rows: list[dict[str, float]]) -> dict[str, Any]:
    """First against last five minutes (or third of a shorter run), after the first loop."""
    span = min(300.0, rows[-1]['s'] / 3)
    first = [row for row in rows if row['s'] <= span + SAMPLE_S]
    last = [row for row in rows if row['s'] >= rows[-1]['s'] - span]

    def rate(part: list[dict[str, float]]) -> float:
        return (part[-1]['grids'] - part[0]['grids']) / (part[-1]['s'] - part[0]['s'])

    def median(part: list[dict[str, float]], key: str) -> float:
        return float(np.median([row[key] for row in part]))

    return {
        'minutes': rows[-1]['s'] / 60, 'grids': rows[-1]['grids'],
        'rate_hz': {'first': rate(first), 'last': rate(last), 'ratio': rate(last) / rate(first)},
        **{key: {'first': median(first, key), 'last': median(last, key),
                 'most': max(row[key] for row in rows)}
           for key in ('rss_mb', 'threads', 'topics')},
        'cpu_cores': rows[-1]['cpu_s'] / rows[-1]['s'],
    }


def main() -> None:
    """Run, sample, print and write."""
    parser = argparse.ArgumentParser()
    parser.add_argument('--minutes', type=float, default=30.0)
    parser.add_argument('--json', type=Path)
    parser.add_argument('--bag', type=Path, default=ROOT / 'bags' / 'demo')
    options = parser.parse_args()
    os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
    os.environ['ROS_DOMAIN_ID'] = str(os.getpid() % 30 + 61)
    up = subprocess.Popen([LAGR, 'up', '--log-level', 'error'], start_new_session=True)
    player = subprocess.Popen([LAGR, 'play', str(options.bag), '--loop'], start_new_session=True,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        rows = record(Counter(), psutil.Process(up.pid), options.minutes * 60)
    finally:
        for process in (player, up):
            process.send_signal(signal.SIGINT)
            process.wait(20)
    found = summary(rows)
    print(json.dumps(found, indent=1))
    if options.json:
        options.json.write_text(json.dumps(found | {'samples': rows[::6]}, indent=1) + '\n')
    os._exit(0)  # the executor's thread is in the middle of a wait


def record(counter: Counter, process: psutil.Process, seconds: float) -> list[dict[str, float]]:
    """Sample until the time is over, from the first cost map on."""
    while not counter.grids:
        time.sleep(0.1)
    started = time.monotonic()
    rows = [sample(counter, process, started)]
    while rows[-1]['s'] < seconds:
        time.sleep(SAMPLE_S)
        rows.append(sample(counter, process, started))
        print(f"{rows[-1]['s']:6.0f} s {rows[-1]['grids']:7.0f} maps {rows[-1]['rss_mb']:7.1f} MB",
              file=sys.stderr)
    return rows


if __name__ == '__main__':
    main()
