# SPDX-License-Identifier: Apache-2.0
"""
The exported network: manifest, one ONNX Runtime session, and the 5-class softmax on top.

A network is two files with one stem: ``NAME.onnx`` (bands -> features) and ``NAME.json``
(tensor names, receptive field, normalisation, classifier W0, licence, data, scores).
"""

import hashlib
import json
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from perception.contrast import ContrastMode, Receptive
from perception.errors import NetworkError
from perception.pyramid import COLUMN_STRIDE, WINDOW_COLUMNS, WINDOW_ROWS
from perception.types import CLASSES, Float

WEIGHTS = Path(__file__).parent / 'weights'
INPUT, OUTPUT = 'bands', 'features'
CHANNELS = 3

# Everything ONNX Runtime raises on a file that is no usable network.
ENGINE_ERRORS = (
    ort_errors.Fail, ort_errors.InvalidArgument, ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf, ort_errors.NoModel, ort_errors.NoSuchFile,
    ort_errors.NotImplemented, ort_errors.RuntimeException,
)

Spec = TypeVar('Spec', bound=BaseModel)


class NetworkSpec(BaseModel):
    """
    What the manifest beside the ``.onnx`` promises.

    Input ``bands`` (1, 3, H, W) float32: Y locally normalised, U, V centred. Output ``features``
    (1, features, H', W') with H' = (H - rows) // row_stride + 1, W' = (W - columns) // 4 + 1.
    ``weight`` (5, features) and ``bias`` (5,) are the default classifier W0.
    """

    model_config = ConfigDict(frozen=True, extra='forbid')

    name: str
    sha256: str
    features: int = Field(ge=1, le=4096)
    rows: int = Field(ge=WINDOW_ROWS, le=256)
    columns: int = Field(ge=WINDOW_COLUMNS, le=512)
    row_stride: int = Field(ge=1, le=8)
    contrast: ContrastMode
    classes: tuple[str, ...]
    trained: bool
    classifier_weight: list[list[float]]
    classifier_bias: list[float]
    licence: str
    data: dict[str, Any] = {}
    scores: dict[str, Any] = {}
    command: str = ''

    @property
    def receptive(self) -> Receptive:
        """Receptive field and vertical stride, for the pyramid."""
        return Receptive(self.rows, self.columns, self.row_stride)

    @cached_property
    def weight(self) -> Float:
        """Weights of W0, (5, features) float32."""
        return np.array(self.classifier_weight, np.float32)

    @cached_property
    def bias(self) -> Float:
        """Bias of W0, (5,) float32."""
        return np.array(self.classifier_bias, np.float32)

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of the features of an (height, width) input."""
        return ((height - self.rows) // self.row_stride + 1,
                (width - self.columns) // COLUMN_STRIDE + 1)


class Network:
    """One dynamic ONNX Runtime session; call ``features`` on the strips of a frame."""

    engine = 'onnxruntime'

    def __init__(self, spec: NetworkSpec, session: ort.InferenceSession) -> None:
        self.spec = spec
        self._session = session

    def features(self, strips: list[Float]) -> list[Float]:
        """
        Features of every window of the strips.

        Parameters
        ----------
        strips : list of (1, 3, H, W) float32
            From ``band_strips`` with ``spec.receptive`` and ``spec.contrast``.

        Returns
        -------
        list of (F, H', W') float32
            One a strip, for ``gather``.
        """
        return [self._session.run([OUTPUT], {INPUT: strip})[0][0] for strip in strips]

    def classify(self, features: Float) -> Float:
        """Probabilities (N, 5) float32 of features (N, F) by the default classifier W0."""
        return classify(features, self.spec.weight, self.spec.bias)


def classify(features: Float, weight: Float, bias: Float) -> Float:
    """
    Softmax classifier.

    Parameters
    ----------
    features : (N, F) float32
    weight : (5, F) float32
    bias : (5,) float32

    Returns
    -------
    (N, 5) float32
        Probabilities, rows sum to 1.

    Source
        IROS08-DBN; algorithms.md A6.
    """
    return softmax(features @ weight.T + bias)


def softmax(logits: Float) -> Float:
    """Logits (N, C) -> probabilities (N, C) float32, rows sum to 1."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True), np.float32)


def load_network(
    name: str | Path = 'default',
    engine: Literal['auto', 'onnxruntime'] = 'auto',
    threads: int = 1,
) -> Network:
    """
    Load a shipped network by its stem, or any by its path, and check it against its manifest.

    Parameters
    ----------
    name : str or Path
        Stem in ``perception/weights``, or a path that ends in ``.onnx``.
    engine : 'auto' or 'onnxruntime'
        What runs it; ``auto`` takes ONNX Runtime.
    threads : int
        Threads inside one layer.

    Raises
    ------
    NetworkError
        File or manifest missing, damaged, or not keeping the contract; names path and remedy.
    """
    if engine not in ('auto', 'onnxruntime'):
        raise NetworkError(f'network.engine {engine!r}: choose auto or onnxruntime')
    path = network_path(name)
    spec = read_manifest(path)
    check_digest(path, spec.sha256)
    network = Network(spec, open_session(path, threads))
    _check_contract(network, path)
    return network


def network_path(name: str | Path, task: str = 'features') -> Path:
    """Path of the ``.onnx`` file of a shipped stem or of a path, which must exist."""
    given = Path(name)
    path = given if given.suffix == '.onnx' else WEIGHTS / f'{name}.onnx'
    if not path.is_file():
        raise NetworkError(
            f'network {str(name)!r}: no file {path}; give a path to an .onnx file or one of the '
            f'shipped names ({", ".join(shipped_networks(task)) or "none"})'
        )
    return path


def shipped_networks(task: str) -> list[str]:
    """Stems of the shipped networks whose manifest names this task; without one: features."""
    manifests = {path.stem: json.loads(path.with_suffix('.json').read_bytes())
                 for path in sorted(WEIGHTS.glob('*.onnx'))}
    return [stem for stem, told in manifests.items() if told.get('task', 'features') == task]


def read_manifest(path: Path) -> NetworkSpec:
    """
    Manifest beside the network file ``path``.

    Raises
    ------
    NetworkError
        It is missing, no JSON, lacks a key, or contradicts itself.
    """
    spec = read_spec(path, NetworkSpec)
    _check_manifest(spec, path.with_suffix('.json'))
    return spec


def read_spec(path: Path, kind: type[Spec]) -> Spec:
    """Manifest of this kind beside the network file ``path``; errors as of ``read_manifest``."""
    manifest = path.with_suffix('.json')
    try:
        return kind.model_validate_json(manifest.read_bytes())
    except OSError:
        raise NetworkError(
            f'{path}: no manifest {manifest.name} beside it; copy it there or run lagr export'
        ) from None
    except ValidationError as error:
        first = error.errors()[0]
        key = '.'.join(str(part) for part in first['loc'])
        raise NetworkError(
            f'{manifest}: {key or "manifest"}: {first["msg"]}; run lagr export again'
        ) from None


def check_digest(path: Path, sha256: str) -> None:
    """Refuse a network file with another SHA-256 than its manifest names."""
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise NetworkError(f'{path}: cannot be read ({error.strerror}); restore it') from None
    if found != sha256:
        raise NetworkError(
            f'{path}: damaged, or not the file its manifest {path.with_suffix(".json").name} was '
            'written for (sha256 differs); restore both files or run lagr export again'
        )


def _check_manifest(spec: NetworkSpec, manifest: Path) -> None:
    if spec.classes != CLASSES:
        raise NetworkError(
            f'{manifest}: classes {list(spec.classes)} are not {list(CLASSES)}; '
            'export a network of these five classes'
        )
    shape = (len(CLASSES), spec.features)
    rows = {len(row) for row in spec.classifier_weight}
    counts = (len(spec.classifier_weight), len(spec.classifier_bias))
    if rows != {spec.features} or counts != (len(CLASSES), len(CLASSES)):
        raise NetworkError(
            f'{manifest}: classifier_weight must be {shape} and classifier_bias ({shape[0]},) to '
            f'fit features = {spec.features}; run lagr export again'
        )
    if spec.rows % 2 or not spec.columns % 2:
        raise NetworkError(
            f'{manifest}: receptive field {spec.rows}x{spec.columns} cannot be centred on the '
            f'{WINDOW_ROWS}x{WINDOW_COLUMNS} window; use even rows and odd columns'
        )


def open_session(path: Path, threads: int) -> ort.InferenceSession:
    """Dynamic session that sleeps between calls: spinning threads starve the other stages."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry('session.intra_op.allow_spinning', '0')
    options.log_severity_level = 3
    try:
        return ort.InferenceSession(
            path.read_bytes(), options, providers=['CPUExecutionProvider']
        )
    except ENGINE_ERRORS as error:
        raise NetworkError(
            f'{path}: ONNX Runtime cannot load it ({one_line(error)}); restore the file or run '
            'lagr export again'
        ) from None


def _check_contract(network: Network, path: Path) -> None:
    """Run the network once on the smallest input that has two rows and two columns of windows."""
    spec = network.spec
    size = (spec.rows + spec.row_stride, spec.columns + COLUMN_STRIDE)
    probe = np.zeros((1, CHANNELS, *size), np.float32)
    try:
        shape = network.features([probe])[0].shape
    except (*ENGINE_ERRORS, ValueError, IndexError) as error:
        raise NetworkError(
            f'{path}: does not take {INPUT} (1, 3, H, W) float32 to {OUTPUT} '
            f'({one_line(error)}); export a network with these tensors'
        ) from None
    promised = (spec.features, *spec.output_size(*size))
    if shape != promised:
        raise NetworkError(
            f'{path}: {OUTPUT} of a {size[0]}x{size[1]} input are {tuple(shape)}, its manifest '
            f'promises {promised}; run lagr export again'
        )


def one_line(error: Exception) -> str:
    """Text of an engine's error, cut to one line."""
    return ' '.join(str(error).split())[:200]
