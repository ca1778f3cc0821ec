# SPDX-License-Identifier: Apache-2.0
"""``lagr up``: the nodes that the launch file starts, without launch_ros."""

import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from perception.config import load_config

NODES = ('traversability_node', 'costmap_node')
SCENE_NODE = 'scene_node'  # beside them where scene.enabled says so
ALL_NODES = (*NODES, SCENE_NODE)


def up(
    params: Annotated[Path | None, typer.Option(help='YAML file of parameters')] = None,
    processes: Annotated[bool, typer.Option(
        '--processes', help='One process a node, rather than one for all')] = False,
    node: Annotated[list[str] | None, typer.Option(
        help=f'Start only this one of {", ".join(ALL_NODES)}; may be repeated')] = None,
    namespace: Annotated[str, typer.Option(help='Namespace of the nodes')] = '',
    log_level: Annotated[str, typer.Option(help='debug, info, warn, error or fatal')] = 'info',
    use_sim_time: Annotated[bool, typer.Option(
        '--use-sim-time', help='Follow /clock')] = False,
) -> None:
    """Start the ROS 2 nodes until SIGINT or SIGTERM (needs the extra ros)."""
    for name in node or []:
        if name not in ALL_NODES:
            raise typer.BadParameter(f'{name!r}: choose {", ".join(ALL_NODES)}',
                                     param_hint='--node')
    if params is not None:
        check_params(params)
    names = node or nodes_for(params)
    arguments = ros_arguments(params, namespace, log_level, use_sim_time)
    for number in (signal.SIGINT, signal.SIGTERM):  # the imports take a second
        signal.signal(number, lambda *_: sys.exit(0))
    from perception.nodes.up import run_here, run_processes

    (run_processes if processes else run_here)(names, arguments)


def nodes_for(params: Path | None) -> list[str]:
    """Nodes that a parameter file asks for."""
    scenes = params is not None and load_config(params).scene.enabled
    return [*NODES, SCENE_NODE] if scenes else list(NODES)


def check_params(path: Path) -> None:
    """Fail now, with one line, on what a node would refuse later: keys, types, files."""
    from perception.inference import check_engine, network_path, read_manifest
    from perception.mounts import load_mounts
    from perception.scene_stage import check_scene

    config = load_config(path)
    read_manifest(network_path(config.network.name, precision=config.network.precision))
    check_engine(config.network.engine)
    if config.mount.calibration:
        load_mounts(config.mount.calibration)
    check_scene(config.scene)


def ros_arguments(
    params: Path | None, namespace: str, log_level: str, use_sim_time: bool
) -> list[str]:
    """Arguments for rclpy, from the options."""
    if log_level not in ('debug', 'info', 'warn', 'error', 'fatal'):
        raise typer.BadParameter(f'{log_level}: choose debug, info, warn, error or fatal',
                                 param_hint='--log-level')
    arguments = ['--ros-args', '--log-level', log_level]
    if params is not None:
        arguments += ['--params-file', str(params.resolve())]
    if namespace:
        arguments += ['-r', f'__ns:=/{namespace.strip("/")}']
    if use_sim_time:
        arguments += ['-p', 'use_sim_time:=true']
    return arguments
