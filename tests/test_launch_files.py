# SPDX-License-Identifier: Apache-2.0
"""Launch files and the config files beside them, read without launch, Nav2 or RViz."""

import ast
import importlib.util
import itertools
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

from perception.commands.up import ALL_NODES, NODES, nodes_for
from perception.config import Config

ROOT = Path(__file__).resolve().parents[1]
LAUNCH = ROOT / 'launch'
LEFT_TO_PARAMS = {'params_file', 'calibration', 'engine', 'scene', 'autostart', 'use_sim_time'}
ARGUMENTS = LEFT_TO_PARAMS | {'namespace', 'log_level', 'respawn', 'costmap', 'rviz'}
REPLAY_ARGUMENTS = {'bag', 'rate', 'loop', 'rviz', 'use_sim_time', 'params_file'}
KIND_OF_DISPLAY = {
    'Map': 'nav_msgs/OccupancyGrid', 'PointCloud2': 'sensor_msgs/PointCloud2',
    'Pose': 'geometry_msgs/PoseStamped', 'Image': 'sensor_msgs/Image',
}


def tree_of(name: str) -> ast.Module:
    path = LAUNCH / name
    text = path.read_text()
    compile(text, str(path), 'exec')
    return ast.parse(text)


def calls(tree: ast.Module, function: str) -> list[ast.Call]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name) and node.func.id == function]


def declared(name: str) -> dict[str, dict[str, Any]]:
    """Keywords of each DeclareLaunchArgument, by the argument's name."""
    found = {}
    for call in calls(tree_of(name), 'DeclareLaunchArgument'):
        keywords = {k.arg or '': ast.literal_eval(k.value) for k in call.keywords}
        found[ast.literal_eval(call.args[0])] = keywords
    return found


def names_used(tree: ast.Module) -> set[str]:
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def test_arguments_of_the_robot() -> None:
    arguments = declared('perception.launch.py')
    assert set(arguments) == ARGUMENTS
    assert all(keywords['description'] for keywords in arguments.values())
    assert {name for name, k in arguments.items() if k['default_value'] == ''} == (
        LEFT_TO_PARAMS | {'namespace'})
    assert {name: arguments[name]['default_value'] for name in ('costmap', 'rviz', 'respawn')} == {
        'costmap': 'true', 'rviz': 'false', 'respawn': 'false'}


def test_arguments_of_a_replay() -> None:
    arguments = declared('replay.launch.py')
    assert set(arguments) == REPLAY_ARGUMENTS
    assert all(keywords['description'] for keywords in arguments.values())
    assert [name for name, k in arguments.items() if 'default_value' not in k] == ['bag']
    assert arguments['use_sim_time']['default_value'] == 'true'


def test_arguments_stand_for_parameters_of_the_schema() -> None:
    (table,) = [node.value for node in ast.walk(tree_of('perception.launch.py'))
                if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == 'PARAMETERS']
    assert isinstance(table, ast.Dict)
    pairs = [ast.unparse(value) for value in table.values]
    assert {ast.literal_eval(key) for key in table.keys if key} == LEFT_TO_PARAMS - {'params_file'}
    for name, kind in (pair.strip('()').split(', ') for pair in pairs):
        value: Any = Config().model_dump()
        for part in ast.literal_eval(name).split('.'):
            value = value[part]
        assert type(value).__name__ == kind


def test_the_nodes_are_those_of_lagr_up() -> None:
    started = [ast.literal_eval(call.args[0])
               for call in calls(tree_of('perception.launch.py'), 'perception_node')]
    assert tuple(started) == ALL_NODES
    assert all(importlib.util.find_spec(f'perception.nodes.{name}') for name in ALL_NODES)


def test_a_scene_node_starts_where_scenes_are_to_be_labelled(tmp_path: Path) -> None:
    path = tmp_path / 'params.yaml'
    for enabled, nodes in (('false', NODES), ('true', ALL_NODES)):
        path.write_text(f'/**:\n  ros__parameters:\n    scene: {{enabled: {enabled}}}\n')
        assert tuple(nodes_for(path)) == nodes
    assert tuple(nodes_for(None)) == NODES


def test_everything_launched_gets_the_fast_dds_profile() -> None:
    assert 'apply_profile' in names_used(tree_of('perception.launch.py'))
    used = names_used(tree_of('replay.launch.py'))
    assert 'IncludeLaunchDescription' in used


if importlib.util.find_spec('launch_ros') is not None:  # a ROS distribution: PyPI has no launch
    @pytest.mark.parametrize(('name', 'arguments'), [
        ('perception.launch.py', ARGUMENTS), ('replay.launch.py', ARGUMENTS | REPLAY_ARGUMENTS)])
    def test_launch_itself_reads_the_files(name: str, arguments: set[str]) -> None:
        spec = importlib.util.spec_from_file_location('launch_file', LAUNCH / name)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        description = module.generate_launch_description()
        assert {found.name for found in description.get_launch_arguments()} == arguments


def test_fast_dds_has_room_for_images() -> None:
    root = ElementTree.parse(ROOT / 'config' / 'fastdds_shm.xml').getroot()
    name = '{http://www.eprosima.com}'
    sizes = [int(item.text or 0) for item in root.iter(f'{name}segment_size')]
    assert len(sizes) == 1
    assert sizes[0] >= 16 * 2**20
    used = {item.text for item in root.findall(f'{name}participant//{name}transport_id')}
    defined = {item.text for item in root.findall(f'{name}transport_descriptors//'
                                                  f'{name}transport_id')}
    assert used == defined == {'shared_memory', 'udp'}


@pytest.fixture(scope='module')
def nav2() -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / 'config' / 'nav2_costmap.yaml').read_text()))


def test_nav2_rolls_over_our_grid(nav2: dict[str, Any]) -> None:
    costmap, ours = nav2['local_costmap']['local_costmap']['ros__parameters'], Config()
    assert costmap['rolling_window'] is True
    assert costmap['global_frame'] == ours.input.odom_frame == 'odom'
    assert costmap['robot_base_frame'] == 'base_link'
    assert costmap['width'] == costmap['height'] == ours.cost.width_m
    assert type(costmap['width']) is int  # Nav2 declares integers
    assert costmap['resolution'] == ours.cost.resolution_m


def test_nav2_keeps_grades_and_the_unknown(nav2: dict[str, Any]) -> None:
    costmap = nav2['local_costmap']['local_costmap']['ros__parameters']
    assert costmap['trinary_costmap'] is False
    assert costmap['track_unknown_space'] is True
    assert costmap['lethal_cost_threshold'] == 100


def test_nav2_layers(nav2: dict[str, Any]) -> None:
    costmap = nav2['local_costmap']['local_costmap']['ros__parameters']
    assert [costmap[layer]['plugin'] for layer in costmap['plugins']] == [
        'nav2_costmap_2d::StaticLayer', 'nav2_costmap_2d::DenoiseLayer',
        'nav2_costmap_2d::InflationLayer']
    layer = costmap[costmap['plugins'][0]]
    assert layer['map_subscribe_transient_local'] is True
    # up to Jazzy, `costmap` would be /local_costmap/costmap: what this cost map itself publishes
    assert layer['map_topic'] == '/costmap'


def test_nav2_manages_our_nodes_without_a_bond(nav2: dict[str, Any]) -> None:
    manager = nav2['lifecycle_manager_perception']['ros__parameters']
    assert tuple(manager['node_names']) == NODES
    assert manager['bond_timeout'] == 0.0
    assert isinstance(manager['bond_timeout'], float)


@pytest.fixture(scope='module')
def rviz() -> dict[str, Any]:
    text = (ROOT / 'config' / 'perception.rviz').read_text()
    return dict(yaml.safe_load(text)['Visualization Manager'])


def test_rviz_shows_what_the_nodes_publish(rviz: dict[str, Any]) -> None:
    pytest.importorskip('rclpy')
    from perception.nodes.up import MAKERS

    topics = {topic.name: topic for topic in
              itertools.chain.from_iterable(maker.published for maker in MAKERS.values())}
    shown = set()
    for display in rviz['Displays']:
        prefix, _, kind = display['Class'].partition('/')
        assert prefix == 'rviz_default_plugins'
        if kind in ('Grid', 'TF'):
            continue
        topic = topics[display['Topic']['Value']]
        shown.add(topic.name)
        assert topic.kind == KIND_OF_DISPLAY[kind]
        assert display['Topic']['Durability Policy'] == (
            'Transient Local' if topic.qos == 'latched' else 'Volatile')
    assert shown == {'costmap', 'traversability/points', 'traversability/overlay', 'ground_plane'}


def test_rviz_needs_no_setting_by_hand(rviz: dict[str, Any]) -> None:
    assert rviz['Global Options']['Fixed Frame'] == Config().input.odom_frame
    displays = {display['Class'].partition('/')[2]: display for display in rviz['Displays']}
    assert all(display['Enabled'] for display in displays.values())
    assert displays['PointCloud2']['Color Transformer'] == 'RGB8'
    assert displays['Map']['Color Scheme'] == 'costmap'
    assert displays['Pose']['Shape'] == 'Axes'  # an arrow would lie along x, the normal is z
