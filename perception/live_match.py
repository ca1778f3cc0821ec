# SPDX-License-Identifier: Apache-2.0
"""Match two live streams by stamp: the newest pair at once, nothing queued."""

from collections import deque
from dataclasses import dataclass

BACKWARD_NS = 500_000_000
"""A stamp this far before the newest one is a jump (a bag that begins again), no late message."""

_KEPT = 8  # unmatched messages kept of each camera


@dataclass(frozen=True)
class Match:
    """Messages of one instant; ``second`` is None for a single camera."""

    stamp_ns: int
    first: bytes
    second: bytes | None = None


class LiveMatcher:
    """
    Give a pair as soon as both halves are there.

    Offline the nearest of all stamps wins; here a pair within the tolerance is taken at once, as
    waiting for a better one costs a frame of latency. Stamps of one stream must rise: repeats and
    late messages are dropped, a jump backwards clears what waits. Both streams jump, one before
    the other: that is one jump.
    """

    def __init__(
        self, tolerance_s: float, *, paired: bool, before: 'LiveMatcher | None' = None
    ) -> None:
        """Start empty; ``paired`` False gives each on its own, ``before`` lends its counts."""
        self._tolerance_ns = round(tolerance_s * 1e9)
        self._paired = paired
        self._waiting: tuple[deque[tuple[int, bytes]], ...] = (
            deque(maxlen=_KEPT), deque(maxlen=_KEPT))
        self._newest: list[int | None] = [None, None]
        self._leader: int | None = None  # stream that jumped, until the other has followed
        self.unmatched: int = before.unmatched if before else 0
        self.late: int = before.late if before else 0
        self.jumps: int = before.jumps if before else 0
        self.nearest_ns: int | None = None

    def add(self, stamp_ns: int, data: bytes, *, second: bool = False) -> Match | None:
        """Take in a message; the pair that it completes, or None."""
        if not self._in_order(stamp_ns, int(second)):
            return None
        if not self._paired:
            return Match(stamp_ns, data)
        own, other = self._waiting[second], self._waiting[not second]
        best = min(other, key=lambda item: abs(item[0] - stamp_ns), default=None)
        if best is not None:
            distance = abs(best[0] - stamp_ns)
            self.nearest_ns = distance if self.nearest_ns is None else min(
                distance, self.nearest_ns)
            if distance <= self._tolerance_ns:
                self._forget(best[0], stamp_ns)
                first, last = ((best, (stamp_ns, data)) if second else ((stamp_ns, data), best))
                return Match(first[0], first[1], last[1])
        if not second and len(own) == own.maxlen:
            self.unmatched += 1
        own.append((stamp_ns, data))
        return None

    def _in_order(self, stamp_ns: int, stream: int) -> bool:
        newest = self._newest[stream]
        if newest is not None and stamp_ns < newest - BACKWARD_NS:
            self._begin_again(stream)
        elif newest is not None and stamp_ns <= newest:
            self.late += 1
            return False
        self._newest[stream] = stamp_ns
        return True

    def _begin_again(self, stream: int) -> None:
        """Forget both streams, or only this one where the other has jumped before it."""
        self._waiting[stream].clear()
        if self._leader == 1 - stream:
            self._leader = None
            return
        self.jumps += 1
        self._leader = stream
        self._newest[1 - stream] = None
        self._waiting[1 - stream].clear()

    def _forget(self, *stamps_ns: int) -> None:
        """Drop what is no newer than the pair just made: both streams are in one round."""
        self._leader = None
        for stream, queue in enumerate(self._waiting):
            while queue and queue[0][0] <= max(stamps_ns):
                stamp_ns, _ = queue.popleft()
                self.unmatched += stream == 0 and stamp_ns not in stamps_ns
