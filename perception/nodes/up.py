# SPDX-License-Identifier: Apache-2.0
"""Several nodes in one process, or one process each, stopped together."""

import signal
import subprocess
import sys
from collections.abc import Callable
from time import monotonic

from perception.errors import NodeError
from perception.nodes.costmap_node import CostmapNode
from perception.nodes.fastdds import apply_profile
from perception.nodes.lifecycle import PerceptionNode
from perception.nodes.run import run
from perception.nodes.scene_node import SceneNode
from perception.nodes.stop import Stop
from perception.nodes.traversability_node import TraversabilityNode

MAKERS: dict[str, Callable[[], PerceptionNode]] = {
    'traversability_node': TraversabilityNode, 'costmap_node': CostmapNode,
    'scene_node': SceneNode,
}
# A signal while Python still imports ends the child without a trace.
CHILD = """import signal, sys
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda *_: sys.exit(0))
from importlib import import_module
import_module('perception.nodes.' + sys.argv.pop(1)).main()
"""
POLL_S = 0.1
GRACE_S = 8.0


def run_here(names: list[str], ros_arguments: list[str]) -> None:
    """All nodes in this process until told to stop; NodeError where one refused to start."""
    run([MAKERS[name] for name in names], ros_arguments, exit_when_refused=True)


def run_processes(names: list[str], ros_arguments: list[str]) -> None:
    """
    One process for each node; all end when one of them fails or a signal comes.

    Raises
    ------
    NodeError
        A node ended by itself.
    """
    stop = Stop()
    apply_profile()  # an environment variable, for the children too
    children = {
        name: subprocess.Popen([sys.executable, '-c', CHILD, name, '--up', *ros_arguments],
                               start_new_session=True)
        for name in names
    }
    ended: str | None = None
    while not stop.wait(POLL_S):
        ended = next((name for name, child in children.items() if child.poll() is not None), None)
        if ended is not None:
            break
    _end(list(children.values()))
    if ended is not None:
        code = children[ended].returncode
        raise NodeError(f'{ended} ended with exit code {code}; its own log above says why')


def _end(children: list['subprocess.Popen[bytes]']) -> None:
    """SIGINT for all, and SIGKILL for what does not end in time."""
    for child in children:
        if child.poll() is None:
            child.send_signal(signal.SIGINT)
    end = monotonic() + GRACE_S
    for child in children:
        try:
            child.wait(max(0.1, end - monotonic()))
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
