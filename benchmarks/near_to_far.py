# SPDX-License-Identifier: Apache-2.0
"""
Score near-to-far learning on unseen worlds: ``python benchmarks/near_to_far.py``.

Records the test worlds, evaluates each network in each world with three seeds of the learner, and
writes docs/results/near_to_far.json, the tables of docs/near_to_far.md and the adaptation curves.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from near_to_far_tables import draw_curves, report
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from perception.config import Config, config_hash
from perception.evaluation.colour import WEIGHTS
from perception.evaluation.run import evaluate_bag
from perception.evaluation.scores import RANGES_M, Items
from perception.evaluation.softmax import load_softmax
from perception.evaluation.traversability import Baselines, FrameScores, Tally
from perception.inference import load_network
from perception.near_to_far import SEED
from perception.world.record import Recording, record
from perception.world.spec import WorldSpec

WORLDS = tuple((season, first + k) for first in (9101, 9111) for k, season in enumerate(
    ('haze', 'forest', 'straw', 'frost', 'clear', 'autumn')))
"""No seed of these was used in training; the first four seasons neither in training nor tuning."""
SEEDS = (SEED, SEED + 1, SEED + 2)
SECONDS = 24.0
CURVES = ('w0', 'online', 'propagation', 'online_raw', 'propagation_raw', 'ceiling')
MARKDOWN, PICTURE = Path('docs/near_to_far.md'), Path('docs/pictures/near_to_far_curves.png')


def main(
    out: Annotated[Path, typer.Option(help='JSON to write')] = Path(
        'docs/results/near_to_far.json'),
    worlds: Annotated[Path, typer.Option(help='Where the bags lie')] = Path('out/near_to_far'),
    networks: Annotated[str, typer.Option(help='Names, with commas')] = 'default,lagr2008',
    only: Annotated[int, typer.Option(help='Use so many worlds, for a trial')] = len(WORLDS),
) -> None:
    """Evaluate all networks on all worlds."""
    columns = (TextColumn('{task.description:34}'), BarColumn(), TimeElapsedColumn())
    scores: dict[str, Any] = {name: {} for name in networks.split(',')}
    described: dict[str, Any] = {}
    with Progress(*columns) as progress:
        for season, seed in WORLDS[:only]:
            world = f'{season} {seed}'
            bag, described[world] = record_world(worlds, WorldSpec(seed, season), progress)
            for name, by_world in scores.items():
                task = progress.add_task(f'{name} in {world}')
                by_world[world] = evaluate(bag, name, progress, task)
    result = {'config_hash': config_hash(Config()), 'seconds': SECONDS, 'seeds': SEEDS,
              'worlds': described, 'networks': scores}
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result) + '\n')
    MARKDOWN.write_text(report(result))
    draw_curves(result, PICTURE)
    typer.echo(f'{out}\n{MARKDOWN}\n{PICTURE}')


def record_world(
    folder: Path, spec: WorldSpec, progress: Progress
) -> tuple[Path, dict[str, Any]]:
    """Bag of a world, recorded unless it is there, and what it holds."""
    bag = folder / f'{spec.season}_{spec.seed}'
    note = folder / f'{bag.name}.json'
    if not note.is_file():
        task = progress.add_task(f'render {bag.name}')
        summary = record(spec, bag, Recording(SECONDS), _shown(progress, task))
        note.write_text(json.dumps(asdict(summary)))
    return bag, json.loads(note.read_text())


def evaluate(bag: Path, name: str, progress: Progress, task: TaskID) -> dict[str, Any]:
    """Scores of one network in one world, with its curve over the truth frames."""
    tally: Tally = evaluate_bag(bag, Config(), load_network(name),
                                Baselines(load_softmax(WEIGHTS)), _shown(progress, task), SEEDS)
    return tally.summary() | {'curve': [frame_counts(frame) for frame in tally.frames]}


def frame_counts(frame: FrameScores) -> dict[str, list[list[int]]]:
    """Wrong and all windows of each family, [ground wrong, ground, obstacle wrong, obstacle]."""
    return {mode: [_counts(frame.windows[mode].within(*ends)) for ends in RANGES_M]
            for mode in CURVES if mode in frame.windows}


def _counts(items: Items) -> list[int]:
    wrong = (items.score > 0.5) != items.obstacle
    counts = (np.count_nonzero(part) for standing in (False, True)
              for part in (wrong & (items.obstacle == standing), items.obstacle == standing))
    return [int(count) for count in counts]


def _shown(progress: Progress, task: TaskID) -> Any:
    """Callback that moves a bar."""
    return lambda done, total: progress.update(task, completed=done, total=total)


if __name__ == '__main__':
    typer.run(main)
