# SPDX-License-Identifier: Apache-2.0
"""A ROS graph of its own for each test module: real processes, real DDS, an unused domain."""

import os
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest

# Workers of one run take turns; runs side by side mostly begin elsewhere.
_RUN = crc32(os.environ.get('PYTEST_XDIST_TESTRUNUID', str(os.getpid())).encode()) % 6 * 16
_WORKER = int(os.environ.get('PYTEST_XDIST_WORKER', 'gw0').removeprefix('gw'))
_WORKERS = int(os.environ.get('PYTEST_XDIST_WORKER_COUNT', '1'))
_DOMAINS = (1 + number % 100 for number in count(_RUN + _WORKER, _WORKERS))


@pytest.fixture(scope='module')
def graph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Programs and a watcher in a domain that no other test module uses."""
    from graph import Graph

    with Graph(next(_DOMAINS), tmp_path_factory.mktemp('graph')) as found:
        yield found


@pytest.fixture
def nodes(watched: Any) -> Iterator[Any]:
    """The module's watched graph for one test, whose programs end with it."""
    watched.forget()
    watched.diagnostics.clear()
    yield watched
    watched.end_programs()


@pytest.fixture(scope='session')
def kitti(data_dir: Path) -> Path:
    """Recorded bag of KITTI sequence 06."""
    return data_dir / 'bags' / 'kitti_odom06_ros2_mcap'
