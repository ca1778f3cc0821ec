# SPDX-License-Identifier: Apache-2.0
"""Arithmetic that a network needs, counted from its file, and the most that the machine can do."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np

from perception.errors import NetworkError

SGEMM = (512, 1024, 1024)  # rows, inner, columns of the matrix product that measures the peak


def count_flops(path: Path, shapes: Sequence[dict[str, tuple[int, ...]]]) -> float:
    """Sum of ``layer_flops``; errors as there."""
    return sum(layer_flops(path, shapes).values())


def layer_flops(path: Path, shapes: Sequence[dict[str, tuple[int, ...]]]) -> dict[str, float]:
    """
    Useful floating-point operations of each convolution and matrix product of a network.

    Parameters
    ----------
    path : Path
        The ``.onnx`` file.
    shapes : sequence of {input: shape}
        One entry a call of the network.

    Returns
    -------
    {node: float}
        A multiplication and its addition count as two; those with a stored weight of zero, as
        connection tables leave them, do not count.

    Raises
    ------
    NetworkError
        The package onnx is missing, or it does not understand the file.
    """
    try:
        import onnx
        from google.protobuf.message import DecodeError
        from onnx import shape_inference
    except ImportError:
        raise NetworkError('counting needs the package onnx; pip install onnx') from None
    total: dict[str, float] = {}
    try:
        for one in shapes:
            graph = shape_inference.infer_shapes(
                _with_sizes(onnx.load(str(path)), one), data_prop=True).graph
            for name, flops in _graph_flops(graph, onnx.numpy_helper.to_array).items():
                total[name] = total.get(name, 0.0) + flops
    except (KeyError, ValueError, OSError, DecodeError, shape_inference.InferenceError) as error:
        raise NetworkError(f'{path}: its operations cannot be counted ({error}); give an '
                           'exported network and the shapes of its inputs') from None
    return total


def _with_sizes(model: Any, sizes: dict[str, tuple[int, ...]]) -> Any:
    for given in model.graph.input:
        dimensions = given.type.tensor_type.shape.dim
        for dimension, size in zip(dimensions, sizes[given.name], strict=True):
            dimension.dim_value = size
    return model


def _graph_flops(graph: Any, to_array: Callable[[Any], Any]) -> dict[str, float]:
    values = [*graph.input, *graph.output, *graph.value_info]
    shapes = {one.name: [d.dim_value for d in one.type.tensor_type.shape.dim] for one in values}
    weights = {one.name: one for one in graph.initializer}
    origin = {name: node for node in graph.node for name in node.output}
    found: dict[str, float] = {}
    for node in graph.node:
        if node.op_type not in ('Conv', 'MatMul', 'Gemm'):
            continue
        size = shapes[node.output[0]]
        if not all(size):
            raise ValueError(f'the size of {node.output[0]} is not known')
        if node.op_type == 'Conv':  # each weight is used once a place
            kept = to_array(_weight(node.input[1], weights, origin))
            found[node.name] = 2.0 * np.count_nonzero(kept) * size[0] * math.prod(size[2:])
        else:
            inner = shapes.get(node.input[0]) or list(weights[node.input[0]].dims)
            found[node.name] = 2.0 * math.prod(size) * inner[-1]
    return found


def _weight(name: str, weights: dict[str, Any], origin: dict[str, Any]) -> Any:
    """A filter as stored, also one that is in eight or sixteen bits."""
    while name not in weights:
        name = origin[name].input[0]
    return weights[name]


def sgemm_flops(repeats: int = 5) -> float:
    """Best rate of a float32 matrix product on one thread, FLOP/s; the practical peak."""
    rows, inner, columns = SGEMM
    rng = np.random.default_rng(0)
    a = rng.standard_normal((rows, inner), np.float32)
    b = rng.standard_normal((inner, columns), np.float32)
    out = np.empty((rows, columns), np.float32)
    best = math.inf
    for _ in range(repeats):
        start = process_time()
        np.matmul(a, b, out=out)
        best = min(best, process_time() - start)
    return 2.0 * rows * inner * columns / best
