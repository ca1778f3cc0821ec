# SPDX-License-Identifier: Apache-2.0
"""The cameras of a running graph, looked at through their first messages as those of a bag are."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

from rclpy.qos import ReliabilityPolicy
from rclpy.subscription import Subscription

from perception.bag_file import is_truth
from perception.bag_inputs import CLOUD_TYPE
from perception.bag_topics import IMAGE_TYPES, base_name, info_names
from perception.config import InputConfig
from perception.nodes.fastdds import loss_hint
from perception.nodes.lifecycle import PerceptionNode
from perception.nodes.wire import (
    LossCounter,
    best_effort,
    from_bytes,
    reliable,
    stamp_of,
    subscribe_bytes,
)

INFO_TYPE = 'sensor_msgs/CameraInfo'
CAMERA_TYPES = (*IMAGE_TYPES, INFO_TYPE)
SILENT_S = 2.0
"""A publisher that gave nothing for so long is called silent."""

BAD_LOSS = 0.1
"""Share of messages lost in transport from which something is done, or at least said."""

_OWN = re.compile(r'/(traversability|scene)/(image|confidence|overlay)(/.*)?$')


@dataclass
class Peek:
    """A topic being watched: its type, newest bytes, and since when."""

    kind: str
    losses: LossCounter
    subscription: Subscription[Any] | None = None
    reliable: bool = False
    newest: bytes | None = None
    since_s: float = field(default_factory=monotonic)


class LiveTopics:
    """
    Watch every camera topic of the graph until inputs are chosen, then only the chosen ones.

    It keeps the look-up of ``bag_topics.Topics``, so the rules that choose are those of a replay.
    """

    path = Path('live topics')

    def __init__(
        self, node: PerceptionNode, config: InputConfig, on_data: Callable[[str, bytes], None],
    ) -> None:
        self._node = node
        self._config = config
        self._on_data = on_data
        self.watched: dict[str, Peek] = {}
        self._useless: set[str] = set()
        self.newest_s = monotonic()  # when the last topic appeared
        self._heard_s: float | None = None  # when the first message came

    @property
    def topics(self) -> dict[str, str]:
        """Topic -> type of what is watched."""
        return {topic: peek.kind.replace('/', '/msg/') for topic, peek in self.watched.items()}

    def of_type(self, *kinds: str) -> list[str]:
        """Watched topics of these types that gave a message, sorted."""
        return sorted(topic for topic, peek in self.watched.items()
                      if peek.kind in kinds and peek.newest is not None)

    def first(self, topic: str) -> tuple[int, Any] | None:
        """Stamp [ns] and newest message of a topic, or None."""
        peek = self.watched.get(topic)
        if peek is None or peek.newest is None:
            return None
        return stamp_of(peek.newest), from_bytes(peek.newest, peek.kind, topic)

    def look(self) -> None:
        """Watch topics that have come into the graph since the last look."""
        for topic, kinds in self._node.get_topic_names_and_types():
            kind = kinds[0].replace('/msg/', '/')
            wanted = (CLOUD_TYPE,) if topic == self._config.lidar_topic else CAMERA_TYPES
            if topic in self.watched or kind not in wanted or not self._may_use(topic):
                continue
            if self._node.count_publishers(topic):
                self._watch(topic, kind)

    def keep(self, topics: list[str]) -> None:
        """Stop watching all other topics."""
        for topic in [t for t in self.watched if t not in topics]:
            self._drop(topic)

    def pass_over(self, kept: list[str]) -> None:
        """Stop watching all other topics for good: they are of no use beside these."""
        self._useless |= set(self.watched) - set(kept)
        self.keep(kept)

    def close(self) -> None:
        """Stop watching."""
        self.keep([])
        self._heard_s = None

    @property
    def spoken(self) -> int:
        """Topics that gave a message."""
        return sum(peek.newest is not None for peek in self.watched.values())

    @property
    def complete(self) -> bool:
        """True where every watched topic gave a message."""
        return bool(self.watched) and all(p.newest is not None for p in self.watched.values())

    @property
    def settled(self) -> bool:
        """
        True where all that is to come has had its time: no topic appeared lately, and one speaks.

        A player advertises its topics long before it plays; then they begin one after another.
        """
        return self._heard_s is not None and (
            monotonic() - max(self.newest_s, self._heard_s) >= SILENT_S)

    def silent(self) -> str:
        """Name image topics whose publisher is matched but gave nothing, with the remedy."""
        quiet = [topic for topic, peek in sorted(self.watched.items())
                 if peek.kind != INFO_TYPE and self._is_silent(topic, peek)]
        if not quiet:
            return ''
        heard = any(peek.newest is not None for peek in self.watched.values())
        more = ', though its CameraInfo or other camera topics come' if heard else ''
        return (f'no image on {", ".join(quiet)}: publisher matched, nothing received{more}. '
                f'{loss_hint()}')

    def lossy(self) -> str:
        """Name image topics that lose many messages in transport, with the remedy."""
        shares = [f'{topic} ({peek.losses.recent_share:.0%})'
                  for topic, peek in sorted(self.watched.items())
                  if peek.kind != INFO_TYPE and peek.losses.recent_share > BAD_LOSS]
        return f'lost in transport: {", ".join(shares)}. {loss_hint()}' if shares else ''

    def mend(self) -> None:
        """
        Ask for reliable delivery where best effort loses messages and the publishers offer it.

        Sensor data is best effort by convention; but a publisher whose shared memory is too
        small for its images then loses them, even if it is reliable itself.
        """
        for topic, peek in self.watched.items():
            lost = peek.losses.recent_share > BAD_LOSS or (
                self.settled and self._is_silent(topic, peek))
            if peek.reliable or not lost or peek.subscription is None or (
                    not self._offers_reliable(topic)):
                continue
            self._node.get_logger().warning(
                f'{topic}: messages are lost in transport; now received reliably, which is '
                f'slower. {loss_hint()}')
            self._node.destroy_subscription(peek.subscription)
            peek.losses.forget()
            peek.reliable, peek.since_s = True, monotonic()
            self._subscribe(topic, peek)

    def _is_silent(self, topic: str, peek: Peek) -> bool:
        return (peek.newest is None and monotonic() - peek.since_s >= SILENT_S
                and self._node.count_publishers(topic) > 0)

    def _offers_reliable(self, topic: str) -> bool:
        found = self._node.get_publishers_info_by_topic(topic)
        return bool(found) and all(
            info.qos_profile.reliability == ReliabilityPolicy.RELIABLE for info in found)

    def outside(self) -> list[str]:
        """Image topics of the graph that this node may not use, as they lie outside."""
        return [topic for topic, kinds in self._node.get_topic_names_and_types()
                if kinds[0].replace('/msg/', '/') in IMAGE_TYPES and not self._inside(topic)
                and not _OWN.search(topic) and self._node.count_publishers(topic)]

    def _watch(self, topic: str, kind: str) -> None:
        peek = self.watched[topic] = Peek(kind, LossCounter())
        self.newest_s = monotonic()
        self._subscribe(topic, peek)

    def _subscribe(self, topic: str, peek: Peek) -> None:
        def receive(data: bytes) -> None:
            peek.newest = data
            self._heard_s = self._heard_s or monotonic()
            self._on_data(topic, data)

        qos = reliable(5) if peek.reliable else best_effort()
        peek.subscription = subscribe_bytes(self._node, peek.kind, topic, qos, receive,
                                            peek.losses)

    def _drop(self, topic: str) -> None:
        subscription = self.watched.pop(topic).subscription
        if subscription is not None:
            self._node.destroy_subscription(subscription)

    def _may_use(self, topic: str) -> bool:
        if is_truth(topic) or _OWN.search(topic) or topic in self._useless:
            return False
        named, complete = self._named()
        return topic in named or (not complete and self._inside(topic))

    def _inside(self, topic: str) -> bool:
        """A node looks for topics in its own namespace and below; at the root, everywhere."""
        return topic.startswith(self._node.get_namespace().rstrip('/') + '/')

    def _named(self) -> tuple[set[str], bool]:
        """Topics that the parameters name, and whether they leave nothing to find."""
        c = self._config
        partners = (c.right_image_topic, c.depth_topic, c.lidar_topic)
        names = [n for n in (c.image_topic, *partners) if n]
        found: set[str] = set()
        for name in names:
            base = base_name(name)
            found |= {base, base + '/compressed', base + '/compressedDepth'} if base == name else (
                {name})
            found |= set(info_names(name))
        return found, bool(c.image_topic) and len(names) > 1
