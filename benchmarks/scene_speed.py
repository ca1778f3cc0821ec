# SPDX-License-Identifier: Apache-2.0
"""
Time the scene networks at 480 x 360: ``python benchmarks/scene_speed.py`` (some minutes).

One thread of ONNX Runtime, and of OpenVINO in f32 where it is there, everything in one run, in
rounds whose order turns around, as ratios to one stereo match. Weights are random, except those of
the files that are given. Writes docs/results/scene_speed.json and docs/scene_speed.md.
"""

import json
import shlex
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, get_args

import cv2
import numpy as np
import onnxruntime as ort
import torch
import typer
from rich.progress import track
from scene_speed_table import page
from superpixels import CLASSES, HEIGHT, WIDTH, subjects

from perception.bench import read_pair, timed
from perception.inference.session import engine_module
from perception.scene import (
    SceneNetwork,
    fitted,
    label_scene,
    load_scene_network,
    prepare,
)
from perception.training.farabet2013 import FILTER, TableConv
from perception.training.scene_checkpoint import untrained_scene
from perception.training.scene_classes import load_taxonomy
from perception.training.scene_export import export_scene
from perception.training.scene_networks import SceneArchitecture, scene_inputs
from perception.types import Engine, Image

SUPERPIXELS = ('segment felzenszwalb', 'segment slic', 'average_labels', 'levels + cover')
PUBLISHED_WIDTH = 320  # of farabet2013
WARM_UP = 2

Task = Callable[[], Any]


@dataclass(frozen=True)
class Subject:
    """One network, told to see pictures of ``width``; ``sha256`` is None for random weights."""

    name: str
    architecture: SceneArchitecture
    path: Path
    width: int = WIDTH
    sha256: str | None = None
    engine: Engine = 'onnxruntime'

    def tasks(self, picture: Image) -> dict[tuple[str, str], Task]:
        """What is timed: making the inputs, the network alone, and a picture to labels."""
        network = load_scene_network(self.path, engine=self.engine)
        size = {'input_width': self.width, 'multiple': 8}  # 360 is no multiple of 16
        spec, opened = network.spec.model_copy(update=size), network.opened
        seen = fitted(picture, spec)
        assert seen.shape[:2] == (HEIGHT * self.width // WIDTH, self.width)
        return {
            (self.name, 'prepare'): lambda: prepare(fitted(picture, spec), spec),
            (self.name, 'network'): partial(opened.session.run, prepare(seen, spec)),
            (self.name, 'label'): partial(label_scene, SceneNetwork(spec, opened), picture),
        }


def main(
    networks: Annotated[list[Path] | None, typer.Argument(
        help='Trained .onnx files, each in place of the random one of its architecture')] = None,
    json_: Annotated[Path, typer.Option('--json', help='JSON to write')] = Path(
        'docs/results/scene_speed.json'),
    page_: Annotated[Path, typer.Option('--page', help='Page to write')] = Path(
        'docs/scene_speed.md'),
    rounds: Annotated[int, typer.Option(min=1, help='Rounds that count')] = 20,
) -> None:
    """Measure, print and write."""
    picture = cv2.resize(read_pair().image, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
    with tempfile.TemporaryDirectory() as folder:
        chosen = all_subjects(networks or [], Path(folder), picture)
        measured = times(chosen, picture, rounds)
    result = {
        'command': shlex.join(['python', *sys.argv]), 'machine': machine(),
        'onnxruntime': ort.__version__, 'height': HEIGHT, 'width': WIDTH, 'classes': CLASSES,
        'rounds': rounds, **measured,
        'networks': {one.name: {'architecture': one.architecture, 'sha256': one.sha256}
                     | cost(one.architecture, picture, one.width) for one in chosen},
    }
    for path, text in ((json_, json.dumps(result, indent=1) + '\n'), (page_, page(result))):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    typer.echo(page(result) + f'{json_}\n{page_}')


def all_subjects(networks: list[Path], folder: Path, picture: Image) -> list[Subject]:
    """Every architecture once, and farabet2013 at the size of its paper."""
    given = {}
    for path in networks:
        spec = load_scene_network(path).spec
        given[spec.architecture] = path, spec.sha256
    taxonomy = load_taxonomy('camvid')
    chosen = []
    for name in track(get_args(SceneArchitecture), description='export'):
        path, sha256 = given.get(name, (folder / f'{name}.onnx', None))
        if sha256 is None:
            untrained = untrained_scene(name, taxonomy.classes, taxonomy.colours, WIDTH)
            export_scene(untrained, path, [picture])
        chosen.append(Subject(name, name, path, WIDTH, sha256))
    old = next(one for one in chosen if one.name == 'farabet2013')
    small = f'{old.name} at {PUBLISHED_WIDTH} x {HEIGHT * PUBLISHED_WIDTH // WIDTH}'
    chosen.append(replace(old, name=small, width=PUBLISHED_WIDTH))
    if engine_module('openvino').absence():
        return chosen
    return [*chosen, *(replace(one, name=f'{one.name}, OpenVINO', engine='openvino')
                       for one in chosen if one.architecture in ('modern', 'farabet2013'))]


def times(chosen: list[Subject], picture: Image, rounds: int) -> dict[str, Any]:
    """Processor times; every round runs everything once, every second one backwards."""
    cv2.setNumThreads(1)
    tasks = all_tasks(chosen, picture)
    ms = defaultdict(list)
    for index in track(range(WARM_UP + rounds), description='rounds'):
        for key in tasks if index % 2 == 0 else reversed(tasks):
            once: dict[str, float] = {}
            with timed(once, 'once'):
                tasks[key]()
            if index >= WARM_UP:
                ms[key].append(once['once'])
    yardstick = float(np.median(ms.pop(('yardstick', ''))))
    rows = [{'name': name, 'part': part, 'threads': 1, 'p50_ms': float(np.median(values)),
             'p95_ms': float(np.percentile(values, 95)),
             'ratio': float(np.median(values)) / yardstick}
            for (name, part), values in ms.items()]
    return {'yardstick_ms': yardstick, 'rows': rows}


def all_tasks(chosen: list[Subject], picture: Image) -> dict[tuple[str, str], Task]:
    """Yardstick, networks and superpixels by name and part."""
    others = subjects()
    tasks = {('yardstick', ''): others['yardstick']}
    for one in chosen:
        tasks |= one.tasks(picture)
    return tasks | {(name, 'superpixels'): others[name] for name in SUPERPIXELS}


def cost(architecture: SceneArchitecture, picture: Image, width: int) -> dict[str, float]:
    """
    Parameters in use and multiply-adds [1e9] of one picture, counted while it passes.

    Absent connections of a connection table are no parameters, but the engine computes them:
    ``gmac`` has them, ``gmac_connected`` has not.
    """
    taxonomy = load_taxonomy('camvid')
    network = untrained_scene(architecture, taxonomy.classes, taxonomy.colours).network.eval()
    parameters, macs, connected = {}, [0], [0]

    def count(module: torch.nn.Module, _: Any, output: torch.Tensor) -> None:
        own = list(module.parameters(recurse=False))
        weight, absent = own[0], 0
        if isinstance(module, TableConv):
            absent = int((module.table == 0).sum()) * FILTER ** 2
        parameters[module] = sum(one.numel() for one in own) - absent
        if weight.ndim == 4:
            places = output[0, 0].numel()
            macs[0] += places * weight.numel()
            connected[0] += places * (weight.numel() - absent)

    for module in network.modules():
        if any(True for _ in module.parameters(recurse=False)):
            module.register_forward_hook(count)
    small = cv2.resize(picture, (width, HEIGHT * width // WIDTH), interpolation=cv2.INTER_AREA)
    with torch.inference_mode():
        network(*(one[None] for one in scene_inputs(architecture, small)))
    return {'parameters': sum(parameters.values()), 'gmac': macs[0] / 1e9,
            'gmac_connected': connected[0] / 1e9}


def machine() -> str:
    """Model of the processor."""
    info = Path('/proc/cpuinfo')
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.partition(':')[2].strip() for line in lines
                 if line.startswith('model name')), 'unknown processor')


if __name__ == '__main__':
    typer.run(main)
