# SPDX-License-Identifier: Apache-2.0
"""The command line, run in the process of a test."""

import sys

import pytest

from perception.commands import main


def lagr(*arguments: str) -> int:
    """Exit code of the command, run in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, 'argv', ['lagr', *arguments])
        with pytest.raises(SystemExit) as end:
            main.main()
    return int(end.value.code or 0)
