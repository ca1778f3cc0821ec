# SPDX-License-Identifier: Apache-2.0
"""When and why to end: asked by a signal, or by any thread."""

import signal
from time import monotonic, sleep

STEP_S = 0.02


class Stop:
    """
    A plain flag: a lock or an event that a signal handler sets can stop the thread that waits.

    ``reason`` is empty where somebody asked, and says what failed otherwise.
    """

    def __init__(self) -> None:
        """Take SIGINT and SIGTERM as a wish to end; call in the main thread."""
        self.asked = False
        self.reason = ''
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: self())

    def __call__(self, reason: str = '') -> None:
        """Ask to end; a reason makes it a failure, and the first one counts."""
        self.reason = self.reason or reason
        self.asked = True

    def wait(self, timeout_s: float = float('inf')) -> bool:
        """Wait until asked, in the main thread; True then."""
        end = monotonic() + timeout_s
        while not self.asked and (left := end - monotonic()) > 0:
            sleep(min(left, STEP_S))
        return self.asked


def ignore_signals() -> None:
    """Ctrl-C may come twice, from the terminal and from launch: the second one ends nothing."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
