# SPDX-License-Identifier: Apache-2.0
"""
How time and memory grow with the picture, the bands, the map and the cameras.

``python benchmarks/growth.py`` (some minutes) runs every point in a process of its own, on the
shipped stereo pair made larger or smaller, and writes docs/results/growth.json, docs/growth.md and
its plots. Times are processor times of one thread as ratios to one stereo match of 640 x 480 in
the same process; memory is the largest resident set beyond that of the program itself.
"""

import json
import resource
import shlex
import subprocess
import sys
from collections import defaultdict
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import typer
from growth_page import draw, page
from rich.progress import track

from perception.bench import (
    IN_FRAME,
    WARM_UP,
    Subject,
    moved,
    read_pair,
    time_yardstick,
)
from perception.config import Config, CostConfig, MapConfig, NetworkConfig, PyramidConfig
from perception.inference import load_network
from perception.pipeline import Pipeline
from perception.pyramid import Pyramid
from perception.types import Camera, Frame, Image, PlaneEstimate

ROUNDS = 12


@dataclass(frozen=True)
class Point:
    """What one process runs: everything but one thing as by default."""

    sweep: str
    value: float
    width: int = 640
    height: int = 480
    bands: int = 7
    grid_m: float = 60.0
    map_scale: float = 1.0
    cameras: int = 1


SWEEPS = (
    *(Point('picture', width * height / 1e6, width, height) for width, height in (
        (320, 240), (480, 360), (640, 480), (800, 600), (1280, 720), (1920, 1080))),
    *(Point('bands', bands, bands=bands) for bands in (4, 7, 12, 24)),
    *(Point('grid', (side / 0.2) ** 2 / 1e3, grid_m=side) for side in (20.0, 40.0, 60.0, 120.0)),
    *(Point('map', 400 * scale * 150 / 1e3, map_scale=scale) for scale in (0.5, 1.0, 2.0, 4.0)),
    *(Point('cameras', cameras, cameras=cameras) for cameras in (1, 2, 3, 4)),
)


def main(
    docs: Annotated[Path, typer.Option(help='Folder of growth.md, results/, pictures/')] = Path(
        'docs'),
    one: Annotated[str, typer.Option(help='Run this point only and print it', hidden=True)] = '',
) -> None:
    """Run all points, one process each, and write the page."""
    if one:
        print(json.dumps(run(Point(**json.loads(one)))))
        return
    rows = [_in_own_process(point) for point in track(SWEEPS, 'points')]
    result = {'command': shlex.join(['python', *sys.argv]), 'rows': rows}
    path = docs / 'results' / 'growth.json'
    path.write_text(json.dumps(result, indent=1) + '\n')
    draw(result, docs / 'pictures' / 'growth.png')
    (docs / 'growth.md').write_text(page(result))
    typer.echo(f'{path}\n{docs / "growth.md"}')


def _in_own_process(point: Point) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, __file__, '--one', json.dumps(asdict(point))],
        capture_output=True, text=True, check=True)
    row: dict[str, Any] = json.loads(done.stdout)
    return row


class Thinned(Pipeline):
    """A pipeline that leaves bands out."""

    bands = 0

    def lay_pyramid(self, estimate: PlaneEstimate) -> Pyramid:
        """Some of the bands, spread evenly."""
        return thinned(super().lay_pyramid(estimate), self.bands)


def run(point: Point) -> dict[str, Any]:
    """Ratio of each stage and memory of one point."""
    cv2.setNumThreads(1)
    read, config = read_pair(), settings(point)
    network = load_network('default', 'onnxruntime', 1)
    cameras = [Subject('bands7', 'default', Thinned(config, network))
               for _ in range(point.cameras)]
    for one in cameras:  # all fill one map
        one.pipeline.bands, one.pipeline.mapper = point.bands, cameras[0].pipeline.mapper
    before = _peak_mb()
    frame, samples = resized(read, point.width, point.height), defaultdict(list)
    for index in range(WARM_UP + ROUNDS):
        time_yardstick(read, samples)
        for name, value in one_round(moved(frame, index), cameras).items():
            samples[name].append(value)
    medians = {name: float(np.median(values[WARM_UP:])) for name, values in samples.items()}
    yardstick = medians['yardstick']
    ratios = {name: medians[name] / yardstick for name in IN_FRAME}
    return {**asdict(point), 'yardstick_ms': yardstick, 'memory_mb': _peak_mb() - before,
            'ratio': {**ratios, 'frame': sum(ratios.values())}}


def settings(point: Point) -> Config:
    """Settings of a point."""
    return Config(
        pyramid=PyramidConfig(preset='bands7' if point.bands == 7 else 'bands24'),
        network=NetworkConfig(name='default', engine='onnxruntime', threads=1),
        map=MapConfig(angular_cells=int(400 * point.map_scale),
                      decay=MapConfig().decay ** (1 / point.cameras)),
        cost=CostConfig(width_m=point.grid_m))


def one_round(frame: Frame, cameras: list[Subject]) -> dict[str, float]:
    """Milliseconds of each stage, all cameras together."""
    total: dict[str, float] = defaultdict(float)
    for camera in cameras:
        ms: dict[str, float] = {}
        camera.see(frame, ms)
        for name, value in ms.items():
            total[name] += value
    return total


def thinned(pyramid: Pyramid, bands: int) -> Pyramid:
    """Pyramid with this many of its bands, spread evenly; all where it has no more."""
    if bands >= len(pyramid.bands):
        return pyramid
    chosen = np.linspace(0, len(pyramid.bands) - 1, bands).round().astype(int)
    return replace(pyramid, bands=tuple(pyramid.bands[k] for k in chosen))


def resized(frame: Frame, width: int, height: int) -> Frame:
    """Stereo pair of another camera: its picture cut to the shape, then scaled."""
    camera, wanted = frame.camera, width / height
    rows = min(camera.height, round(camera.width / wanted))
    columns = min(camera.width, round(rows * wanted))
    top, left = (camera.height - rows) // 2, (camera.width - columns) // 2
    scale = width / columns

    def scaled(image: Image) -> Image:
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        cut = np.ascontiguousarray(image[top:top + rows, left:left + columns])
        return np.asarray(cv2.resize(cut, (width, height), interpolation=how), np.uint8)

    assert frame.right is not None
    lens = Camera(width, height, camera.fx * scale, camera.fy * scale,
                  (camera.cx + 0.5 - left) * scale - 0.5, (camera.cy + 0.5 - top) * scale - 0.5,
                  camera.frame_id)
    return replace(frame, image=scaled(frame.image), right=scaled(frame.right), camera=lens)


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == '__main__':
    typer.run(main)
