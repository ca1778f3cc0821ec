# SPDX-License-Identifier: Apache-2.0
"""
TensorRT for RTX: installs from PyPI, builds without a GPU, runs on GeForce and RTX cards.

It computes in what the file was made for: f32, or f16 or int8 in a file of its own.
"""

from collections.abc import Sequence
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

LIBRARY = 'tensorrt_rtx'
INSTALL = "pip install 'lagr_perception[tensorrt-rtx]'"
NO_TARGETS = ('CURRENT', 'NONE')
INSTEAD = {'sm87': 'Jetson Orin: use the engine tensorrt of JetPack',
           'sm90': 'H100, H200: use the engine tensorrt or onnxruntime_cuda'}


def absence() -> str | None:
    """Why it cannot be used here, the driver first; None = it can."""
    no_gpu = cuda.absence()
    if no_gpu:
        return no_gpu
    if find_spec(LIBRARY) is None:
        return f'not installed; {INSTALL}'
    try:
        checked_targets(library(), [cuda.first_device().target])
    except NetworkError as error:
        return str(error)
    return cuda.memory_absence()


def open_engine(path: Path, precision: Precision, threads: int) -> Session:
    """
    Session from a plan beside the file or in the cache, else a CPU engine until one is built.

    Raises
    ------
    NetworkError
        No GPU or library, the file is made for another precision, or no engine runs it.
    """
    trt, target = library(), cuda.first_device().target
    key = key_of(trt, path, [target])
    if precision != key.precision:
        raise NetworkError(f'{path}: made for {key.precision}, and {LIBRARY} computes in nothing '
                           f'else; export the network for {precision}')
    recipe = Recipe(key, lambda: build_apart(key, path),
                    lambda plan: PlanSession(trt, plan, precision))
    return serve(recipe, path, threads)


def build_for(path: Path, precision: Precision, device: str) -> Kept:
    """Build for these compute capabilities, as ``build_apart`` asks; see ``build_ahead``."""
    if precision != read_spec(path, Manifest).precision:
        raise NetworkError(f'{path}: not made for {precision}')
    return build_ahead(path, device.split(','))


def build_ahead(path: Path, targets: Sequence[str], largest: Size | None = None) -> Kept:
    """
    Build for these compute capabilities, on any machine: no GPU or driver is asked.

    Parameters
    ----------
    path : Path
        The ``.onnx`` file, its manifest beside it.
    targets : sequence of str
        ``sm86`` and the like.
    largest : int, int, optional
        See ``input_sizes``.

    Raises
    ------
    NetworkError
        The library is not installed, knows no such target, or refuses the file.
    """
    trt = library()
    chosen = checked_targets(trt, targets)
    key = key_of(trt, path, chosen, largest)

    def aim(config: Any) -> None:
        config.num_compute_capabilities = len(chosen)
        for k, target in enumerate(chosen):
            config.set_compute_capability(getattr(trt.ComputeCapability, target.upper()), k)

    return Kept(key, build_plan(trt, path, key.sizes, True, aim))


def key_of(
    trt: Any, path: Path, targets: Sequence[str], largest: Size | None = None
) -> Key:
    """What the engine of this file is kept under."""
    manifest = read_spec(path, Manifest)
    return Key(manifest.sha256, LIBRARY, str(trt.__version__), ','.join(targets),
               manifest.precision, input_sizes(path, largest))


def known_targets(trt: Any) -> list[str]:
    """Compute capabilities that the library builds for, the oldest first."""
    names = [name.lower() for name in trt.ComputeCapability.__members__ if name not in NO_TARGETS]
    return sorted(names, key=lambda name: int(name.removeprefix('sm')))


def checked_targets(trt: Any, targets: Sequence[str]) -> list[str]:
    """The same without repeats, the oldest first; an unknown one is an error that names it."""
    known = known_targets(trt)
    for target in targets:
        if target not in known:
            more = f' ({INSTEAD[target]})' if target in INSTEAD else ''
            raise NetworkError(
                f'target {target!r}: TensorRT-RTX {trt.__version__} does not build for it{more}; '
                f'choose from {", ".join(known)}'
            )
    if not targets:
        raise NetworkError(f'no targets; choose from {", ".join(known)}')
    return [target for target in known if target in targets]


def library() -> Any:
    """
    The library, imported: that needs neither GPU nor driver.

    Raises
    ------
    NetworkError
        It is not installed, or cannot be loaded.
    """
    try:
        return import_module(LIBRARY)
    except ImportError as error:
        raise NetworkError(
            f'{LIBRARY} cannot be imported ({one_line(error)}); {INSTALL}') from None
