# SPDX-License-Identifier: Apache-2.0
"""Match the messages of two cameras by stamp, holding few of them."""

from collections import deque
from collections.abc import Iterator

_WAITING = 64  # messages kept of one camera until the other one's comes


class Pairer:
    """Match two rising streams: each first message with the nearest second one, in order."""

    def __init__(self, tolerance_ns: int) -> None:
        """Start with nothing waiting; stamps may differ by ``tolerance_ns`` [ns]."""
        self._tolerance_ns = tolerance_ns
        self._first: deque[tuple[int, bytes]] = deque(maxlen=_WAITING)
        self._second: deque[tuple[int, bytes]] = deque(maxlen=_WAITING)
        self.pairs = 0
        self.nearest_ns: int | None = None

    @property
    def nearest(self) -> str:
        """Smallest stamp difference met, in words."""
        return 'none to compare' if self.nearest_ns is None else f'{self.nearest_ns / 1e9:g} s'

    def add(self, is_first: bool, stamp: int, data: bytes) -> None:
        """Take in a message; the oldest one waiting is lost when there are too many."""
        (self._first if is_first else self._second).append((stamp, data))

    def take(self, *, ended: bool) -> Iterator[tuple[int, bytes, bytes]]:
        """Pairs that later messages cannot better; with ``ended`` all that remain."""
        first, second = self._first, self._second
        while first and second and (ended or second[-1][0] >= first[0][0]):
            stamp, data = first.popleft()
            best = min(range(len(second)), key=lambda i: abs(second[i][0] - stamp))
            distance = abs(second[best][0] - stamp)
            if self.nearest_ns is None or distance < self.nearest_ns:
                self.nearest_ns = distance
            if distance > self._tolerance_ns:
                continue
            partner = second[best][1]
            for _ in range(best + 1):
                second.popleft()
            self.pairs += 1
            yield stamp, data, partner
