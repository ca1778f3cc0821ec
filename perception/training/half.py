# SPDX-License-Identifier: Apache-2.0
"""A network file for float16: weights and layers in 16 bits, inputs and outputs as they were."""

import hashlib
import json
import warnings
from pathlib import Path

import onnx
import onnxruntime as ort
from onnxruntime.transformers.float16 import convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel

from perception.errors import NetworkError
from perception.inference import check_digest, read_spec
from perception.inference.onnx_runtime import OrtSession, open_engine
from perception.inference.relay import answer, check_agreement, mean_difference
from perception.inference.shapes import Manifest, input_sizes
from perception.training.export import rows_on_one_line

ENDING = '_f16'


def export_half(path: Path, out: Path) -> float:
    """
    Write a network file for float16, its manifest beside it.

    Parameters
    ----------
    path : Path
        Network file for f32, its manifest beside it.
    out : Path
        ``STEM_f16.onnx``: by that name it is found beside ``STEM.onnx``.

    Returns
    -------
    float
        Mean difference of the outputs as a share of their mean size, on noise, by ONNX Runtime.

    Raises
    ------
    NetworkError
        The file is damaged, not made for f32, or says something else in float16; ``out`` has
        another name, or cannot be written.
    """
    manifest = read_spec(path, Manifest)
    check_digest(path, manifest.sha256)
    if manifest.precision != 'f32':
        raise NetworkError(f'{path}: made for {manifest.precision}; give the file made for f32')
    if not out.name.endswith(f'{ENDING}.onnx'):
        raise NetworkError(f'{out}: must end in {ENDING}.onnx: by that name it is found')
    open_engine(path, 'f32', 1)  # a damaged file is one line here
    data = _converted(path.read_bytes())
    share = _difference(path, data)
    told = json.loads(path.with_suffix('.json').read_bytes())
    told.update(name=out.stem, sha256=hashlib.sha256(data).hexdigest(), precision='f16')
    told['data'] = {**told.get('data', {}), 'converted_from': manifest.sha256,
                    'mean_difference': float(f'{share:.2g}')}
    text = rows_on_one_line(json.dumps(told, indent=1))
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(data)
        out.with_suffix('.json').write_text(text + '\n')
    except OSError as error:
        raise NetworkError(f'{out}: cannot be written ({error}); choose another --out') from None
    return share


def _converted(data: bytes) -> bytes:
    """ONNX with weights and layers in float16; the few smaller than it can hold become 0."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', UserWarning)
        model = convert_float_to_float16(onnx.load_from_string(data), keep_io_types=True)
    OnnxModel.graph_topological_sort(model.graph)
    return bytes(model.SerializeToString())


def _difference(path: Path, data: bytes) -> float:
    """Mean difference of the outputs; an error where it is more than float16 explains."""
    full, half = (
        OrtSession(ort.InferenceSession(some, providers=['CPUExecutionProvider']),
                   'onnxruntime', precision)
        for some, precision in ((path.read_bytes(), 'f32'), (data, 'f16')))
    wanted = answer(full, input_sizes(path))
    check_agreement(half, wanted)
    return max(map(mean_difference, half.run(wanted.inputs), wanted.outputs))
