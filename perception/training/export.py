# SPDX-License-Identifier: Apache-2.0
"""
Checkpoint -> ONNX and manifest, checked against torch on the way.

Batch norms are folded into convolutions, and of LAGR's layers only the connections are computed
(``SparseLagr``): same function, 0.6 of the time.
"""

import hashlib
import json
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor, nn

from perception.errors import NetworkError
from perception.inference import INPUT, OUTPUT, NetworkSpec, load_network
from perception.training.networks import (
    Architecture,
    FeatureNetwork,
    Lagr2008,
    make_classifier,
    make_network,
)
from perception.training.sparse import SparseLagr
from perception.types import CLASSES

OPSET = 17
TOLERANCE = 1e-4
# what torch.load and load_state_dict raise on a file that is cut, empty, or something else
DAMAGED = (RuntimeError, LookupError, TypeError, ValueError, EOFError, OSError, UnpicklingError)
LICENCE = 'Apache-2.0'


@dataclass
class Trained:
    """A feature network with its classifier and where both come from."""

    architecture: Architecture
    network: FeatureNetwork
    classifier: nn.Conv2d
    trained: bool = False
    data: dict[str, Any] = field(default_factory=dict)
    scores: dict[str, Any] = field(default_factory=dict)
    command: str = ''


def make_trained(architecture: Architecture) -> Trained:
    """Network of that name with random weights from torch's generator."""
    network = make_network(architecture)
    return Trained(architecture, network, make_classifier(network.features))


def untrained(architecture: Architecture, seed: int = 0) -> Trained:
    """Network of that name with the random weights of a seed."""
    torch.manual_seed(seed)
    return make_trained(architecture)


def save_checkpoint(trained: Trained, path: Path) -> None:
    """Write weights and provenance; the file is whole or absent."""
    partial = path.with_suffix('.partial')
    torch.save({
        'architecture': trained.architecture, 'network': trained.network.state_dict(),
        'classifier': trained.classifier.state_dict(), 'trained': trained.trained,
        'data': trained.data, 'scores': trained.scores, 'command': trained.command,
    }, partial)
    partial.replace(path)


def load_checkpoint(path: Path) -> Trained:
    """
    Read what ``save_checkpoint`` wrote.

    Raises
    ------
    NetworkError
        No such file, or not a checkpoint of ``lagr train features``.
    """
    try:
        stored = torch.load(path, map_location='cpu', weights_only=True)
        architecture = stored['architecture']
        if architecture not in get_args(Architecture):
            raise KeyError(architecture)
        trained = untrained(architecture)
        trained.network.load_state_dict(stored['network'])
        trained.classifier.load_state_dict(stored['classifier'])
    except FileNotFoundError:
        raise NetworkError(f'{path}: no such checkpoint; run lagr train features first') from None
    except DAMAGED as error:
        raise NetworkError(
            f'{path}: no checkpoint of lagr train features ({type(error).__name__}); give its .pt'
        ) from None
    trained.trained, trained.data = stored['trained'], stored['data']
    trained.scores, trained.command = stored['scores'], stored['command']
    return trained


def export_onnx(trained: Trained, path: Path) -> NetworkSpec:
    """
    Write ``path`` (.onnx) and the manifest beside it.

    Returns
    -------
    NetworkSpec
        The manifest as written.

    Raises
    ------
    NetworkError
        ``path`` cannot be written, or ONNX Runtime differs from torch by more than 1e-4.
    """
    if path.suffix != '.onnx':
        raise NetworkError(f'{path}: the exported file must end in .onnx')
    trained.network.eval()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_onnx(_exported(trained.network), path)
        spec = _manifest(trained, path)
        text = json.dumps(spec.model_dump(), indent=1)
        path.with_suffix('.json').write_text(rows_on_one_line(text) + '\n')
    except OSError as error:
        raise NetworkError(f'{path}: cannot be written ({error}); choose another --out') from None
    _compare(trained.network, path)
    return spec


def _exported(network: FeatureNetwork) -> nn.Module:
    module = SparseLagr(network) if isinstance(network, Lagr2008) else network
    return module.eval()


def _write_onnx(module: nn.Module, path: Path) -> None:
    example = torch.zeros(1, 3, 48, 200)
    axes = {INPUT: {2: 'height', 3: 'width'}, OUTPUT: {2: 'rows', 3: 'columns'}}
    with warnings.catch_warnings():
        # the TorchScript exporter is marked deprecated; it is kept because it folds batch norms
        # and takes dynamic axes without onnxscript's constraint solver
        warnings.simplefilter('ignore', DeprecationWarning)
        torch.onnx.export(
            module, (example,), str(path), input_names=[INPUT], output_names=[OUTPUT],
            opset_version=OPSET, dynamic_axes=axes, dynamo=False,
        )


def _manifest(trained: Trained, path: Path) -> NetworkSpec:
    receptive, classifier = trained.network.receptive, trained.classifier
    assert classifier.bias is not None
    return NetworkSpec(
        name=path.stem, sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        features=trained.network.features, rows=receptive.rows, columns=receptive.columns,
        row_stride=receptive.row_stride, contrast=trained.network.contrast, classes=CLASSES,
        trained=trained.trained, licence=LICENCE, data=trained.data, scores=trained.scores,
        command=trained.command,
        classifier_weight=_rounded(classifier.weight[:, :, 0, 0]),
        classifier_bias=_rounded(classifier.bias),
    )


def _rounded(values: Tensor) -> Any:
    """Nested lists of seven digits: all that float32 holds."""
    array = values.detach().numpy()
    return np.vectorize(lambda v: float(f'{v:.7g}'))(array).tolist()


def rows_on_one_line(text: str) -> str:
    """Numbers of a nested list side by side, so that a manifest stays readable."""
    lines: list[str] = []
    for line in text.split('\n'):
        number = line.strip().rstrip(',').lstrip('-')[:1].isdigit()
        if number and lines and lines[-1].lstrip()[:1] in '[-0123456789':
            lines[-1] += (' ' if lines[-1][-1] == ',' else '') + line.strip()
        else:
            lines.append(line)
    return '\n'.join(lines)


def _compare(network: FeatureNetwork, path: Path) -> None:
    """Torch and ONNX Runtime on random strips of two sizes."""
    loaded = load_network(path, 'onnxruntime')
    generator = torch.Generator().manual_seed(0)
    for height, width in ((network.receptive.rows + 7, 130), (46, 245)):
        bands = torch.randn(1, 3, height, width, generator=generator)
        with torch.no_grad():
            expected = network(bands)[0].numpy()
        difference = float(np.abs(loaded.features([bands.numpy()])[0] - expected).max())
        if difference > TOLERANCE:
            raise NetworkError(
                f'{path}: ONNX Runtime differs from torch by {difference:.2g} (> {TOLERANCE:g}); '
                'do not use this file'
            )
