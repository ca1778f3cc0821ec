# SPDX-License-Identifier: Apache-2.0
"""
The nodes on a robot: ``ros2 launch lagr_perception perception.launch.py params_file:=FILE``.

An empty argument leaves its parameter to ``params_file``, and without one to the default. Each
camera has a namespace; a second one that feeds the first one's map takes ``costmap:=false``.
"""

import sys
from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode, Node
from launch_ros.parameter_descriptions import ParameterValue

from perception.commands.up import nodes_for
from perception.nodes.fastdds import apply_profile
from perception.share import PACKAGE, share_folder

PARAMETERS = {
    'calibration': ('mount.calibration', str),
    'engine': ('network.engine', str),
    'scene': ('scene.enabled', bool),
    'autostart': ('autostart', bool),
    'use_sim_time': ('use_sim_time', bool),
}
# In a colcon workspace this file lies in PREFIX/share/lagr_perception/launch.
SCRIPTS = Path(__file__).absolute().parent / '../../../lib' / PACKAGE


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments; ``ros2 launch --show-args`` lists them."""
    return LaunchDescription([
        DeclareLaunchArgument(
            'namespace', default_value='', description='Namespace of the nodes'),
        DeclareLaunchArgument(
            'params_file', default_value='',
            description='YAML file of parameters; config/default.yaml lists them'),
        DeclareLaunchArgument(
            'calibration', default_value='',
            description='mount.calibration: robot file with the mounts of the cameras'),
        DeclareLaunchArgument(
            'engine', default_value='', description='network.engine: what runs the network'),
        DeclareLaunchArgument(
            'scene', default_value='',
            description='scene.enabled: true = label scenes, with a scene_node too'),
        DeclareLaunchArgument(
            'use_sim_time', default_value='', description='true: tf and RViz follow /clock'),
        DeclareLaunchArgument(
            'autostart', default_value='',
            description='false: a lifecycle manager configures and activates the nodes'),
        DeclareLaunchArgument(
            'log_level', default_value='info', description='debug, info, warn, error or fatal'),
        DeclareLaunchArgument(
            'respawn', default_value='false', description='true: start a crashed node again'),
        DeclareLaunchArgument(
            'costmap', default_value='true',
            description='false: no costmap_node, as for a second camera of one map'),
        DeclareLaunchArgument('rviz', default_value='false', description='true: show all in RViz'),
        OpaqueFunction(function=start),
    ])


def start(context: LaunchContext) -> list[Node]:
    """Start the nodes with the parameters that the arguments give."""
    apply_profile()  # an environment variable, for all that is launched from here on
    given = context.launch_configurations
    parameters = {name: ParameterValue(LaunchConfiguration(argument), value_type=kind)
                  for argument, (name, kind) in PARAMETERS.items() if given[argument]}
    return [
        perception_node('traversability_node', given, parameters),
        perception_node('costmap_node', given, parameters,
                        condition=IfCondition(LaunchConfiguration('costmap'))),
        perception_node('scene_node', given, parameters,
                        condition=IfCondition(str(labels_scenes(given)))),
        Node(package='rviz2', executable='rviz2', namespace=LaunchConfiguration('namespace'),
             arguments=['-d', str(share_folder() / 'config' / 'perception.rviz')],
             parameters=[{name: value for name, value in parameters.items()
                          if name == 'use_sim_time'}],
             condition=IfCondition(LaunchConfiguration('rviz'))),
    ]


def labels_scenes(given: dict[str, str]) -> bool:
    """Tell whether ``scene``, or else ``params_file``, asks for a scene_node."""
    if given['scene']:
        return given['scene'].lower() in ('true', '1')
    path = given['params_file']
    return 'scene_node' in nodes_for(Path(path) if path else None)


def perception_node(
    name: str, given: dict[str, str], parameters: dict[str, ParameterValue],
    condition: IfCondition | None = None,
) -> LifecycleNode:
    """Node as an executable of a workspace, else as a module of this Python."""
    script = SCRIPTS / name
    program, *arguments = [str(script)] if script.is_file() else [
        sys.executable, '-m', f'perception.nodes.{name}']
    ros_arguments = ['--log-level', given['log_level']]
    if given['params_file']:  # not in ``parameters``: launch_ros passes over a missing file
        ros_arguments += ['--params-file', given['params_file']]
    return LifecycleNode(
        executable=program, arguments=arguments, ros_arguments=ros_arguments, exec_name=name,
        name=name, namespace=LaunchConfiguration('namespace'), parameters=[parameters],
        output='screen', respawn=LaunchConfiguration('respawn'), respawn_delay=2.0,
        condition=condition)
