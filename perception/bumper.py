# SPDX-License-Identifier: Apache-2.0
"""A bumper's messages and the frames they belong to."""

from contextlib import suppress

BUMPER_TYPE = 'std_msgs/Bool'


class Bumper:
    """
    Give each press to the first frame that comes after it.

    Messages carry no stamp, so the order of arrival counts. A bumper that stays pressed, and says
    so again and again, was pressed once. Frames that are dropped hand their press on.
    """

    def __init__(self) -> None:
        self.presses = 0
        self._down = self._pending = False
        self._due: list[int] = []

    def tell(self, down: bool) -> None:
        """Take in a message of the bumper."""
        if down and not self._down:
            self.presses += 1
            self._pending = True
        self._down = down

    def image(self, stamp_ns: int) -> None:
        """An image arrived: what was pressed before belongs to it."""
        if self._pending:
            self._pending = False
            self._due.append(stamp_ns)

    def take(self, stamp_ns: int) -> bool:
        """Tell whether the bumper was pressed since the frame before the one of this stamp."""
        due = [stamp for stamp in self._due if stamp <= stamp_ns]
        for stamp in due:
            with suppress(ValueError):  # another thread cleared them meanwhile
                self._due.remove(stamp)
        return bool(due)

    def clear(self) -> None:
        """Forget presses whose frame will not come, as stamps began again."""
        self._due.clear()
