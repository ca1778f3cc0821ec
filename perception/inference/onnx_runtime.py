# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime on the CPU: the portable engine, always there."""

from pathlib import Path

import numpy as np
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from perception.errors import NetworkError
from perception.inference.session import one_line
from perception.types import Float, Precision

PRECISIONS = ('f32', 'f16', 'int8')

# Everything ONNX Runtime raises on a file that is no usable network, or on unfit inputs.
ORT_ERRORS = (
    ort_errors.Fail, ort_errors.InvalidArgument, ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf, ort_errors.NoModel, ort_errors.NoSuchFile,
    ort_errors.NotImplemented, ort_errors.RuntimeException, ValueError,
)


class OrtSession:
    """One dynamic session; what it returns is new memory every time."""

    def __init__(self, session: ort.InferenceSession, engine: str, precision: str) -> None:
        self.engine, self.precision = engine, precision
        self._session = session

    def run(self, inputs: dict[str, Float]) -> list[Float]:
        """Outputs in the order of the file; see ``Session``."""
        try:
            return [np.asarray(out, np.float32) for out in self._session.run(None, inputs)]
        except ORT_ERRORS as error:
            raise NetworkError(f'{self.engine}: {one_line(error)}') from None


def absence() -> str | None:
    """None: it is installed with this package."""
    return None


def open_engine(path: Path, precision: Precision, threads: int) -> OrtSession:
    """
    Session that sleeps between calls: spinning threads starve the other stages.

    Raises
    ------
    NetworkError
        The file is no network, or the precision is not one of ONNX Runtime's.
    """
    if precision not in PRECISIONS:
        raise NetworkError(f'onnxruntime: computes in {", ".join(PRECISIONS)}, not in {precision}')
    try:
        session = ort.InferenceSession(
            path.read_bytes(), session_options(threads), providers=['CPUExecutionProvider']
        )
    except ORT_ERRORS as error:
        raise NetworkError(
            f'{path}: ONNX Runtime cannot load it ({one_line(error)}); restore the file or run '
            'lagr export again'
        ) from None
    return OrtSession(session, 'onnxruntime', precision)


def session_options(threads: int) -> ort.SessionOptions:
    """What ``open_engine`` asks of ONNX Runtime."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry('session.intra_op.allow_spinning', '0')
    options.log_severity_level = 3
    return options
