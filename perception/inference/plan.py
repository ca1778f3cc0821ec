# SPDX-License-Identifier: Apache-2.0
"""
Plans, as TensorRT calls its built engines: made from ONNX, and run.

``tensorrt`` and ``tensorrt_rtx`` are two libraries with the same names; ``trt`` is either.
Building for TensorRT-RTX needs no GPU. Whatever comes after loading a plan needs one.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from perception.errors import NetworkError
from perception.inference.cuda import open_memory
from perception.inference.session import one_line
from perception.inference.shapes import Sides
from perception.types import Float


def make_log(trt: Any) -> Any:
    """Logger of the library that prints nothing and keeps its errors, ``errors`` (list of str)."""

    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.errors: list[str] = []

        def log(self, severity: Any, text: str) -> None:
            """Called by the library, from its own threads too."""
            if severity in (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR):
                self.errors.append(text)

    return Log()


def build_plan(
    trt: Any, path: Path, sizes: dict[str, Sides], typed: bool, configure: Callable[[Any], None]
) -> bytes:
    """
    Build the plan of an ``.onnx`` file.

    Parameters
    ----------
    trt : module
        ``tensorrt`` or ``tensorrt_rtx``.
    sizes : dict of str to Sides
        The one optimisation profile; every input.
    typed : bool
        Tensors keep the types of the file, and float32 is not shortened to TF32.
    configure : callable
        Sets what is the engine's own in an ``IBuilderConfig``: targets, or precision flags.

    Raises
    ------
    NetworkError
        The parser or the builder refuses the file; their first reason is in the text.
    """
    log = make_log(trt)
    builder = trt.Builder(log)
    flag = trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED
    network = builder.create_network(1 << int(flag) if typed else 0)
    _parse(trt, network, log, path)
    config = builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)
    configure(config)
    config.add_optimization_profile(_profile(builder, network, sizes, path))
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise NetworkError(f'{path}: {trt.__name__} cannot build it ({_reason(log)})')
    return bytes(plan)


def _parse(trt: Any, network: Any, log: Any, path: Path) -> None:
    parser = trt.OnnxParser(network, log)
    if not parser.parse(path.read_bytes()):
        log.errors[:0] = [parser.get_error(k).desc() for k in range(parser.num_errors)]
        raise NetworkError(f'{path}: {trt.__name__} cannot read it ({_reason(log)}); restore the '
                           'file or run lagr export again')


def _profile(builder: Any, network: Any, sizes: dict[str, Sides], path: Path) -> Any:
    """One optimisation profile, of exactly the inputs of the file."""
    names = {network.get_input(k).name for k in range(network.num_inputs)}
    if names != set(sizes):
        raise NetworkError(f'{path}: has inputs {sorted(names)}, its manifest promises '
                           f'{sorted(sizes)}; run lagr export again')
    profile = builder.create_optimization_profile()
    for name, sides in sizes.items():
        profile.set_shape(name, *sides.shapes)
    return profile


def _reason(log: Any) -> str:
    """First error that the library told."""
    return ' '.join(log.errors[0].split())[:200] if log.errors else 'no reason told'


def _guarded(trt: Any, step: Callable[[], Any]) -> Any:
    """What a step gives; what the libraries raise without a usable GPU, in one line."""
    try:
        return step()
    except (RuntimeError, TypeError) as error:
        raise NetworkError(f'{trt.__name__}: {one_line(error)}') from None


class PlanSession:
    """
    A plan on the first GPU: its buffers grow to the largest input seen, its stream is its own.

    ``device_ms`` is how long the GPU computed in the last run, without copies.
    Untested on a GPU: written by the documentation of TensorRT 10, 11 and TensorRT-RTX.
    """

    def __init__(self, trt: Any, plan: bytes, precision: str) -> None:
        self.engine, self.precision = str(trt.__name__), precision
        self._log = make_log(trt)
        self._runtime = _guarded(trt, lambda: trt.Runtime(self._log))
        self._engine = _guarded(trt, lambda: self._runtime.deserialize_cuda_engine(plan))
        if self._engine is None:
            raise NetworkError(f'{self.engine}: cannot load its plan ({_reason(self._log)})')
        names = [self._engine.get_tensor_name(k) for k in range(self._engine.num_io_tensors)]
        modes = [self._engine.get_tensor_mode(name) for name in names]
        self._inputs = [n for n, mode in zip(names, modes) if mode == trt.TensorIOMode.INPUT]
        self._outputs = [n for n, mode in zip(names, modes) if mode == trt.TensorIOMode.OUTPUT]
        wrong = [n for n in names if self._engine.get_tensor_dtype(n) != trt.DataType.FLOAT]
        if wrong:
            raise NetworkError(f'{self.engine}: {", ".join(wrong)}: not float32; export the '
                               'network with float32 inputs and outputs')
        self._context = self._engine.create_execution_context()
        if self._context is None:
            raise NetworkError(f'{self.engine}: no execution context ({_reason(self._log)})')
        self._memory = _guarded(trt, open_memory)
        self.device_ms: float | None = None

    def run(self, inputs: dict[str, Float]) -> list[Float]:
        """Outputs in the order of the file; see ``Session``."""
        if set(inputs) != set(self._inputs):
            raise NetworkError(f'{self.engine}: takes {self._inputs}, not {sorted(inputs)}')
        self._log.errors.clear()
        try:
            for name, array in inputs.items():
                self._feed(name, np.ascontiguousarray(array, np.float32))
            shapes = [self._expect(name) for name in self._outputs]
            self._execute()
            found = [self._memory.download(*pair) for pair in zip(self._outputs, shapes)]
            self.device_ms = self._memory.marked_ms()
            return found
        except RuntimeError as error:  # what torch raises
            raise NetworkError(f'{self.engine}: {one_line(error)}') from None

    def _execute(self) -> None:
        """Enqueue the work between two marks of the device's clock."""
        self._memory.mark()
        if not self._context.execute_async_v3(self._memory.stream):
            raise NetworkError(f'{self.engine}: does not run ({_reason(self._log)})')
        self._memory.mark()

    def _feed(self, name: str, array: Float) -> None:
        """Shape, address and values of one input."""
        if not self._context.set_input_shape(name, array.shape):
            low, _, high = (tuple(s) for s in self._engine.get_tensor_profile_shape(name, 0))
            raise NetworkError(
                f'{self.engine}: {name} {array.shape} is not between {low} and {high}; build '
                'an engine for it with lagr export --largest HEIGHTxWIDTH'
            )
        self._context.set_tensor_address(name, self._memory.upload(name, array))

    def _expect(self, name: str) -> tuple[int, ...]:
        """Room for one output; its shape, which follows from those of the inputs."""
        shape = tuple(int(side) for side in self._context.get_tensor_shape(name))
        if -1 in shape:
            raise NetworkError(f'{self.engine}: {name} has no known shape {shape}')
        self._context.set_tensor_address(name, self._memory.reserve(name, shape))
        return shape
