# SPDX-License-Identifier: Apache-2.0
"""
A network file for int8: what OpenVINO, TensorRT and ONNX Runtime all take.

Every convolution reads int8 values through a pair of QuantizeLinear and DequantizeLinear:
weights with one scale a channel, activations with one a tensor, all symmetric (zero point 0),
biases float. What comes out of a convolution stays as it is, so that engines fuse bias, ReLU and
the next rounding into it. Inputs and outputs are float32 as before. Convolutions that were thinned
out for float32 are dense again (``densified``).
"""

import contextlib
import hashlib
import io
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)

from perception.errors import DataSetError, NetworkError
from perception.inference import (
    Network,
    NetworkSpec,
    Session,
    load_network,
    open_session,
    read_spec,
    softmax,
)
from perception.inference.shapes import Manifest
from perception.scene import SceneNetwork, SceneSpec, load_scene_network
from perception.training.calibration_feeds import Feeds
from perception.training.dense import densified
from perception.training.export import rows_on_one_line
from perception.types import Float

Method = Literal['minmax', 'percentile', 'entropy']
METHODS: dict[Method, tuple[CalibrationMethod, dict[str, float]]] = {
    'minmax': (CalibrationMethod.MinMax, {}),
    'percentile': (CalibrationMethod.Percentile, {'CalibPercentile': 99.99}),
    'entropy': (CalibrationMethod.Entropy, {}),
}
"""How the largest value of a tensor is found; what lies beyond is cut off."""
LAYER = 'Conv'
ENDING = '_int8'
HELD_OUT = 4  # one picture in so many, the last of each source, judges and does not calibrate
FEWEST = 4  # pictures
OPTIONS = {
    'ActivationSymmetric': True, 'WeightSymmetric': True,
    'QuantizeBias': False,  # TensorRT takes no int32 there
    'OpTypesToExcludeOutputQuantization': [LAYER],
    'CalibStridedMinMax': 1,  # one input at a time: they differ in shape, and memory stays small
}


@dataclass(frozen=True)
class Recipe:
    """One way to make the file: how ranges are found, and layers left in float32."""

    method: Method
    kept: tuple[str, ...] = ()


@dataclass(frozen=True)
class Quantized:
    """
    The manifest of what was written, the method chosen, and what each method cost.

    ``difference`` is the mean change of a class probability on pictures held out.
    """

    spec: NetworkSpec | SceneSpec
    method: Method
    difference: dict[Method, float]


def quantize(
    path: Path, out: Path, sources: Sequence[Sequence[Feeds]], told: dict[str, Any],
    kept: Sequence[str] = (), methods: Sequence[Method] = tuple(METHODS),
) -> Quantized:
    """
    Write the int8 file of a network, its manifest beside it.

    Each method is tried on three quarters of every source; the one whose probabilities differ
    least from those in float32 on the rest makes the file.

    Parameters
    ----------
    path : Path
        Network for float32, features or scene.
    out : Path
        ``STEM_int8.onnx``: by that name it is found beside ``STEM.onnx``.
    sources : sequence of sequences of Feeds
        Pictures by recording, see ``read_feeds``.
    told : dict
        What the manifest shall say of these pictures: origin, licence, command.
    kept : sequence of str
        Names of layers that stay in float32.
    methods : sequence of str
        Which are tried.

    Raises
    ------
    NetworkError
        ``path`` is damaged or not for float32, a layer is not in it, or ``out`` has another name
        or cannot be written.
    DataSetError
        Too few pictures.
    """
    network = check_request(path, out, kept)
    fit, judge = split(sources)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=out.parent, prefix='.quantize') as folder:
            drafts = {method: _draft(path, Path(folder), fit, Recipe(method, tuple(kept)))
                      for method in methods}
            difference = {method: probability_difference(network, draft, judge)
                          for method, draft in drafts.items()}
            method = min(difference, key=lambda name: difference[name])
            facts = {**told, 'pictures': sum(map(len, sources)), 'method': method,
                     'difference': {name: float(f'{v:.3g}') for name, v in difference.items()},
                     'layers_in_f32': list(kept), 'quantized_from': network.spec.sha256}
            spec = _write(network.spec, drafts[method], out, facts)
    except OSError as error:
        raise NetworkError(f'{out}: cannot be written ({error}); choose another --out') from None
    return Quantized(spec, method, difference)


def check_request(path: Path, out: Path, kept: Sequence[str] = ()) -> Network | SceneNetwork:
    """
    Network of either kind, checked, on ONNX Runtime; parameters and errors as of ``quantize``.

    To be asked before pictures are read, which takes longer.
    """
    manifest = read_spec(path, Manifest)
    if manifest.precision != 'f32':
        raise NetworkError(f'{path}: made for {manifest.precision}; give the file made for f32')
    if not out.name.endswith(f'{ENDING}.onnx'):
        raise NetworkError(f'{out}: must end in {ENDING}.onnx: by that name it is found')
    network = load_scene_network(path, engine='onnxruntime') if manifest.task == 'scene' else (
        load_network(path, 'onnxruntime'))
    names = layers(path)
    unknown = sorted(set(kept) - set(names))
    if unknown:
        raise NetworkError(f'{path}: no layer {unknown[0]!r} to keep; it has {", ".join(names)}')
    if not set(names) - set(kept):
        raise NetworkError(f'{path}: no convolution to quantise; use the file as it is')
    return network


def layers(path: Path) -> list[str]:
    """Names of the convolutions that are made of an ``.onnx`` file, in its order."""
    return [node.name for node in densified(onnx.load(path)).graph.node if node.op_type == LAYER]


def split(sources: Sequence[Sequence[Feeds]]) -> tuple[list[Feeds], list[Feeds]]:
    """
    Pictures that calibrate, and those held out: the last quarter of each source.

    Raises
    ------
    DataSetError
        Fewer than four pictures.
    """
    count = sum(map(len, sources))
    if count < FEWEST:
        raise DataSetError(f'{count} pictures to calibrate with, {FEWEST} are needed; give more '
                           'or longer recordings with --calibrate, or raise --pictures')
    fit: list[Feeds] = []
    judge: list[Feeds] = []
    for source in sources:
        last = len(source) - len(source) // HELD_OUT
        fit += source[:last]
        judge += source[last:]
    return (fit, judge) if judge else (fit[:-1], fit[-1:])


def _draft(path: Path, folder: Path, fit: list[Feeds], recipe: Recipe) -> Path:
    draft = folder / f'{recipe.method}.onnx'
    write_int8(path, draft, fit, recipe)
    return draft


def write_int8(path: Path, out: Path, fit: Sequence[Feeds], recipe: Recipe) -> None:
    """Write the graph alone, calibrated on all these pictures; no manifest, nothing checked."""
    method, options = METHODS[recipe.method]
    with _quiet():
        quantize_static(
            densified(onnx.load(path)), str(out), _Reader(fit), quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QInt8, weight_type=QuantType.QInt8, per_channel=True,
            calibrate_method=method, op_types_to_quantize=[LAYER],
            nodes_to_exclude=list(recipe.kept), extra_options={**OPTIONS, **options})


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    """Inputs one after the other, as ONNX Runtime asks for them."""

    def __init__(self, pictures: Sequence[Feeds]) -> None:
        self._inputs = [inputs for feeds in pictures for inputs in feeds]
        self._next = iter(self._inputs)

    def __len__(self) -> int:
        return len(self._inputs)

    def set_range(self, start_index: int, end_index: int) -> None:
        """Go on with these."""
        self._next = iter(self._inputs[start_index:end_index])

    def get_next(self) -> dict[str, Float] | None:
        """Inputs of one call; None after the last."""
        return next(self._next, None)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what ONNX Runtime prints and advises on the way."""
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(logging.NOTSET)


def probability_difference(
    network: Network | SceneNetwork, draft: Path, pictures: Sequence[Feeds]
) -> float:
    """Mean change of a class probability in [0, 1], where ``draft`` stands for ``network``."""
    session = open_session(draft, 'onnxruntime', 'int8', 1).session
    decide = _decider(network.spec)
    changes = [
        float(np.abs(decide(session, inputs) - decide(network.opened.session, inputs)).mean())
        for feeds in pictures for inputs in feeds]
    return float(np.mean(changes))


def _decider(spec: NetworkSpec | SceneSpec) -> Callable[[Session, dict[str, Float]], Float]:
    """From inputs to the probabilities (N, C) of every window or cell."""
    def decide(session: Session, inputs: dict[str, Float]) -> Float:
        maps = session.run(inputs)[0][0]
        flat = maps.reshape(len(maps), -1)
        if isinstance(spec, NetworkSpec):
            return softmax((spec.weight @ flat).T + spec.bias)
        return softmax(flat.T)
    return decide


def _write(
    spec: NetworkSpec | SceneSpec, draft: Path, out: Path, facts: dict[str, Any]
) -> NetworkSpec | SceneSpec:
    """Move the draft to its place, with a manifest; scores in float32 are not its own."""
    digest = hashlib.sha256(draft.read_bytes()).hexdigest()
    made = spec.model_copy(update={
        'name': out.stem, 'sha256': digest, 'precision': 'int8', 'scores': {},
        'data': {**spec.data, 'calibration': facts}})
    manifest = draft.with_suffix('.json')
    manifest.write_text(rows_on_one_line(json.dumps(made.model_dump(), indent=1)) + '\n')
    draft.replace(out)
    manifest.replace(out.with_suffix('.json'))
    return made
