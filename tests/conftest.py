# SPDX-License-Identifier: Apache-2.0
"""Fixtures that all tests share."""

import os
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

settings.register_profile('no deadline', deadline=None)  # a busy machine fails no test
settings.load_profile('no deadline')


def pytest_addoption(parser: pytest.Parser) -> None:
    """--update-golden: write the recorded results of a replay anew."""
    parser.addoption('--update-golden', action='store_true', help='rewrite tests/golden')


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Every test starts from the same random state."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - libraries that still draw from the global state


@pytest.fixture(scope='session')
def repository() -> Path:
    """Root of the checkout."""
    return Path(__file__).resolve().parents[1]


@pytest.fixture(scope='session')
def data_dir() -> Path:
    """Recorded data sets, where PERCEPTION_DATA names them."""
    name = os.environ.get('PERCEPTION_DATA', '')
    if not name:
        pytest.skip('PERCEPTION_DATA is not set: recorded data sets are not available')
    folder = Path(name)
    assert folder.is_dir(), f'PERCEPTION_DATA={name} is not a folder'
    return folder


@pytest.fixture(scope='session')
def egl() -> None:
    """Skip where nothing can be rendered: no moderngl, or no EGL driver."""
    from perception.errors import WorldError
    from perception.world.scene import open_context

    try:
        open_context().release()
    except WorldError as error:
        pytest.skip(str(error))
