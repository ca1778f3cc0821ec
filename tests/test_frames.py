# SPDX-License-Identifier: Apache-2.0
"""Frames from messages, without a bag: pixels, rectification, depth and what is refused."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from drives import BASELINE_M, CAMERA, OPTICAL, forward, info_message, picture

from perception import bag_encode as encode
from perception.bag_inputs import Inputs
from perception.bag_lens import Lens, calibration_from_info
from perception.bag_messages import grey
from perception.bag_topics import CameraTopic
from perception.errors import CalibrationError, ImageError
from perception.frames import FrameBuilder
from perception.types import Camera, Frame

HEADER = encode.header(5, 'left_optical')
SHIFTED = np.array([40.0, 0, 25.5, 0, 38, 21.25, 0, 0, 1])  # raw centre: 3 right, 4 down


def topic(name: str, pixels: Any = 'colour', info: Any = None, **changes: Any) -> CameraTopic:
    """A topic of CAMERA's size, as its first message gives it; None = no CameraInfo."""
    calibration = None if info is None else calibration_from_info(info)
    camera = CameraTopic(name, name.rsplit('/', 1)[0] + '/camera_info', pixels, CAMERA.width,
                         CAMERA.height, 'left_optical', 0, calibration)
    return replace(camera, **changes)


def image(array: Any) -> Any:
    encoding = {(3, 1): 'bgr8', (2, 1): 'mono8', (2, 2): '16UC1', (2, 4): '32FC1'}
    return encode.image_message(HEADER, array, encoding[array.ndim, array.itemsize])


def mono(**info: Any) -> Inputs:
    return Inputs('mono', topic('/cam/image', info=info_message(**info)))


def stereo(right: Any = None, left: Any = None, name: str = 'image_rect') -> Inputs:
    return Inputs('stereo', topic(f'/left/{name}', info=left or info_message()),
                  right=topic(f'/right/{name}', info=right or info_message()),
                  baseline_m=BASELINE_M)


def rgbd(name: str = 'image_raw', depth: str = '/depth/image', **info: Any) -> Inputs:
    return Inputs('rgbd', topic(f'/rgb/{name}', info=info_message(**info)),
                  depth=topic(depth, 'depth'))


def build(inputs: Inputs, *arrays: Any) -> Frame:
    return FrameBuilder.of(inputs).build(5, *(image(array) for array in arrays))


def test_one_rectified_camera_keeps_its_pixels() -> None:
    builder = FrameBuilder.of(mono())
    assert builder.rectified
    assert builder.camera == CAMERA
    frame = builder.build(7, image(picture()), odom_from_base=forward(2.0),
                          base_from_camera=OPTICAL)
    np.testing.assert_array_equal(frame.image, picture())
    assert (frame.stamp_ns, frame.camera) == (7, CAMERA)
    assert (frame.right, frame.depth, frame.baseline_m) == (None, None, None)
    np.testing.assert_array_equal(frame.odom_from_base, forward(2.0))
    np.testing.assert_array_equal(frame.base_from_camera, OPTICAL)
    grey_frame = build(mono(), picture(channels=1))
    np.testing.assert_array_equal(grey_frame.image, picture(channels=1))
    assert grey_frame.odom_from_base is None
    assert grey_frame.base_from_camera is None


def test_frame_of_the_image_header_names_the_camera() -> None:
    named = Inputs('mono', topic('/cam/image', info=info_message(), frame_id='mast_optical'))
    assert FrameBuilder.of(named).camera == replace(CAMERA, frame_id='mast_optical')
    nameless = Inputs('mono', topic('/cam/image', info=info_message(), frame_id=''))
    assert FrameBuilder.of(nameless).camera.frame_id == 'left_optical'  # that of the CameraInfo


def test_pair_is_grey_on_the_right() -> None:
    frame = build(stereo(), picture(1), picture(2))
    np.testing.assert_array_equal(frame.image, picture(1))
    np.testing.assert_array_equal(frame.right, grey(picture(2)))
    assert frame.baseline_m == BASELINE_M
    assert frame.depth is None


def test_whole_pixel_rectification_by_hand() -> None:
    """Raw centre (25.5, 21.25), rectified (22.5, 17.25): all moves 3 left and 4 up."""
    inputs = mono(k=SHIFTED)
    assert not FrameBuilder.of(inputs).rectified
    frame = build(inputs, picture())
    np.testing.assert_array_equal(frame.image[:28, :45], picture()[4:, 3:])
    assert not frame.image[28:].any()
    assert not frame.image[:, 45:].any()
    assert frame.camera == CAMERA


def bilinear(array: Any, u: float, v: float) -> float:
    """Naive twin: the four pixels around (u, v), nothing outside."""
    value = 0.0
    for row in range(array.shape[0]):
        for column in range(array.shape[1]):
            share = max(0.0, 1 - abs(u - column)) * max(0.0, 1 - abs(v - row))
            value += share * float(array[row, column])
    return value


def test_rectification_against_a_naive_twin() -> None:
    """Other focal lengths, centre, lens and turn: each pixel's ray is followed by hand."""
    k, d = np.array([42.0, 0, 20.25, 0, 39.5, 15.5, 0, 0, 1]), np.array([-0.2, 0.05, 0, 0, 0])
    cos, sin = np.cos(0.05), np.sin(0.05)
    turn = np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])  # raw -> rectified
    smooth = np.add.outer(3.0 * np.arange(32), 2.0 * np.arange(48)).astype(np.uint8)
    frame = build(mono(k=k, d=d, r=turn.ravel()), smooth)
    for v, u in ((5, 9), (17, 30), (28, 12), (20, 44)):
        ray = turn.T @ [(u - CAMERA.cx) / CAMERA.fx, (v - CAMERA.cy) / CAMERA.fy, 1.0]
        x, y = ray[:2] / ray[2]
        bend = 1 + d[0] * (x * x + y * y) + d[1] * (x * x + y * y) ** 2
        expected = bilinear(smooth, k[0] * x * bend + k[2], k[4] * y * bend + k[5])
        assert frame.image[v, u] == pytest.approx(expected, abs=1.0)


def test_right_camera_with_another_centre_is_moved_to_the_left_one() -> None:
    other = encode.camera_info_message(0, Camera(48, 32, 40.0, 38.0, 24.5, 17.25), BASELINE_M)
    inputs = stereo(right=other)
    assert not FrameBuilder.of(inputs).rectified
    frame = build(inputs, picture(1), picture(2, 1))
    np.testing.assert_array_equal(frame.image, picture(1))
    np.testing.assert_array_equal(frame.right[:, :46], picture(2, 1)[:, 2:])


def test_each_raw_camera_of_a_pair_has_its_own_lens() -> None:
    inputs = stereo(info_message(k=np.array([40.0, 0, 23.5, 0, 38, 16.25, 0, 0, 1])),
                    info_message(k=SHIFTED), 'image_raw')
    frame = build(inputs, picture(1, 1), picture(2, 1))
    np.testing.assert_array_equal(frame.image[:28, :45], picture(1, 1)[4:, 3:])
    np.testing.assert_array_equal(frame.right[1:, :47], picture(2, 1)[:-1, 1:])


def test_depth_in_metres_and_holes() -> None:
    millimetres = np.full((32, 48), 1500, np.uint16)
    millimetres[3, 5] = 0
    depth = build(rgbd(), picture(), millimetres).depth
    assert depth is not None
    assert np.argwhere(np.isnan(depth)).tolist() == [[3, 5]]
    assert depth[0, 0] == pytest.approx(1.5)


def nearest(depth: Any, shape: tuple[int, int]) -> Any:
    """Naive twin: the pixel whose area holds the centre of the larger one's pixel."""
    grown = np.empty(shape, depth.dtype)
    for i in range(shape[0]):
        for j in range(shape[1]):
            grown[i, j] = depth[int((i + 0.5) * depth.shape[0] / shape[0]),
                                int((j + 0.5) * depth.shape[1] / shape[1])]
    return grown


@pytest.mark.parametrize('size', [(16, 24), (64, 96), (12, 18)])
def test_depth_of_another_size_takes_the_nearest(size: tuple[int, int]) -> None:
    metres = np.random.default_rng(1).uniform(0.5, 20, size).astype(np.float32)
    metres[2, 7] = np.nan
    depth = build(rgbd(), picture(), metres).depth
    np.testing.assert_array_equal(depth, nearest(metres, (32, 48)))


@pytest.mark.parametrize(('name', 'moved'), [('/depth/image', True), ('/depth/image_rect', False)])
def test_raw_depth_is_rectified_without_mixing(name: str, moved: bool) -> None:
    metres = np.random.default_rng(2).choice([1.0, 9.0], (32, 48)).astype(np.float32)
    metres[10, 20] = np.nan
    depth = build(rgbd(depth=name, k=SHIFTED), picture(), metres).depth
    assert depth is not None
    if moved:
        np.testing.assert_array_equal(depth[:28, :45], metres[4:, 3:])
        assert np.isnan(depth[28:]).all()
        assert np.isnan(depth[:, 45:]).all()
    else:
        np.testing.assert_array_equal(depth, metres)


def test_depth_beside_a_rectified_image_stays() -> None:
    metres = np.full((32, 48), 2.5, np.float32)
    np.testing.assert_array_equal(build(rgbd(), picture(), metres).depth, metres)


@pytest.mark.parametrize(('inputs', 'arrays', 'kind', 'text'), [
    (mono(), [np.zeros((30, 48, 3), np.uint8)], CalibrationError,
     '/cam/image: image is 48 x 30 but /cam/camera_info says 48 x 32'),
    (mono(), [np.zeros((32, 48), np.uint16)], ImageError,
     '/cam/image: turned from colour to uint16 pixels'),
    (stereo(), [picture(), np.zeros((32, 40), np.uint8)], CalibrationError,
     '/right/image_rect: image is 40 x 32 but /right/camera_info says 48 x 32'),
    (stereo(), [picture(), np.zeros((32, 48), np.float32)], ImageError,
     '/right/image_rect: turned from colour to float32'),
    (rgbd(), [picture(), picture()], ImageError, '/depth/image: turned from depth to uint8'),
])
def test_images_that_contradict_their_calibration(
    inputs: Inputs, arrays: list[Any], kind: type[Exception], text: str
) -> None:
    with pytest.raises(kind, match=text):
        build(inputs, *arrays)


def test_lens_is_not_asked_for_where_the_topic_says_rectified() -> None:
    """The CameraInfo beside image_rect still holds the raw lens: it must not be applied again."""
    raw = encode.camera_info_message(0, CAMERA, lens=Lens(SHIFTED.reshape(3, 3)))
    inputs = Inputs('mono', topic('/cam/image_rect_color', info=raw))
    assert FrameBuilder.of(inputs).rectified
    np.testing.assert_array_equal(build(inputs, picture()).image, picture())
