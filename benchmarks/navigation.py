# SPDX-License-Identifier: Apache-2.0
"""
Drive all courses, seeds and modes: ``python benchmarks/navigation.py``.

Each run is one JSON in ``out/navigation``; a run that is there with the same configuration is not
driven again: delete the folder after a change of code. All runs go to
docs/results/navigation.json, the tables to docs/navigation.md, some pictures to docs/pictures;
with ``--network lagr2008``, whose fixed weights are poor, to navigation_lagr2008 beside them.
"""

import hashlib
import json
from itertools import product
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any

import typer
from navigation_tables import report
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

import perception
from perception.config import Config, config_hash, with_values
from perception.navigation.draw_trial import write_film, write_plot
from perception.navigation.trial import Trial, mode_config, run_trial
from perception.world.courses import COURSES, Course, build_course

MODES = ('off', 'w0', 'online')
SEEDS = (1, 2, 3)
PICTURED = ((1, 1), (5, 1), (11, 1))
"""Course and seed of the runs that docs/pictures shows."""
DEFAULT = 'default'
CODE = ('navigation', 'world')


def main(
    runs: Annotated[Path, typer.Option(help='Folder of single runs')] = Path('out/navigation'),
    courses: Annotated[str, typer.Option(help='Numbers, with commas')] = ','.join(
        map(str, COURSES)),
    seeds: Annotated[str, typer.Option(help='With commas')] = ','.join(map(str, SEEDS)),
    network: Annotated[str, typer.Option(help='Name; off drives without')] = DEFAULT,
    season: Annotated[str | None, typer.Option(help='One season for all: for tuning')] = None,
    docs: Annotated[Path, typer.Option(help='Folder of tables, pictures, JSON')] = Path('docs'),
) -> None:
    """Drive what is missing, then write the tables."""
    config = with_values(Config(), {'network.name': network})
    wanted = [(int(c), int(s)) for c, s in product(courses.split(','), seeds.split(','))]
    columns = (TextColumn('{task.description:28}'), BarColumn(), MofNCompleteColumn(),
               TimeElapsedColumn())
    found = []
    with Progress(*columns) as progress:
        task = progress.add_task('courses', total=len(wanted))
        for number, seed in wanted:
            progress.update(task, description=f'course {number}, seed {seed}')
            found += drive_modes((number, seed, season), config, runs, docs / 'pictures')
            progress.advance(task)
    name = 'navigation' if network == DEFAULT else f'navigation_{network}'
    for run in found:
        run['track'] = run['track'][::5]  # two points a second
    result = {'config_hash': config_hash(config), 'network': network,
              'code_hash': code_hash(), 'runs': found}
    shown = PICTURED if network == DEFAULT else ()
    for path, text in ((docs / f'results/{name}.json', json.dumps(result) + '\n'),
                       (docs / f'{name}.md', report(found, docs / 'pictures', shown, network))):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        typer.echo(f'{path}')
    if {run['code_hash'] for run in found} != {code_hash()}:
        typer.echo(f'some runs in {runs} were made with other code: delete them to renew them')


def drive_modes(
    which: tuple[int, int, str | None], config: Config, runs: Path, pictures: Path
) -> list[dict[str, Any]]:
    """Summaries of one course and seed in all modes; the world is built once, if at all."""
    course: Course | None = None
    found = []
    for mode in MODES:
        mine = Config() if mode == 'off' else config  # off looks at no network
        extra = (which[2], mine.network.name)
        tags = [mode, *(tag for tag in extra if tag not in (None, DEFAULT))]
        path = runs / f'course{which[0]:02}_seed{which[1]}_{"_".join(map(str, tags))}.json'
        known = read_run(path, mode, mine)
        if known is None:
            course = course or build_course(*which)
            known = drive(course, mode, mine, path, pictures)
        found.append(known)
    return found


def read_run(path: Path, mode: Any, config: Config) -> dict[str, Any] | None:
    """A run that was made with this configuration, or None."""
    if not path.is_file():
        return None
    run: dict[str, Any] = json.loads(path.read_text())
    return run if run['config_hash'] == config_hash(mode_config(config, mode)) else None


def drive(
    course: Course, mode: Any, config: Config, path: Path, pictures: Path
) -> dict[str, Any]:
    """Drive one run and write it down."""
    start = perf_counter()
    pictured = (course.number, course.seed) in PICTURED and config.network.name == DEFAULT
    trial: Trial = run_trial(course, mode, config, film=pictured)
    summary = trial.summary() | {
        'code_hash': code_hash(), 'wall_s': round(perf_counter() - start, 1)}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(summary) + '\n')
    write_plot(trial, path.with_suffix('.png'))
    if pictured:
        stem = f'navigation_{course.number}_{mode}'
        write_plot(trial, pictures / f'{stem}.png')
        write_film(trial, pictures / f'{stem}_film.jpg')
    return summary


def code_hash() -> str:
    """Fingerprint of the planner's and the world's code."""
    folder = Path(perception.__file__).parent
    files = sorted(path for name in CODE for path in (folder / name).glob('*.py')
                   if path.name != 'draw_trial.py')
    return hashlib.sha256(b''.join(path.read_bytes() for path in files)).hexdigest()[:12]


if __name__ == '__main__':
    typer.run(main)
