# SPDX-License-Identifier: Apache-2.0
"""``lagr export``: a trained checkpoint as a network file for one engine."""

from pathlib import Path
from typing import Annotated

import typer

from perception.errors import NetworkError

ENGINES = ('onnxruntime',)


def export(
    network: Annotated[Path, typer.Option(help='Checkpoint (.pt) of lagr train features')],
    out: Annotated[Path, typer.Option(help='File to write (.onnx); the manifest goes beside it')],
    engine: Annotated[str, typer.Option(help='Engine the file is for')] = 'onnxruntime',
) -> None:
    """Export a trained network to ONNX with its manifest."""
    if engine not in ENGINES:
        raise typer.BadParameter(f'{engine!r}: choose {", ".join(ENGINES)}', param_hint='--engine')
    try:
        from perception.training.export import export_onnx, load_checkpoint
    except ModuleNotFoundError as error:
        raise NetworkError(
            f'lagr export: {error.name} is not installed; run pip install "lagr_perception[train]"'
        ) from None
    spec = export_onnx(load_checkpoint(network), out)
    typer.echo(
        f'{out}: {spec.features} features, receptive field {spec.rows}x{spec.columns}, '
        f'row stride {spec.row_stride}; ONNX Runtime agrees with torch'
    )
