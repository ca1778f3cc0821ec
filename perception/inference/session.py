# SPDX-License-Identifier: Apache-2.0
"""
What every engine offers, and which of them runs a network.

An engine is a module of this package (or an object) with two functions, see ``EngineModule``.
It is imported when it is asked for: most of them are optional, and some are heavy.
"""

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from perception.errors import NetworkError
from perception.types import Engine, EngineChoice, Float, Precision

GPU_ENGINES: tuple[Engine, ...] = ('tensorrt', 'tensorrt_rtx')
AUTO_ORDER: tuple[Engine, ...] = (*GPU_ENGINES, 'openvino', 'onnxruntime')
"""What ``auto`` tries, the fastest first, by measurement; ONNX Runtime is always there."""

PLACES: dict[Engine, str] = {
    'onnxruntime': 'onnx_runtime', 'openvino': 'openvino', 'tensorrt': 'tensorrt',
    'tensorrt_rtx': 'tensorrt_rtx', 'onnxruntime_cuda': 'ort_gpu.CUDA',
    'onnxruntime_tensorrt': 'ort_gpu.TENSORRT',
}
"""Module of each engine, and the object in it where two engines share one module."""


class Session(Protocol):
    """A network that an engine has loaded; one thread at a time runs it."""

    @property
    def engine(self) -> str:
        """Name of what runs it now."""
        ...

    @property
    def precision(self) -> str:
        """What it computes in."""
        ...

    def run(self, inputs: dict[str, Float]) -> list[Float]:
        """
        Outputs in the order of the file, for inputs of any shape that it takes.

        Parameters
        ----------
        inputs : dict of str to float32 array
            By tensor name.

        Returns
        -------
        list of float32 arrays
            The caller's own: no later call changes them.

        Raises
        ------
        NetworkError
            The engine refuses the inputs, or fails.
        """
        ...


def device_ms(session: Session) -> float | None:
    """How long a GPU worked in the last run, by its own clock [ms]; None = by none is known."""
    return getattr(session, 'device_ms', None)


class EngineModule(Protocol):
    """What the module of an engine offers."""

    def absence(self) -> str | None:
        """Why it cannot be used here, in one line with the remedy; None = it can."""
        ...

    def open_engine(self, path: Path, precision: Precision, threads: int) -> Session:
        """
        Load an ``.onnx`` file whose digest was checked.

        Raises
        ------
        NetworkError
            It cannot run this file, or not with this precision.
        """
        ...


@dataclass(frozen=True)
class Opened:
    """A session, and why this engine: ``fastest that works here; tensorrt: no driver``."""

    session: Session
    why: str

    @property
    def text(self) -> str:
        """One line: ``openvino f32 (fastest that works here; ...)``."""
        return f'{self.session.engine} {self.session.precision} ({self.reason})'

    @property
    def reason(self) -> str:
        """Why this engine serves now: it may stand in for one that is not built."""
        note = getattr(self.session, 'note', '')
        return f'{note}; {self.why}' if note else self.why


def open_session(
    path: Path, engine: EngineChoice, precision: Precision, threads: int,
    order: tuple[Engine, ...] = AUTO_ORDER,
) -> Opened:
    """
    Open a network file with an engine, or with the fastest that works here.

    Parameters
    ----------
    path : Path
        The ``.onnx`` file.
    engine : str
        ``auto`` takes the first of ``order`` that works.
    precision : str
        What it computes in; ``int8`` and ``f16`` need a file made for that.
    threads : int
        Threads inside one layer.

    Raises
    ------
    NetworkError
        The engine is not there, or cannot run the file.
    """
    if engine == 'auto':
        return _open_fastest(path, precision, threads, order)
    return Opened(_open(path, engine, precision, threads), 'as configured')


def _open_fastest(
    path: Path, precision: Precision, threads: int, order: tuple[Engine, ...]
) -> Opened:
    """The first that works, and why not those before it."""
    without: dict[str, list[str]] = {}
    for engine in order:
        try:
            session = _open(path, engine, precision, threads)
        except NetworkError as error:
            reason = str(error).removeprefix(f'{engine}: ').partition(';')[0].partition(' (')[0]
            without.setdefault(reason, []).append(engine)
            continue
        return Opened(session, '; '.join(['fastest that works here', *_reasons(without)]))
    raise NetworkError(
        f'{path}: no engine runs it in {precision} ({"; ".join(_reasons(without))}); restore the '
        'file or run lagr export again, or choose another precision'
    )


def _reasons(without: dict[str, list[str]]) -> list[str]:
    return [f'{", ".join(engines)}: {reason}' for reason, engines in without.items()]


def _open(path: Path, engine: Engine, precision: Precision, threads: int) -> Session:
    check_engine(engine)
    return engine_module(engine).open_engine(path, precision, threads)


def check_engine(engine: EngineChoice) -> None:
    """
    Refuse an engine that cannot be used here.

    Raises
    ------
    NetworkError
        Why not, and the remedy.
    """
    if engine == 'auto':
        return
    if engine not in PLACES:
        raise NetworkError(f'engine {engine!r}: choose one of auto, {", ".join(PLACES)}')
    absence = engine_module(engine).absence()
    if absence:
        raise NetworkError(f'{engine}: {absence}')


def engine_module(engine: Engine) -> EngineModule:
    """Import the module of an engine; what it needs itself, it imports later."""
    module, _, name = PLACES[engine].partition('.')
    found = import_module(f'perception.inference.{module}')
    return cast('EngineModule', getattr(found, name) if name else found)


def one_line(error: Exception) -> str:
    """Text of an engine's error, cut to one line."""
    return ' '.join(str(error).split())[:200]
