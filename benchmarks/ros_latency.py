# SPDX-License-Identifier: Apache-2.0
"""
Image published -> cost map received, against the offline stages in the same run.

``python benchmarks/ros_latency.py --json FILE`` starts the nodes in one process, in two, and a
plain node (queue depth 10, default transports) around the same pipeline, in turns, several
rounds. A probe process publishes raw 640x480 stereo at 10 Hz and waits for the grid of the same
stamp; between the turns the same frames run through the pipeline itself. Needs the extra ros.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
LAGR = str(Path(sys.executable).with_name('lagr'))
VARIANTS = {
    'one process': [LAGR, 'up', '--log-level', 'error'],
    'two processes': [LAGR, 'up', '--log-level', 'error', '--processes'],
    'plain node': [sys.executable, str(HERE / 'plain_node.py')],
}
PERIOD_S, PATIENCE_S = 0.1, 1.0
WARM_UP = 10


def probe(frames: int) -> dict[str, Any]:
    """Latencies [ms] of the nodes that run now; NaN = no grid came in time."""
    import rclpy
    from rclpy.executors import SingleThreadedExecutor

    from perception.bench import BASELINE_M, CAMERA, STEP_M, read_pair
    from perception.nodes.wire import latched, message_class, reliable, stamp_of, to_bytes

    rclpy.init()
    node = rclpy.create_node('probe')
    arrived: dict[int, float] = {}
    changed = threading.Condition()

    def receive(data: bytes) -> None:
        now = time.perf_counter()
        with changed:
            arrived[stamp_of(data)] = now
            changed.notify_all()

    durable = latched() if 'plain' not in sys.argv else reliable(10)
    node.create_subscription(message_class('nav_msgs/OccupancyGrid'), '/costmap', receive, durable,
                             raw=True)
    kinds = {'left/image_rect': 'sensor_msgs/Image', 'right/image_rect': 'sensor_msgs/Image',
             'left/camera_info': 'sensor_msgs/CameraInfo',
             'right/camera_info': 'sensor_msgs/CameraInfo'}
    outputs = {f'/stereo/{name}': node.create_publisher(
        message_class(kind), f'/stereo/{name}', reliable(10)) for name, kind in kinds.items()}
    outputs['/odom'] = node.create_publisher(message_class('nav_msgs/Odometry'), '/odom',
                                             reliable(10))
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    threading.Thread(target=executor.spin, daemon=True).start()
    pair = read_pair()
    _wait(lambda: all(p.get_subscription_count() for p in outputs.values()))
    latency: list[float] = []
    for index in range(WARM_UP + frames):
        started = time.perf_counter()
        stamp = time.time_ns()
        for topic, message in _messages(pair, stamp, STEP_M * index, CAMERA, BASELINE_M).items():
            data = to_bytes(message)
            if topic == '/stereo/left/image_rect':
                published = time.perf_counter()
            outputs[topic].publish(data)
        with changed:
            changed.wait_for(lambda stamp=stamp: stamp in arrived, PATIENCE_S)
        if index >= WARM_UP:
            latency.append((arrived.get(stamp, np.nan) - published) * 1e3)
        time.sleep(max(0.0, PERIOD_S - (time.perf_counter() - started)))
    return {'latency_ms': latency}


def _messages(
    pair: Any, stamp: int, x: float, camera: Any, baseline: float
) -> dict[str, Any]:
    """All messages of one instant; the left image is published last but one."""
    from perception import bag_encode as encode

    pose = np.eye(4)
    pose[0, 3] = x
    header = encode.header(stamp, camera.frame_id)
    return {
        '/odom': encode.odometry_message(encode.header(stamp, 'odom'), 'base_link', pose,
                                         (1.5, 0.0)),
        '/stereo/left/camera_info': encode.camera_info_message(stamp, camera),
        '/stereo/right/camera_info': encode.camera_info_message(stamp, camera, baseline),
        '/stereo/left/image_rect': encode.image_message(header, pair.image, 'bgr8'),
        '/stereo/right/image_rect': encode.image_message(header, pair.right, 'mono8'),
    }


def offline(frames: int) -> list[float]:
    """Sum of the stage times [ms] of the same frames, at the same pace."""
    from perception.bench import STEP_M, read_pair
    from perception.config import Config
    from perception.inference import load_network
    from perception.pipeline import Pipeline

    pipeline, pair = Pipeline(Config(), load_network()), read_pair()
    sums = []
    for index in range(WARM_UP + frames):
        started = time.perf_counter()
        pose = np.eye(4)
        pose[0, 3] = STEP_M * index
        result = pipeline.process(replace(pair, stamp_ns=index * 10**8, odom_from_base=pose))
        if index >= WARM_UP:
            sums.append(sum(result.stage_ms.values()))
        time.sleep(max(0.0, PERIOD_S - (time.perf_counter() - started)))
    return sums


def _wait(condition: Any, timeout_s: float = 20.0) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            raise SystemExit('the nodes did not subscribe within 20 s')
        time.sleep(0.05)


def measure(name: str, frames: int) -> list[float]:
    """Start one variant, probe it, stop it."""
    environment = dict(os.environ)
    nodes = subprocess.Popen(VARIANTS[name], env=environment, start_new_session=True)
    plain = name == 'plain node'
    if not plain:
        from perception.nodes.fastdds import VARIABLE, profile_path
        environment[VARIABLE] = str(profile_path())
    try:
        command = [sys.executable, __file__, '--probe', str(frames), *(['plain'] * plain)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True,
                              check=True, timeout=300)
    finally:
        os.killpg(nodes.pid, signal.SIGINT if not plain else signal.SIGTERM)
        nodes.wait(20)
    return list(json.loads(done.stdout.splitlines()[-1])['latency_ms'])


def percentiles(samples: list[float]) -> dict[str, Any]:
    """p50, p99 and how many came."""
    values = np.array(samples)
    came = values[np.isfinite(values)]
    if not len(came):
        return {'p50_ms': None, 'p99_ms': None, 'frames': len(values), 'answered': 0}
    return {'p50_ms': float(np.percentile(came, 50)), 'p99_ms': float(np.percentile(came, 99)),
            'frames': len(values), 'answered': len(came)}


def main() -> None:
    """Alternate the variants and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument('--json', type=Path)
    parser.add_argument('--frames', type=int, default=100, help='frames of each turn')
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--probe', type=int, help=argparse.SUPPRESS)
    parser.add_argument('kind', nargs='?', help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.probe:
        print(json.dumps(probe(options.probe)))
        os._exit(0)  # the executor's thread is in the middle of a wait
    os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
    os.environ['ROS_DOMAIN_ID'] = str(os.getpid() % 30 + 31)
    samples: dict[str, list[float]] = {name: [] for name in ('offline', *VARIANTS)}
    for number in range(options.rounds):
        for name in VARIANTS if number % 2 == 0 else reversed(VARIANTS):
            samples['offline'] += offline(options.frames // 3)
            samples[name] += measure(name, options.frames)
            print(f'round {number + 1}: {name} done', file=sys.stderr)
    table = {name: percentiles(values) for name, values in samples.items()}
    base = table['offline']['p50_ms']
    for name, row in table.items():
        p50 = row['p50_ms']
        row['overhead_p50_ms'] = None if p50 is None else p50 - base
        print(f"{name:15}{_ms(p50)}{_ms(row['p99_ms'])}{_ms(row['overhead_p50_ms'])}"
              f"{row['answered']:6}/{row['frames']}")
    if options.json:
        options.json.write_text(json.dumps(table, indent=1) + '\n')


def _ms(value: float | None) -> str:
    return f'{"-":>9}' if value is None else f'{value:9.2f}'


if __name__ == '__main__':
    main()
