# SPDX-License-Identifier: Apache-2.0
"""``lagr world``: a drive through a synthetic off-road world, recorded with its truth."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from perception.world.spec import DEFAULT_RELIEF, MAX_RELIEF, WorldSpec


class Season(StrEnum):
    """The seasons of ``spec.SEASON_NAMES``."""

    clear = 'clear'
    autumn = 'autumn'
    haze = 'haze'
    forest = 'forest'
    straw = 'straw'
    frost = 'frost'


class Encoding(StrEnum):
    """How pictures are written."""

    jpeg = 'jpeg'
    raw = 'raw'


class Truth(StrEnum):
    """How much truth is written."""

    full = 'full'
    light = 'light'


def world(
    seed: Annotated[int, typer.Option(min=0, help='Names the world: same seed, same bag')],
    season: Annotated[Season, typer.Option(help='Light, air and colours')],
    seconds: Annotated[float, typer.Option(min=0.1, max=3600.0, help='Length of the drive [s]')],
    out: Annotated[Path, typer.Option(help='Bag folder to write')],
    rate: Annotated[float, typer.Option(
        min=0.1, max=50.0, help='Stereo frames a second [Hz]')] = 10.0,
    relief: Annotated[float, typer.Option(
        min=0.0, max=MAX_RELIEF, help='Amplitude of the height map [m]')] = DEFAULT_RELIEF,
    flat: Annotated[bool, typer.Option('--flat', help='Exactly level ground')] = False,
    encoding: Annotated[Encoding, typer.Option(help='Pictures')] = Encoding.jpeg,
    truth: Annotated[Truth, typer.Option(
        help='light leaves out depth and obstacle pictures')] = Truth.full,
) -> None:
    """Render a drive through a synthetic off-road world into a rosbag2 with its truth."""
    from perception.world.record import Recording, record

    spec = WorldSpec(seed, season.value, relief, flat)
    picture: Literal['jpeg', 'raw'] = 'raw' if encoding is Encoding.raw else 'jpeg'
    extent: Literal['full', 'light'] = 'light' if truth is Truth.light else 'full'
    columns = (TextColumn('world'), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console()) as progress:
        task = progress.add_task('world', total=None)
        summary = record(
            spec, out, Recording(seconds, rate, picture, extent),
            lambda done, total: progress.update(task, completed=done, total=total))
    typer.echo(
        f'{out}: {summary.frames} stereo frames, {summary.driven_m:.1f} m driven, '
        f'{summary.near_obstacles} obstacles within 12 m, {summary.visible_obstacles} seen at '
        f'12-60 m, relief {spec.amplitude_m:g} m, ground tilt deviation '
        f'{summary.tilt_deviation_rad:.4f} rad')
