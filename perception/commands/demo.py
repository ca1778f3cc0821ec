# SPDX-License-Identifier: Apache-2.0
"""``lagr demo``: replay the bag that the checkout ships."""

from pathlib import Path
from typing import Annotated

import typer

from perception.config import load_config
from perception.errors import BagError

BAG = Path('bags', 'demo')


def demo(
    out: Annotated[Path, typer.Option(help='Folder for bag, metrics.json and report.html')] = Path(
        'out', 'demo'),
) -> None:
    """Replay the shipped bag and say where to look."""
    from perception.commands.replay import print_summary, replay_with_progress
    from perception.replay import Outputs

    outputs = Outputs(out)
    summary = replay_with_progress(find_demo_bag(), out, load_config())
    print_summary(summary, outputs)
    typer.echo(f'\nOpen {outputs.report.resolve().as_uri()} in a browser.')


def find_demo_bag() -> Path:
    """
    Return the shipped bag, of this checkout or of the working folder.

    Raises
    ------
    BagError
        Installed without a checkout: wheels do not carry the bag.
    """
    checkout = Path(__file__).resolve().parents[2]
    for folder in (checkout, Path.cwd()):
        if (folder / BAG).is_dir():
            return folder / BAG
    raise BagError(
        f'{BAG}: not in {checkout} nor in {Path.cwd()}; run lagr demo in a checkout of '
        'lagr_perception, or make a bag with lagr world --out BAG and replay that'
    )
