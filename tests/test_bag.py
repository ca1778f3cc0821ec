# SPDX-License-Identifier: Apache-2.0
"""Frames from bags: pixels, matching by stamp, rectification, depth, and bad streams."""

import struct
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from drives import (
    BASELINE_M,
    CAMERA,
    LEFT,
    LEFT_INFO,
    OPTICAL,
    RIGHT,
    RIGHT_INFO,
    START,
    copy,
    old_sqlite,
    picture,
    stamp,
    write_camera,
    write_stereo,
)
from rosbags.rosbag2 import StoragePlugin

from perception import bag_encode as encode
from perception.bag import open_bag
from perception.bag_lens import Lens
from perception.bag_messages import MAX_PIXELS, grey, image_from_message
from perception.bag_writer import BagWriter
from perception.config import Config, load_config
from perception.errors import BagError, CalibrationError, ImageError
from perception.types import Camera, Frame

MS = 1_000_000


def frames_of(path: Path, *overrides: str) -> list[Frame]:
    with open_bag(path, load_config(None, list(overrides))) as source:
        return list(source.frames())


def test_stereo_frames(tmp_path: Path) -> None:
    path = write_stereo(tmp_path / 'bag')
    with open_bag(path, Config()) as source:
        frames = list(source.frames())
        assert len(source) == 3
    for index, frame in enumerate(frames):
        assert frame.stamp_ns == stamp(index)
        assert frame.camera == CAMERA
        assert frame.baseline_m == pytest.approx(BASELINE_M)
        assert frame.depth is None
        np.testing.assert_array_equal(frame.image, picture(index))
        np.testing.assert_array_equal(frame.right, grey(picture(index)))
        assert frame.odom_from_base is not None
        assert frame.odom_from_base[0, 3] == pytest.approx(0.2 * index)
        np.testing.assert_allclose(frame.base_from_camera, OPTICAL)


def test_frames_can_be_asked_for_again(tmp_path: Path) -> None:
    with open_bag(write_stereo(tmp_path / 'bag'), Config()) as source:
        assert [f.stamp_ns for f in source.frames()] == [f.stamp_ns for f in source.frames()]


def test_every_storage_gives_the_same_frames(tmp_path: Path) -> None:
    folder = write_stereo(tmp_path / 'mcap')
    sqlite = copy(folder, tmp_path / 'sqlite', plugin=StoragePlugin.SQLITE3)
    old = old_sqlite(folder, tmp_path / 'old.db3', {})
    expected = frames_of(folder)
    for path in (folder / 'mcap.mcap', sqlite, sqlite / 'sqlite.db3', old):
        for one, other in zip(frames_of(path), expected, strict=True):
            assert one.stamp_ns == other.stamp_ns
            np.testing.assert_array_equal(one.image, other.image)
            np.testing.assert_array_equal(one.right, other.right)


def write_shifted(path: Path, shifts_ms: list[float]) -> Path:
    """Stereo whose right images come later by so much; frame i is 100 i ms."""
    with BagWriter(path) as bag:
        for frame, shift in enumerate(shifts_ms):
            write_camera(bag, LEFT, frames=[frame], channels=1)
            write_camera(bag, RIGHT, frames=[frame], channels=1, baseline_m=BASELINE_M,
                         shift_ns=round(shift * MS))
    return path


def test_matching_keeps_to_the_tolerance(tmp_path: Path) -> None:
    path = write_shifted(tmp_path / 'bag', [0, 15, 20, 25, -19, 60])
    assert [f.stamp_ns for f in frames_of(path)] == [stamp(i) for i in (0, 1, 2, 4)]
    wide = frames_of(path, 'input.sync_tolerance_s=0.03')
    assert [f.stamp_ns for f in wide] == [stamp(i) for i in (0, 1, 2, 3, 4)]
    for frame in wide:
        index = (frame.stamp_ns - START) // (100 * MS)
        np.testing.assert_array_equal(frame.right, picture(index, 1))


def test_matching_takes_the_nearest_not_the_first(tmp_path: Path) -> None:
    with BagWriter(tmp_path / 'bag') as bag:
        write_camera(bag, LEFT, frames=[0, 1], channels=1)
        bag.camera_info(RIGHT_INFO, START, CAMERA, baseline_m=BASELINE_M)
        for seed, shift in enumerate((-15, -5, 8, 90)):
            bag.image(RIGHT, START + shift * MS, 'right', picture(seed, 1), 'mono8')
    first, second = frames_of(tmp_path / 'bag')
    assert (first.stamp_ns, second.stamp_ns) == (stamp(0), stamp(1))
    np.testing.assert_array_equal(first.right, picture(1, 1))
    np.testing.assert_array_equal(second.right, picture(3, 1))


def test_lost_images_lose_their_frames_only(tmp_path: Path) -> None:
    with BagWriter(tmp_path / 'bag') as bag:
        for frame in range(200):
            if frame % 7 != 3:
                write_camera(bag, LEFT, frames=[frame], channels=1)
            if not 20 <= frame < 120:  # the right camera is away for longer than the queue
                write_camera(bag, RIGHT, frames=[frame], channels=1, baseline_m=BASELINE_M)
    expected = [i for i in range(200) if i % 7 != 3 and not 20 <= i < 120]
    frames = frames_of(tmp_path / 'bag')
    assert [f.stamp_ns for f in frames] == [stamp(i) for i in expected]
    np.testing.assert_array_equal(frames[-1].right, picture(expected[-1], 1))


def test_right_images_recorded_all_later(tmp_path: Path) -> None:
    """Receive order may differ from stamp order by some frames."""
    with BagWriter(tmp_path / 'bag') as bag:
        for frame in range(20):
            write_camera(bag, LEFT, frames=[frame], channels=1)
        for frame in range(20):
            bag.camera_info(RIGHT_INFO, stamp(19), CAMERA, baseline_m=BASELINE_M)
            header = encode.header(stamp(frame), 'right_optical')
            message = encode.image_message(header, picture(frame, 1), 'mono8')
            bag.write(RIGHT, stamp(20 + frame), message)
    assert [f.stamp_ns for f in frames_of(tmp_path / 'bag')] == [stamp(i) for i in range(20)]


def test_nothing_matched(tmp_path: Path) -> None:
    path = write_shifted(tmp_path / 'bag', [40, 45, 50])
    with pytest.raises(BagError, match=(
        rf'no image of {LEFT} and {RIGHT} within input.sync_tolerance_s = 0.02 s '
        r'\(nearest: 0.04 s\); raise the tolerance'
    )):
        frames_of(path)


@pytest.mark.parametrize('side', [LEFT, RIGHT])
def test_stamps_running_backwards(tmp_path: Path, side: str) -> None:
    with BagWriter(tmp_path / 'bag') as bag:
        for at, frame in enumerate((0, 1, 2)):
            for topic, baseline in ((LEFT, 0.0), (RIGHT, BASELINE_M)):
                bag.camera_info(topic.replace('image_rect', 'camera_info'), stamp(at), CAMERA,
                                baseline_m=baseline)
                header_at = stamp(0) - 1 if topic == side and at == 2 else stamp(frame)
                header = encode.header(header_at, 'cam')
                bag.write(topic, stamp(at), encode.image_message(header, picture(), 'bgr8'))
    with pytest.raises(BagError, match=(
        rf'{side}: stamps run backwards, 1699999999.999999999 s after 1700000000.100000000 s'
    )):
        frames_of(tmp_path / 'bag')


def test_repeated_stamps_are_one_frame(tmp_path: Path) -> None:
    with BagWriter(tmp_path / 'bag') as bag:
        for frame in (0, 0, 1, 1):
            write_camera(bag, '/cam/image', frames=[frame])
    assert [f.stamp_ns for f in frames_of(tmp_path / 'bag')] == [stamp(0), stamp(1)]


def test_zero_header_stamps_mean_the_receive_time(tmp_path: Path) -> None:
    with BagWriter(tmp_path / 'bag') as bag:
        bag.camera_info('/cam/camera_info', START, CAMERA)
        for frame in range(3):
            message = encode.image_message(encode.header(0, 'cam'), picture(frame), 'bgr8')
            bag.write('/cam/image', stamp(frame), message)
    assert [f.stamp_ns for f in frames_of(tmp_path / 'bag')] == [stamp(i) for i in range(3)]


def dot(u: float, v: float) -> Any:
    rows, columns = np.mgrid[: CAMERA.height, : CAMERA.width]
    return (250 * np.exp(-((columns - u) ** 2 + (rows - v) ** 2) / 4)).astype(np.uint8)


def centre(image: Any) -> Any:
    rows, columns = np.mgrid[: CAMERA.height, : CAMERA.width]
    weight = image.astype(float)
    return np.array([(weight * columns).sum(), (weight * rows).sum()]) / weight.sum()


def test_raw_stereo_is_rectified_to_one_camera(tmp_path: Path) -> None:
    """
    A point at (0.4, 0.2, 2) m; only shifts, by hand.

    Rectified left: u = 40 * 0.2 + 22.5 = 30.5, v = 38 * 0.1 + 17.25 = 21.05. The raw left camera
    has its centre at (20, 15), so it saw (28, 18.8). The right camera sees x = 0.15: rectified
    25.5 = 30.5 - 40 * 0.25 / 2; its raw centre is (24, 18), so it saw (27, 21.8).
    """
    lenses = {
        LEFT: (Lens(np.array([[40.0, 0, 20], [0, 38, 15], [0, 0, 1]])), 0.0, (28, 18.8)),
        RIGHT: (Lens(np.array([[40.0, 0, 24], [0, 38, 18], [0, 0, 1]])), BASELINE_M, (27, 21.8)),
    }
    with BagWriter(tmp_path / 'bag') as bag:
        for topic, (lens, baseline, at) in lenses.items():
            name = topic.replace('image_rect', 'image_raw')
            bag.camera_info(name.replace('image_raw', 'camera_info'), START, CAMERA,
                            baseline_m=baseline, lens=lens)
            bag.image(name, START, 'cam', dot(*at), 'mono8')
    with open_bag(tmp_path / 'bag', Config()) as source:
        assert not source.found.rectified
        (frame,) = source.frames()
    assert frame.right is not None
    np.testing.assert_allclose(centre(frame.image), (30.5, 21.05), atol=0.1)
    np.testing.assert_allclose(centre(frame.right), (25.5, 21.05), atol=0.1)


def test_right_camera_with_another_principal_point_is_shifted(tmp_path: Path) -> None:
    other = Camera(48, 32, 40.0, 38.0, 24.5, 17.25)
    with BagWriter(tmp_path / 'bag') as bag:
        bag.camera_info(LEFT_INFO, START, CAMERA)
        bag.camera_info(RIGHT_INFO, START, other, baseline_m=BASELINE_M)
        bag.image(LEFT, START, 'left', dot(30, 20), 'mono8')
        bag.image(RIGHT, START, 'right', dot(27, 20), 'mono8')
    (frame,) = frames_of(tmp_path / 'bag')
    assert frame.right is not None
    np.testing.assert_allclose(centre(frame.right), (25, 20), atol=0.1)


def test_one_camera(tmp_path: Path) -> None:
    with BagWriter(tmp_path / 'bag') as bag:
        write_camera(bag, '/cam/image_rect', channels=1)
    frames = frames_of(tmp_path / 'bag')
    assert len(frames) == 3
    assert (frames[0].right, frames[0].depth, frames[0].baseline_m) == (None, None, None)
    assert frames[0].image.shape == (32, 48)
    assert frames[0].camera.frame_id == 'cam_optical'


@pytest.mark.parametrize(('replacement', 'kind', 'text'), [
    (np.zeros((30, 48, 3), np.uint8), CalibrationError, 'image is 48 x 30 but /cam/camera_info'),
    (np.zeros((32, 48), np.uint16), ImageError, '/cam/image: turned from colour to uint16'),
])
def test_image_that_changes_on_the_way(
    tmp_path: Path, replacement: Any, kind: type[Exception], text: str
) -> None:
    with BagWriter(tmp_path / 'bag') as bag:
        write_camera(bag, '/cam/image')
        encoding = 'bgr8' if replacement.ndim == 3 else '16UC1'
        bag.image('/cam/image', stamp(3), 'cam', replacement, encoding)
    with open_bag(tmp_path / 'bag', Config()) as source:
        frames = source.frames()
        assert [next(frames).stamp_ns for _ in range(3)] == [stamp(i) for i in range(3)]
        with pytest.raises(kind, match=text):
            next(frames)


def test_memory_does_not_grow_with_the_bag(tmp_path: Path) -> None:
    peaks = []
    for count in (240, 960):
        with BagWriter(tmp_path / str(count)) as bag:
            for frame in range(count):
                write_camera(bag, LEFT, frames=[frame])
                write_camera(bag, RIGHT, frames=[frame], baseline_m=BASELINE_M)
        with open_bag(tmp_path / str(count), Config()) as source:
            tracemalloc.start()
            assert sum(1 for _ in source.frames()) == count
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    assert peaks[1] < 1.3 * peaks[0]


@pytest.mark.data
def test_kitti_drive(data_dir: Path) -> None:
    with open_bag(data_dir / 'bags' / 'kitti_odom06_ros2_mcap', Config()) as source:
        found, frames = source.found, list(source.frames())
    assert (found.kind, found.colour, found.rectified) == ('stereo', False, True)
    assert found.baseline_m == pytest.approx(0.537, abs=1e-3)
    assert len(frames) == found.frames == 51
    assert all(f.image.shape == (370, 1226) for f in frames)
    first, last = frames[0], frames[-1]
    assert first.base_from_camera is not None
    np.testing.assert_allclose(first.base_from_camera[:3, 3], [0, 0, 1.65], atol=1e-9)
    assert last.odom_from_base is not None
    assert last.odom_from_base[0, 3] == pytest.approx(59.82, abs=0.01)


@pytest.mark.data
def test_drive_without_a_camera(data_dir: Path) -> None:
    path = data_dir / 'bags' / 'uf_gps_nav_bag2'
    for bag in (path, path / 'bag2_0.db3'):
        with pytest.raises(BagError, match='no camera: no topic of type sensor_msgs/Image'):
            open_bag(bag, Config())


@pytest.mark.data
def test_one_message_of_every_sensor_type(data_dir: Path) -> None:
    with open_bag(data_dir / 'bags' / 'rerun_all_sensor_msgs.mcap', Config()) as source:
        assert source.found.kind == 'mono'
        for topic in source.topics:
            list(source.messages([topic]))
        (frame,) = source.frames()
    assert frame.image.shape[:2] == (frame.camera.height, frame.camera.width)


def png(width: int, height: int) -> Any:
    """A grey PNG of that size as a message: its header is true, its pixels are cut off."""
    def chunk(name: bytes, data: bytes) -> bytes:
        return (struct.pack('>I', len(data)) + name + data
                + struct.pack('>I', zlib.crc32(name + data)))

    head = struct.pack('>IIBBBBB', width, height, 8, 0, 0, 0, 0)
    data = b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', head) + chunk(b'IDAT', zlib.compress(bytes(9)))
    return encode.make('sensor_msgs/CompressedImage', header=encode.header(1, 'cam'),
                       format='mono8; png compressed ', data=np.frombuffer(data, np.uint8))


@pytest.mark.parametrize(('width', 'height'), [(16_000_001, 1), (4001, 4000), (2**31, 2**31)])
def test_absurd_sizes_are_refused_before_their_bytes_are_touched(width: int, height: int) -> None:
    message = encode.image_message(encode.header(1, 'cam'), picture(), 'bgr8')
    message.width, message.height, message.step = width, height, 3 * width
    with pytest.raises(ImageError, match=(
        rf'^/cam: image of {width} x {height} is larger than 16 megapixels; set the camera'
    )):
        image_from_message(message, '/cam')


def test_a_side_too_long_to_warp_is_refused() -> None:
    wide = np.zeros((2, 40000), np.uint8)
    message = encode.image_message(encode.header(1, 'cam'), wide, 'mono8')
    with pytest.raises(ImageError, match='of 40000 x 2 is larger than 32766 pixels a side; set'):
        image_from_message(message, '/cam')


def test_the_largest_image_is_still_taken() -> None:
    array = np.zeros((4000, 4000), np.uint8)
    assert array.size == MAX_PIXELS
    message = encode.image_message(encode.header(1, 'cam'), array, 'mono8')
    assert image_from_message(message).shape == (4000, 4000)


@pytest.mark.parametrize(('dtype', 'form', 'head'), [
    (np.uint8, 'mono8; png compressed ', b''),
    (np.uint16, '16UC1; compressedDepth png', bytes(12)),
    (np.uint16, '32FC1; compressedDepth', bytes(12)),
], ids=['png', 'depth in mm', 'depth in m'])
def test_small_files_of_absurd_images_are_refused(dtype: Any, form: str, head: bytes) -> None:
    _, data = cv2.imencode('.png', np.zeros((3000, 5334), dtype))
    message = encode.make('sensor_msgs/CompressedImage', header=encode.header(1, 'cam'),
                          format=form, data=np.frombuffer(head + data.tobytes(), np.uint8))
    with pytest.raises(ImageError, match=r'^/cam: image of 5334 x 3000 is larger'):
        image_from_message(message, '/cam')


@pytest.mark.parametrize('depth', [False, True])
def test_a_size_that_opencv_itself_refuses_is_an_error_in_words(depth: bool) -> None:
    message = png(40_000, 40_000)
    if depth:
        message.format = '16UC1; compressedDepth png'
        message.data = np.concatenate([np.zeros(12, np.uint8), message.data])
    with pytest.raises(ImageError, match=r'^/cam: .*png'):
        image_from_message(message, '/cam')
