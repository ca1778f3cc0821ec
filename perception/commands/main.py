# SPDX-License-Identifier: Apache-2.0
"""The command ``lagr``: its subcommands, and what an error looks like to the caller."""

import os
import signal
import sys
from typing import NoReturn

# Matrices here are small: BLAS threads would only fight the engine's. Read when numpy loads.
os.environ.setdefault('OPENBLAS_NUM_THREADS', '1')

import typer

from perception.commands.bench import bench
from perception.commands.demo import demo
from perception.commands.drive import drive
from perception.commands.evaluate import app as evaluate
from perception.commands.export import export
from perception.commands.play import play
from perception.commands.quantize import quantize
from perception.commands.replay import replay
from perception.commands.train import app as train
from perception.commands.up import up
from perception.commands.world import world
from perception.errors import PerceptionError

EXTRA_OF_MODULE = {
    'moderngl': 'world',
    'glcontext': 'world',
    'torch': 'train',
    'onnx': 'train',
    'onnxscript': 'train',
}

ROS_MODULES = ('rclpy', 'rcl_interfaces', 'rosgraph_msgs', 'diagnostic_msgs', 'lifecycle_msgs')

app = typer.Typer(
    name='lagr',
    help='Camera images in, traversability to the horizon and cost maps out.',
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

app.command()(demo)
app.command()(replay)
app.command()(world)
app.command()(drive)
app.command()(bench)
app.command()(export)
app.command()(quantize)
app.command()(up)
app.command()(play)
app.add_typer(evaluate, name='evaluate')
app.add_typer(train, name='train')


def main() -> None:
    """
    Run ``lagr``.

    Exit codes: 0 success, 1 bad input (one line on stderr), 2 bad usage, 130 interrupted, 143
    told to end.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as Ctrl-C: what was done is kept
    try:
        app()
    except PerceptionError as error:
        _fail(str(error))
    except ModuleNotFoundError as error:
        module = (error.name or '').partition('.')[0]
        if module in ROS_MODULES:
            _fail(f'{module} is not installed: source a ROS 2 distribution, or on Linux x86_64 '
                  "with Python 3.11 or 3.12 pip install 'lagr_perception[ros]'")
        extra = EXTRA_OF_MODULE.get(module)
        if extra is None:
            raise
        _fail(f"{error.name} is not installed: pip install 'lagr_perception[{extra}]'")
    except OSError as error:
        if error.filename is None:
            raise
        _fail(f'{error.filename}: {error.strerror}; check the path, its permissions and space')


def _fail(message: str) -> NoReturn:
    """One line on stderr, exit code 1."""
    typer.echo(f'lagr: error: {" ".join(message.split())}', err=True)
    sys.exit(1)
