# SPDX-License-Identifier: Apache-2.0
"""What a caller of ``lagr drive`` sees before anything is driven."""

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from perception.commands.drive import COURSE_COUNT
from perception.commands.main import app
from perception.errors import ConfigError
from perception.world.courses import COURSES


def drive(*arguments: str) -> Any:
    """Run the command: exit code, output and error."""
    return CliRunner().invoke(app, ['drive', *arguments])


@pytest.mark.parametrize('arguments', [
    ('--course', '13', '--seed', '1', '--long-range', 'off'),
    ('--course', '0', '--seed', '1', '--long-range', 'off'),
    ('--course', '1', '--seed', '-1', '--long-range', 'off'),
    ('--course', '1', '--seed', '1', '--long-range', 'far'),
    ('--course', '1', '--long-range', 'w0'),
])
def test_bad_usage_exits_2(arguments: tuple[str, ...], tmp_path: Path) -> None:
    done = drive(*arguments, '--json', str(tmp_path / 'x.json'))
    assert done.exit_code == 2
    assert 'Error:' in done.output
    assert 'Traceback' not in done.output
    assert not (tmp_path / 'x.json').exists()


def test_a_bad_value_is_named(tmp_path: Path) -> None:
    done = drive('--course', '1', '--seed', '1', '--long-range', 'w0', '--json',
                 str(tmp_path / 'x.json'), '--set', 'cost.gain=-3')
    assert isinstance(done.exception, ConfigError)  # main makes it one line and exit code 1
    assert 'cost.gain' in str(done.exception)
    assert not (tmp_path / 'x.json').exists()


def test_the_command_knows_how_many_courses_there_are() -> None:
    assert set(COURSES) == set(range(1, COURSE_COUNT + 1))
