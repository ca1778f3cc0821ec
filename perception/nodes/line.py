# SPDX-License-Identifier: Apache-2.0
"""Waiting for the pose at a stamp: who waits, and for how long it is worth it."""

from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Generic, TypeVar

Item = TypeVar('Item')


class Line(Generic[Item]):
    """
    Items in order of arrival; the first one is ``final`` when it has waited long enough.

    That is decided at checks alone, by the time of the check before. Between two checks the
    executor takes what lies in its queues, so a process that stood still, however long, gives up
    no item whose pose has come meanwhile.
    """

    def __init__(self, most: int) -> None:
        """Start empty, with room for ``most`` items."""
        self._items: deque[tuple[float, Item]] = deque()
        self._most = most
        self._checked_s = self._final_s = float('-inf')

    def __len__(self) -> int:
        """Items that wait."""
        return len(self._items)

    @property
    def first(self) -> Item:
        """The item that came first."""
        return self._items[0][1]

    @property
    def final(self) -> bool:
        """Tell whether the first item waits no longer."""
        return self._items[0][0] <= self._final_s

    def add(self, item: Item, now_s: float | None = None) -> int:
        """Take in an item; how many had to go for it: 0, or 1 where the line was full."""
        self._items.append((monotonic() if now_s is None else now_s, item))
        if len(self._items) <= self._most:
            return 0
        self._items.popleft()
        return 1

    def pop(self) -> Item:
        """Take the first item out."""
        return self._items.popleft()[1]

    def clear(self) -> int:
        """Forget all; how many they were."""
        count = len(self._items)
        self._items.clear()
        return count

    def check(self, patience_s: float, now_s: float | None = None) -> None:
        """Items that had waited ``patience_s`` at the check before are final from now on."""
        self._final_s = self._checked_s - patience_s
        self._checked_s = monotonic() if now_s is None else now_s


class Expectation:
    """Tell whether the next message of a stream is worth waiting for; it may not have begun."""

    def __init__(self) -> None:
        """Nothing was waited for yet."""
        self._since_s: float | None = None

    def holds(
        self, age_s: float | None, limit_s: float, published: Callable[[], bool],
        now_s: float | None = None,
    ) -> bool:
        """
        Wait for a stream that spoke within ``limit_s``, or that has still to begin.

        The first image of a drive can be here before its odometry. So a publisher that never
        spoke is waited for too, for ``limit_s`` from the first time somebody asks.

        Parameters
        ----------
        age_s : float or None
            Since the last message [s]; None before the first.
        published : callable
            Tells whether the stream has a publisher; asked only before the first message.
        """
        if age_s is not None:
            return age_s < limit_s
        if not published():
            return False
        now = monotonic() if now_s is None else now_s
        self._since_s = now if self._since_s is None else self._since_s
        return now - self._since_s < limit_s
