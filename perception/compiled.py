# SPDX-License-Identifier: Apache-2.0
"""
Compile inner loops over points, cells and pixels (Numba), and keep the result on disk.

They are compiled when their module is imported, for one signature each, so nothing compiles in
mid-drive. The first import on a machine takes about a minute and says so; later ones load what was
kept in ``__pycache__``, or where that cannot be written in the user's cache folder. A kept loop is
renewed when its own file changes, so it calls and reads nothing that is imported from another.
Compiled loops release the interpreter's lock.
"""

import logging
from collections.abc import Callable
from typing import Any, TypeVar

import numba
from numba import types
from numba.core import event

Loop = TypeVar('Loop', bound=Callable[..., Any])
LOG = logging.getLogger(__name__)

F4, F8 = types.float32, types.float64
I4, I8 = types.int32, types.int64
I2, U1, BOOL = types.int16, types.uint8, types.boolean
"""Scalars of a signature; ``F4[:, ::1]`` is a contiguous array that the loop writes to."""


def given(scalar: Any, dimensions: int) -> Any:
    """Type of a contiguous array that the loop only reads, and that may forbid writing."""
    return types.Array(scalar, dimensions, 'C', readonly=True)


def compiled(*signature: Any, inlined: bool = False) -> Callable[[Loop], Loop]:
    """
    Compile a function for these types: first what it returns, then its parameters.

    Where no folder can be written to, it is compiled at each start. What is inlined becomes part
    of the loops that call it, as calls with arrays take some tens of nanoseconds.
    """
    returns, *parameters = signature
    options = {'nogil': True, 'error_model': 'numpy', 'forceinline': inlined}

    def decorate(function: Loop) -> Loop:
        try:
            loop: Loop = numba.njit(returns(*parameters), cache=True, **options)(function)
        except RuntimeError as error:
            if 'no locator' not in str(error):
                raise
            loop = numba.njit(returns(*parameters), **options)(function)
        return loop
    return decorate


class _Notice(event.Listener):  # type: ignore[misc] # numba is untyped here
    """Says once that something is being compiled."""

    def __init__(self) -> None:
        self._said = False

    def on_start(self, event: Any) -> None:
        if not self._said:
            self._said = True
            LOG.warning('compiling inner loops for this processor, once: about a minute')

    def on_end(self, event: Any) -> None:
        """Nothing to say."""


event.register('numba:compile', _Notice())
