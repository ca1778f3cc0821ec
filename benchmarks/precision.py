# SPDX-License-Identifier: Apache-2.0
"""
What other precisions and engines cost in accuracy: ``python benchmarks/precision.py``.

Scores the shipped networks as every engine here computes them on the same frames, planes and
windows of worlds in unseen seasons, which are rendered where they are not yet, and writes
docs/results/precision.json and docs/precision.md.
"""

import json
import shlex
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import onnxruntime as ort
import openvino as ov
import typer
from precision_layers import layer_losses
from precision_page import page
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from scene_speed import machine
from scene_targets import TEST_WORLDS, record_worlds

from perception.bag import open_bag
from perception.config import Config, config_hash, with_values
from perception.contrast import band_strips
from perception.evaluation.colour import WEIGHTS
from perception.evaluation.online import Answer
from perception.evaluation.scene import evaluate_scene
from perception.evaluation.softmax import load_softmax
from perception.evaluation.traversability import Baselines, Tally, score_frame
from perception.evaluation.truth_bag import read_truth
from perception.inference import Network, Opened, load_network, network_path
from perception.pipeline import Pipeline, Result, window_probabilities
from perception.scene import SceneNetwork, load_scene_network
from perception.training.scene_sets import WORLDS, open_scene_set
from perception.types import FOOTLINE, Engine, Float, Precision

FEATURES, SCENE = ('default', 'lagr2008'), 'scene'
COMPUTED: tuple[tuple[Engine, Precision], ...] = (
    ('onnxruntime', 'f32'), ('onnxruntime', 'int8'),
    ('openvino', 'f32'), ('openvino', 'bf16'), ('openvino', 'int8'))
REFERENCE = 'onnxruntime f32'
CPU_FLAGS = ('avx2', 'avx512f', 'avx512_vnni', 'avx_vnni', 'avx512_bf16', 'amx_bf16', 'amx_int8')


class Bf16Session:
    """
    OpenVINO rounding to bf16, on any processor.

    The engine of this package refuses bf16 where the processor lacks it, as it is slow there.
    """

    engine, precision = 'openvino', 'bf16'

    def __init__(self, path: Path) -> None:
        options = {'INFERENCE_PRECISION_HINT': 'bf16', 'INFERENCE_NUM_THREADS': 1}
        self._request = ov.Core().compile_model(path, 'CPU', options).create_infer_request()

    def run(self, inputs: dict[str, Float]) -> list[Float]:
        """Outputs in the order of the file."""
        return [np.array(output) for output in self._request.infer(inputs).values()]


@dataclass
class Changes:
    """Windows whose family (ground or obstacle) changed, all windows, and sum of changes."""

    changed: int = 0
    windows: int = 0
    probability: list[float] = field(default_factory=list)

    def summary(self) -> dict[str, float]:
        """Shares in [0, 1]."""
        return {'windows_changed': self.changed / self.windows,
                'probability_changed': float(np.mean(self.probability))}


def main(
    out: Annotated[Path, typer.Option(help='JSON to write')] = Path(
        'docs/results/precision.json'),
    page_: Annotated[Path, typer.Option('--page', help='Page to write')] = Path(
        'docs/precision.md'),
    worlds: Annotated[Path, typer.Option(help='Where the test worlds lie')] = Path(
        'out/scene_worlds'),
    calibration: Annotated[Path, typer.Option(help='Where the calibration worlds lie')] = Path(
        'out/quantize'),
) -> None:
    """Measure and write."""
    columns = (TextColumn('{task.description:34}'), BarColumn(), TimeElapsedColumn())
    with Progress(*columns) as progress:
        record_worlds(worlds, progress)
        scores = {name: {world.name: score_world(name, world) for world in progress.track(
            _bags(worlds), description=name)} for name in FEATURES}
        scene = {f'{engine} {precision}': score_scene(worlds, engine, precision)
                 for engine, precision in progress.track(COMPUTED, description=SCENE)}
        losses = {name: layer_losses(network_path(name), calibration, progress)
                  for name in FEATURES}
    result = {
        'command': shlex.join(['python', *sys.argv]), 'config_hash': config_hash(Config()),
        'machine': machine(), 'cpu': cpu_flags(), 'onnxruntime': ort.__version__,
        'openvino': ov.__version__, 'layers': {
            name: {precision: layer_precisions(name, precision) for precision in (
                'f32', 'bf16', 'int8')} for name in (*FEATURES, SCENE)},
        'networks': scores, 'scene': scene, 'layer_losses': losses,
        'calibration': {name: calibrated(name) for name in (*FEATURES, SCENE)},
    }
    for path, text in ((out, json.dumps(result, indent=1) + '\n'), (page_, page(result))):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    typer.echo(f'{out}\n{page_}')


def _bags(folder: Path) -> list[Path]:
    return [folder / f'{season}_{seed}' for season, seed in TEST_WORLDS]


def score_world(name: str, bag: Path) -> dict[str, Any]:
    """All precisions of a network on one world, as modes of one evaluation."""
    config = with_values(Config(), {'near_to_far.enabled': False})
    networks = {f'{engine} {precision}': open_network(name, engine, precision)
                for engine, precision in COMPUTED}
    pipeline, baselines = Pipeline(config, networks[REFERENCE]), Baselines(load_softmax(WEIGHTS))
    tally, changes = Tally(), {label: Changes() for label in networks}
    with open_bag(bag, config) as source:
        truth = read_truth(source, bag)
        for frame in source.frames():
            result = pipeline.process(frame)
            if result.pyramid is None or frame.stamp_ns not in truth.stamps:
                continue
            answers = all_answers(pipeline, result, networks)
            count_changes(answers, result, changes)
            tally.frames.append(score_frame(
                pipeline, result, truth.at(frame), baselines, answers))
    summary = tally.summary()
    return {
        'frames': summary['frames'],
        'windows': summary['truth_items']['windows'],
        **{key: {label: summary[key][label] for label in networks}
           for key in ('window_error', 'cost_auc')},
        'oracle_auc': summary['cost_auc']['oracle'],
        'changes': {label: one.summary() for label, one in changes.items()},
    }


def open_network(name: str, engine: Engine, precision: Precision) -> Network:
    """Shipped network as this engine computes it."""
    if precision != 'bf16':
        return load_network(name, engine, 1, precision)
    spec = load_network(name, 'onnxruntime').spec
    return Network(spec, Opened(Bf16Session(network_path(name)), 'asked for'))


def all_answers(
    pipeline: Pipeline, result: Result, networks: dict[str, Network]
) -> dict[str, Answer]:
    """Histograms of all windows of a frame by each network, from the same strips."""
    assert result.pyramid is not None
    spec = pipeline.network.spec
    strips = band_strips(result.frame.image, result.pyramid, pipeline.contrast, spec.receptive)
    return {label: Answer(window_probabilities(network.features(strips), result.pyramid, network))
            for label, network in networks.items()}


def count_changes(
    answers: dict[str, Answer], result: Result, changes: dict[str, Changes]
) -> None:
    """Compare with the reference, on windows in the image."""
    assert result.pyramid is not None
    valid = result.pyramid.windows.valid
    wanted = answers[REFERENCE].probabilities[valid]
    for label, answer in answers.items():
        found, count = answer.probabilities[valid], changes[label]
        family, before = (each.argmax(1) >= FOOTLINE for each in (found, wanted))
        count.changed += int(np.count_nonzero(family != before))
        count.windows += len(found)
        count.probability.append(float(np.abs(found - wanted).mean()))


def score_scene(worlds: Path, engine: Engine, precision: Precision) -> dict[str, float]:
    """Scene labels of all test worlds together."""
    path = network_path(SCENE, 'scene', precision)
    network = load_scene_network(path, 1, engine, precision) if precision != 'bf16' else (
        SceneNetwork(load_scene_network(path).spec, Opened(Bf16Session(path), 'asked for')))
    _, summary = evaluate_scene(open_scene_set(worlds, 'unseen', WORLDS), network)
    return {key: summary[key] for key in ('miou', 'pixel_accuracy', 'images')}


def layer_precisions(name: str, precision: Precision) -> dict[str, int]:
    """What OpenVINO runs the convolutions of a network in here: number by precision."""
    hint = 'bf16' if precision == 'bf16' else 'f32'
    path = network_path(name, precision=precision)
    model = ov.Core().compile_model(str(path), 'CPU', {'INFERENCE_PRECISION_HINT': hint})
    told = [node.get_rt_info() for node in model.get_runtime_model().get_ordered_ops()]
    return dict(Counter(info['runtimePrecision'].astype(str) for info in told
                        if 'Convolution' in info['layerType'].astype(str)))


def calibrated(name: str) -> dict[str, Any]:
    """What the manifest of a shipped int8 file tells of its calibration."""
    manifest = network_path(name, precision='int8').with_suffix('.json')
    told: dict[str, Any] = json.loads(manifest.read_bytes())['data']['calibration']
    return told


def cpu_flags() -> list[str]:
    """Instructions of this processor that matter here."""
    text = Path('/proc/cpuinfo').read_text().split()
    return [flag for flag in CPU_FLAGS if flag in text]


if __name__ == '__main__':
    typer.run(main)
