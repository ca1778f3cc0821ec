# SPDX-License-Identifier: Apache-2.0
"""Files that a command writes at its end."""

from pathlib import Path


def check_outputs(*paths: Path | None) -> None:
    """
    Make the folders of these files, and leave the files as they are.

    Raises
    ------
    OSError
        One cannot be written: now, rather than after the work.
    """
    for path in filter(None, paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        is_new = not path.exists()
        path.open('a').close()
        if is_new:
            path.unlink()
