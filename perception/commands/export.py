# SPDX-License-Identifier: Apache-2.0
"""``lagr export``: a trained checkpoint as a network file for one engine."""

from pathlib import Path
from typing import Annotated

import typer

ENGINES = ('onnxruntime',)


def export(
    network: Annotated[Path, typer.Option(help='Checkpoint (.pt) of lagr train features')],
    out: Annotated[Path, typer.Option(help='File to write (.onnx); the manifest goes beside it')],
    engine: Annotated[str, typer.Option(help='Engine the file is for')] = 'onnxruntime',
) -> None:
    """Export a trained network to ONNX with its manifest."""
    if engine not in ENGINES:
        raise typer.BadParameter(f'{engine!r}: choose {", ".join(ENGINES)}', param_hint='--engine')
    from perception.training.export import export_onnx, load_checkpoint

    spec = export_onnx(load_checkpoint(network), out)
    typer.echo(
        f'{out}: {spec.features} features, receptive field {spec.rows}x{spec.columns}, '
        f'row stride {spec.row_stride}; ONNX Runtime agrees with torch'
    )
