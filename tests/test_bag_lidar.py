# SPDX-License-Identifier: Apache-2.0
"""A lidar in place of stereo, and a bumper: what a bag gives, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
from drives import (
    BASELINE_M,
    CAMERA,
    LEFT,
    OPTICAL,
    RIGHT,
    SECOND,
    START,
    forward,
    stamp,
    write_camera,
)

from perception import bag_encode as encode
from perception.bag import open_bag
from perception.bag_writer import BagWriter
from perception.bumper import Bumper
from perception.config import load_config
from perception.errors import BagError, CalibrationError, ImageError, MessageError, PerceptionError
from perception.types import Frame

POINTS, BUMPER = '/os/points', '/bumper'
LIDAR = np.array([[0.0, 1, 0, -0.1], [-1, 0, 0, 0.2], [0, 0, 1, 1.5], [0, 0, 0, 1]])
MS = 1_000_000
TAKE = (f'input.lidar_topic={POINTS}',)


def wall(distance_m: float) -> dict[str, np.ndarray]:
    """Points of a wall before the camera, in the frame of the lidar."""
    u, v = (part.ravel() for part in np.meshgrid(np.arange(48.0), np.arange(0, 32.0, 2)))
    optical = np.stack([(u - CAMERA.cx) / CAMERA.fx, (v - CAMERA.cy) / CAMERA.fy,
                        np.ones(len(u)), np.ones(len(u)) / distance_m], -1) * distance_m
    points = optical @ (np.linalg.inv(LIDAR) @ OPTICAL).T
    return dict(zip('xyz', points.T[:3], strict=True))


def write_lidar(
    path: Path, *, shift_ms: int = 50, joined: bool = True, stereo: bool = False,
    columns: dict[str, np.ndarray] | None = None, frames: int = 3,
) -> Path:
    with BagWriter(path) as bag:
        bag.static_transform('base_link', 'left_optical', OPTICAL)
        if joined:
            bag.static_transform('base_link', 'os_sensor', LIDAR)
        for frame in range(frames):
            bag.odometry('/odom', stamp(frame), forward(0.2 * frame))
            write_camera(bag, LEFT, frames=[frame])
            if stereo:
                write_camera(bag, RIGHT, frames=[frame], baseline_m=BASELINE_M)
            bag.points(POINTS, stamp(frame) + shift_ms * MS, 'os_sensor',
                       columns if columns is not None else wall(5.0 + frame))
    return path


def frames_of(path: Path, *overrides: str) -> list[Frame]:
    with open_bag(path, load_config(None, list(overrides))) as source:
        return list(source.frames())


def refusal(path: Path, kind: type[PerceptionError], *overrides: str) -> str:
    with pytest.raises(kind) as caught:
        frames_of(path, *overrides)
    assert '\n' not in str(caught.value)
    return str(caught.value)


def test_a_named_lidar_gives_depth_in_place_of_stereo(tmp_path: Path) -> None:
    path = write_lidar(tmp_path / 'bag', stereo=True)
    frames = frames_of(path, *TAKE)
    for number, frame in enumerate(frames):
        assert (frame.stamp_ns, frame.right, frame.bumped) == (stamp(number), None, False)
        assert frame.depth is not None
        np.testing.assert_allclose(frame.depth, 5 + number, rtol=1e-4)
    assert len(frames) == 3
    assert frames_of(path)[0].right is not None  # a lidar is never found by itself
    with open_bag(path, load_config(None, list(TAKE))) as source:
        lines = '\n'.join(source.found.lines())
        assert source.found.kind == 'lidar'
    assert f'camera and lidar: {LEFT} + {POINTS}' in lines
    assert 'frames: up to 3, matched by stamp within 0.06 s' in lines


def test_the_transform_may_come_from_a_robot_file(tmp_path: Path) -> None:
    path = write_lidar(tmp_path / 'bag', joined=False)
    text = refusal(path, CalibrationError, *TAKE)
    assert f'{POINTS}: no transform left_optical <- os_sensor on /tf_static' in text
    (tmp_path / 'robot.yaml').write_text(
        'transforms:\n- {parent: base_link, child: left_optical, xyz_m: [0.3, 0.1, 1.2], '
        'quaternion_xyzw: [-0.5, 0.5, -0.5, 0.5]}\n'
        '- {parent: base_link, child: os_sensor, xyz_m: [-0.1, 0.2, 1.5], '
        'rpy_rad: [0, 0, -1.5707963267948966]}\n')
    frames = frames_of(path, *TAKE, f'mount.calibration={tmp_path / "robot.yaml"}')
    assert frames[0].depth is not None
    np.testing.assert_allclose(frames[0].depth, 5, rtol=1e-4)


def test_bad_lidar_input_is_refused_in_one_line(tmp_path: Path) -> None:
    path = write_lidar(tmp_path / 'late', shift_ms=70, frames=1)
    text = refusal(path, BagError, *TAKE)
    assert f'no image of {LEFT} and {POINTS} within input.lidar_tolerance_s = 0.06 s' in text
    assert 'nearest: 0.07 s' in text
    assert 'no such point cloud topic; it has: /os/points' in refusal(
        path, BagError, 'input.lidar_topic=/velodyne')
    assert 'is a nav_msgs/Odometry, not a sensor_msgs/PointCloud2' in refusal(
        path, BagError, 'input.lidar_topic=/odom')
    assert 'leave one empty' in refusal(path, BagError, *TAKE, f'input.depth_topic={LEFT}')
    none = {name: np.empty(0) for name in 'xyz'}
    path = write_lidar(tmp_path / 'empty', columns=none)
    assert f'{POINTS}: a cloud of zero points' in refusal(path, MessageError, *TAKE)
    path = write_lidar(tmp_path / 'flat', columns={'x': np.ones(2), 'y': np.ones(2)})
    assert 'no field z' in refusal(path, MessageError, *TAKE)
    behind = dict(zip('xyz', np.array([[0.0], [-3.0], [0.0]]), strict=True))
    path = write_lidar(tmp_path / 'behind', columns=behind)
    assert f'no point of the first 3 clouds is in view of {LEFT}' in refusal(
        path, ImageError, *TAKE)


def write_bumper(path: Path, presses: list[tuple[int, bool]]) -> Path:
    """Camera at 10 Hz, and (ms, pressed) of a bumper."""
    told = sorted((START + ms * MS, down) for ms, down in presses)
    with BagWriter(path) as bag:
        for frame in range(6):
            while told and told[0][0] < stamp(frame):
                at, down = told.pop(0)
                bag.write(BUMPER, at, encode.make('std_msgs/Bool', data=down))
            write_camera(bag, LEFT, frames=[frame])
            write_camera(bag, RIGHT, frames=[frame], baseline_m=BASELINE_M)
    return path


def test_a_press_belongs_to_the_first_frame_after_it(tmp_path: Path) -> None:
    path = write_bumper(tmp_path / 'bag', [
        (50, False), (110, True), (120, True), (130, True), (210, True), (310, False),
        (320, True), (330, False), (340, True)])
    bumped = [frame.bumped for frame in frames_of(path, f'input.bumper_topic={BUMPER}')]
    assert bumped == [False, False, True, False, True, False]
    assert not any(frame.bumped for frame in frames_of(path))
    with open_bag(path, load_config(None, [f'input.bumper_topic={BUMPER}'])) as source:
        assert f'bumper: {BUMPER}' in source.found.lines()


def test_a_bumper_that_is_none_is_refused(tmp_path: Path) -> None:
    path = write_bumper(tmp_path / 'bag', [(110, True)])
    text = refusal(path, BagError, f'input.bumper_topic={LEFT}')
    assert f'input.bumper_topic = {LEFT}: no such std_msgs/Bool topic' in text
    assert f'it has: {BUMPER}' in text


def test_presses_of_dropped_frames_are_handed_on() -> None:
    bumper = Bumper()
    bumper.tell(True)
    bumper.image(10)
    bumper.image(20)
    bumper.tell(False)
    bumper.tell(True)
    bumper.image(30)
    assert (bumper.take(20), bumper.take(20), bumper.take(SECOND)) == (True, False, True)
    assert bumper.presses == 2
    bumper.tell(False)
    bumper.tell(True)
    bumper.image(40)
    bumper.clear()
    assert not bumper.take(SECOND)
