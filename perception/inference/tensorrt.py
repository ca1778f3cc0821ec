# SPDX-License-Identifier: Apache-2.0
"""
TensorRT 10 and 11: the fastest on any NVIDIA GPU, and the only one of the two on a Jetson.

Untested: it installs from NVIDIA's own index only. Building and running are those of
TensorRT-RTX, whose library has the same names.
"""

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from perception.errors import NetworkError
from perception.inference import cuda
from perception.inference.build import build_apart
from perception.inference.cache import Kept, Key
from perception.inference.network import read_spec
from perception.inference.plan import PlanSession, build_plan
from perception.inference.relay import Recipe, serve
from perception.inference.session import Session, one_line
from perception.inference.shapes import Manifest, Size, input_sizes
from perception.types import Precision

LIBRARY = 'tensorrt'
OLDEST = 10
INSTALL = ('pip install tensorrt --extra-index-url https://pypi.nvidia.com, or on a Jetson '
           'take that of JetPack (a venv with --system-site-packages)')
FLAGS = {'f16': 'FP16', 'bf16': 'BF16'}  # of version 10; from 11 on only the file decides


def absence() -> str | None:
    """Why it cannot be used here, the driver first; None = it can."""
    no_gpu = cuda.absence()
    if no_gpu:
        return no_gpu
    if find_spec(LIBRARY) is None:
        return f'not installed; {INSTALL}'
    try:
        library()
    except NetworkError as error:
        return str(error)
    return cuda.memory_absence()


def open_engine(path: Path, precision: Precision, threads: int) -> Session:
    """
    Session from a plan beside the file or in the cache, else a CPU engine until one is built.

    Raises
    ------
    NetworkError
        No GPU or library, or the precision is not to be had from this file.
    """
    trt = library()
    key = key_of(trt, path, precision)
    precision_flag(trt, path, precision)  # what cannot be built is refused now
    recipe = Recipe(key, lambda: build_apart(key, path),
                    lambda plan: PlanSession(trt, plan, precision))
    return serve(recipe, path, threads)


def build_for(path: Path, precision: Precision, device: str) -> Kept:
    """Build for the GPU of this machine, which must be ``device``; see ``build_here``."""
    kept = build_here(path, precision)
    if kept.key.device != device:
        raise NetworkError(f'{LIBRARY}: built for {kept.key.device}, not for {device}')
    return kept


def build_here(
    path: Path, precision: Precision | None = None, largest: Size | None = None
) -> Kept:
    """
    Build for the GPU of this machine; without a precision, in that of the file.

    Raises
    ------
    NetworkError
        No GPU or library, or it refuses the file.
    """
    cuda.first_device()  # before the library: it may end the process where there is no driver
    trt = library()
    key = key_of(trt, path, precision or read_spec(path, Manifest).precision, largest)
    flag = precision_flag(trt, path, key.precision)
    return Kept(key, build_plan(trt, path, key.sizes, flag is None,
                                lambda config: _set(config, flag)))


def key_of(trt: Any, path: Path, precision: Precision, largest: Size | None = None) -> Key:
    """What the engine of this file is kept under: it serves this model of GPU only."""
    device = cuda.first_device()
    return Key(read_spec(path, Manifest).sha256, LIBRARY, str(trt.__version__),
               f'{device.name} {device.target}'.replace(',', ' '), precision,
               input_sizes(path, largest))


def precision_flag(trt: Any, path: Path, precision: Precision) -> Any:
    """
    Builder flag for a precision that is not the file's; None where the file's types decide.

    Raises
    ------
    NetworkError
        The library has no such flag.
    """
    made_for = read_spec(path, Manifest).precision
    if precision == made_for:
        return None
    flag = getattr(trt.BuilderFlag, FLAGS.get(precision, ''), None)
    if made_for != 'f32' or flag is None:
        raise NetworkError(
            f'{path}: made for {made_for}, and {trt.__name__} {trt.__version__} computes in '
            f'nothing else; export the network for {precision}'
        )
    return flag


def _set(config: Any, flag: Any) -> None:
    if flag is not None:
        config.set_flag(flag)


def library() -> Any:
    """
    The library, imported.

    Raises
    ------
    NetworkError
        It is not installed, cannot be loaded, or is too old.
    """
    try:
        trt = import_module(LIBRARY)
    except ImportError as error:
        raise NetworkError(
            f'{LIBRARY} cannot be imported ({one_line(error)}); {INSTALL}') from None
    if int(str(trt.__version__).partition('.')[0]) < OLDEST:
        raise NetworkError(f'{LIBRARY} {trt.__version__} is too old; version {OLDEST} or later')
    return trt
