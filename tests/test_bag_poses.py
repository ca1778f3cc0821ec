# SPDX-License-Identifier: Apache-2.0
"""Static transforms, interpolation, and the poses and the mount that a bag gives."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drives import (
    CAMERA,
    LEFT,
    OPTICAL,
    START,
    forward,
    picture,
    stamp,
    write_camera,
    write_stereo,
)
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from perception import bag_encode as encode
from perception.bag import open_bag
from perception.bag_poses import PoseTrack, StaticTree
from perception.bag_writer import BagWriter
from perception.config import load_config
from perception.errors import BagError, CalibrationError
from perception.mounts import Transform
from perception.projection import odom_from_camera
from perception.types import GroundPlane


def rigid(yaw: float, x: float, y: float = 0.0, z: float = 0.0) -> Any:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler('z', yaw).as_matrix()
    matrix[:3, 3] = x, y, z
    return matrix


def track(*poses: tuple[int, Any]) -> PoseTrack:
    matrices = np.stack([matrix for _, matrix in poses])
    return PoseTrack('/odom', 'odom', 'base_link', np.array([s for s, _ in poses], np.int64),
                     matrices)


TREE = StaticTree({
    'mast': ('base', rigid(np.pi / 2, 1, 2, 3)),  # (x, y) -> (1 - y, 2 + x)
    'camera': ('mast', rigid(0, 0.5, 0, 0.25)),
    'imu': ('base', rigid(0, -1)),
})


def test_chain_up_by_hand() -> None:
    base_from_camera = TREE.lookup('base', 'camera')
    assert base_from_camera is not None
    np.testing.assert_allclose(base_from_camera[:3, 3], [1, 2.5, 3.25], atol=1e-12)
    np.testing.assert_allclose(base_from_camera[:3, 0], [0, 1, 0], atol=1e-12)


def test_chain_over_two_branches_and_back() -> None:
    imu_from_camera, camera_from_imu = TREE.lookup('imu', 'camera'), TREE.lookup('camera', 'imu')
    assert imu_from_camera is not None
    assert camera_from_imu is not None
    np.testing.assert_allclose(imu_from_camera[:3, 3], [2, 2.5, 3.25], atol=1e-12)
    np.testing.assert_allclose(imu_from_camera @ camera_from_imu, np.eye(4), atol=1e-12)


def test_unconnected_and_looped_frames_end() -> None:
    assert TREE.lookup('base', 'moon') is None
    loop = StaticTree({'a': ('b', rigid(0, 1)), 'b': ('a', rigid(0, 1))})
    assert loop.lookup('a', 'moon') is None


def test_interpolation_by_hand() -> None:
    poses = track((1000, rigid(0, 1, 2)), (2000, rigid(np.pi / 2, 5, 0)))
    pose = poses.at(1250, 1.0)
    assert pose is not None
    np.testing.assert_allclose(pose, rigid(np.pi / 8, 2, 1.5), atol=1e-12)


def test_rotation_takes_the_short_way() -> None:
    poses = track((0, rigid(np.radians(170), 0)), (100, rigid(np.radians(-170), 0)))
    pose = poses.at(50, 1.0)
    assert pose is not None
    np.testing.assert_allclose(pose, rigid(np.pi, 0), atol=1e-12)


def test_tolerance_at_the_ends_and_in_a_gap() -> None:
    second = 1_000_000_000
    poses = track((0, rigid(0, 0)), (10 * second, rigid(0, 10)))
    for at, x in ((-second // 10, 0.0), (second // 10, 0.1), (10 * second + second // 5, 10.0)):
        pose = poses.at(at, 0.2)
        assert pose is not None
        np.testing.assert_allclose(pose, rigid(0, x), atol=1e-9)
    for at in (-second // 4, second // 4, 5 * second, 10 * second + second // 4):
        assert poses.at(at, 0.2) is None


@given(st.integers(0, 3_000), st.floats(-3, 3), st.floats(-3, 3))
def test_constant_twist_is_met_everywhere(at: int, yaw: float, start: float) -> None:
    """Turning on the spot at a constant rate: interpolation is exact."""
    poses = track(*[(t, rigid(start + yaw * t / 3000, 1.0)) for t in (0, 700, 1900, 3000)])
    pose = poses.at(at, 1.0)
    assert pose is not None
    np.testing.assert_allclose(pose, rigid(start + yaw * at / 3000, 1.0), atol=1e-9)


def poses_of(path: Path, *overrides: str) -> tuple[Any, list[Any]]:
    """What was found, and the frames."""
    with open_bag(path, load_config(None, list(overrides))) as source:
        return source.found, list(source.frames())


def test_odometry_between_images(tmp_path: Path) -> None:
    with BagWriter(tmp_path / 'bag') as bag:
        for frame in range(4):
            bag.odometry('/wheels', stamp(frame) - 25_000_000, forward(0.4 * frame), child='robot')
            write_camera(bag, '/cam/image', frames=[frame])
    found, frames = poses_of(tmp_path / 'bag')
    assert found.pose_source.startswith('/wheels, odom -> robot, 4 poses')
    # an image comes 25 ms after a pose, a quarter of the way to the next; the last pose holds
    np.testing.assert_allclose([f.odom_from_base[0, 3] for f in frames], [0.1, 0.5, 0.9, 1.2])
    assert frames[0].base_from_camera is None
    assert found.mount_source.startswith('none (/tf_static does not join robot and cam_optical')


def test_poses_from_tf_and_a_chained_mount(tmp_path: Path) -> None:
    with BagWriter(tmp_path / 'bag') as bag:
        bag.static_transform('base_link', 'mast', rigid(0, 0.2, 0, 0.2))
        bag.static_transform('mast', 'cam_optical', OPTICAL)
        for frame in range(3):
            bag.transform(stamp(frame), 'map', 'odom', rigid(0, 100))
            bag.transform(stamp(frame), 'odom', 'base_link', forward(frame))
            bag.transform(stamp(frame), 'base_link', 'wheel', rigid(0, 7))
            write_camera(bag, '/cam/image', frames=[frame])
    found, frames = poses_of(tmp_path / 'bag')
    assert found.pose_source.startswith('/tf, odom -> base_link')
    assert found.mount_source == '/tf_static, base_link -> cam_optical'
    np.testing.assert_allclose([f.odom_from_base[0, 3] for f in frames], [0, 1, 2])
    np.testing.assert_allclose(frames[0].base_from_camera[:3, 3], [0.5, 0.1, 1.4])
    np.testing.assert_allclose(frames[0].base_from_camera[:3, 2], [1, 0, 0])


def test_base_frame_beside_the_odometry_child(tmp_path: Path) -> None:
    with BagWriter(tmp_path / 'bag') as bag:
        bag.static_transform('chassis', 'base_link', rigid(0, 0.5))
        bag.static_transform('base_link', 'cam_optical', OPTICAL)
        for frame in range(2):
            bag.odometry('/odom', stamp(frame), rigid(np.pi / 2, frame), child='chassis')
            write_camera(bag, '/cam/image', frames=[frame])
    _, frames = poses_of(tmp_path / 'bag', 'input.base_frame=base_link')
    # 0.5 m ahead of the chassis, which looks along y of odom
    np.testing.assert_allclose(frames[1].odom_from_base, rigid(np.pi / 2, 1, 0.5), atol=1e-12)
    np.testing.assert_allclose(frames[1].base_from_camera, OPTICAL)
    found, frames = poses_of(tmp_path / 'bag', 'input.base_frame=moon')
    assert frames[0].odom_from_base is None
    assert any('does not join chassis and moon' in note for note in found.notes)


def test_no_poses_at_all(tmp_path: Path) -> None:
    with BagWriter(tmp_path / 'bag') as bag:
        bag.static_transform('base_link', 'cam_optical', OPTICAL)
        write_camera(bag, '/cam/image')
    found, frames = poses_of(tmp_path / 'bag')
    assert [f.odom_from_base for f in frames] == [None] * 3
    assert found.pose_source.startswith('none')
    np.testing.assert_allclose(frames[0].base_from_camera, OPTICAL)


def test_odometry_of_another_time_is_refused_in_words(tmp_path: Path) -> None:
    days = 66 * 86400 * 1_000_000_000
    with BagWriter(tmp_path / 'bag') as bag:
        for frame in range(3):
            message = encode.odometry_message(
                encode.header(stamp(frame) - days, 'odom'), 'base_link', forward(frame), (1.0, 0.0)
            )
            bag.write('/odom', stamp(frame), message)
            write_camera(bag, '/cam/image', frames=[frame])
    found, frames = poses_of(tmp_path / 'bag')
    assert [f.odom_from_base for f in frames] == [None] * 3
    note = '/odom: its stamps are 66.0 days older than the images; no poses'
    assert f'note: {note}' in found.lines()


@pytest.mark.parametrize(('pose', 'twist', 'note'), [
    (np.eye(4), (2.0, 0.0), 'reports 2.0 m/s but its position never changes'),
    (None, (0.0, 0.0), 'no valid pose in any message'),
])
def test_odometry_without_poses(tmp_path: Path, pose: Any, twist: Any, note: str) -> None:
    with BagWriter(tmp_path / 'bag') as bag:
        for frame in range(3):
            header = encode.header(stamp(frame), 'odom')
            matrix = np.eye(4) if pose is None else pose
            message = encode.odometry_message(header, 'base_link', matrix, twist)
            if pose is None:
                message.pose.pose.orientation.w = 0.0
            bag.write('/odom', stamp(frame), message)
            write_camera(bag, '/cam/image', frames=[frame])
    found, frames = poses_of(tmp_path / 'bag')
    assert frames[0].odom_from_base is None
    assert any(note in line for line in found.notes)


def test_zero_header_stamps_mean_the_receive_time(tmp_path: Path) -> None:
    with BagWriter(tmp_path / 'bag') as bag:
        for frame in range(2):
            message = encode.odometry_message(
                encode.header(0, 'odom'), 'base_link', forward(frame), (0.0, 0.0))
            bag.write('/odom', stamp(frame), message)
            write_camera(bag, '/cam/image', frames=[frame])
    _, frames = poses_of(tmp_path / 'bag')
    np.testing.assert_allclose([f.odom_from_base[0, 3] for f in frames], [0, 1])


def test_frame_that_is_not_optical_gives_no_mount(tmp_path: Path) -> None:
    with BagWriter(tmp_path / 'bag') as bag:
        bag.static_transform('base_link', 'cam_optical', rigid(0.2, 0.3, 0, 1))
        write_camera(bag, '/cam/image')
    found, frames = poses_of(tmp_path / 'bag')
    assert frames[0].base_from_camera is None
    assert any('cam_optical is no optical frame' in note for note in found.notes)


def test_truth_is_never_a_pose(tmp_path: Path) -> None:
    with BagWriter(tmp_path / 'bag') as bag:
        bag.odometry('/truth/odom', START, forward(5))
        write_camera(bag, '/cam/image')
    _, frames = poses_of(tmp_path / 'bag')
    assert frames[0].odom_from_base is None
    with pytest.raises(BagError, match='no such odometry topic; it has: none'):
        poses_of(tmp_path / 'bag', 'input.odometry_topic=/truth/odom')


def test_odometry_in_the_odom_frame_comes_first(tmp_path: Path) -> None:
    with BagWriter(tmp_path / 'bag') as bag:
        for frame in range(3):
            bag.odometry('/gps', stamp(frame), forward(9), frame='map')
            bag.odometry('/wheels', stamp(frame), forward(frame))
            write_camera(bag, '/cam/image', frames=[frame])
    found, _ = poses_of(tmp_path / 'bag')
    assert found.pose_source.startswith('/wheels, odom -> base_link')
    assert 'odometry not used: /gps' in found.notes


def test_named_odometry(tmp_path: Path) -> None:
    path = write_stereo(tmp_path / 'bag')
    with pytest.raises(BagError, match=r'input.odometry_topic = /gps: .* it has: /odom'):
        poses_of(path, 'input.odometry_topic=/gps')
    assert poses_of(path, 'input.odometry_topic=/odom')[0].image_topic == LEFT


FILED = Transform(parent='robot', child='cam_optical', xyz_m=[0.7, -0.2, 0.9],
                  rpy_rad=[-np.pi / 2 - 0.1, 0, -np.pi / 2]).parent_from_child


def robot_file(path: Path, camera: str = 'cam_optical', base: str = 'robot') -> str:
    """Robot file that puts the camera at FILED through a mast."""
    path.write_text(
        'transforms:\n'
        f'  - {{parent: {base}, child: mast, xyz_m: [0.7, 0, 0.5], rpy_rad: [0, 0, 0]}}\n'
        f'  - {{parent: mast, child: {camera}, xyz_m: [0, -0.2, 0.4],'
        f' rpy_rad: [{-np.pi / 2 - 0.1}, 0, {-np.pi / 2}]}}\n')
    return str(path)


def write_mono(path: Path, *, odometry: bool = True, mount: Any = None) -> Path:
    """One camera, cam_optical; ``mount`` goes to /tf_static, odometry moves ``robot``."""
    with BagWriter(path) as bag:
        if mount is not None:
            bag.static_transform('robot', 'cam_optical', mount)
        for frame in range(2):
            if odometry:
                bag.odometry('/odom', stamp(frame), forward(frame), child='robot')
            write_camera(bag, '/cam/image', frames=[frame])
    return path


@pytest.mark.parametrize(('source', 'in_bag', 'in_file', 'expected'), [
    ('auto', True, True, 'tf'), ('auto', True, False, 'tf'), ('auto', False, True, 'file'),
    ('auto', False, False, 'none'), ('tf', True, True, 'tf'), ('tf', False, True, 'none'),
    ('calibration', True, True, 'file'), ('calibration', False, True, 'file'),
    ('plane', True, True, 'plane'), ('plane', False, False, 'plane'),
])
def test_sources_of_the_mount(
    tmp_path: Path, source: str, in_bag: bool, in_file: bool, expected: str
) -> None:
    path = write_mono(tmp_path / 'bag', mount=OPTICAL if in_bag else None)
    overrides = [f'mount.source={source}']
    name = robot_file(tmp_path / 'rover.yaml')
    if in_file:
        overrides.append(f'mount.calibration={name}')
    found, frames = poses_of(path, *overrides)
    mount, words = {
        'tf': (OPTICAL, '/tf_static, robot -> cam_optical'),
        'file': (FILED, f'{name}, robot -> cam_optical'),
        'plane': (None, 'the ground plane (mount.source = plane)'),
        'none': (None, 'none (/tf_static does not join robot and cam_optical)'),
    }[expected]
    assert found.mount_source == words
    for frame in frames:
        if mount is None:
            assert frame.base_from_camera is None
        else:
            np.testing.assert_allclose(frame.base_from_camera, mount, atol=1e-12)


def test_a_demanded_mount_that_is_missing_stops_the_first_frame(tmp_path: Path) -> None:
    config = load_config(None, ['mount.source=tf'])
    with open_bag(write_mono(tmp_path / 'bag'), config) as source:
        frame = next(source.frames())
    ground = GroundPlane.from_normal(np.array([0.0, -1, 0]), 1.0, frame.camera, 10.0)
    with pytest.raises(CalibrationError, match=r'mount\.source = tf, but no transform leads'):
        odom_from_camera(frame, ground, config.mount)


def test_a_frame_that_is_not_optical_gives_way_to_the_file(tmp_path: Path) -> None:
    path = write_mono(tmp_path / 'bag', mount=rigid(0.2, 0.3, 0, 1))
    name = robot_file(tmp_path / 'rover.yaml')
    found, frames = poses_of(path, f'mount.calibration={name}')
    assert found.mount_source.startswith(name)
    np.testing.assert_allclose(frames[0].base_from_camera, FILED, atol=1e-12)


@pytest.mark.parametrize('base', ['base_link', 'base_footprint', 'robot'])
def test_a_bag_that_names_no_robot_frame_takes_that_of_the_file(tmp_path: Path, base: str) -> None:
    path = write_mono(tmp_path / 'bag', odometry=False)
    name = robot_file(tmp_path / 'rover.yaml', base=base)
    for source in ('auto', 'calibration'):
        found, frames = poses_of(path, f'mount.calibration={name}', f'mount.source={source}')
        assert found.mount_source == f'{name}, {base} -> cam_optical'
        np.testing.assert_allclose(frames[0].base_from_camera, FILED, atol=1e-12)
        assert frames[0].odom_from_base is None


def test_camera_that_only_its_calibration_names(tmp_path: Path) -> None:
    """No frame_id in the image header: that of the CameraInfo, left_optical, is taken."""
    with BagWriter(tmp_path / 'bag') as bag:
        for frame in range(2):
            bag.odometry('/odom', stamp(frame), forward(frame), child='robot')
            bag.camera_info('/cam/camera_info', stamp(frame), CAMERA)
            bag.image('/cam/image', stamp(frame), '', picture(frame), 'bgr8')
    name = robot_file(tmp_path / 'rover.yaml', 'left_optical')
    found, frames = poses_of(tmp_path / 'bag', f'mount.calibration={name}')
    assert found.mount_source == f'{name}, robot -> left_optical'
    np.testing.assert_allclose(frames[0].base_from_camera, FILED, atol=1e-12)


@pytest.mark.parametrize('source', ['auto', 'calibration'])
def test_a_file_that_does_not_fit_the_bag_is_refused(tmp_path: Path, source: str) -> None:
    path = write_mono(tmp_path / 'bag')
    for name, text in (
        (robot_file(tmp_path / 'camera.yaml', 'other_optical'), 'does not join robot and cam_opt'),
        (robot_file(tmp_path / 'base.yaml', base='base_link'), 'does not join robot and cam_opt'),
        (str(tmp_path / 'none.yaml'), r'none\.yaml cannot be read'),
    ):
        with pytest.raises(CalibrationError, match=text):
            poses_of(path, f'mount.source={source}', f'mount.calibration={name}')


def test_a_file_that_is_missing_is_refused_though_the_bag_has_the_mount(tmp_path: Path) -> None:
    path = write_mono(tmp_path / 'bag', mount=OPTICAL)
    with pytest.raises(CalibrationError, match=r'none\.yaml cannot be read'):
        poses_of(path, f'mount.calibration={tmp_path / "none.yaml"}')


def test_the_file_may_name_another_base(tmp_path: Path) -> None:
    """input.base_frame is joined to the odometry by /tf_static, and to the camera by the file."""
    with BagWriter(tmp_path / 'bag') as bag:
        bag.static_transform('chassis', 'robot', rigid(0, 0.5))
        for frame in range(2):
            bag.odometry('/odom', stamp(frame), rigid(np.pi / 2, frame), child='chassis')
            write_camera(bag, '/cam/image', frames=[frame])
    name = robot_file(tmp_path / 'rover.yaml')
    _, frames = poses_of(tmp_path / 'bag', 'input.base_frame=robot', f'mount.calibration={name}')
    np.testing.assert_allclose(frames[1].odom_from_base, rigid(np.pi / 2, 1, 0.5), atol=1e-12)
    np.testing.assert_allclose(frames[1].base_from_camera, FILED, atol=1e-12)


def test_demo_file_equals_the_transforms_of_the_demo_bag(repository: Path) -> None:
    mounts = []
    for source in ('tf', 'calibration'):
        config = load_config(None, [f'mount.source={source}', 'mount.calibration=demo'])
        with open_bag(repository / 'bags' / 'demo', config) as bag:
            mounts.append(next(bag.frames()).base_from_camera)
    np.testing.assert_allclose(mounts[1], mounts[0], rtol=0, atol=1e-9)
