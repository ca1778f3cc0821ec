# SPDX-License-Identifier: Apache-2.0
"""``lagr drive``: a rover finds its way through a course of the synthetic world."""

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from perception.commands.outputs import check_outputs
from perception.config import load_config

if TYPE_CHECKING:
    from perception.navigation.trial import OnProgress

COURSE_COUNT = 12


class LongRange(StrEnum):
    """What the planner reads."""

    off = 'off'
    w0 = 'w0'
    online = 'online'


def drive(
    course: Annotated[int, typer.Option(min=1, max=COURSE_COUNT, help='Which course')],
    seed: Annotated[int, typer.Option(min=0, help='Names the variant of the course')],
    long_range: Annotated[LongRange, typer.Option(
        help='off = 5 m stereo only, w0 = fixed weights, online = learns while driving')],
    json_: Annotated[Path, typer.Option('--json', help='File to write the result to')],
    film: Annotated[Path | None, typer.Option(help='Film strip to write (.png)')] = None,
    plot: Annotated[Path | None, typer.Option(help='Top-down plot to write (.png)')] = None,
    config: Annotated[Path | None, typer.Option(help='YAML file of parameters')] = None,
    set_: Annotated[list[str] | None, typer.Option(
        '--set', help='section.key=value, over the file; may be repeated')] = None,
) -> None:
    """Drive one course closed loop in a synthetic world; exit code 0 whether it arrives or not."""
    settings = load_config(config, set_)
    check_outputs(json_, film, plot)
    from perception.navigation.draw_trial import write_film, write_plot
    from perception.navigation.trial import run_trial
    from perception.world.courses import build_course

    with Progress(TextColumn('drive'), BarColumn(), TextColumn('{task.fields[shown]}'),
                  TimeElapsedColumn(), console=Console()) as progress:
        built = build_course(course, seed)
        trial = run_trial(built, long_range.value, settings, film=film is not None,
                          on_progress=_shown(progress, built.straight_line_m))
    json_.write_text(json.dumps(trial.summary(), indent=1) + '\n')
    if film:
        write_film(trial, film)
    if plot:
        write_plot(trial, plot)
    arrived = f'goal reached in {trial.time_s:.1f} s' if trial.goal_reached else (
        f'goal not reached within {trial.time_s:.0f} s')
    typer.echo(f'course {course} ({built.name}), long range {long_range.value}: {arrived}, '
               f'{trial.length_m:.1f} m driven, shortest {built.optimal_length_m:.1f} m, '
               f'{len(trial.contacts)} collisions')
    typer.echo(f'{json_}')


def _shown(progress: Progress, total_m: float) -> 'OnProgress':
    """Callback that moves a bar by the distance to the goal."""
    task = progress.add_task('drive', total=total_m, shown='')

    def update(time_s: float, away_m: float) -> None:
        progress.update(task, completed=max(total_m - away_m, 0.0),
                        shown=f'{away_m:.0f} m to go, {time_s:.0f} s')

    return update
