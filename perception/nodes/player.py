# SPDX-License-Identifier: Apache-2.0
"""Play a bag into the ROS graph: its own bytes, its own stamps, at the recorded pace."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, perf_counter
from typing import Any

import rclpy
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from rosbags.interfaces import QosDurability, QosReliability
from rosgraph_msgs.msg import Clock

from perception.bag_file import BagFile
from perception.bag_topics import IMAGE_TYPES
from perception.errors import BagError
from perception.nodes.fastdds import apply_profile
from perception.nodes.stop import Stop
from perception.nodes.wire import message_class

KNOWN_S = 4.0  # Fast DDS: every process is heard again after 3 s, what was lost of it after 1 s
QUIET_S = 1.0  # no subscriber added for so long
LINGER_S = 1.0  # at the end: messages on their way go with the process that sent them
PATIENCE_S = 10.0
CLOCK_S = 0.025
STATIC = ('/tf_static',)


@dataclass(frozen=True)
class PlayOptions:
    """How to play."""

    rate: float = 1.0
    loop: bool = False
    clock: bool = False


class Player:
    """
    Publishers for every topic of a bag whose type is installed.

    ``say`` gets one line for each topic skipped and for what is being waited for.
    """

    def __init__(self, node: Node, bag: BagFile, say: Callable[[str], None]) -> None:
        self._node, self._bag, self._say = node, bag, say
        self._publishers: dict[str, Any] = {}
        self._clock: Any = None
        for topic, connection in sorted(bag.connections.items()):
            self._advertise(topic, connection)
        if not any(bag.counts[topic] for topic in self._publishers):
            raise BagError(f'{bag.path}: no message that can be played; every topic is empty or '
                           'of a type that is not installed')

    def wait_for_subscribers(self, stopped: Callable[[float], bool]) -> None:
        """
        Wait until every image topic has a subscriber and none was added for a second.

        At least until all processes that run must be known: two that subscribe alike may be
        found seconds apart, and the later one would miss the beginning.
        """
        names = {kind.replace('/', '/msg/') for kind in IMAGE_TYPES}
        images = [t for t in self._publishers
                  if self._bag.topics[t] in names and not t.startswith('/truth')]
        started = changed = monotonic()
        before = -1
        while monotonic() - started < PATIENCE_S:
            counts = {t: p.get_subscription_count() for t, p in self._publishers.items()}
            if sum(counts.values()) != before:
                before, changed = sum(counts.values()), monotonic()
            quiet = monotonic() >= max(started + KNOWN_S, changed + QUIET_S)
            if quiet and all(counts[t] for t in images):
                return
            if stopped(0.05):
                return
        missing = [t for t in images if not self._publishers[t].get_subscription_count()]
        self._say(f'playing without a subscriber on {", ".join(missing) or "nothing new"} after '
                  f'{PATIENCE_S:g} s')

    def play_once(
        self, options: PlayOptions, stopped: Callable[[float], bool],
        on_progress: Callable[[float], None],
    ) -> None:
        """Publish every message at its time; ``on_progress`` gets the seconds played."""
        if options.clock and self._clock is None:
            self._clock = self._node.create_publisher(Clock, '/clock', 10)
        clock = self._clock
        first_ns: int | None = None
        started, clocked = perf_counter(), 0.0
        for topic, received_ns, data in self._bag.raw(list(self._publishers)):
            first_ns = received_ns if first_ns is None else first_ns
            due_s = (received_ns - first_ns) * 1e-9 / options.rate
            while (left := due_s - (perf_counter() - started)) > 0:
                if stopped(min(left, CLOCK_S)):
                    return
                if clock is not None:
                    now_s = min(due_s, perf_counter() - started)
                    self._tick(clock, first_ns + round(now_s * options.rate * 1e9))
            if stopped(0.0):
                return
            if clock is not None and due_s - clocked >= CLOCK_S:
                clocked = due_s
                self._tick(clock, received_ns)
            self._publishers[topic].publish(bytes(data))
            on_progress((received_ns - first_ns) * 1e-9)

    def _advertise(self, topic: str, connection: Any) -> None:
        kind = connection.msgtype
        try:
            message = message_class(kind)
        except (ModuleNotFoundError, AttributeError):
            self._say(f'skipped {topic}: type {kind} is not installed')
            return
        self._publishers[topic] = self._node.create_publisher(message, topic,
                                                              _qos(topic, connection))

    @staticmethod
    def _tick(clock: Any, time_ns: int) -> None:
        message = Clock()
        message.clock.sec, message.clock.nanosec = divmod(time_ns, 1_000_000_000)
        clock.publish(message)


def _qos(topic: str, connection: Any) -> QoSProfile:
    """QoS as recorded; reliable where the bag does not say."""
    recorded = next(iter(connection.ext.offered_qos_profiles), None)
    durable = topic in STATIC or (
        recorded is not None and recorded.durability == QosDurability.TRANSIENT_LOCAL)
    best_effort = recorded is not None and recorded.reliability == QosReliability.BEST_EFFORT
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=max(1, min(recorded.depth, 100)) if recorded else 10,
        reliability=ReliabilityPolicy.BEST_EFFORT if best_effort else ReliabilityPolicy.RELIABLE,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if durable else DurabilityPolicy.VOLATILE)


def play(
    path: Path, options: PlayOptions, *, say: Callable[[str], None],
    on_progress: Callable[[float, float], None],
) -> bool:
    """
    Play a bag until its end, or for ever with ``loop``.

    Parameters
    ----------
    on_progress : callable
        Told (seconds played of this round, seconds of the bag).

    Returns
    -------
    bool
        False where a signal ended it.

    Raises
    ------
    BagError
        Missing or damaged bag, or nothing in it can be played.
    """
    ended = Stop()
    with BagFile(path) as bag, _node() as node:
        player = Player(node, bag, say)
        player.wait_for_subscribers(ended.wait)
        while not ended.asked:
            player.play_once(options, ended.wait,
                             lambda done: on_progress(done, bag.duration_ns * 1e-9))
            if not options.loop:
                ended.wait(LINGER_S)
                break
    return not ended.asked


@contextmanager
def _node() -> Iterator[Node]:
    """ROS for as long as the body runs."""
    apply_profile()
    rclpy.init(args=None, signal_handler_options=SignalHandlerOptions.NO)
    node = Node('lagr_play')
    try:
        yield node
    finally:
        node.destroy_node()
        rclpy.try_shutdown()
