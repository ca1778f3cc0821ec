# SPDX-License-Identifier: Apache-2.0
"""``lagr train``: from seeds to a checkpoint that ``lagr export`` takes."""

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from rich.progress import Progress

from perception.errors import ConfigError

app = typer.Typer(help='Train networks (needs the extras train and world).', no_args_is_help=True)


@app.callback()
def train() -> None:
    """Train networks (needs the extras train and world)."""


@app.command()
def features(
    out: Annotated[Path, typer.Option(help='Folder of the run; an interrupted run goes on')],
    network: Annotated[str | None, typer.Option(help='default or lagr2008')] = None,
    config: Annotated[Path | None, typer.Option(help='YAML file of settings')] = None,
    set_: Annotated[list[str] | None, typer.Option('--set', help='setting=value')] = None,
    worlds: Annotated[Path, typer.Option(
        help='Folder that keeps the rendered worlds')] = Path('out/training/worlds'),
) -> None:
    """Render training worlds, train a feature network and its classifier W0, write trained.pt."""
    from perception.training.run import run_features
    from perception.training.train import TrainSettings

    values = _read(config) | _overrides(set_ or []) | ({'network': network} if network else {})
    settings = validated(TrainSettings, values, str(config or '--set'))
    command = 'lagr train features ' + shlex.join(
        [f'--set={key}={value}' for key, value in settings.model_dump().items()])
    with Progress(transient=True) as progress:
        path = run_features(settings, out, worlds, command, progress)
    typer.echo(f'{path}: export it with lagr export --network {path} --engine onnxruntime '
               f'--out {settings.network}.onnx')


@app.command()
def scene(
    config: Annotated[Path, typer.Option(help='YAML file of settings, such as config/scene/*')],
    out: Annotated[Path, typer.Option(help='Folder of the run; an interrupted run goes on')],
    set_: Annotated[list[str] | None, typer.Option('--set', help='setting=value')] = None,
) -> None:
    """
    Train a scene network on labelled data sets, write trained.pt.

    Several GPUs or processes: torchrun --nproc-per-node N $(which lagr) train scene ...
    """
    from perception.training.scene_config import SceneSettings
    from perception.training.scene_run import run_scene

    settings = validated(SceneSettings, _read(config) | _overrides(set_ or []), str(config))
    command = shlex.join(['lagr', 'train', 'scene', f'--config={config}',
                          *(f'--set={text}' for text in set_ or [])])
    with Progress(transient=True) as progress:
        path = run_scene(settings, out, command, progress)
    typer.echo(f'{path}: export it with lagr export --network {path} --out NAME.onnx')


def validated(model: Any, values: dict[str, Any], source: str) -> Any:
    """Settings from plain values; the error names the first wrong key."""
    from pydantic import ValidationError

    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = '.'.join(str(part) for part in first['loc'])
        raise ConfigError(f'{source}: {key} = {first["input"]!r}: {first["msg"]}; known settings: '
                          f'{", ".join(model.model_fields)}') from None


def _read(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        values = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        text = ' '.join(str(error).split())
        raise ConfigError(f'{path}: cannot be read ({text}); give a YAML file') from None
    if not isinstance(values, dict):
        raise ConfigError(f'{path}: must hold settings such as epochs: 20')
    return values


def _overrides(texts: list[str]) -> dict[str, Any]:
    values = {}
    for text in texts:
        key, equals, value = text.partition('=')
        if not equals:
            raise ConfigError(f'--set {text!r}: write setting=value')
        try:
            values[key.strip()] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise ConfigError(f'--set {text!r}: the value is no YAML') from None
    return values
