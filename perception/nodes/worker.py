# SPDX-License-Identifier: Apache-2.0
"""A thread that works on the newest item; what it could not get to is dropped and counted."""

from collections.abc import Callable
from threading import Condition, Thread
from typing import Generic, TypeVar

Item = TypeVar('Item')


class NewestWorker(Generic[Item]):
    """Hold one waiting item: a newer one takes its place, so nothing queues."""

    def __init__(self, name: str, work: Callable[[Item], None]) -> None:
        """Start the thread; an exception that ``work`` lets through ends the process."""
        self._work = work
        self._changed = Condition()
        self._waiting: Item | None = None
        self._running = True
        self._busy = False
        self.dropped = 0
        self._thread = Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, item: Item) -> None:
        """Hand over an item; one still waiting is dropped."""
        with self._changed:
            self.dropped += self._waiting is not None
            self._waiting = item
            self._changed.notify_all()

    def wait(self, patience_s: float | None = None) -> None:
        """Wait until nothing is in work or waits, or for so long: the next item is then taken."""
        with self._changed:
            self._changed.wait_for(
                lambda: not (self._running and (self._busy or self._waiting is not None)),
                patience_s)

    def clear(self) -> None:
        """Drop the item that waits."""
        with self._changed:
            self.dropped += self._waiting is not None
            self._waiting = None

    def stop(self) -> None:
        """Finish the item in work and end the thread; may be called from it too."""
        with self._changed:
            self._running = False
            self._changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        try:
            while (item := self._next()) is not None:
                self._work(item)
        finally:
            with self._changed:  # whoever waits need not wait for a thread that died
                self._running = False
                self._changed.notify_all()

    def _next(self) -> Item | None:
        """The next item to work on; None when the thread is to end."""
        with self._changed:
            self._busy = False
            self._changed.notify_all()
            while self._running and self._waiting is None:
                self._changed.wait()
            if not self._running:
                self.dropped += self._waiting is not None
                return None
            item, self._waiting, self._busy = self._waiting, None, True
            return item
