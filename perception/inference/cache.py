# SPDX-License-Identifier: Apache-2.0
"""
Built engines on disk: a header that says what they were built for, a digest, and the plan.

A file that is damaged, or was built for anything else, is not trusted: the engine is built
again. Files are written beside their final name and moved there, so no reader sees half of one.
"""

import contextlib
import hashlib
import json
import os
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from perception.inference.shapes import Sides
from perception.types import Precision

MAGIC = b'lagr engine 1\n'
LONGEST_HEADER = 65536


@dataclass(frozen=True)
class Key:
    """
    What a built engine depends on.

    ``sha256`` of the network file; ``engine`` and the ``version`` of its library; ``device``: a
    GPU, or the compute capabilities built for (``sm75,sm86``); ``precision``; and ``sizes`` of
    the inputs.
    """

    sha256: str
    engine: str
    version: str
    device: str
    precision: Precision
    sizes: dict[str, Sides]

    @property
    def text(self) -> bytes:
        """JSON with sorted keys."""
        return json.dumps(asdict(self), sort_keys=True).encode()

    @property
    def path(self) -> Path:
        """Where in the cache its engine lies."""
        digest = hashlib.sha256(self.text).hexdigest()[:24]
        return folder() / f'{self.engine}_{self.precision}_{digest}.engine'


def folder() -> Path:
    """``LAGR_CACHE``, else ``lagr_perception`` in the user's cache folder."""
    named = os.environ.get('LAGR_CACHE')
    if named:
        return Path(named)
    return Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'lagr_perception'


@dataclass(frozen=True)
class Kept:
    """A plan from disk, and what it was built for."""

    key: Key
    plan: bytes


def load(key: Key) -> Kept | None:
    """Plan that was built for exactly this; None where there is none that can be trusted."""
    kept = read_engine(key.path)
    return kept if kept and kept.key == key else None


def load_beside(network: Path, key: Key) -> Kept | None:
    """Plan built ahead of time, ``STEM.ENGINE`` beside the network: any sizes, several devices."""
    kept = read_engine(network.with_suffix(f'.{key.engine}'))
    if kept is None or key.device not in kept.key.device.split(','):
        return None
    return kept if replace(kept.key, device=key.device, sizes=key.sizes) == key else None


def save(kept: Kept) -> bool:
    """Keep a plan; False where the folder cannot be written, which costs only the next start."""
    try:
        write_engine(kept.key.path, kept)
    except OSError:
        return False
    return True


def read_engine(path: Path) -> Kept | None:
    """What lies in a file; None where it is absent or damaged."""
    try:
        with path.open('rb') as file:
            sound = file.read(len(MAGIC)) == MAGIC
            header = file.readline(LONGEST_HEADER) if sound else b''
            plan = file.read()
        told = json.loads(header)
        sizes = {name: Sides(*map(tuple, sides)) for name, sides in told['key']['sizes'].items()}
        kept = Kept(Key(**{**told['key'], 'sizes': sizes}), plan)
        return kept if told['digest'] == _digest(kept) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def write_engine(path: Path, kept: Kept) -> None:
    """
    Write a built engine in one step, whoever else writes it at the same time.

    Raises
    ------
    OSError
        The folder cannot be made or written.
    """
    told = {'key': asdict(kept.key), 'digest': _digest(kept)}
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, draft = tempfile.mkstemp(prefix=f'.{path.name}.', dir=path.parent)
    try:
        with os.fdopen(handle, 'wb') as file:
            file.write(MAGIC + json.dumps(told).encode() + b'\n' + kept.plan)
            file.flush()
            os.fsync(file.fileno())
        Path(draft).chmod(0o644)
        Path(draft).replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            Path(draft).unlink()
        raise


def _digest(kept: Kept) -> str:
    """SHA-256 over header and plan: a foreign header on a sound plan is found out too."""
    return hashlib.sha256(kept.key.text + kept.plan).hexdigest()
