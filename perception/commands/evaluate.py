# SPDX-License-Identifier: Apache-2.0
"""``lagr evaluate``: score the chain against truth."""

import json
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from perception.commands.outputs import check_outputs
from perception.config import load_config
from perception.types import EngineChoice

PICTURE_SUFFIXES = ('.png', '.svg', '.pdf')

app = typer.Typer(no_args_is_help=True, help='Score the chain against truth.',
                  rich_markup_mode=None)


@app.callback()
def evaluate() -> None:
    """Score the chain against truth."""


@app.command()
def traversability(
    bag: Annotated[Path, typer.Argument(help='Bag of lagr world --truth full')],
    json_: Annotated[Path, typer.Option('--json', help='File to write the scores to')],
    network: Annotated[str | None, typer.Option(help='Shipped name, or path to .onnx')] = None,
    config: Annotated[Path | None, typer.Option(help='YAML file of parameters')] = None,
    set_: Annotated[list[str] | None, typer.Option(
        '--set', help='section.key=value, over the file; may be repeated')] = None,
) -> None:
    """Window error and cost AUC of a drive through a synthetic world."""
    from perception.evaluation.colour import WEIGHTS
    from perception.evaluation.run import evaluate_bag
    from perception.evaluation.softmax import load_softmax
    from perception.evaluation.traversability import Baselines
    from perception.inference import load_configured

    named = [f'network.name={network}'] if network else []
    settings = load_config(config, [*named, *(set_ or [])])
    check_outputs(json_)
    chosen = load_configured(settings.network)
    baselines = Baselines(load_softmax(WEIGHTS))
    console = Console()
    with _progress(console) as on_progress:
        tally = evaluate_bag(bag, settings, chosen, baselines, on_progress)
    summary = tally.summary()
    _write(json_, summary)
    console.print(score_table(summary))
    console.print(f'{json_}', highlight=False)


class Superpixels(StrEnum):
    """Whose segments average the probabilities."""

    none = 'none'
    felzenszwalb = 'felzenszwalb'
    slic = 'slic'


def scene(
    data: Annotated[Path, typer.Option(help='Root folder of the data set, as published')],
    split: Annotated[str, typer.Option(help='Such as test; a+b joins two')],
    network: Annotated[Path, typer.Option(help='The .onnx file, its manifest beside it')],
    json_: Annotated[Path, typer.Option('--json', help='File to write the scores to')],
    data_set: Annotated[str | None, typer.Option(
        help='Which data set it is, where its folders do not tell')] = None,
    flip: Annotated[bool, typer.Option(
        '--flip', help='Average with the mirrored picture')] = False,
    scales: Annotated[str, typer.Option(help='Average over sizes, such as 0.75,1,1.25')] = '1',
    superpixels: Annotated[Superpixels, typer.Option(
        help='Average over segments')] = Superpixels.none,
    picture: Annotated[Path | None, typer.Option(
        help='Picture of the confusion matrix to write (.png, .svg)')] = None,
    threads: Annotated[int, typer.Option(
        min=0, max=256, help='Threads of the network, 0 = one a core')] = 0,
    engine: Annotated[str, typer.Option(help='What runs it; auto = the fastest')] = 'auto',
) -> None:
    """Pixel accuracy, class accuracy and mean IoU of a scene network on a labelled data set."""
    from perception.evaluation.scene import Options, evaluate_scene
    from perception.scene import load_scene_network
    from perception.training.scene_sets import open_scene_set

    options = Options(flip, _scales(scales), superpixels.value)
    _check_picture(picture)
    check_outputs(json_, picture)
    scene_set = open_scene_set(data, split, data_set)
    chosen = load_scene_network(network, threads, cast('EngineChoice', engine))
    console = Console()
    with _progress(console) as on_progress:
        tally, summary = evaluate_scene(scene_set, chosen, options, on_progress)
    _write(json_, summary | {'command': shlex.join(['lagr', *sys.argv[1:]]),
                             'engine': chosen.opened.text})
    console.print(scene_table(summary))
    console.print(f'{json_}', highlight=False)
    if picture is not None:
        from perception.evaluation.scene_picture import draw_confusion

        draw_confusion(picture, tally.matrix, tally.classes,
                       f'{summary["network"]["name"]} on {scene_set.name} {split}')
        console.print(f'{picture}', highlight=False)


app.command()(scene)


@contextmanager
def _progress(console: Console) -> Iterator[Callable[[int, int], None]]:
    """Progress bar, told how many of how many are done."""
    columns = (TextColumn('evaluate'), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task('evaluate', total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def _write(path: Path, summary: dict[str, Any]) -> None:
    path.write_text(json.dumps(summary, indent=1) + '\n')


def _check_picture(path: Path | None) -> None:
    if path is not None and path.suffix not in PICTURE_SUFFIXES:
        raise typer.BadParameter(
            f'{path}: name a file that ends in {", ".join(PICTURE_SUFFIXES)}',
            param_hint='--picture')


def _scales(text: str) -> tuple[float, ...]:
    """Sizes from text such as ``0.75,1,1.25``."""
    try:
        scales = tuple(float(part) for part in text.split(','))
    except ValueError:
        scales = ()
    if not scales or not all(0.1 <= scale <= 10 for scale in scales):
        raise typer.BadParameter(
            f'{text!r}: give numbers from 0.1 to 10 with commas between', param_hint='--scales')
    return scales


def scene_table(summary: dict[str, Any]) -> Table:
    """Scores of a scene network for the terminal: all classes, then the means."""
    table = Table('class', 'IoU', 'accuracy', 'share of pixels', box=None)
    for name in summary['classes']:
        values = (summary[key][name]
                  for key in ('per_class_iou', 'per_class_accuracy', 'class_share'))
        table.add_row(name, *('-' if value is None else f'{value:.3f}' for value in values))
    table.add_row('mean', f'{summary["miou"]:.3f}', f'{summary["class_accuracy"]:.3f}', '')
    table.add_row('pixel accuracy', '', f'{summary["pixel_accuracy"]:.3f}', '')
    table.add_row('calibration error', '', f'{summary["calibration_error"]:.3f}', '')
    for band in summary.get('distance_bands', ()):
        low, high = band['range_m']
        if band['pixels']:
            reach = f'{low:g}-{high:g} m' if high else f'{low:g} m and more'
            table.add_row(f'mean, {reach}', f'{band["miou"]:.3f}',
                          f'{band["pixel_accuracy"]:.3f} of pixels', '')
    return table


def score_table(summary: dict[str, Any]) -> Table:
    """Scores of all modes for the terminal."""
    ranges = [f'{low:g}-{high:g} m' for low, high in summary['ranges_m']]
    table = Table('', 'mode', *ranges, box=None)
    for kind in ('window_error', 'cost_auc'):
        for mode, values in summary[kind].items():
            shown = ['-' if value is None else f'{value:.3f}' for value in values]
            table.add_row(kind.replace('_', ' '), mode, *shown)
    return table
