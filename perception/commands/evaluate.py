# SPDX-License-Identifier: Apache-2.0
"""``lagr evaluate``: score the chain against truth."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from perception.config import load_config
from perception.evaluation.colour import WEIGHTS
from perception.evaluation.run import evaluate_bag
from perception.evaluation.softmax import load_softmax
from perception.evaluation.traversability import Baselines
from perception.inference import load_network

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
    named = [f'network.name={network}'] if network else []
    settings = load_config(config, [*named, *(set_ or [])])
    chosen = load_network(settings.network.name, settings.network.engine,
                          settings.network.threads)
    baselines = Baselines(load_softmax(WEIGHTS))
    console = Console()
    columns = (TextColumn('evaluate'), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task('evaluate', total=None)
        tally = evaluate_bag(
            bag, settings, chosen, baselines,
            lambda done, total: progress.update(task, completed=done, total=total))
    summary = tally.summary()
    json_.parent.mkdir(parents=True, exist_ok=True)
    json_.write_text(json.dumps(summary, indent=1) + '\n')
    console.print(score_table(summary))
    console.print(f'{json_}', highlight=False)


def score_table(summary: dict[str, Any]) -> Table:
    """Scores of all modes for the terminal."""
    ranges = [f'{low:g}-{high:g} m' for low, high in summary['ranges_m']]
    table = Table('', 'mode', *ranges, box=None)
    for kind in ('window_error', 'cost_auc'):
        for mode, values in summary[kind].items():
            shown = ['-' if value is None else f'{value:.3f}' for value in values]
            table.add_row(kind.replace('_', ' '), mode, *shown)
    return table
