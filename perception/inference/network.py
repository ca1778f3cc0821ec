# SPDX-License-Identifier: Apache-2.0
"""
The exported network: its manifest, and the session of the engine that runs it.

A network is two files with one stem: ``NAME.onnx`` (bands -> features) and ``NAME.json``
(tensor names, receptive field, normalisation, classifier W0, licence, data, scores). The same
network made for another precision lies beside it: ``NAME_int8``, ``NAME_f16``.
"""

import hashlib
import json
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from perception.config import NetworkConfig
from perception.contrast import ContrastMode, Receptive
from perception.errors import NetworkError
from perception.inference.linear import classify
from perception.inference.session import (
    AUTO_ORDER,
    GPU_ENGINES,
    Opened,
    device_ms,
    one_line,
    open_session,
)
from perception.pyramid import COLUMN_STRIDE, WINDOW_COLUMNS, WINDOW_ROWS
from perception.types import (
    CLASSES,
    Engine,
    EngineChoice,
    Float,
    Precision,
    PrecisionChoice,
)

WEIGHTS = Path(__file__).parents[1] / 'weights'
INPUT, OUTPUT = 'bands', 'features'
CHANNELS = 3
VARIANTS = {'int8': 'lagr quantize', 'f16': 'lagr export'}  # precisions with files of their own
F32_ORDER: tuple[Engine, ...] = (*GPU_ENGINES, 'onnxruntime', 'openvino')
"""For bands in f32: few channels, depthwise or split, are ONNX Runtime's strength."""

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
    precision: Precision = 'f32'
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
    """A session and its manifest; call ``features`` on the strips of a frame."""

    def __init__(self, spec: NetworkSpec, opened: Opened) -> None:
        self.spec = spec
        self.opened = opened
        self._run = opened.session.run

    @property
    def engine(self) -> str:
        """Name of the engine that runs it."""
        return self.opened.session.engine

    @property
    def device_ms(self) -> float | None:
        """How long a GPU worked on the last strip, by its own clock [ms]; None on a CPU."""
        return device_ms(self.opened.session)

    @property
    def packed(self) -> bool:
        """Whether it likes bands side by side in strips; ONNX Runtime is faster band by band."""
        return self.engine != 'onnxruntime'

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
        return [self._run({INPUT: strip})[0][0] for strip in strips]

    def classify(self, features: Float) -> Float:
        """Probabilities (N, 5) float32 of features (N, F) by the default classifier W0."""
        return classify(features, self.spec.weight, self.spec.bias)


def load_network(
    name: str | Path = 'default',
    engine: EngineChoice = 'auto',
    threads: int = 1,
    precision: PrecisionChoice = 'auto',
) -> Network:
    """
    Load a shipped network by its stem, or any by its path, and check it against its manifest.

    Parameters
    ----------
    name : str or Path
        Stem in ``perception/weights``, or a path that ends in ``.onnx``.
    engine : str
        What runs it; ``auto`` takes the fastest that works here.
    threads : int
        Threads inside one layer.
    precision : str
        What it computes in; ``auto`` = what the file was made for, ``int8`` and ``f16`` take
        the file made for it.

    Raises
    ------
    NetworkError
        File or manifest missing, damaged, or not keeping the contract; engine or precision not
        to be had; names path and remedy.
    """
    path = network_path(name, precision=precision)
    spec = read_manifest(path)
    check_digest(path, spec.sha256)
    computed = computed_precision(path, spec.precision, precision)
    order = F32_ORDER if computed == 'f32' else AUTO_ORDER
    network = Network(spec, open_session(path, engine, computed, threads, order))
    _check_contract(network, path)
    return network


def load_configured(config: NetworkConfig) -> Network:
    """The network that the settings name; errors as of ``load_network``."""
    return load_network(config.name, config.engine, config.threads, config.precision)


def network_path(
    name: str | Path, task: str = 'features', precision: PrecisionChoice = 'auto'
) -> Path:
    """Path of the ``.onnx`` file of a shipped stem or of a path, which must exist."""
    given = Path(name)
    path = given if given.suffix == '.onnx' else WEIGHTS / f'{name}.onnx'
    if not path.is_file():
        raise NetworkError(
            f'network {str(name)!r}: no file {path}; give a path to an .onnx file or one of the '
            f'shipped names ({", ".join(shipped_networks(task)) or "none"})'
        )
    ending = f'_{precision}'
    if precision not in VARIANTS or path.stem.endswith(ending):
        return path
    variant = path.with_name(f'{path.stem}{ending}.onnx')
    if not variant.is_file():
        raise NetworkError(
            f'network {str(name)!r}: no file {variant.name} beside {path}; make one with '
            f'{VARIANTS[precision]}, or choose precision f32'
        )
    return variant


def computed_precision(path: Path, made_for: Precision, asked: PrecisionChoice) -> Precision:
    """
    Precision that a file made for one computes in when another is asked for.

    Raises
    ------
    NetworkError
        The file cannot do that.
    """
    if asked in ('auto', made_for):
        return made_for
    if asked == 'bf16' and made_for == 'f32':
        return 'bf16'
    raise NetworkError(
        f'{path}: made for {made_for}, asked for {asked}; choose precision auto, or another file'
    )


def shipped_networks(task: str) -> list[str]:
    """Stems of the shipped f32 networks whose manifest names this task; default: features."""
    manifests = {path.stem: json.loads(path.with_suffix('.json').read_bytes())
                 for path in sorted(WEIGHTS.glob('*.onnx'))}
    return [stem for stem, told in manifests.items()
            if told.get('task', 'features') == task and told.get('precision', 'f32') == 'f32']


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


def _check_contract(network: Network, path: Path) -> None:
    """Run the network once on the smallest input that has two rows and two columns of windows."""
    spec = network.spec
    size = (spec.rows + spec.row_stride, spec.columns + COLUMN_STRIDE)
    probe = np.zeros((1, CHANNELS, *size), np.float32)
    try:
        (features,) = network.opened.session.run({INPUT: probe})
    except (NetworkError, ValueError, IndexError) as error:
        raise NetworkError(
            f'{path}: does not take {INPUT} (1, 3, H, W) float32 to {OUTPUT} '
            f'({one_line(error)}); export a network with these tensors'
        ) from None
    promised, shape = (1, spec.features, *spec.output_size(*size)), features.shape
    if shape != promised:
        raise NetworkError(
            f'{path}: {OUTPUT} of a {size[0]}x{size[1]} input are {shape}, its manifest '
            f'promises {promised}; run lagr export again'
        )
