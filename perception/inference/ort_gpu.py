# SPDX-License-Identifier: Apache-2.0
"""
ONNX Runtime on an NVIDIA GPU, by its CUDA or its TensorRT provider.

Where a provider cannot be loaded, ONNX Runtime goes on with the CPU and says so in a print at
most: here that is an error. Untested on a GPU.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnxruntime as ort

from perception.errors import NetworkError
from perception.inference import cache, cuda
from perception.inference.network import read_spec
from perception.inference.onnx_runtime import ORT_ERRORS, PRECISIONS, OrtSession
from perception.inference.session import one_line
from perception.inference.shapes import Manifest, input_sizes
from perception.types import Engine, Float

INSTALL = ("pip uninstall onnxruntime, then pip install 'onnxruntime-gpu[cuda,cudnn]': the two "
           'fill the same folder')
CUDA_PROVIDER, TENSORRT_PROVIDER = 'CUDAExecutionProvider', 'TensorrtExecutionProvider'


@dataclass(frozen=True)
class Provider:
    """An engine of its own for ``open_session``; ``name`` is ONNX Runtime's."""

    engine: Engine
    name: str

    def absence(self) -> str | None:
        """Why it cannot be used here, the driver first; None = it may: loading it shows."""
        no_gpu = cuda.absence()
        if no_gpu:
            return no_gpu
        if self.name not in ort.get_available_providers():
            return f'this onnxruntime has no {self.name}; {INSTALL}'
        return None

    def open_engine(self, path: Path, precision: str, threads: int) -> OrtSession:
        """
        Session that runs by this provider and by no other in its place.

        Raises
        ------
        NetworkError
            The provider cannot be loaded, the precision is none of its, or the file is no network.
        """
        if precision not in PRECISIONS:
            raise NetworkError(f'{self.engine} computes in {", ".join(PRECISIONS)}, '
                               f'not in {precision}')
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        if hasattr(ort, 'preload_dlls'):
            ort.preload_dlls()  # CUDA and cuDNN where pip has put them; from 1.21 on
        memory = None if cuda.memory_absence() else cuda.open_memory()
        asked = self.providers(path, memory.stream if memory else None)
        try:
            session = ort.InferenceSession(path.read_bytes(), options, asked)
        except ORT_ERRORS as error:
            raise NetworkError(
                f'{path}: {self.engine} cannot load it ({one_line(error)})') from None
        require_provider(session, self.name)
        return OrtSession(session, self.engine, precision) if memory is None else (
            ClockedSession(session, self.engine, precision, memory))

    def providers(
        self, path: Path, stream: int | None = None
    ) -> list[tuple[str, dict[str, str]]]:
        """What ONNX Runtime is asked for, with options; f32 is not shortened to TF32."""
        shared = {} if stream is None else {'user_compute_stream': str(stream)}
        plain = (CUDA_PROVIDER, {'use_tf32': '0', **shared})
        if self.name == CUDA_PROVIDER:
            return [plain]
        sizes = input_sizes(path)
        shapes = [','.join(f'{name}:{"x".join(map(str, sides.shapes[k]))}'
                           for name, sides in sizes.items()) for k in range(3)]
        kept = cache.folder() / f'onnxruntime_{read_spec(path, Manifest).sha256[:24]}'
        return [(TENSORRT_PROVIDER, {
            'trt_profile_min_shapes': shapes[0], 'trt_profile_opt_shapes': shapes[1],
            'trt_profile_max_shapes': shapes[2], 'trt_engine_cache_enable': 'True',
            'trt_engine_cache_path': str(kept), **shared,
        }), plain]


class ClockedSession(OrtSession):
    """
    Runs on the stream of ``memory``, whose clock it reads.

    ``device_ms`` is how long the GPU was at the last run, copies included.
    """

    def __init__(
        self, session: ort.InferenceSession, engine: str, precision: str, memory: cuda.Memory
    ) -> None:
        super().__init__(session, engine, precision)
        self._memory = memory
        self.device_ms: float | None = None

    def run(self, inputs: dict[str, Float]) -> list[Float]:
        """Outputs in the order of the file; see ``Session``."""
        self._memory.mark()
        found = super().run(inputs)
        self._memory.mark()
        self.device_ms = self._memory.marked_ms()
        return found


def require_provider(session: Any, name: str) -> None:
    """
    Refuse a session in which ONNX Runtime has taken another provider in silence.

    Raises
    ------
    NetworkError
        The first provider of the session is another one.
    """
    session.disable_fallback()
    found = session.get_providers()[0]
    if found != name:
        raise NetworkError(f'onnxruntime took {found} in place of {name}: the libraries that it '
                           f'needs cannot be loaded; {INSTALL}')


CUDA = Provider('onnxruntime_cuda', CUDA_PROVIDER)
TENSORRT = Provider('onnxruntime_tensorrt', TENSORRT_PROVIDER)
