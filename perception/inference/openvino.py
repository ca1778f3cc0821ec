# SPDX-License-Identifier: Apache-2.0
"""OpenVINO on the CPU: the fastest engine there for scenes, and for bands in int8 or bf16."""

from collections import OrderedDict
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from perception.errors import NetworkError
from perception.inference.session import one_line
from perception.types import Float, Precision

HINTS: dict[Precision, str] = {'f32': 'f32', 'f16': 'f32', 'int8': 'f32', 'bf16': 'bf16'}
"""What layers of floats compute in; without a hint some CPUs take bf16 in silence."""
INSTALL = 'pip install openvino'
MOST_SHAPES = 16  # kept compiled: a pyramid has up to 6, a camera's images 1
MANY_CHANNELS = 32  # so many stay last, as the layers leave them: turning takes up to a third
OPENVINO_ERRORS = (RuntimeError, TypeError, ValueError, KeyError)

Shapes = tuple[tuple[int, ...], ...]


class OpenVinoSession:
    """
    One compiled model for each shape of inputs: faster by a quarter than one of any shape.

    A new shape takes its first call 50 to 300 ms longer. OpenVINO writes into new memory every
    time; outputs of many channels are views of it, their channels last in memory.
    """

    engine = 'openvino'

    def __init__(
        self, model: Any, turned: list[bool], precision: Precision, ready: Callable[[Any], Any]
    ) -> None:
        self.precision = precision
        self._model, self._turned, self._ready = model, turned, ready
        self._tensor = _library().Tensor
        self._places = {port.any_name: k for k, port in enumerate(model.inputs)}
        self._requests: OrderedDict[Shapes, tuple[Any, Shapes]] = OrderedDict()

    def run(self, inputs: dict[str, Float]) -> list[Float]:
        """Outputs in the order of the file; see ``Session``."""
        if inputs.keys() != self._places.keys():  # else one would hold what it did before
            raise NetworkError(
                f'openvino: inputs are {sorted(self._places)}, not {sorted(inputs)}')
        try:
            request, sizes = self._request(inputs)
            own = [np.empty(size, np.float32) for size in sizes]
            for name, array in inputs.items():
                request.set_input_tensor(self._places[name], self._shared(array))
            for k, array in enumerate(own):
                request.set_output_tensor(k, self._shared(array))
            request.infer(share_outputs=True)
        except OPENVINO_ERRORS as error:
            raise NetworkError(f'openvino: {one_line(error)}') from None
        return [array.transpose(0, 3, 1, 2) if turned else array
                for array, turned in zip(own, self._turned, strict=True)]

    def _shared(self, array: Float) -> Any:
        """Tensor in the memory of an array, or of a copy where OpenVINO could not use that."""
        if array.dtype == np.float32 and array.flags.carray:
            return self._tensor(array, shared_memory=True)
        return self._tensor(np.array(array, np.float32, order='C'), shared_memory=False)

    def _request(self, inputs: dict[str, Float]) -> tuple[Any, Shapes]:
        """Request for inputs of these shapes, and the shapes of its outputs."""
        shapes = tuple(array.shape for array in inputs.values())
        if shapes not in self._requests:
            self._model.reshape({name: list(array.shape) for name, array in inputs.items()})
            request = self._ready(self._model)
            self._requests[shapes] = request, tuple(tuple(o.shape) for o in request.model_outputs)
            if len(self._requests) > MOST_SHAPES:
                self._requests.popitem(last=False)
        self._requests.move_to_end(shapes)
        return self._requests[shapes]


def absence() -> str | None:
    """Why it cannot be used here; None = it can."""
    return None if find_spec('openvino') else f'not installed; {INSTALL}'


def open_engine(path: Path, precision: Precision, threads: int) -> OpenVinoSession:
    """
    Read the file; it is compiled for this CPU when inputs of a shape come.

    Raises
    ------
    NetworkError
        OpenVINO is not there, the CPU has not the precision, or the file is no network.
    """
    openvino = _library()
    core = openvino.Core()
    if precision == 'bf16' and 'BF16' not in core.get_property('CPU', 'OPTIMIZATION_CAPABILITIES'):
        raise NetworkError('openvino: this CPU has no bf16; choose precision f32 or int8')
    model, turned = read_network(path, core)
    asked = properties(precision, threads)
    return OpenVinoSession(
        model, turned, precision,
        lambda fixed: core.compile_model(fixed, 'CPU', asked).create_infer_request())


def properties(precision: Precision, threads: int) -> dict[str, Any]:
    """What is asked of OpenVINO when it compiles for this CPU."""
    return {
        'INFERENCE_PRECISION_HINT': HINTS[precision], 'INFERENCE_NUM_THREADS': threads,
        'NUM_STREAMS': 1, 'ENABLE_CPU_PINNING': False, 'ENABLE_HYPER_THREADING': True,
    }


def read_network(path: Path, core: Any) -> tuple[Any, list[bool]]:
    """
    Model of an ``.onnx`` file, and which of its outputs are left as (N, H, W, C).

    Raises
    ------
    NetworkError
        The file is no network.
    """
    try:
        model = core.read_model(path)
        turned = [_has_many_channels(output.partial_shape) for output in model.outputs]
        return _with_outputs(model, turned, _library()), turned
    except OPENVINO_ERRORS as error:
        raise NetworkError(
            f'{path}: OpenVINO cannot load it ({one_line(error)}); restore the file or run '
            'lagr export again'
        ) from None


def _library() -> Any:
    """Import the package, when it is asked for: 0.4 s."""
    try:
        import openvino
        import openvino.preprocess
    except ImportError as error:
        raise NetworkError(f'openvino cannot be imported ({one_line(error)}); {INSTALL}') from None
    return openvino


def _has_many_channels(shape: Any) -> bool:
    return bool(shape.rank.is_static and len(shape) == 4 and shape[1].is_static
                and shape[1].get_length() >= MANY_CHANNELS)


def _with_outputs(model: Any, turned: list[bool], openvino: Any) -> Any:
    """The model with float32 outputs, these left as (N, H, W, C)."""
    steps = openvino.preprocess.PrePostProcessor(model)
    for output in range(len(turned)):
        steps.output(output).tensor().set_element_type(openvino.Type.f32)
    for output in np.flatnonzero(turned).tolist():
        steps.output(output).model().set_layout(openvino.Layout('NCHW'))
        steps.output(output).tensor().set_layout(openvino.Layout('NHWC'))
    return steps.build()
