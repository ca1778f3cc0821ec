# SPDX-License-Identifier: Apache-2.0
"""
A recorded bag through the nodes: ``ros2 launch lagr_perception replay.launch.py bag:=PATH``.

All arguments of perception.launch.py are taken too. The nodes themselves go by stamps; tf and
RViz follow the bag's /clock, so that a loop begins with an empty tf buffer.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    IncludeLaunchDescription,
    OpaqueFunction,
)
from launch.conditions import IfCondition
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration

LAGR = [sys.executable, '-c', 'from perception.commands.main import main; main()']
# `ros2 bag play` advertises, then sleeps: time for the nodes to load and to subscribe.
ROS2_BAG_OPTIONS = ['--delay', '5', '--disable-keyboard-controls']


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments; ``ros2 launch --show-args`` lists them."""
    return LaunchDescription([
        DeclareLaunchArgument('bag', description='rosbag2 folder, or a bare .mcap or .db3 file'),
        DeclareLaunchArgument('rate', default_value='1.0', description='Speed, 1 = recorded'),
        DeclareLaunchArgument(
            'loop', default_value='false', description='true: begin again at the end'),
        DeclareLaunchArgument('rviz', default_value='true', description='true: show all in RViz'),
        DeclareLaunchArgument(
            'use_sim_time', default_value='true', description='true: tf and RViz follow /clock'),
        DeclareLaunchArgument(
            'params_file', default_value='',
            description='YAML file of parameters; config/default.yaml lists them'),
        IncludeLaunchDescription(
            PythonLaunchDescriptionSource(
                str(Path(__file__).absolute().with_name('perception.launch.py'))),
            launch_arguments=[(name, LaunchConfiguration(name))
                              for name in ('rviz', 'use_sim_time', 'params_file')]),
        OpaqueFunction(function=player),
    ])


def player(context: LaunchContext) -> list[ExecuteProcess]:
    """``ros2 bag play`` where it is installed, else ``lagr play``, which waits for the nodes."""
    bag, rate = (context.launch_configurations[name] for name in ('bag', 'rate'))
    loop = IfCondition(LaunchConfiguration('loop')).evaluate(context)
    has_ros2_bag = find_spec('ros2bag') is not None
    command = ['ros2', 'bag', 'play'] if has_ros2_bag else [*LAGR, 'play']
    options = [*ROS2_BAG_OPTIONS] if has_ros2_bag else []
    if loop:
        options.append('--loop')
    return [ExecuteProcess(cmd=[*command, bag, '--rate', rate, '--clock', *options],
                           name='player', output='screen')]
