# SPDX-License-Identifier: Apache-2.0
"""
A CPU engine that serves until the built one is ready, and the check that both say the same.

The first build of a network takes TensorRT minutes; a robot should see meanwhile.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Thread, main_thread

import numpy as np

from perception.errors import NetworkError
from perception.inference import cache
from perception.inference.cache import Kept, Key
from perception.inference.session import Session, device_ms, engine_module
from perception.inference.shapes import Sides, probe
from perception.types import Engine, Float, Precision

STANDBY: tuple[Engine, ...] = ('openvino', 'onnxruntime')
BANDS_STANDBY: tuple[Engine, ...] = ('onnxruntime', 'openvino')  # in f32, see network.F32_ORDER
TOLERANCE = {'f32': 0.001, 'f16': 0.02, 'bf16': 0.05, 'int8': 0.1}
"""Largest mean difference from the CPU engine, as a share of the mean size of the outputs."""

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Answer:
    """What an engine says to the inputs of ``probe``."""

    engine: str
    inputs: dict[str, Float]
    outputs: list[Float]


@dataclass(frozen=True)
class Recipe:
    """How an engine comes to serve a network file: what it is kept under, how built and opened."""

    key: Key
    build: Callable[[], bytes]
    open: Callable[[bytes], Session]

    def ready(self, kept: Kept, wanted: Answer) -> Session:
        """
        Session of a plan, once it has answered like the CPU engine.

        Raises
        ------
        NetworkError
            It cannot be opened or run, or answers otherwise.
        """
        session = self.open(kept.plan)
        check_agreement(session, wanted)
        return session

    def made(self, wanted: Answer) -> Session:
        """Build, check, then keep; errors as of ``ready``, or of the build."""
        kept = Kept(self.key, self.build())
        session = self.ready(kept, wanted)
        if not cache.save(kept):
            LOG.warning('%s cannot be written, so %s is built again at every start; set '
                        'LAGR_CACHE to a folder that can', cache.folder(), self.key.engine)
        return session


class Bounded:
    """Runs ``built`` on the sizes it was built for, ``standby`` on any other."""

    def __init__(self, built: Session, standby: Session, sizes: dict[str, Sides]) -> None:
        self._built, self._standby, self._sizes = built, standby, sizes
        self.engine, self.precision = built.engine, built.precision
        self._told, self._last = False, built

    def run(self, inputs: dict[str, Float]) -> list[Float]:
        """Outputs of the one that takes these sizes; see ``Session``."""
        fits = all(holds(self._sizes[name], array.shape) for name, array in inputs.items()
                   if name in self._sizes)
        self._last = self._built if fits else self._standby
        if not fits and not self._told:
            LOG.warning('%s was not built for inputs of %s: %s runs them; see lagr export '
                        '--largest', self.engine, [one.shape for one in inputs.values()],
                        self._standby.engine)
            self._told = True
        return self._last.run(inputs)

    @property
    def device_ms(self) -> float | None:
        """Of the one that ran last; see ``device_ms`` of the module session."""
        return device_ms(self._last)


def holds(sides: Sides, shape: tuple[int, ...]) -> bool:
    """Tell whether a tensor shape lies between the smallest and the largest of an input."""
    return len(shape) == 4 and all(
        low <= side <= high for low, side, high in zip(sides.low, shape[2:], sides.high))


class Relay:
    """Runs ``standby``; ``build`` works in a thread of its own, and its result takes over."""

    def __init__(
        self, standby: Session, build: Callable[[], Session], wanted: str = 'another engine'
    ) -> None:
        self._session = standby
        self._build = build
        self.engine, self.precision = standby.engine, standby.precision
        self.note = f'until {wanted} is built'
        self._thread = Thread(target=self._take_over, name='engine build')  # see build.py
        self._thread.start()

    def run(self, inputs: dict[str, Float]) -> list[Float]:
        """Outputs of whichever serves now; see ``Session``."""
        return self._session.run(inputs)

    @property
    def device_ms(self) -> float | None:
        """Of whichever serves now; see ``device_ms`` of the module session."""
        return device_ms(self._session)

    def wait(self, timeout_s: float | None = None) -> bool:
        """Until the build has ended, well or not; whether it has."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _take_over(self) -> None:
        try:
            built = self._build()
        except NetworkError as error:
            if main_thread().is_alive():  # else the build was ended with the process
                LOG.warning('%s; %s goes on serving', error, self.engine)
            self.note = str(error)
            return
        self._session, self.note = built, ''
        self.engine, self.precision = built.engine, built.precision
        LOG.warning('%s %s serves from now on', built.engine, built.precision)


def serve(recipe: Recipe, path: Path, threads: int) -> Session:
    """
    Session from a plan on disk, else a CPU engine until one is built.

    Parameters
    ----------
    path : Path
        The ``.onnx`` file; a plan built ahead of time may lie beside it.
    threads : int
        Of the CPU engine.

    Raises
    ------
    NetworkError
        No CPU engine can run the file.
    """
    bands = recipe.key.precision in ('f32', 'bf16') and 'bands' in recipe.key.sizes
    standby = open_standby(
        path, recipe.key.precision, threads, BANDS_STANDBY if bands else STANDBY)
    for kept in (cache.load_beside(path, recipe.key), cache.load(recipe.key)):
        if kept is None:
            continue
        try:
            built = recipe.ready(kept, answer(standby, kept.key.sizes))
            return Bounded(built, standby, kept.key.sizes)
        except NetworkError as error:
            LOG.warning('%s; it is built again', error)
    wanted = answer(standby, recipe.key.sizes)
    return Relay(standby, lambda: Bounded(recipe.made(wanted), standby, recipe.key.sizes),
                 recipe.key.engine)


def open_standby(
    path: Path, precision: Precision, threads: int, order: tuple[Engine, ...] = STANDBY
) -> Session:
    """
    First CPU engine of ``order`` that runs this file; for bf16, f32 will do.

    Raises
    ------
    NetworkError
        None can run it.
    """
    computed = 'f32' if precision == 'bf16' else precision
    failure = NetworkError(f'{path}: no CPU engine')
    for engine in order:
        module = engine_module(engine)
        if module.absence() is not None:
            continue
        try:
            return module.open_engine(path, computed, threads)
        except NetworkError as error:
            failure = error
    raise failure


def answer(session: Session, sizes: dict[str, Sides]) -> Answer:
    """What a session says to noise of the usual sizes."""
    inputs = probe(sizes)
    return Answer(session.engine, inputs, session.run(inputs))


def check_agreement(session: Session, wanted: Answer) -> None:
    """
    Compare an engine with another one's answer.

    Raises
    ------
    NetworkError
        Other outputs, values that are no numbers, or a mean difference above ``TOLERANCE``.
    """
    name = f'{session.engine} {session.precision}'
    outputs = session.run(wanted.inputs)
    shapes, promised = ([out.shape for out in some] for some in (outputs, wanted.outputs))
    if shapes != promised:
        raise NetworkError(f'{name}: outputs are {shapes}, those of {wanted.engine} {promised}; '
                           'choose another engine')
    shares = [mean_difference(*pair) for pair in zip(outputs, wanted.outputs)]
    if not max(shares) <= TOLERANCE[session.precision]:
        raise NetworkError(f'{name}: outputs differ from those of {wanted.engine} by '
                           f'{max(shares):.2g} in the mean; choose another engine')


def mean_difference(found: Float, wanted: Float) -> float:
    """Mean difference as a share of the mean size; infinite where something is no number."""
    share = float(np.abs(found - wanted).mean() / (np.abs(wanted).mean() + 1e-12))
    return share if np.isfinite(share) else float('inf')
