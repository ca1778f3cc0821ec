# SPDX-License-Identifier: Apache-2.0
import pytest

from perception.config import Config, config_hash, load_config
from perception.errors import ConfigError


def test_file_and_override_say_only_what_differs(tmp_path):
    path = tmp_path / 'robot.yaml'
    path.write_text('/**:\n  ros__parameters:\n    mount:\n      height_m: 0.4\n'
                    '    stereo:\n      block_px: 7\n')
    config = load_config(path, ['stereo.block_px=3', 'supervisor.max_range_m=10'])
    assert config.mount.height_m == 0.4
    assert config.stereo.block_px == 3
    assert config.supervisor.max_range_m == 10.0
    assert config.map == Config().map


@pytest.mark.parametrize(('override', 'message'), [
    ('stereo.blok=3', r"unknown key 'stereo\.blok'; known here: scale, "),
    ('sterio.scale=2', r"unknown key 'sterio'; known here: input, stereo"),
    ('stereo.scale=two', r"stereo\.scale = 'two'"),
    ('stereo.scale=9', r'stereo\.scale = 9: .*less than or equal to 4'),
    ('stereo.scale', r'write section\.key=value'),
    ('supervisor.max_range_m=.nan', r'supervisor\.max_range_m = nan'),
])
def test_bad_overrides_name_themselves(override, message):
    with pytest.raises(ConfigError, match=message):
        load_config(None, [override])


@pytest.mark.parametrize(('text', 'message'), [
    ('stereo: {scale: 1}', r"expected the ROS layout '/\*\*: ros__parameters"),
    ('/**: [', 'not valid YAML'),
    ('/**:\n  ros__parameters: 3', 'must hold sections'),
    ('/**:\n  ros__parameters:\n    mount:\n      height_m: high', r"mount\.height_m = 'high': "),
])
def test_bad_files_name_themselves(tmp_path, text, message):
    path = tmp_path / 'bad.yaml'
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(path)
    assert str(path) in str(caught.value)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r'none\.yaml: cannot be read'):
        load_config(tmp_path / 'none.yaml')


def test_hash_follows_every_value():
    assert config_hash(Config()) == config_hash(load_config(None, ['stereo.scale=2']))
    assert config_hash(Config()) != config_hash(load_config(None, ['stereo.scale=1']))
