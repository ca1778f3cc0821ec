# SPDX-License-Identifier: Apache-2.0
"""Diagnostics at 1 Hz (REP 107): what a node reports about itself."""

from dataclasses import dataclass, field
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node
from rclpy.qos import QoSCompatibility, QoSProfile, qos_check_compatible

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


def mismatch_text(node: Node, topic: str, own: QoSProfile, *, peers: str) -> str:
    """
    Name the peers whose QoS does not fit ours, as the event itself does not; empty = none now.

    Parameters
    ----------
    own : QoSProfile
        That of our subscription (``peers`` 'publishers') or publisher ('subscribers').
    """
    ours = peers == 'publishers'
    look_up = node.get_publishers_info_by_topic if ours else node.get_subscriptions_info_by_topic
    found = []
    for info in look_up(node.resolve_topic_name(topic)):
        pair = (info.qos_profile, own) if ours else (own, info.qos_profile)
        fits, reason = qos_check_compatible(*pair)
        if fits == QoSCompatibility.ERROR:
            why = reason.removeprefix('ERROR: ').partition(';')[0]
            found.append(f'{info.node_namespace.rstrip("/")}/{info.node_name} ({why})')
    return (f'{topic}: no connection to {", ".join(found)}; change the QoS there, or that of our '
            'outputs with qos_overrides') if found else ''


def _text(value: Any) -> str:
    return f'{value:.2f}' if isinstance(value, float) else str(value)
