# SPDX-License-Identifier: Apache-2.0
"""``lagr play``: a recorded bag into the ROS graph."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn


def play(
    bag: Annotated[Path, typer.Argument(help='rosbag2 folder, or a bare .mcap or .db3 file')],
    rate: Annotated[float, typer.Option(min=0.01, max=100.0, help='Speed, 1 = recorded')] = 1.0,
    loop: Annotated[bool, typer.Option('--loop', help='Begin again at the end')] = False,
    clock: Annotated[bool, typer.Option('--clock', help='Publish /clock')] = False,
) -> None:
    """Play a bag once its image topics have subscribers (needs the extra ros)."""
    from perception.nodes.player import PlayOptions
    from perception.nodes.player import play as run

    console = Console(stderr=True)
    columns = (TextColumn('play'), BarColumn(), TextColumn('{task.completed:.1f} s'))
    with Progress(*columns, console=console) as progress:
        task = progress.add_task('play', total=None)
        finished = run(
            bag, PlayOptions(rate, loop, clock),
            say=lambda line: console.print(line, markup=False, highlight=False, soft_wrap=True),
            on_progress=lambda done, total: progress.update(task, completed=done, total=total))
    if not finished:
        raise typer.Exit(130)
