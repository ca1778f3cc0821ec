# SPDX-License-Identifier: Apache-2.0
"""``lagr quantize``: the int8 file of a network, calibrated on recordings."""

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)


def quantize(
    network: Annotated[str, typer.Option(help='Shipped name, or path to .onnx, in float32')],
    calibrate: Annotated[list[Path], typer.Option(
        help='Bag, or for scene networks also a folder of pictures; may be repeated')],
    out: Annotated[Path, typer.Option(
        help='File to write, STEM_int8.onnx; the manifest goes beside it')],
    pictures: Annotated[int, typer.Option(
        min=1, max=10000, help='Taken from each source at most, evenly spread')] = 24,
    keep: Annotated[list[str] | None, typer.Option(
        help='Layer that stays in float32, by its name in the file; may be repeated')] = None,
    licence: Annotated[str, typer.Option(
        help='Licence of the calibration pictures, for the manifest')] = 'not stated',
) -> None:
    """Quantise a network to int8 on pictures of recordings or worlds."""
    from perception.inference import network_path
    from perception.training.calibration_feeds import read_feeds
    from perception.training.quantize import check_request
    from perception.training.quantize import quantize as make_int8

    path = network_path(network)
    check_request(path, out, keep or [])
    columns = (TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(),
               TimeRemainingColumn())
    sources = []
    with Progress(*columns, console=Console(stderr=True)) as progress:
        for source in calibrate:
            task = progress.add_task(f'read {source.name}', total=None)
            sources.append(read_feeds(path, source, pictures, _shown(progress, task)))
    told = {'what': [source.name for source in calibrate], 'licence': licence,
            'command': shlex.join(['lagr', *sys.argv[1:]])}
    typer.echo(f'calibrate on {sum(map(len, sources))} pictures ...')
    made = make_int8(path, out, sources, told, keep or [])
    for method, difference in made.difference.items():
        typer.echo(f'{method}: class probabilities differ by {difference:.5f} in the mean'
                   f'{" <- taken" if method == made.method else ""}')
    typer.echo(f'{out}')


def _shown(progress: Progress, task: TaskID) -> Callable[[int, int], None]:
    """Callback that moves a bar."""
    return lambda done, total: progress.update(task, completed=done, total=total)
