# SPDX-License-Identifier: Apache-2.0
"""Several nodes in one process, or one process each, stopped together."""

import signal
import subprocess
import sys
from collections.abc import Callable
from time import monotonic

from perception.errors import NodeError
from perception.nodes.costmap_node import CostmapNode
from perception.nodes.lifecycle import PerceptionNode
from perception.nodes.run import process_environment, run
from perception.nodes.stop import Stop
from perception.nodes.traversability_node import TraversabilityNode

MAKERS: dict[str, Callable[[], PerceptionNode]] = {
    'traversability_node': TraversabilityNode, 'costmap_node': CostmapNode,
}
# A signal while Python still imports ends the child without a trace.
CHILD = """import signal, sys
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda *_: sys.exit(0))
from importlib import import_module
from os import environ
import_module('perception.nodes.' + environ['LAGR_NODE']).main()
"""
POLL_S = 0.1
GRACE_S = 8.0


def run_here(names: list[str], ros_arguments: list[str]) -> int:
    """All nodes in this process; the exit code, or NodeError where one refused to start."""
    return run([MAKERS[name] for name in names], ros_arguments, exit_when_refused=True)


def run_processes(names: list[str], ros_arguments: list[str]) -> int:
    """
    One process for each node; all end when one of them fails or a signal comes.

    Returns
    -------
    int
        0 when told to stop.

    Raises
    ------
    NodeError
        A node ended by itself.
    """
    stop = Stop()
    children = {
        name: subprocess.Popen([sys.executable, '-c', CHILD, '--up', *ros_arguments],
                               env=process_environment() | {'LAGR_NODE': name},
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
    return 0


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
