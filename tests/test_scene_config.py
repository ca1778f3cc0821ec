# SPDX-License-Identifier: Apache-2.0
import pytest

from perception.config import Config, SceneConfig, config_hash, load_config, with_values
from perception.errors import ConfigError


def test_costs_are_read_from_the_command_line_a_file_and_ros(tmp_path):
    texts = ['grass=0.3', 'sky = none', 'rock=1']
    path = tmp_path / 'robot.yaml'
    path.write_text('/**:\n  ros__parameters:\n    scene:\n'
                    '      costs: [grass=0.3, sky = none, rock=1]\n')
    for config in (load_config(None, ['scene.costs=[grass=0.3, sky = none, rock=1]']),
                   load_config(path), with_values(Config(), {'scene.costs': texts})):
        assert config.scene.table == {'grass': 0.3, 'sky': None, 'rock': 1.0}
        assert config_hash(config) != config_hash(Config())


def test_the_defaults_speak_of_the_common_classes_and_do_nothing_yet():
    scene = SceneConfig()
    assert not scene.enabled
    assert scene.table == {
        'smooth_ground': 0, 'rough_ground': 0.2, 'grass': 0.1, 'low_vegetation': 0.8,
        'high_vegetation': 1, 'water': 0.7, 'obstacle': 1, 'sky': None}
    assert set(scene.standing) < set(scene.table)


@pytest.mark.parametrize(('override', 'text'), [
    ('scene.costs=[grass]', r"scene\.costs = \['grass'\]: .*'grass': write class=cost"),
    ('scene.costs=["grass="]', r'write class=cost or class=none'),
    ('scene.costs=[grass=high]', r"'grass=high': a cost is a number from 0 to 1, or none"),
    ('scene.costs=[grass=1.1]', r'a cost is a number from 0 to 1'),
    ('scene.costs=[grass=nan]', r'a cost is a number from 0 to 1'),
    ('scene.costs=[grass=0, sky=none, grass=1]', r'grass has two costs'),
    ('scene.costs=[]', r'scene\.costs = \[\]: List should have at least 1 item'),
    ('scene.costs={grass: 1}', r'scene\.costs = .*: Input should be a valid list'),
    ('scene.weight=-1.0', r'scene\.weight = -1'),
    ('scene.superpixels=seeds', r"'none', 'felzenszwalb' or 'slic'"),
])
def test_bad_costs_name_themselves(override, text):
    with pytest.raises(ConfigError, match=text):
        load_config(None, [override])
