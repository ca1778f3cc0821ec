# SPDX-License-Identifier: Apache-2.0
"""``lagr export``: a trained checkpoint as a network file for one engine."""

from pathlib import Path
from typing import Annotated

import typer

ENGINES = ('onnxruntime',)


def export(
    network: Annotated[Path, typer.Option(help='Checkpoint (.pt) of lagr train')],
    out: Annotated[Path, typer.Option(help='File to write (.onnx); the manifest goes beside it')],
    engine: Annotated[str, typer.Option(help='Engine the file is for')] = 'onnxruntime',
    pictures: Annotated[Path | None, typer.Option(
        help='Scene networks: folder of pictures on which the file is compared with torch; '
             'default: one that is shipped')] = None,
) -> None:
    """Export a trained network to ONNX with its manifest."""
    if engine not in ENGINES:
        raise typer.BadParameter(f'{engine!r}: choose {", ".join(ENGINES)}', param_hint='--engine')
    from perception.training.scene_checkpoint import holds_scene_network

    if holds_scene_network(network):
        _export_scene(network, out, pictures)
        return
    from perception.training.export import export_onnx, load_checkpoint

    spec = export_onnx(load_checkpoint(network), out)
    typer.echo(
        f'{out}: {spec.features} features, receptive field {spec.rows}x{spec.columns}, '
        f'row stride {spec.row_stride}; ONNX Runtime agrees with torch'
    )


def _export_scene(network: Path, out: Path, folder: Path | None) -> None:
    from perception.bench import PAIR
    from perception.errors import DataSetError
    from perception.training.scene_checkpoint import load_scene_checkpoint
    from perception.training.scene_export import export_scene
    from perception.training.scene_files import image_files, read_picture

    pictures = [read_picture(path) for path in image_files(folder or PAIR)]
    if not pictures:
        raise DataSetError(f'{folder}: no pictures; give a folder of pictures')
    spec = export_scene(load_scene_checkpoint(network), out, pictures)
    typer.echo(f'{out}: {len(spec.classes)} classes at stride {spec.stride}; ONNX Runtime agrees '
               f'with torch on {len(pictures)} pictures')
