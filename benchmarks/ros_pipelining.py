# SPDX-License-Identifier: Apache-2.0
"""
What the second thread does to a live node: answers a second, and their age, by rate of the camera.

``python benchmarks/ros_pipelining.py --json FILE`` starts the nodes with ``runtime.pipelining``
off and on, in turns. A probe process publishes raw 640x480 stereo at a fixed rate, whether it is
answered or not, and notes when labels and cost maps of its stamps arrive. ``alone`` rows run
``traversability_node`` without ``costmap_node``, as where the map has another core. Needs the
extra ros.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from ros_latency import _messages, _wait

LAGR = str(Path(sys.executable).with_name('lagr'))
LOAD_S, WARM_UP_S = 6.0, 2.0
TOPICS = {'/traversability/points': 'sensor_msgs/PointCloud2',
          '/costmap': 'nav_msgs/OccupancyGrid'}


def probe(rate_hz: float, seconds: float) -> dict[str, Any]:
    """Ages [ms] of the answers on each topic to frames published at this rate."""
    import rclpy
    from rclpy.executors import SingleThreadedExecutor

    from perception.bench import BASELINE_M, CAMERA, STEP_M, read_pair
    from perception.nodes.wire import latched, message_class, reliable, stamp_of, to_bytes

    rclpy.init()
    node = rclpy.create_node('probe')
    arrived: dict[str, dict[int, float]] = defaultdict(dict)
    for topic, kind in TOPICS.items():
        node.create_subscription(
            message_class(kind), topic, lambda data, topic=topic: arrived[topic].setdefault(
                stamp_of(data), time.perf_counter()),
            latched() if topic == '/costmap' else reliable(5), raw=True)
    kinds = {f'/stereo/{side}/{name}': f'sensor_msgs/{kind}' for side in ('left', 'right')
             for name, kind in (('image_rect', 'Image'), ('camera_info', 'CameraInfo'))}
    outputs = {topic: node.create_publisher(message_class(kind), topic, reliable(10))
               for topic, kind in {**kinds, '/odom': 'nav_msgs/Odometry'}.items()}
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    threading.Thread(target=executor.spin, daemon=True).start()
    pair = read_pair()
    _wait(lambda: all(output.get_subscription_count() for output in outputs.values()))
    sent: dict[int, float] = {}
    begun = time.perf_counter()
    for index in range(int(rate_hz * (WARM_UP_S + seconds))):
        time.sleep(max(0.0, begun + index / rate_hz - time.perf_counter()))
        stamp = time.time_ns()
        x = STEP_M * 10 / rate_hz * index
        for topic, message in _messages(pair, stamp, x, CAMERA, BASELINE_M).items():
            data = to_bytes(message)
            if topic == '/stereo/left/image_rect' and index >= rate_hz * WARM_UP_S:
                sent[stamp] = time.perf_counter()
            outputs[topic].publish(data)
    time.sleep(0.5)
    return {topic: [(arrived[topic][stamp] - at) * 1e3 for stamp, at in sent.items()
                    if stamp in arrived[topic]] for topic in TOPICS}


def measure(rate_hz: float, mode: str, alone: bool, seconds: float) -> dict[str, list[float]]:
    """Start the nodes in one mode, probe them, stop them."""
    from perception.nodes.fastdds import VARIABLE, profile_path

    settings = Path(tempfile.mkdtemp()) / 'parameters.yaml'
    settings.write_text(f'/**:\n  ros__parameters:\n    runtime: {{pipelining: {mode!r}}}\n')
    command = [LAGR, 'up', '--log-level', 'error', '--params', str(settings)]
    nodes = subprocess.Popen(command + ['--node', 'traversability_node'] * alone)
    try:
        time.sleep(LOAD_S)
        done = subprocess.run(
            [sys.executable, __file__, '--probe', str(rate_hz), '--seconds', str(seconds)],
            env={**os.environ, VARIABLE: str(profile_path())}, capture_output=True, text=True,
            check=True, timeout=300)
    finally:
        nodes.send_signal(signal.SIGINT)
        nodes.wait(20)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    """Alternate off and on; print and write the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument('--json', type=Path)
    parser.add_argument('--rates', type=float, nargs='+', default=[10.0, 30.0, 60.0])
    parser.add_argument('--seconds', type=float, default=5.0, help='of each turn')
    parser.add_argument('--rounds', type=int, default=2)
    parser.add_argument('--probe', type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.probe:
        print(json.dumps(probe(options.probe, options.seconds)), flush=True)
        os._exit(0)  # the executor's thread is in the middle of a wait
    os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
    os.environ['ROS_DOMAIN_ID'] = str(os.getpid() % 30 + 61)
    ages: dict[tuple[float, bool, str, str], list[float]] = defaultdict(list)
    for number in range(options.rounds):
        for rate in options.rates:
            for alone in (False, True):
                for mode in ('off', 'on') if number % 2 == 0 else ('on', 'off'):
                    found = measure(rate, mode, alone, options.seconds)
                    for topic in TOPICS:
                        ages[rate, alone, mode, topic] += found[topic]
    rows = [_row(key, values, options.seconds * options.rounds) for key, values in ages.items()
            if values]
    for row in rows:
        print('{rate_hz:4.0f} Hz  alone {alone!s:6}{pipelining:4}{topic:25}{answers_hz:6.1f} Hz, '
              'age p50 {p50_ms:6.1f} ms, p95 {p95_ms:6.1f} ms'.format(**row))
    if options.json:
        options.json.write_text(json.dumps({'rows': rows}, indent=1) + '\n')


def _row(
    key: tuple[float, bool, str, str], values: list[float], seconds: float
) -> dict[str, Any]:
    names = ('rate_hz', 'alone', 'pipelining', 'topic')
    p50, p95 = (float(value) for value in np.percentile(values, (50, 95)))
    return {**dict(zip(names, key, strict=True)), 'answers_hz': len(values) / seconds,
            'p50_ms': p50, 'p95_ms': p95}


if __name__ == '__main__':
    main()
