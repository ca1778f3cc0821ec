# SPDX-License-Identifier: Apache-2.0
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perception.config import Config, MountConfig, config_hash, load_config, with_values
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
    ('plane.min_inliers_per_mpx=.inf', r'min_inliers_per_mpx = inf: .*finite'),
    ('cost.class_weights=[.nan, 0.0, 0.0, 0.0, 0.0]', r'cost\.class_weights\.0 = nan: .*finite'),
    ('cost.class_weights=[0.0, 0.0, 0.0, 0.0, 1e39]', r'cost\.class_weights\.4 = 1e\+39: .*1000'),
    ('cost.resolution_m=1.5', r'width_m must be two cells'),
    ('cost.gain=true', r'cost\.gain = True: '),
    (f'cost.gain=1{400 * "0"}', r'cost\.gain = 10'),
    ('cost.gain=[', r"^--set 'cost\.gain=\[': the value is not valid YAML: while parsing"),
    ('network.name=2020-13-45', r'the value is not valid YAML: month must be in 1\.\.12'),
])
def test_bad_overrides_name_themselves(override, message):
    width = ['cost.width_m=2'] if 'resolution' in override else []
    with pytest.raises(ConfigError, match=message):
        load_config(None, [override, *width])


def test_numbers_are_those_of_ros(tmp_path):
    config = parameters(tmp_path, 'near_to_far: {rate: 1e-3, far_rate: 2E-03}\n'
                        'mount: {x_m: -1.5e0, y_m: +.5e1}\nnetwork: {name: 1e-3.onnx}')
    assert (config.near_to_far.rate, config.near_to_far.far_rate) == (0.001, 0.002)
    assert (config.mount.x_m, config.mount.y_m) == (-1.5, 5.0)
    assert config.network.name == '1e-3.onnx'
    assert load_config(None, ['near_to_far.rate=1e-3']).near_to_far.rate == 0.001


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


def parameters(tmp_path, text):
    """Config of a YAML file with these lines under ros__parameters."""
    path = tmp_path / 'robot.yaml'
    indented = ''.join(f'    {line}\n' for line in text.splitlines())
    path.write_text(f'/**:\n  ros__parameters:\n{indented}')
    return load_config(path)


def test_keys_that_matter_to_nodes_only(tmp_path):
    config = parameters(tmp_path, 'autostart: false\nuse_sim_time: true\n'
                        'input: {points_topics: "a/points, b/points", stale_after_s: 0.5}')
    assert (config.autostart, config.use_sim_time) == (False, True)
    assert config.input.points_topics == 'a/points, b/points'
    assert config.input.stale_after_s == 0.5
    assert (Config().autostart, Config().use_sim_time) == (True, False)
    assert config_hash(config) != config_hash(Config())


def test_qos_overrides_belong_to_ros(tmp_path):
    config = parameters(tmp_path, 'qos_overrides:\n  /costmap: {publisher: {depth: 3}}\n'
                        'cost: {gain: 2.5}')
    assert config == with_values(Config(), {'cost.gain': 2.5})


@pytest.mark.parametrize(('text', 'message'), [
    ('autostart: 1', r'autostart = 1: Input should be a valid boolean'),
    ('use_sim_time: "yes"', r"use_sim_time = 'yes': Input should be a valid boolean"),
    ('autostart: {now: true}', r"autostart = \{'now': True\}: Input should be a valid boolean"),
    ('auto_start: true', r"unknown key 'auto_start'; known here: .*, autostart, use_sim_time$"),
    ('input: {stale_after_s: 0.0}', r'input\.stale_after_s = 0\.0: .* than or equal to 0\.1'),
    ('mount: {source: calibration}', r'source = calibration needs mount\.calibration'),
    ('mount: {source: file}', r"mount\.source = 'file': .*'auto', 'tf', 'calibration' or 'plane'"),
])
def test_new_keys_name_themselves(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        parameters(tmp_path, text)


def test_calibration_needs_its_file(tmp_path):
    config = parameters(tmp_path, 'mount: {source: calibration, calibration: demo}')
    assert config.mount == MountConfig(source='calibration', calibration='demo')
    assert parameters(tmp_path, 'mount: {calibration: demo}').mount.source == 'auto'
    overrides = ['mount.source=calibration', 'mount.calibration=a/b.yaml']
    assert load_config(None, overrides).mount.calibration == 'a/b.yaml'
    with pytest.raises(ConfigError, match=r'needs mount\.calibration'):
        load_config(None, overrides[:1])
    with pytest.raises(ConfigError, match=r'needs mount\.calibration'):
        with_values(config, {'mount.calibration': ''})


def test_values_by_name():
    config = load_config(None, ['stereo.scale=1'])
    other = with_values(config, {'cost.gain': 2.5, 'autostart': False, 'stereo.block_px': 7,
                                 'cost.class_weights': [-1.0, 0.0, 1.0, 0.5, 2.0]})
    assert (other.cost.gain, other.autostart) == (2.5, False)
    assert (other.stereo.scale, other.stereo.block_px) == (1, 7)
    assert other.cost.class_weights == [-1.0, 0.0, 1.0, 0.5, 2.0]
    assert other.map == config.map
    assert config.cost == Config().cost  # the one given is left as it was
    assert with_values(config, {}) == config


@given(st.floats(0.001, 10.0), st.integers(1, 4), st.booleans())
def test_values_by_name_are_those_of_the_file_in_any_order(gain, scale, start):
    values = {'cost.gain': gain, 'stereo.scale': scale, 'autostart': start}
    whole = with_values(Config(), values)
    assert whole == Config.model_validate(
        {'cost': {'gain': gain}, 'stereo': {'scale': scale}, 'autostart': start})
    one_by_one = Config()
    for name in reversed(values):
        one_by_one = with_values(one_by_one, {name: values[name]})
    assert one_by_one == whole
    assert config_hash(one_by_one) == config_hash(whole)


@pytest.mark.parametrize(('name', 'value', 'message'), [
    ('cost.gian', 1.0, r"^parameter: unknown key 'cost\.gian'; known here: class_weights, gain, "),
    ('cots.gain', 1.0, r"^parameter: unknown key 'cots'; known here: input, stereo, "),
    ('gain', 1.0, r"^parameter: unknown key 'gain'; known here: input, stereo, "),
    ('cost.gain.x', 1.0, r"^parameter: unknown key 'cost\.gain\.x'"),
    ('cost.', 1.0, r"^parameter: unknown key 'cost\.cost'"),
    ('', 1.0, r"^parameter: unknown key ''"),
    ('cost', 3, r'^parameter: cost = 3: Input should be a valid dictionary'),
    ('cost.gain', 'high', r"^parameter: cost\.gain = 'high': Input should be a valid number"),
    ('cost.gain', 11.0, r'^parameter: cost\.gain = 11\.0: .*less than or equal to 10'),
    ('cost.gain', float('nan'), r'^parameter: cost\.gain = nan'),
    ('stereo.scale', 2.0, r'^parameter: stereo\.scale = 2\.0: Input should be a valid integer'),
    ('autostart', 'yes', r"^parameter: autostart = 'yes': Input should be a valid boolean"),
    ('autostart.x', True, r'^parameter: autostart\.x: autostart has no keys of its own'),
    ('map.constant_cells', 90, r'constant_cells must be 75 to 76'),
])
def test_bad_values_name_themselves(name, value, message):
    with pytest.raises(ConfigError, match=message):
        with_values(Config(), {name: value})
