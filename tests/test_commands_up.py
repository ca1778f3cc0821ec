# SPDX-License-Identifier: Apache-2.0
"""``lagr up`` and ``lagr play`` as a user types them; the nodes themselves are under tests/ros."""

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from perception.commands.main import app
from perception.commands.up import check_params, ros_arguments
from perception.errors import CalibrationError, ConfigError, NetworkError

RUNNER = CliRunner()


def params(tmp_path: Path, text: str) -> Path:
    path = tmp_path / 'params.yaml'
    path.write_text(f'/**:\n  ros__parameters:\n{text}')
    return path


def test_arguments_for_ros(tmp_path):
    assert ros_arguments(None, '', 'info', False) == ['--ros-args', '--log-level', 'info']
    path = params(tmp_path, '    autostart: true\n')
    assert ros_arguments(path, '/rear/', 'warn', True) == [
        '--ros-args', '--log-level', 'warn', '--params-file', str(path), '-r', '__ns:=/rear',
        '-p', 'use_sim_time:=true']
    with pytest.raises(typer.BadParameter, match='loud: choose debug'):
        ros_arguments(None, '', 'loud', False)


@pytest.mark.parametrize(('text', 'error', 'message'), [
    ('    stereo: {scael: 2}\n', ConfigError, "unknown key 'stereo.scael'"),
    ('    cost: {gain: high}\n', ConfigError, r'cost\.gain'),
    ('    network: {name: none}\n', NetworkError, "network 'none'"),
    ('    network: {precision: f16}\n', NetworkError, r'no file default_f16\.onnx beside'),
    ('    scene: {enabled: true, network: none}\n', NetworkError, "network 'none'"),
    ('    mount: {calibration: none}\n', CalibrationError, r'none\.yaml cannot be read'),
])
def test_bad_parameters_stop_before_ros_starts(tmp_path, text, error, message):
    with pytest.raises(error, match=message):
        check_params(params(tmp_path, text))


def test_shipped_parameters_pass(repository):
    check_params(repository / 'config' / 'default.yaml')


@pytest.mark.parametrize('command', ['up', 'play'])
def test_help(command):
    result = RUNNER.invoke(app, [command, '--help'])
    assert result.exit_code == 0
    assert '--' in result.output


@pytest.mark.parametrize('arguments', [['up', '--node', 'other_node'], ['play'],
                                       ['play', 'bag', '--rate', '0']])
def test_bad_usage(arguments):
    assert RUNNER.invoke(app, arguments).exit_code == 2
