# SPDX-License-Identifier: Apache-2.0
"""Diagnostics at 1 Hz (REP 107): what a node reports about itself."""

from dataclasses import dataclass, field
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, ReliabilityPolicy

from perception.monitor import StageTimes

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR


@dataclass
class Status:
    """One line of diagnostics; levels only rise, and the first text of the highest one stays."""

    name: str
    level: bytes = OK
    message: str = 'ok'
    values: dict[str, Any] = field(default_factory=dict)

    def report(self, level: bytes, message: str) -> None:
        """Raise the level, unless there is nothing to say."""
        if message and level > self.level:
            self.level, self.message = level, message


def diagnostic_array(node: Node, statuses: list[Status]) -> DiagnosticArray:
    """Message for /diagnostics; each status is named after its node."""
    array = DiagnosticArray()
    array.header.stamp = node.get_clock().now().to_msg()
    owner = node.get_fully_qualified_name()
    for status in statuses:
        array.status.append(DiagnosticStatus(
            level=status.level, name=f'{owner}: {status.name}', message=status.message,
            hardware_id=owner,
            values=[KeyValue(key=key, value=_text(value)) for key, value in status.values.items()],
        ))
    return array


def time_values(times: StageTimes) -> dict[str, Any]:
    """Median and 99th percentile of each stage, as diagnostics values."""
    return {f'{stage}_ms': f'p50 {p50:.1f}, p99 {p99:.1f}'
            for stage, (p50, p99) in times.table().items()}


def mismatch_text(node: Node, topic: str, event: Any, *, peers: str) -> str:
    """
    Say which peers' QoS does not fit; the event itself does not carry their names.

    Parameters
    ----------
    peers : 'publishers' or 'subscribers'
        The other side of ``topic``.
    """
    look_up = (node.get_publishers_info_by_topic if peers == 'publishers'
               else node.get_subscriptions_info_by_topic)
    found = [f'{info.node_namespace.rstrip("/")}/{info.node_name} '
             f'({_policy(info.qos_profile)})' for info in look_up(node.resolve_topic_name(topic))
             if info.node_name != node.get_name()]
    kind = getattr(event.last_policy_kind, 'name', str(event.last_policy_kind))
    return (f'{topic}: {event.total_count} of its {peers} ask for another {kind.lower()}: '
            f'{", ".join(found) or "unknown nodes"}; change their QoS, or ours with '
            f'qos_overrides')


def _policy(qos: Any) -> str:
    reliability = 'reliable' if qos.reliability == ReliabilityPolicy.RELIABLE else 'best effort'
    durable = qos.durability == DurabilityPolicy.TRANSIENT_LOCAL
    return f'{reliability}, {"transient local" if durable else "volatile"}'


def _text(value: Any) -> str:
    return f'{value:.2f}' if isinstance(value, float) else str(value)
