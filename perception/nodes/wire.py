# SPDX-License-Identifier: Apache-2.0
"""
Messages as CDR bytes between rclpy and the core.

rclpy moves bytes; the core's own encoders and decoders, the ones of bags, make and read them. So a
node publishes exactly what a replay writes, and nothing is converted twice.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.exceptions import NameValidationException
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.node import Node
from rclpy.qos import (
    DurabilityPolicy,
    HistoryPolicy,
    QoSProfile,
    ReliabilityPolicy,
)
from rclpy.qos_overriding_options import InvalidQosOverridesError
from rclpy.subscription import Subscription
from rclpy.timer import Timer
from rosbags.serde import SerdeError

from perception.bag_encode import typestore
from perception.errors import MessageError, NodeError

if TYPE_CHECKING:
    from perception.nodes.lifecycle import PerceptionNode

RCLError = rclpy_implementation.RCLError
STEADY = Clock(clock_type=ClockType.STEADY_TIME)
# what damaged bytes make rosbags raise
DAMAGE = (SerdeError, struct.error, ValueError, IndexError, KeyError, TypeError, AssertionError)
_PREFIX = 4  # bytes that say the encoding, before the message itself


def best_effort(depth: int = 5) -> QoSProfile:
    """Sensor data: matches every publisher."""
    return QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=depth,
                      reliability=ReliabilityPolicy.BEST_EFFORT,
                      durability=DurabilityPolicy.VOLATILE)


def reliable(depth: int = 1) -> QoSProfile:
    """Results: match every volatile subscriber."""
    return QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=depth,
                      reliability=ReliabilityPolicy.RELIABLE,
                      durability=DurabilityPolicy.VOLATILE)


def latched() -> QoSProfile:
    """The newest one is kept for who comes later, as Nav2's StaticLayer demands."""
    return QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=5,
                      reliability=ReliabilityPolicy.RELIABLE,
                      durability=DurabilityPolicy.TRANSIENT_LOCAL)


QOS = {'best effort, 5': best_effort, 'reliable, 1': reliable,
       'reliable, 5': lambda: reliable(5), 'latched': latched}


def message_class(kind: str) -> Any:
    """
    Class of ``package/Name`` or ``package/msg/Name``.

    Raises
    ------
    ModuleNotFoundError, AttributeError
        The installation lacks the package, or the package the type.
    """
    package, _, name = kind.replace('/msg/', '/').partition('/')
    return getattr(import_module(f'{package}.msg'), name)


def prepare_codecs(*kinds: str) -> None:
    """Generate what reads and writes these types now: the first message would wait for it."""
    for kind in kinds:
        typestore().get_msgdef(kind.replace('/', '/msg/'))


def to_bytes(message: Any) -> bytes:
    """CDR bytes of a message of the core's type store, for ``publisher.publish``."""
    return bytes(typestore().serialize_cdr(message, message.__msgtype__))


def from_bytes(data: bytes, kind: str, topic: str) -> Any:
    """
    Message of ``package/Name`` out of its bytes.

    Raises
    ------
    MessageError
        The bytes are no such message.
    """
    try:
        return typestore().deserialize_cdr(data, kind.replace('/', '/msg/'))
    except DAMAGE as error:
        raise MessageError(
            f'{topic}: {len(data)} bytes are no {kind} ({error}); check that publisher and '
            'subscriber use the same ROS distribution'
        ) from None


def stamp_of(data: bytes) -> int:
    """Header stamp [ns] of a message that begins with a std_msgs/Header, without decoding it."""
    if len(data) < _PREFIX + 8:
        raise MessageError(f'a message of {len(data)} bytes holds no header; check its publisher')
    order = '<' if data[1] & 1 else '>'
    sec, nanosec = struct.unpack_from(f'{order}iI', data, _PREFIX)
    return int(sec * 1_000_000_000 + nanosec)


def frame_of(data: bytes) -> str:
    """Frame name in the header of such a message, without decoding it."""
    order = '<' if data[1] & 1 else '>'
    start = _PREFIX + 12
    if len(data) < start:
        raise MessageError(f'a message of {len(data)} bytes holds no header; check its publisher')
    (length,) = struct.unpack_from(f'{order}I', data, start - 4)
    return data[start:start + length].rstrip(b'\0').decode(errors='replace').lstrip('/')


def without_stamp(data: bytes) -> bytes:
    """Everything after the stamp: equal for two messages that differ in time only."""
    return data[_PREFIX + 8:]


class LossCounter:
    """Messages that the transport lost, by the gaps in the publisher's sequence numbers."""

    def __init__(self) -> None:
        self.lost = 0
        self._last: dict[bytes, int] = {}
        self._gaps: deque[int] = deque(maxlen=20)

    def see(self, info: Any) -> None:
        """Note the number of a message that came."""
        number = info.get('publication_sequence_number')
        gid = info.get('publisher_gid')
        if number is None or gid is None:
            return
        key = bytes(gid['data'])
        gap = max(number - self._last[key] - 1, 0) if key in self._last else 0
        self._last[key] = number
        self._gaps.append(gap)
        self.lost += gap

    def forget(self) -> None:
        """Begin anew, as after a change of QoS; the total stays."""
        self._last.clear()
        self._gaps.clear()

    @property
    def recent_share(self) -> float:
        """Share of the newest messages that were lost; 0 for a few only."""
        lost = sum(self._gaps)
        return lost / (lost + len(self._gaps)) if lost >= 3 else 0.0


def subscribe_bytes(
    node: PerceptionNode, kind: str, topic: str, qos: QoSProfile,
    on_data: Callable[[bytes], None], losses: LossCounter | None = None,
) -> Subscription[Any]:
    """Subscribe to CDR bytes; damaged ones, and publishers of another QoS, are reported."""

    def receive(data: bytes, info: Any) -> None:
        if losses is not None:
            losses.see(info)
        try:
            on_data(data)
        except MessageError as error:
            node.fault('input', str(error))

    events = SubscriptionEventCallbacks(
        incompatible_qos=lambda _: node.mismatch(topic, qos, 'publishers'))
    with ros_errors(topic):
        return node.create_subscription(
            message_class(kind), topic, receive, qos, raw=True, event_callbacks=events)


@contextmanager
def ros_errors(topic: str) -> Iterator[None]:
    """Turn what rclpy raises for a bad topic name, type or QoS into a NodeError."""
    try:
        yield
    except (RCLError, NameValidationException, InvalidQosOverridesError, RuntimeError) as error:
        text = ' '.join(str(error).split())
        raise NodeError(f'{topic}: {text}; check the name, its type and qos_overrides') from None


def resolved(node: Node, name: str) -> str:
    """Absolute name of a topic, namespace and remapping applied; NodeError where it is none."""
    with ros_errors(name):
        return node.resolve_topic_name(name)


def steady_timer(node: Node, period_s: float, callback: Callable[[], None]) -> Timer:
    """Timer that runs on, whatever /clock does."""
    return node.create_timer(period_s, callback, clock=STEADY)
