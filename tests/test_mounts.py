# SPDX-License-Identifier: Apache-2.0
"""Robot files: rotations by hand, chains, what is refused, and the shipped file."""

import os
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from perception.bag_file import BagFile
from perception.bag_poses import static_tree
from perception.errors import CalibrationError
from perception.mounts import Transform, calibrated_mount, load_mounts, mount_file

LEVEL = {'parent': 'base', 'child': 'camera', 'xyz_m': [0.1, 0.2, 0.3], 'rpy_rad': [0, 0, 0]}


def robot_file(path, *transforms):
    path.write_text(yaml.safe_dump({'transforms': list(transforms)}))
    return str(path)


def turn(axis, angle):
    """Elementary rotation (3, 3), written out."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array({'x': [[1, 0, 0], [0, c, -s], [0, s, c]],
                     'y': [[c, 0, s], [0, 1, 0], [-s, 0, c]],
                     'z': [[c, -s, 0], [s, c, 0], [0, 0, 1]]}[axis])


def test_roll_pitch_yaw_by_hand():
    """Roll 90: y to z. Pitch 0.3 about the fixed y: z to (sin, 0, cos). Yaw 90: x to y."""
    matrix = Transform(parent='a', child='b', xyz_m=[1, -2, 3],
                       rpy_rad=[np.pi / 2, 0.3, np.pi / 2]).parent_from_child
    sin, cos = np.sin(0.3), np.cos(0.3)
    np.testing.assert_allclose(matrix[:3, 0], [0, cos, -sin], atol=1e-12)  # x
    np.testing.assert_allclose(matrix[:3, 1], [0, sin, cos], atol=1e-12)  # y, by roll z
    np.testing.assert_allclose(matrix[:3, 2], [1, 0, 0], atol=1e-12)  # z, by roll -y
    np.testing.assert_array_equal(matrix[:, 3], [1, -2, 3, 1])
    np.testing.assert_array_equal(matrix[3], [0, 0, 0, 1])


def test_quaternion_by_hand():
    """A third of a turn about (1, 1, 1) sends x to y, y to z, z to x; w is last."""
    third = Transform(parent='a', child='b', xyz_m=[0, 0, 0],
                      quaternion_xyzw=[0.5, 0.5, 0.5, 0.5]).parent_from_child
    np.testing.assert_allclose(third[:3, :3], [[0, 0, 1], [1, 0, 0], [0, 1, 0]], atol=1e-12)
    slight = Transform(parent='a', child='b', xyz_m=[0, 0, 0],
                       quaternion_xyzw=[0, 0, 0.6, 0.8]).parent_from_child
    # 2 atan(0.6 / 0.8) about z: cos = 0.64 - 0.36, sin = 2 * 0.48
    np.testing.assert_allclose(slight[:2, :2], [[0.28, -0.96], [0.96, 0.28]], atol=1e-12)


@given(*[st.floats(-3.2, 3.2)] * 3)
def test_rpy_is_yaw_after_pitch_after_roll_and_equals_its_quaternion(roll, pitch, yaw):
    matrix = Transform(parent='a', child='b', xyz_m=[0, 0, 0],
                       rpy_rad=[roll, pitch, yaw]).parent_from_child[:3, :3]
    np.testing.assert_allclose(matrix, turn('z', yaw) @ turn('y', pitch) @ turn('x', roll),
                               atol=1e-12)
    (cr, sr), (cp, sp), (cy, sy) = ((np.cos(a / 2), np.sin(a / 2)) for a in (roll, pitch, yaw))
    # as urdfdom has it
    quaternion = [sr * cp * cy - cr * sp * sy, cr * sp * cy + sr * cp * sy,
                  cr * cp * sy - sr * sp * cy, cr * cp * cy + sr * sp * sy]
    again = Transform(parent='a', child='b', xyz_m=[0, 0, 0], quaternion_xyzw=quaternion)
    np.testing.assert_allclose(again.parent_from_child[:3, :3], matrix, atol=1e-12)


def test_a_camera_that_looks_ahead_and_down():
    """Optical z lies ahead and 0.09 rad down, optical x to the right."""
    matrix = Transform(parent='base', child='camera', xyz_m=[0, 0, 0],
                       rpy_rad=[-np.pi / 2 - 0.09, 0, -np.pi / 2]).parent_from_child
    np.testing.assert_allclose(matrix[:3, 2], [np.cos(0.09), 0, -np.sin(0.09)], atol=1e-12)
    np.testing.assert_allclose(matrix[:3, 0], [0, -1, 0], atol=1e-12)


def test_chain_of_links_by_hand(tmp_path):
    """base -> mast turned left by 90 degrees -> camera; the imu hangs on another branch."""
    name = robot_file(
        tmp_path / 'rover.yaml',
        {'parent': 'mast', 'child': 'camera', 'xyz_m': [0.5, 0, 0.25], 'rpy_rad': [0, 0, 0]},
        {'parent': 'base', 'child': 'mast', 'xyz_m': [1, 2, 3], 'rpy_rad': [0, 0, np.pi / 2]},
        {'parent': 'base', 'child': 'imu', 'xyz_m': [-1, 0, 0],
         'quaternion_xyzw': [0, 0, 0, 1]},
    )
    tree = load_mounts(name)
    base_from_camera = tree.lookup('base', 'camera')
    np.testing.assert_allclose(base_from_camera[:3, 3], [1, 2.5, 3.25], atol=1e-12)
    np.testing.assert_allclose(base_from_camera[:3, 0], [0, 1, 0], atol=1e-12)
    np.testing.assert_allclose(tree.lookup('imu', 'camera')[:3, 3], [2, 2.5, 3.25])
    camera_from_base = tree.lookup('camera', 'base')
    with pytest.raises(CalibrationError, match='camera is no optical frame, its z axis'):
        calibrated_mount(name, 'base', 'camera')
    np.testing.assert_allclose(camera_from_base @ base_from_camera, np.eye(4), atol=1e-12)


def test_path_or_stem(tmp_path, repository, monkeypatch):
    assert mount_file('demo') == repository / 'calibration' / 'demo.yaml'
    assert mount_file('robots/rover.yaml') == Path('robots/rover.yaml')
    assert mount_file('/etc/rover.yml') == Path('/etc/rover.yml')
    monkeypatch.setenv('HOME', str(tmp_path))
    assert mount_file('~/rover.yaml') == tmp_path / 'rover.yaml'


def test_a_file_that_changes_is_read_anew(tmp_path):
    path = tmp_path / 'rover.yaml'
    name = robot_file(path, LEVEL)
    before, times = load_mounts(name), path.stat()
    assert load_mounts(name) is before
    robot_file(path, LEVEL | {'xyz_m': [0.7, 0.2, 0.3]})
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # nothing but the text tells
    assert load_mounts(name).lookup('base', 'camera')[0, 3] == 0.7


@pytest.mark.parametrize(('text', 'message'), [
    ('transforms: [', 'is no valid YAML: while parsing'),
    ('', 'file: Input should be a valid dictionary'),
    ('- 3', 'file: Input should be a valid dictionary'),
    ('transforms: []', 'transforms: List should have at least 1 item'),
    ('frames: {}', 'transforms: Field required'),
])
def test_files_that_are_no_robot_file(tmp_path, text, message):
    path = tmp_path / 'rover.yaml'
    path.write_text(text)
    with pytest.raises(CalibrationError, match=rf'mount\.calibration: {path}.* {message}'):
        load_mounts(str(path))


@pytest.mark.parametrize(('changes', 'message'), [
    ({'quaternion_xyzw': [0, 0, 0, 1]}, 'give either rpy_rad or quaternion_xyzw'),
    ({'rpy_rad': None}, 'give either rpy_rad or quaternion_xyzw'),
    ({'rpy_rad': None, 'quaternion_xyzw': [0, 0, 0.1, 1.1]}, 'must have length 1'),
    ({'rpy_rad': None, 'quaternion_xyzw': [0, 0, 0, 0]}, 'must have length 1'),
    ({'rpy_rad': None, 'quaternion_xyzw': [0, 0, 1]}, 'quaternion_xyzw: List should have'),
    ({'rpy_deg': [0, 0, 0]}, 'rpy_deg: Extra inputs are not permitted'),
    ({'xyz_m': [1, 2]}, 'xyz_m: List should have at least 3'),
    ({'xyz_m': [1, 2, 3, 4]}, 'xyz_m: List should have at most 3'),
    ({'xyz_m': [1, float('nan'), 3]}, 'xyz_m.1: Input should be a finite number'),
    ({'rpy_rad': [0, 0, float('inf')]}, 'rpy_rad.2: Input should be a finite number'),
    ({'parent': ''}, 'parent: String should have at least 1'),
    ({'child': 7}, 'child: Input should be a valid string'),
])
def test_transforms_that_are_refused(tmp_path, changes, message):
    name = robot_file(tmp_path / 'rover.yaml', {**LEVEL, 'child': 'imu'}, LEVEL | changes)
    with pytest.raises(CalibrationError) as caught:
        load_mounts(name)
    assert str(caught.value).startswith(f'mount.calibration: {name}: transforms.1')
    assert message in str(caught.value)
    assert str(caught.value).endswith('see calibration/README.md')


def test_two_parents_of_one_frame_are_refused(tmp_path):
    name = robot_file(tmp_path / 'rover.yaml', LEVEL, LEVEL | {'parent': 'mast'})
    with pytest.raises(CalibrationError, match='camera is the child of two transforms'):
        load_mounts(name)


def test_missing_file_is_named(tmp_path):
    path = tmp_path / 'none.yaml'
    with pytest.raises(CalibrationError, match=rf'{path} cannot be read .*see calibration/README'):
        calibrated_mount(str(path), 'base', 'camera')
    with pytest.raises(CalibrationError, match=r'calibration/no_such_robot\.yaml cannot be read'):
        load_mounts('no_such_robot')


def test_a_file_of_bytes_is_refused(tmp_path):
    path = tmp_path / 'rover.yaml'
    path.write_bytes(b'\xff\xfe\x00')
    with pytest.raises(CalibrationError, match=rf'{path} cannot be read'):
        load_mounts(str(path))


@pytest.mark.parametrize(('base', 'camera', 'text'), [
    ('base', 'moon', 'does not join base and moon'),
    ('moon', 'camera', 'does not join moon and camera'),
    ('moon', 'moon', 'does not join moon and moon'),
    ('camera', 'camera', 'does not join camera and camera'),
    ('', 'camera', 'does not join a base frame and camera'),
    ('base', '', 'does not join base and a camera without frame_id'),
    ('base', 'alone', 'does not join base and alone'),
])
def test_frames_that_are_not_joined(tmp_path, base, camera, text):
    name = robot_file(tmp_path / 'rover.yaml', LEVEL,
                      LEVEL | {'parent': 'other', 'child': 'alone'})
    with pytest.raises(CalibrationError) as caught:
        calibrated_mount(name, base, camera)
    assert text in str(caught.value)
    assert name in str(caught.value)
    assert '(it has: alone, base, camera, other)' in str(caught.value)


@pytest.mark.parametrize('camera', ['left_optical', 'right_optical'])
def test_shipped_demo_file_is_the_mount_of_the_demo_bag(repository, camera):
    with BagFile(repository / 'bags' / 'demo') as bag:
        expected = static_tree(bag).lookup('base_link', camera)
    np.testing.assert_allclose(calibrated_mount('demo', 'base_link', camera), expected,
                               rtol=0, atol=1e-9)


def test_the_layout_in_the_readme_is_a_robot_file(tmp_path, repository):
    readme = (repository / 'calibration' / 'README.md').read_text()
    path = tmp_path / 'rover.yaml'
    path.write_text(readme.partition('```yaml\n')[2].partition('```')[0])
    mount = calibrated_mount(str(path), 'base_link', 'left_optical')
    assert mount[2, 2] == pytest.approx(-np.sin(0.09))  # looks 0.09 rad down
    # 0.25 m up the leaning mast: ahead by its sine
    np.testing.assert_allclose(mount[:3, 3], [0.25 + 0.25 * np.sin(0.09), 0.06,
                                              0.80 + 0.25 * np.cos(0.09)])
