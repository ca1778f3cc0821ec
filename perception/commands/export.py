# SPDX-License-Identifier: Apache-2.0
"""``lagr export``: a trained checkpoint or a network file, made ready for one engine."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from perception.inference.shapes import Size

ENGINES = ('onnxruntime', 'tensorrt', 'tensorrt_rtx')
PRECISIONS = ('f32', 'f16')
TARGETS = 'sm80,sm86,sm89,sm120'


def export(
    network: Annotated[Path, typer.Option(
        help='Checkpoint (.pt) of lagr train, or a network file (.onnx)')],
    out: Annotated[Path, typer.Option(
        help='File to write: .onnx, the manifest goes beside it; for TensorRT STEM.ENGINE, which '
             'is found beside STEM.onnx')],
    engine: Annotated[str, typer.Option(help='Engine the file is for')] = 'onnxruntime',
    pictures: Annotated[Path | None, typer.Option(
        help='Scene networks: folder of pictures on which the file is compared with torch; '
             'default: one that is shipped')] = None,
    targets: Annotated[str | None, typer.Option(
        help='tensorrt_rtx: compute capabilities to build for, no GPU needed; default: '
             f'{TARGETS}')] = None,
    precision: Annotated[str, typer.Option(
        help='onnxruntime, from .onnx: f16 writes STEM_f16.onnx')] = 'f32',
    largest: Annotated[str | None, typer.Option(
        help='TensorRT: largest input, HEIGHTxWIDTH; default: for cameras up to 1920 pixels')]
    = None,
) -> None:
    """Export a trained network to ONNX with its manifest, or build an engine ahead of time."""
    if not network.is_file():
        raise typer.BadParameter(f'{network}: no such file', param_hint='--network')
    _check_choice(engine, ENGINES, '--engine')
    _check_choice(precision, PRECISIONS, '--precision')
    if targets is not None and engine != 'tensorrt_rtx':
        raise typer.BadParameter('only for --engine tensorrt_rtx', param_hint='--targets')
    if engine != 'onnxruntime':
        if precision != 'f32':
            raise typer.BadParameter('the file decides: give STEM_f16.onnx as --network',
                                     param_hint='--precision')
        _export_plan(_as_onnx(network, out, pictures), out, engine, targets, _size(largest))
    elif largest is not None:
        raise typer.BadParameter('only for TensorRT', param_hint='--largest')
    elif precision == 'f16':
        _export_half(network, out)
    elif network.suffix == '.onnx':
        raise typer.BadParameter(f'{network}: is exported already; give --engine or --precision',
                                 param_hint='--network')
    else:
        _export_onnx(network, out, pictures)


def _check_choice(value: str, choices: tuple[str, ...], hint: str) -> None:
    if value not in choices:
        raise typer.BadParameter(f'{value!r}: choose {", ".join(choices)}', param_hint=hint)


def _size(text: str | None) -> 'Size | None':
    """Height and width of HEIGHTxWIDTH."""
    if text is None:
        return None
    height, _, width = text.partition('x')
    if not (height.isdecimal() and width.isdecimal() and int(height) and int(width)):
        raise typer.BadParameter(f'{text!r}: give HEIGHTxWIDTH, as 96x4096',
                                 param_hint='--largest')
    return int(height), int(width)


def _export_onnx(network: Path, out: Path, pictures: Path | None) -> None:
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


def _export_half(network: Path, out: Path) -> None:
    if network.suffix != '.onnx':
        raise typer.BadParameter('f16 is made from an .onnx file: export the checkpoint first',
                                 param_hint='--precision')
    from perception.training.half import export_half

    share = export_half(network, out)
    typer.echo(f'{out}: float16; its outputs differ from those of {network.name} by {share:.2%} '
               'in the mean, by ONNX Runtime on noise')


def _as_onnx(network: Path, out: Path, pictures: Path | None) -> Path:
    """The network file itself, or that of a checkpoint, written beside ``out``."""
    if out.suffix in ('.onnx', '.json', '.pt'):
        raise typer.BadParameter('the name of a network file: give STEM.ENGINE',
                                 param_hint='--out')
    if network.suffix == '.onnx':
        return network
    path = out.with_suffix('.onnx')
    _export_onnx(network, path, pictures)
    return path


def _export_plan(
    network: Path, out: Path, engine: str, targets: str | None, largest: 'Size | None'
) -> None:
    """Build for these targets, or for the GPU of this machine."""
    from perception.errors import NetworkError
    from perception.inference import check_digest, read_spec, tensorrt, tensorrt_rtx
    from perception.inference.cache import write_engine
    from perception.inference.shapes import Manifest

    check_digest(network, read_spec(network, Manifest).sha256)
    if engine == 'tensorrt':
        kept = tensorrt.build_here(network, largest=largest)
    else:
        wanted = TARGETS if targets is None else targets
        chosen = [target.strip().lower() for target in wanted.split(',')]
        kept = tensorrt_rtx.build_ahead(network, chosen, largest)
    try:
        write_engine(out, kept)
    except OSError as error:
        raise NetworkError(f'{out}: cannot be written ({error}); choose another --out') from None
    typer.echo(f'{out}: {engine} {kept.key.version}, {kept.key.precision}, for '
               f'{kept.key.device}, {len(kept.plan) / 1e6:.1f} MB')
    if out.name != f'{network.stem}.{engine}':
        typer.echo(f'It is found beside {network.name} as {network.stem}.{engine}.')
