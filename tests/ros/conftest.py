# SPDX-License-Identifier: Apache-2.0
"""A ROS graph of its own for each test module: real processes, real DDS, an unused domain."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

_DOMAINS = iter(range(1 + os.getpid() % 7 * 14, 101))


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
    yield watched
    watched.end_programs()


@pytest.fixture(scope='session')
def kitti(data_dir: Path) -> Path:
    """Recorded bag of KITTI sequence 06."""
    return data_dir / 'bags' / 'kitti_odom06_ros2_mcap'
