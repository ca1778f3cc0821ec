# SPDX-License-Identifier: Apache-2.0
"""
Score the networks on unseen worlds: ``python benchmarks/traversability.py``.

Records the test worlds with ``lagr world``'s recorder, fits the baselines (colour, and colour
with the network's features) on training-season worlds, and writes the scores as JSON and the
tables of docs/traversability.md. ``--fit-colour`` also renews the shipped colour classifier.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from traversability_tables import report

from perception.config import Config, config_hash, with_values
from perception.evaluation.colour import WEIGHTS, colour_features
from perception.evaluation.run import evaluate_bag
from perception.evaluation.scores import RANGES_M
from perception.evaluation.softmax import fit_softmax, load_softmax, save_softmax
from perception.evaluation.traversability import (
    Baselines,
    Tally,
    network_features,
    truth_labels,
)
from perception.evaluation.truth import TruthFrame, WindowTruth, window_truth
from perception.inference import load_network
from perception.pipeline import Pipeline
from perception.types import UNLABELED, Float, Image
from perception.world.drive import WorldFrame, drive
from perception.world.record import Recording, record
from perception.world.spec import WorldSpec

TEST_WORLDS = (('haze', 9001), ('forest', 9002), ('straw', 9003), ('frost', 9004),
               ('clear', 9005), ('autumn', 9006))
"""No seed of these is used in training, nor the first four seasons in training or tuning."""
FIT_SEEDS = tuple(range(1000, 1010))
FIT_SEASONS = ('clear', 'autumn')
FIT_SECONDS, FIT_RATE_HZ = 8.0, 1.0
FIT_WINDOWS = 100  # of each family, range and frame
MARKDOWN = Path('docs/traversability.md')


def main(
    out: Annotated[Path, typer.Option(help='JSON to write')] = Path(
        'docs/results/traversability.json'),
    worlds: Annotated[Path, typer.Option(help='Where the bags lie')] = Path('out/test_worlds'),
    networks: Annotated[str, typer.Option(help='Names, with commas')] = 'default,lagr2008',
    seconds: Annotated[float, typer.Option(min=8.0, help='Drive in each world')] = 12.0,
    fit_colour: Annotated[bool, typer.Option(help='Renew the shipped colour weights')] = False,
    only: Annotated[int, typer.Option(help='Use so many worlds, for a trial')] = len(TEST_WORLDS),
) -> None:
    """Evaluate all networks on all worlds."""
    columns = (TextColumn('{task.description:34}'), BarColumn(), TimeElapsedColumn())
    with Progress(*columns) as progress:
        bags = record_worlds(worlds, seconds, progress, only)
        scores = {}
        for name in networks.split(','):
            baselines = fit_baselines(name, fit_colour, progress)
            fit_colour = False  # the histogram is the same for every network
            scores[name] = evaluate_worlds(name, baselines, bags, progress)
    result = {'config_hash': config_hash(Config()), 'seconds': seconds, 'worlds': bags,
              'networks': scores}
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + '\n')
    MARKDOWN.write_text(report(result))
    typer.echo(f'{out}\n{MARKDOWN}')


def record_worlds(
    folder: Path, seconds: float, progress: Progress, count: int
) -> dict[str, dict[str, Any]]:
    """Record the test worlds that are not there yet; what each holds, by season."""
    described = {}
    for season, seed in TEST_WORLDS[:count]:
        spec = WorldSpec(seed, season)
        bag = folder / f'{season}_{seed}_{seconds:g}s_{spec.relief:g}m'
        note = folder / f'{bag.name}.json'
        if not note.is_file():
            task = progress.add_task(f'render {season} {seed}')
            summary = record(spec, bag, Recording(seconds), _shown(progress, task))
            note.write_text(json.dumps(asdict(summary)))
        described[season] = {'bag': str(bag), 'seed': seed, 'relief_m': spec.amplitude_m,
                             **json.loads(note.read_text())}
    return described


def fit_baselines(name: str, renew_colour: bool, progress: Progress) -> Baselines:
    """Softmax on colour (shipped, or fitted anew), and on features with colour, for a network."""
    pipeline = Pipeline(Config(), load_network(name))
    samples = []
    for seed in progress.track(FIT_SEEDS, description=f'features for {name}'):
        pipeline.reset()
        spec = WorldSpec(seed, FIT_SEASONS[seed % len(FIT_SEASONS)])
        samples += [_sample(pipeline, taken) for taken in drive(spec, FIT_SECONDS, FIT_RATE_HZ)]
    features, colours, labels = (np.concatenate(part) for part in zip(*samples, strict=True))
    if renew_colour:
        save_softmax(WEIGHTS, fit_softmax(colours, labels))
    task = progress.add_task(f'fit colour + {name}', total=None)
    joint = fit_softmax(np.concatenate([features, colours], 1), labels)
    progress.update(task, total=1, completed=1)
    return Baselines(load_softmax(WEIGHTS), joint)


def _sample(pipeline: Pipeline, taken: WorldFrame) -> tuple[Float, Float, Image]:
    """Features, histograms and labels of some windows of a frame, as many of each group."""
    frame, camera_pose = taken.frame, taken.frame.base_from_camera
    pyramid = pipeline.process(frame).pyramid
    assert pyramid is not None
    assert camera_pose is not None
    truth = TruthFrame(frame.stamp_ns, frame.camera, taken.obstacle, taken.depth,
                       taken.world_from_base @ camera_pose, taken.world_from_base[:2, 3])
    label = truth_labels(truth, pyramid, pipeline.config).label
    rng = np.random.default_rng(frame.stamp_ns % 2**32)
    chosen = np.concatenate([rng.permutation(group)[:FIT_WINDOWS]
                             for group in _groups(window_truth(truth, pyramid), label)])
    return (network_features(pipeline, frame, pyramid)[chosen],
            colour_features(frame.image, pyramid)[chosen], label[chosen])


def _groups(window: WindowTruth, label: Image) -> list[NDArray[np.intp]]:
    """Labelled windows of a decided truth, by family and range: what the error counts."""
    usable = window.decided & (label != UNLABELED)
    return [np.flatnonzero(usable & (window.obstacle == standing) & (window.range_m >= low)
                           & (window.range_m < high))
            for standing in (False, True) for low, high in RANGES_M]


def evaluate_worlds(
    name: str, baselines: Baselines, worlds: dict[str, dict[str, Any]], progress: Progress
) -> dict[str, Any]:
    """Scores of one network in each world."""
    network = load_network(name)
    config = with_values(Config(), {'near_to_far.enabled': False})  # see near_to_far.py
    scores: dict[str, Any] = {}
    for season, world in worlds.items():
        task = progress.add_task(f'{name} in {season}')
        tally: Tally = evaluate_bag(Path(world['bag']), config, network, baselines,
                                    _shown(progress, task))
        scores[season] = tally.summary()
    return scores


def _shown(progress: Progress, task: TaskID) -> Any:
    """Callback that moves a bar."""
    return lambda done, total: progress.update(task, completed=done, total=total)


if __name__ == '__main__':
    typer.run(main)
