# SPDX-License-Identifier: Apache-2.0
"""Where the package's launch, config and calibration files are: checkout, venv or workspace."""

import os
import sys
from functools import cache
from pathlib import Path

from perception.errors import NodeError

PACKAGE = 'lagr_perception'


@cache
def share_folder() -> Path:
    """
    Folder with ``config/``, ``launch/`` and ``calibration/``.

    An editable install leaves them in the checkout; ``pip install .`` puts them under the
    environment's ``share/``; colcon under a prefix that AMENT_PREFIX_PATH names.

    Raises
    ------
    NodeError
        They are in none of these places.
    """
    checkout = Path(__file__).resolve().parents[1]
    if (checkout / 'package.xml').is_file() and (checkout / 'config').is_dir():
        return checkout
    prefixes = [*os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep), sys.prefix,
                str(_prefix_of_package())]
    for prefix in prefixes:
        folder = Path(prefix) / 'share' / PACKAGE
        if prefix and (folder / 'config').is_dir():
            return folder
    raise NodeError(
        f'no share/{PACKAGE}/config under {", ".join(filter(None, prefixes))}; reinstall the '
        'package with pip install . or colcon build'
    )


def _prefix_of_package() -> Path:
    """PREFIX of PREFIX/lib/python3.x/site-packages/perception, as in ``pip install --prefix``."""
    parents = Path(__file__).resolve().parents
    return parents[min(4, len(parents) - 1)]
