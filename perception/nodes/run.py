# SPDX-License-Identifier: Apache-2.0
"""Run nodes in this process until it is told to stop; each has its own thread of callbacks."""

import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any

import rclpy
from rclpy.exceptions import InvalidNamespaceException, InvalidNodeNameException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions

from perception.errors import NodeError, PerceptionError
from perception.nodes.fastdds import apply_profile
from perception.nodes.lifecycle import PerceptionNode
from perception.nodes.stop import Stop, ignore_signals
from perception.nodes.wire import RCLError

LINGER_S = 3.0  # a node that refused to configure gets its diagnostics out before the end
SWITCH_S = 0.0005  # threads hand over Python's lock sooner: callbacks wait less for arithmetic


def run(
    makers: list[Callable[[], PerceptionNode]], ros_args: list[str], *,
    exit_when_refused: bool = False,
) -> None:
    """
    Spin the nodes until SIGINT or SIGTERM.

    Parameters
    ----------
    makers : list
        Node classes.
    ros_args : list of str
        Arguments after ``--ros-args``.
    exit_when_refused : bool
        End where a node that starts by itself cannot configure, rather than stay and report.

    Raises
    ------
    NodeError
        A node refused to start, or failed.
    """
    stop = Stop()
    threading.excepthook = lambda trouble: _crash(trouble, stop)
    sys.setswitchinterval(SWITCH_S)
    profile = apply_profile()
    try:
        rclpy.init(args=ros_args, signal_handler_options=SignalHandlerOptions.NO)
        nodes = [make() for make in makers]
    except (RCLError, InvalidNamespaceException, InvalidNodeNameException) as error:
        raise NodeError(f'ROS arguments {" ".join(ros_args)}: {error}; mend them') from None
    nodes[0].get_logger().info(f'Fast DDS profile: {profile}')
    threads = [threading.Thread(target=_spin, args=(node, stop), name=node.get_name())
               for node in nodes]
    for node in nodes:
        if exit_when_refused:
            node.on_refused = lambda reason: _later(stop, reason)
    for thread in threads:
        thread.start()
    stop.wait()
    _end(nodes, threads)
    if stop.reason:
        raise NodeError(stop.reason)


def main(make: Callable[[], PerceptionNode]) -> None:
    """Run one node as an executable: ``ros2 run``, launch files, ``lagr up --processes``."""
    arguments = sys.argv[1:]
    under_up = arguments[:1] == ['--up']
    try:
        run([make], arguments[under_up:], exit_when_refused=under_up)
    except PerceptionError as error:
        sys.stderr.write(f'error: {" ".join(str(error).split())}\n')
        sys.exit(1)
    finally:
        ignore_signals()


def _spin(node: PerceptionNode, stop: Stop) -> None:
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        while not stop.asked:
            executor.spin_once(timeout_sec=0.1)
    except ExternalShutdownException:
        pass
    finally:
        executor.remove_node(node)
        executor.shutdown()
        stop()


def _end(nodes: list[PerceptionNode], threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.join()
    for node in nodes:
        node.stop()
        node.destroy_node()
    rclpy.try_shutdown()


def _later(stop: Stop, reason: str) -> None:
    threading.Timer(LINGER_S, stop, (reason,)).start()


def _crash(trouble: Any, stop: Stop) -> None:
    """An unexpected error in any thread ends the process, so that launch may start it again."""
    traceback.print_exception(trouble.exc_type, trouble.exc_value, trouble.exc_traceback)
    sys.stderr.flush()
    stop(f'{trouble.exc_type.__name__} in {getattr(trouble.thread, "name", "a thread")}')
