# SPDX-License-Identifier: Apache-2.0
"""Start programs, watch topics, wait on conditions with deadlines: no sleeps."""

import os
import signal
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import psutil
import pytest

rclpy = pytest.importorskip('rclpy', reason='rclpy is not installed: pip install -e .[ros]')

from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy
from rclpy.signals import SignalHandlerOptions

from perception.errors import MessageError
from perception.nodes.fastdds import VARIABLE, profile_path
from perception.nodes.wire import from_bytes, message_class, reliable, stamp_of

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
DEADLINE_S = 60.0
PATIENCE_S = 15.0  # with a program that is told to end

os.environ.setdefault(VARIABLE, str(profile_path()))  # before the first participant


class Program:
    """A child process whose lines can be waited for."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self._process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            start_new_session=True, cwd=ROOT)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    @property
    def text(self) -> str:
        return '\n'.join(self.lines)

    def wait_for(self, text: str, timeout_s: float = DEADLINE_S) -> str:
        """First line that holds ``text``."""
        with self._changed:
            self._changed.wait_for(lambda: text in self.text, timeout_s)
            found = [line for line in self.lines if text in line]
        assert found, f'{text!r} was not said within {timeout_s} s, but:\n{self.text}'
        return found[0]

    def end(self, number: int = signal.SIGINT, timeout_s: float = DEADLINE_S) -> int:
        """Send a signal and give the exit code."""
        if self.running:
            self._process.send_signal(number)
        return self.wait(timeout_s)

    def signal(self, number: int) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    def wait(self, timeout_s: float = DEADLINE_S) -> int:
        """Exit code of a program that ends by itself."""
        code = self._process.wait(timeout_s)
        self._reader.join(timeout_s)
        return code

    def kill(self) -> None:
        """As a crash would."""
        if self.running:
            os.killpg(self.pid, signal.SIGKILL)
        self.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def children(self) -> list[psutil.Process]:
        """Processes that this one started."""
        return psutil.Process(self.pid).children()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._changed:
                self.lines.append(line.rstrip())
                self._changed.notify_all()


class Graph:
    """
    Programs of one domain, and a node of this process that records topics.

    ``messages`` topic -> list of messages, ``diagnostics`` name -> newest status.
    """

    def __init__(self, domain: int, folder: Path) -> None:
        self.domain = domain
        self.folder = folder
        self.messages: dict[str, list[Any]] = defaultdict(list)
        self.diagnostics: dict[str, Any] = {}
        self.programs: list[Program] = []
        self._changed = threading.Condition()
        self.environment = dict(os.environ) | {
            'ROS_DOMAIN_ID': str(domain), 'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST',
            'ROS_LOG_DIR': str(folder / 'log'), 'PYTHONUNBUFFERED': '1', 'PYTHONFAULTHANDLER': '1',
        }
        os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
        self._context = rclpy.Context()
        rclpy.init(context=self._context, domain_id=domain,
                   signal_handler_options=SignalHandlerOptions.NO)
        self.node = Node('watcher', context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._ended = False
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self.node.create_subscription(message_class('diagnostic_msgs/DiagnosticArray'),
                                      '/diagnostics', self._diagnose, 50)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end_programs()
        self._ended = True
        self._thread.join(DEADLINE_S)
        self._executor.shutdown()
        self.node.destroy_node()
        self._context.try_shutdown()

    def end_programs(self, keep: int = 0) -> None:
        """
        End the programs started last: nodes politely, as a killed one is seen for 20 s on.

        This cleans up; tests of how a node ends look at its exit code themselves.
        """
        for program in reversed(self.programs[keep:]):
            if program.running:
                with suppress(subprocess.TimeoutExpired):
                    program.end(timeout_s=PATIENCE_S)
            program.kill()
        del self.programs[keep:]

    def start(self, *command: str, profile: bool = True) -> Program:
        """Start a program of this checkout: ``lagr ...`` or a script of this folder."""
        environment = dict(self.environment)
        environment.pop(VARIABLE)
        if profile and command[0] != 'lagr':
            environment[VARIABLE] = str(profile_path())
        if command[0] == 'lagr':
            script = [str(Path(sys.executable).with_name('lagr'))]
        else:
            script = [sys.executable, str(HERE / command[0])]
        program = Program([*script, *command[1:]], environment)
        self.programs.append(program)
        return program

    def params(self, text: str, name: str = 'params') -> str:
        """Parameter file with these lines under ros__parameters."""
        path = self.folder / f'{name}.yaml'
        body = ''.join(f'    {line}\n' for line in text.splitlines())
        path.write_text(f'/**:\n  ros__parameters:\n{body}')
        return str(path)

    def watch(self, topic: str, kind: str, *, keep: bool = False) -> None:
        """Record a topic; ``keep`` subscribes as Nav2 does to a map, but misses none."""
        def receive(data: bytes) -> None:
            try:
                message = from_bytes(data, kind, topic)
            except MessageError:  # a test damaged it
                return
            with self._changed:
                self.messages[topic].append(message)
                self._changed.notify_all()

        qos = reliable(50)
        if keep:
            qos.durability = DurabilityPolicy.TRANSIENT_LOCAL
        self.node.create_subscription(message_class(kind), topic, receive, qos, raw=True)

    def forget(self, *topics: str) -> None:
        """Empty the records."""
        with self._changed:
            for topic in topics or list(self.messages):
                self.messages[topic].clear()

    def wait(self, condition: Callable[[], Any], what: str, timeout_s: float = DEADLINE_S) -> None:
        """Wait until a condition on the records holds."""
        with self._changed:
            held = self._changed.wait_for(condition, timeout_s)
        if not held:
            said = '\n'.join(f'{name}: {s.message} {values(s)}'
                             for name, s in sorted(self.diagnostics.items()))
            logs = '\n'.join(program.text for program in self.programs[-3:])
            raise AssertionError(f'not within {timeout_s} s: {what}\n{said}\n{logs}')

    def wait_for_status(
        self, name: str, text: str = '', level: bytes | None = None,
        timeout_s: float = DEADLINE_S,
    ) -> Any:
        """Wait for a new diagnostics status with a text in its message, and give it."""
        with self._changed:
            self.diagnostics.pop(name, None)

        def holds() -> bool:
            status = self.diagnostics.get(name)
            return status is not None and text in status.message and (
                level is None or status.level == level)

        self.wait(holds, f'status {name!r} that says {text!r} ({level!r})', timeout_s)
        return self.diagnostics[name]

    def wait_for_ok(self, name: str) -> Any:
        """Wait for a new status without complaint."""
        return self.wait_for_status(name, '', b'\x00')

    def wait_for_count(self, topic: str, count: int, timeout_s: float = DEADLINE_S) -> None:
        """Wait for so many messages."""
        self.wait(lambda: len(self.messages[topic]) >= count, f'{count} messages on {topic}',
                  timeout_s)

    def call(self, kind: str, service: str, request: Any) -> Any:
        """Call a service and give its answer."""
        from importlib import import_module

        package, name = kind.split('/')
        client = self.node.create_client(getattr(import_module(f'{package}.srv'), name), service)
        assert client.wait_for_service(DEADLINE_S), service
        answered = threading.Event()
        future = client.call_async(request)
        future.add_done_callback(lambda _: answered.set())
        assert answered.wait(DEADLINE_S), service
        return future.result()

    def _diagnose(self, message: Any) -> None:
        with self._changed:
            for status in message.status:
                self.diagnostics[status.name] = status
            self._changed.notify_all()

    def _spin(self) -> None:
        while not self._ended:
            self._executor.spin_once(timeout_sec=0.1)


def values(status: Any) -> dict[str, str]:
    """Key-value pairs of a status."""
    return {item.key: item.value for item in status.values}


def stamps(messages: list[Any]) -> list[int]:
    """Header stamps [ns]."""
    return [m.header.stamp.sec * 1_000_000_000 + m.header.stamp.nanosec for m in messages]


def cells(grid: Any) -> np.ndarray:
    """Cost of an OccupancyGrid, (H, W) int8."""
    return np.asarray(grid.data, np.int8).reshape(grid.info.height, grid.info.width)


def known(grid: Any) -> bool:
    """True where any cell is known."""
    return bool((cells(grid) >= 0).any())


__all__ = ['Graph', 'Program', 'cells', 'known', 'stamp_of', 'stamps', 'values']
