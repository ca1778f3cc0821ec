# SPDX-License-Identifier: Apache-2.0
"""
Builds a plan in a process of its own.

It can take minutes, the library may crash meanwhile, and a thread inside it cannot be stopped: a
process that ends with such a thread at work ends by a crash.
"""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread, main_thread

from perception.errors import NetworkError, PerceptionError
from perception.inference.cache import Key, read_engine, write_engine
from perception.types import Precision

POLL_S = 0.2
POLITE = 10  # the robot's own work comes first


def build_apart(key: Key, path: Path) -> bytes:
    """
    Plan of an ``.onnx`` file, built by another process; it is ended when this one ends.

    Raises
    ------
    NetworkError
        The build fails or crashes.
    """
    try:
        with TemporaryDirectory(prefix='lagr_engine_') as folder:
            out = Path(folder) / 'plan'
            told = _build(key, path, out)
            kept = read_engine(out)
    except OSError as error:
        raise NetworkError(f'{key.engine}: no engine can be built ({error}); free the temporary '
                           'folder, or choose another engine') from None
    if kept is None or kept.key != key:
        raise NetworkError(f'{key.engine}: {told}')
    return kept.plan


def _build(key: Key, path: Path, out: Path) -> str:
    """Build into ``out``; what the other process said last."""
    command = [sys.executable, '-m', __name__, key.engine, str(path.resolve()),
               key.precision, key.device, str(out)]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, text=True,
        stderr=subprocess.PIPE, start_new_session=True,  # Ctrl-C is for this process
    ) as child:
        told = _wait(child).strip().splitlines()
    return told[-1] if told else f'the build ended with status {child.returncode}'


def _wait(child: subprocess.Popen[str]) -> str:
    """What it wrote to stderr, once it has ended; it is told to when this process wants to end."""
    while True:
        try:
            return child.communicate(timeout=POLL_S)[1]
        except subprocess.TimeoutExpired:
            if not main_thread().is_alive():
                child.terminate()


def _end_with(parent: int, folder: Path) -> None:
    """End this process when the one that wants the plan is gone, however that ended."""
    while os.getppid() == parent:
        time.sleep(POLL_S)
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)


def main(engine: str, path: str, precision: Precision, device: str, out: str) -> None:
    """Build and write; a failure is one line on stderr."""
    from perception.inference import tensorrt, tensorrt_rtx

    builders = {tensorrt.LIBRARY: tensorrt.build_for, tensorrt_rtx.LIBRARY: tensorrt_rtx.build_for}
    try:
        write_engine(Path(out), builders[engine](Path(path), precision, device))
    except (PerceptionError, OSError) as error:
        sys.exit(str(error))


if __name__ == '__main__':
    os.nice(POLITE)
    Thread(target=_end_with, args=(os.getppid(), Path(sys.argv[-1]).parent), daemon=True).start()
    main(*sys.argv[1:])  # type: ignore[arg-type]
