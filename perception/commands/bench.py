# SPDX-License-Identifier: Apache-2.0
"""``lagr bench``: stage times on the shipped pair, as ratios to one stereo match."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer


def bench(
    json_: Annotated[Path, typer.Option('--json', help='File to write')],
    rounds: Annotated[int, typer.Option(min=1, help='Rounds that count')] = 60,
) -> None:
    """Time every stage, and frames on two threads, in units of one SGBM call of the same run."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from perception.bench import WARM_UP, run_bench
    from perception.commands.outputs import check_outputs

    check_outputs(json_)
    columns = (TextColumn('bench'), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task('bench', total=rounds + WARM_UP)
        result = run_bench(rounds, lambda done: progress.update(task, completed=done),
                           progress.console.print)
    json_.write_text(json.dumps(result, indent=1) + '\n')
    _print_table(result)
    typer.echo(f'\n{json_}')


def _print_table(result: dict[str, Any]) -> None:
    typer.echo(f"yardstick {result['yardstick_ms']:.2f} ms (SGBM 3WAY, 640x480, 96 disparities)")
    typer.echo(f"{'stage':15}{'threads':>7} {'preset':9}{'network':10}{'engine':17}"
               f"{'p50 ms':>8}{'p95 ms':>8}{'ratio':>8}{'roofline':>9}  clock, unless processor")
    for row in result['rows']:
        typer.echo(f"{row['name']:15}{row['threads']:7} {row['preset'] or '-':9}"
                   f"{row['network'] or '-':10}{_engine(row):17}"
                   f"{row['p50_ms']:8.2f}{row['p95_ms']:8.2f}{row['ratio']:8.3f}"
                   f"{'' if row['roofline'] is None else format(row['roofline'], '.2f'):>9}"
                   f"{'' if row['clock'] == 'processor' else '  ' + row['clock']}")


def _engine(row: dict[str, Any]) -> str:
    return f"{row['engine']} {row['precision']}" if row['engine'] else '-'
