# SPDX-License-Identifier: Apache-2.0
"""What near-to-far learning knows, saved to a file and brought back."""

import os
import tokenize
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np

from perception.errors import StateError
from perception.near_to_far import NearToFar
from perception.online_softmax import FAMILIES, Head, Ring
from perception.types import Float

VERSION = 1

# Everything that NumPy and zipfile raise on a file that is no whole archive of arrays.
UNREADABLE = (OSError, ValueError, KeyError, EOFError, TypeError, RuntimeError,
              zipfile.BadZipFile, zlib.error, tokenize.TokenError)


def save_state(path: Path, learner: NearToFar) -> None:
    """
    Write weights, samples and the judge's record; views and places are of this drive alone.

    The file appears whole or not at all.

    Raises
    ------
    StateError
        The file cannot be written.
    """
    arrays: dict[str, Float] = {
        'version': np.array(VERSION), 'sha256': np.array(learner.spec.sha256),
        'taught': np.array(learner.taught), 'judge_weight': learner.judge.weight,
        'judge_error': learner.judge.error, 'judge_square': learner.judge.square,
    }
    for name, head in _heads(learner).items():
        arrays[f'{name}_table'] = head.table
        arrays[f'{name}_steps'] = np.array(head.steps)
        for k in FAMILIES:
            ring = head.rings[k]
            oldest_first = np.arange(ring.next_ - ring.count, ring.next_)
            arrays[f'{name}_features_{k}'] = ring.features[oldest_first].astype(np.float16)
            arrays[f'{name}_target_{k}'] = ring.target[oldest_first]
    part = path.with_name(path.name + '.part')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open('wb') as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
        os.replace(part, path)
    except OSError as error:
        with suppress(OSError):
            part.unlink()
        raise StateError(f'{path}: cannot be written ({error}); name a writable file') from None


def load_state(path: Path, learner: NearToFar) -> None:
    """
    Bring a saved state back into a learner of the same network; nothing changes on an error.

    Raises
    ------
    StateError
        The file is missing, damaged, or of another network.
    """
    remedy = 'give a file that a replay or the save service wrote, or no near_to_far.state'
    try:
        if path.is_file() and not zipfile.is_zipfile(path):
            raise ValueError('no .npz file')  # NumPy would advise to unpickle it
        with path.open('rb') as file, np.load(file, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        _check(path, arrays, learner)
        heads = {name: _head(name, arrays, learner) for name in _heads(learner)}
        sums = {name: _fitting(arrays[f'judge_{name}'], getattr(learner.judge, name))
                for name in ('weight', 'error', 'square')}
        taught = [bool(k) for k in _fitting(arrays['taught'], np.array(learner.taught))]
    except UNREADABLE as error:
        raise StateError(f'{path}: no saved state ({error}); {remedy}') from None
    learner.near, learner.far, learner.taught = heads['near'], heads['far'], taught
    for name, value in sums.items():
        setattr(learner.judge, name, value)


def _heads(learner: NearToFar) -> dict[str, Head]:
    return {'near': learner.near, 'far': learner.far}


def _check(path: Path, arrays: dict[str, Float], learner: NearToFar) -> None:
    if int(arrays['version']) != VERSION:
        raise ValueError(f'version {int(arrays["version"])} is not {VERSION}')
    if str(arrays['sha256']) != learner.spec.sha256:
        raise StateError(
            f'{path}: saved with another network than {learner.spec.name}; choose that network, '
            'or leave near_to_far.state empty'
        )


def _head(name: str, arrays: dict[str, Float], learner: NearToFar) -> Head:
    head = Head.fresh(learner.default, learner.config.samples)
    head.table = _fitting(arrays[f'{name}_table'], learner.default)
    head.steps = int(arrays[f'{name}_steps'])
    for k in FAMILIES:
        _fill(head.rings[k], arrays[f'{name}_features_{k}'], arrays[f'{name}_target_{k}'])
    return head


def _fill(ring: Ring, features: Float, target: Float) -> None:
    sizes = (*ring.features.shape[1:], *ring.target.shape[1:])
    if (*features.shape[1:], *target.shape[1:]) != sizes or len(features) != len(target):
        raise ValueError(f'samples of shape {features.shape} and {target.shape}')
    ring.add(_finite(features.astype(np.float32)), _finite(target))


def _fitting(stored: Float, like: Float) -> Float:
    if stored.shape != like.shape:
        raise ValueError(f'an array of shape {stored.shape} in place of {like.shape}')
    return _finite(stored).astype(like.dtype, casting='same_kind')


def _finite(stored: Float) -> Float:
    if not np.isfinite(stored).all():
        raise ValueError('values that are not finite')
    return stored
