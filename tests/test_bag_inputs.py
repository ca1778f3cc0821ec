# SPDX-License-Identifier: Apache-2.0
"""Which cameras of a bag are taken, and what is refused in which words."""

from pathlib import Path
from typing import Any

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
    info_message,
    old_sqlite,
    picture,
    write_camera,
    write_stereo,
)

from perception import bag_encode as encode
from perception.bag import Found, open_bag
from perception.bag_writer import BagWriter
from perception.config import load_config
from perception.errors import BagError, CalibrationError, ImageError, PerceptionError
from perception.types import Camera


def found_in(path: Path, *overrides: str) -> Found:
    with open_bag(path, load_config(None, list(overrides))) as source:
        return source.found


def refusal(path: Path, kind: type[PerceptionError], *overrides: str) -> str:
    """The one line with which a bag is refused."""
    with pytest.raises(kind) as caught:
        found_in(path, *overrides)
    assert '\n' not in str(caught.value)
    return str(caught.value)


def write_depth(bag: BagWriter, topic: str, camera: Camera = CAMERA, info: bool = True) -> None:
    depth = np.full((camera.height, camera.width), 1500, np.uint16)
    if info:
        bag.camera_info(topic.rsplit('/', 1)[0] + '/camera_info', START, camera)
    bag.image(topic, START, camera.frame_id, depth, '16UC1')


def test_plain_stereo(tmp_path: Path) -> None:
    found = found_in(write_stereo(tmp_path / 'bag'))
    assert (found.kind, found.image_topic, found.right_image_topic) == ('stereo', LEFT, RIGHT)
    assert found.info_topics == (LEFT_INFO, RIGHT_INFO)
    assert (found.baseline_m, found.frames, found.colour) == (pytest.approx(BASELINE_M), 3, True)
    assert found.camera == CAMERA
    lines = '\n'.join(found.lines())
    for part in (f'stereo pair: {LEFT} + {RIGHT}', '48 x 32, colour, recorded rectified',
                 'baseline 0.250 m', 'frames: up to 3, matched by stamp within 0.02 s',
                 'poses: /odom, odom -> base_link', 'mount: /tf_static, base_link -> left_opt'):
        assert part in lines


def test_rectified_before_raw_and_colour_before_grey(tmp_path: Path) -> None:
    with BagWriter(tmp_path / 'bag') as bag:
        for side, baseline in (('left', 0.0), ('right', BASELINE_M)):
            for name, channels in (('image_raw', 3), ('image_rect', 1), ('image_rect_color', 3)):
                write_camera(bag, f'/stereo/{side}/{name}', baseline_m=baseline, channels=channels)
    found = found_in(tmp_path / 'bag')
    assert found.image_topic == '/stereo/left/image_rect_color'
    assert found.right_image_topic == '/stereo/right/image_rect_color'
    assert found_in(tmp_path / 'bag', 'input.image_topic=/stereo/left/image_rect').colour is False


def test_two_rigs_of_one_model_are_not_mixed(tmp_path: Path) -> None:
    with BagWriter(tmp_path / 'bag') as bag:
        for rig in ('rear', 'front'):
            write_camera(bag, f'/{rig}_right/image_rect', baseline_m=BASELINE_M)
            write_camera(bag, f'/{rig}_left/image_rect')
    found = found_in(tmp_path / 'bag')
    assert (found.image_topic, found.right_image_topic) == (
        '/front_left/image_rect', '/front_right/image_rect')
    assert any('more stereo pair(s) not used' in note for note in found.notes)
    found = found_in(tmp_path / 'bag', 'input.image_topic=/rear_left/image_rect')
    assert found.right_image_topic == '/rear_right/image_rect'


def test_colour_pair_whose_left_camera_is_not_the_origin(tmp_path: Path) -> None:
    """KITTI's colour pair: P of both carries an offset, the baseline is the difference."""
    with BagWriter(tmp_path / 'bag') as bag:
        write_camera(bag, '/kitti/0/image_rect', channels=1)
        write_camera(bag, '/kitti/1/image_rect', baseline_m=0.54, channels=1)
        write_camera(bag, '/kitti/2/image_rect', baseline_m=-0.06)
        write_camera(bag, '/kitti/3/image_rect', baseline_m=0.48)
    found = found_in(tmp_path / 'bag')
    assert (found.image_topic, found.right_image_topic) == (
        '/kitti/2/image_rect', '/kitti/3/image_rect')
    assert found.baseline_m == pytest.approx(0.54)


def test_baseline_from_tf_where_p_lacks_it(tmp_path: Path) -> None:
    path = write_stereo(tmp_path / 'source', baseline_m=0.0)
    text = refusal(path, BagError)
    assert f'{RIGHT_INFO}: P[3] = 0 carries no stereo baseline' in text
    shifted = OPTICAL.copy()
    shifted[1, 3] -= 0.3  # 0.3 m to the right of the left camera, +x of the optical frame
    with BagWriter(tmp_path / 'bag') as bag:
        bag.static_transform('base_link', 'left_optical', OPTICAL)
        bag.static_transform('base_link', 'right_optical', shifted)
        write_camera(bag, LEFT)
        bag.camera_info(RIGHT_INFO, START, CAMERA)
        bag.image(RIGHT, START, 'right_optical', picture(), 'bgr8')
    assert found_in(tmp_path / 'bag').baseline_m == pytest.approx(0.3)


def test_rgbd_by_frame_and_by_size(tmp_path: Path) -> None:
    with BagWriter(tmp_path / 'frame') as bag:
        write_camera(bag, '/rgb/image_rect')
        rgb = Camera(24, 16, 20.0, 19.0, 11.0, 8.375, 'rgb_optical')  # half the size, same frame
        write_depth(bag, '/depth/image', rgb)
    found = found_in(tmp_path / 'frame')
    assert (found.kind, found.depth_topic) == ('rgbd', '/depth/image')
    with BagWriter(tmp_path / 'size') as bag:
        write_camera(bag, '/rgb/image_rect')
        write_depth(bag, '/aligned', info=False)
    assert found_in(tmp_path / 'size').depth_topic == '/aligned'


def test_confidence_map_is_not_taken_for_depth(tmp_path: Path) -> None:
    with BagWriter(tmp_path / 'bag') as bag:
        write_camera(bag, '/zed/left/image_rect')
        for topic in ('/zed/confidence/map', '/zed/depth/depth_registered'):
            write_depth(bag, topic)
    assert found_in(tmp_path / 'bag').depth_topic == '/zed/depth/depth_registered'


def test_left_and_right_of_one_name_are_the_pair(tmp_path: Path) -> None:
    with BagWriter(tmp_path / 'bag') as bag:
        for name, baseline in (('left', 0.0), ('rgb', 0.0), ('right', BASELINE_M)):
            write_camera(bag, f'/zed/{name}/image_rect', baseline_m=baseline)
    assert found_in(tmp_path / 'bag').image_topic == '/zed/left/image_rect'


def test_depth_that_is_not_registered(tmp_path: Path) -> None:
    with BagWriter(tmp_path / 'bag') as bag:
        write_camera(bag, '/rgb/image_rect')
        write_depth(bag, '/depth/image', Camera(48, 32, 60.0, 57.0, 22.5, 17.25, 'ir_optical'))
    found = found_in(tmp_path / 'bag')
    assert found.kind == 'mono'
    assert any('/depth/image not used: not registered' in note for note in found.notes)
    assert found_in(tmp_path / 'bag', 'input.depth_topic=/depth/image').kind == 'rgbd'


def test_stereo_before_rgbd_before_mono(tmp_path: Path) -> None:
    with BagWriter(tmp_path / 'bag') as bag:
        write_camera(bag, LEFT)
        write_camera(bag, RIGHT, baseline_m=BASELINE_M)
        write_depth(bag, '/stereo/depth/image')
    assert found_in(tmp_path / 'bag').kind == 'stereo'
    found = found_in(tmp_path / 'bag', 'input.depth_topic=/stereo/depth/image')
    assert (found.kind, found.image_topic) == ('rgbd', LEFT)
    path = copy(tmp_path / 'bag', tmp_path / 'mono', keep=lambda t: t in (LEFT, LEFT_INFO))
    assert found_in(path).kind == 'mono'


def test_mono_takes_the_first_colour_camera_and_says_so(tmp_path: Path) -> None:
    with BagWriter(tmp_path / 'bag') as bag:
        for name, channels in (('a', 1), ('b', 3), ('c', 3)):
            write_camera(bag, f'/{name}/image_raw', channels=channels)
    found = found_in(tmp_path / 'bag')
    assert (found.kind, found.image_topic) == ('mono', '/b/image_raw')
    assert '2 more camera(s) not used; choose with input.image_topic' in found.notes
    assert found_in(tmp_path / 'bag', 'input.image_topic=/c/image_raw').image_topic[1] == 'c'


def test_compressed_topics_have_their_info_beside_the_base_name(tmp_path: Path) -> None:
    with BagWriter(tmp_path / 'bag') as bag:
        bag.camera_info('/camera_info', START, CAMERA)
        bag.compressed('/image/compressed', START, 'cam', picture())
        bag.image('/overlay/image', START, 'cam', picture(), 'bgr8')
    found = found_in(tmp_path / 'bag', 'input.image_topic=/image')
    assert (found.image_topic, found.info_topics) == ('/image/compressed', ('/camera_info',))
    assert any('no CameraInfo for /overlay/image' in note for note in found.notes)


def test_uncompressed_is_preferred(tmp_path: Path) -> None:
    with BagWriter(tmp_path / 'bag') as bag:
        bag.compressed('/cam/image/compressed', START, 'cam', picture())
        write_camera(bag, '/cam/image')
    assert found_in(tmp_path / 'bag').image_topic == '/cam/image'


def test_no_camera(tmp_path: Path) -> None:
    with BagWriter(tmp_path / 'bag') as bag:
        bag.odometry('/odom', START, np.eye(4))
        bag.image('/truth/left/class', START, 'cam', picture(channels=1), 'mono8')
    text = refusal(tmp_path / 'bag', BagError)
    assert 'no camera: no topic of type sensor_msgs/Image' in text
    assert '/odom' in text


def test_zero_frames(tmp_path: Path) -> None:
    path = write_stereo(tmp_path / 'source')
    empty = copy(path, tmp_path / 'bag', keep=lambda t: t != RIGHT)
    text = refusal(empty, BagError)
    assert f'{RIGHT_INFO} is the right camera of a stereo pair, but no image topic' in text
    with BagWriter(tmp_path / 'none') as bag:
        bag.write('/cam/image', START, encode.image_message(encode.header(START, 'c'), picture(),
                                                            'bgr8'))
    file = tmp_path / 'none' / 'metadata.yaml'
    file.write_text(file.read_text().replace('message_count: 1', 'message_count: 0'))
    assert 'zero frames: no message on /cam/image' in refusal(tmp_path / 'none', BagError)


def test_no_camera_info(tmp_path: Path) -> None:
    path = write_stereo(tmp_path / 'source')
    bare = copy(path, tmp_path / 'bare', keep=lambda t: 'info' not in t)
    text = refusal(bare, BagError)
    assert f'no CameraInfo for {LEFT}; looked for {LEFT_INFO} and {LEFT}/camera_info' in text
    half = copy(path, tmp_path / 'half', keep=lambda t: t != RIGHT_INFO)
    assert f'no CameraInfo for {RIGHT}; looked for {RIGHT_INFO}' in refusal(half, BagError)
    named = found_in(half, f'input.image_topic={LEFT}')
    assert named.kind == 'mono'
    assert f'no CameraInfo for {RIGHT}' in refusal(half, BagError,
                                                   f'input.right_image_topic={RIGHT}')


def test_right_camera_alone(tmp_path: Path) -> None:
    source = write_stereo(tmp_path / 'source')
    path = copy(source, tmp_path / 'bag', keep=lambda t: 'left' not in t)
    assert f'no left camera for {RIGHT} (48 x 32' in refusal(path, BagError)
    assert found_in(path, f'input.image_topic={RIGHT}').kind == 'mono'


def test_named_topics_that_are_not_there(tmp_path: Path) -> None:
    path = write_stereo(tmp_path / 'bag')
    for key, held in (('image_topic', LEFT), ('right_image_topic', LEFT), ('depth_topic', 'none')):
        text = refusal(path, BagError, f'input.{key}=/nowhere')
        assert f'input.{key} = /nowhere: no such' in text
        assert held in text


def with_left(tmp_path: Path, image: Any = None, info: Any = None) -> Path:
    """Stereo bag whose left image or left CameraInfo is replaced."""
    header = encode.header(START, 'left_optical')
    with BagWriter(tmp_path / 'bag') as bag:
        bag.write(LEFT_INFO, START, info or info_message())
        bag.write(LEFT, START, image or encode.image_message(header, picture(), 'bgr8'))
        write_camera(bag, RIGHT, baseline_m=BASELINE_M)
    return tmp_path / 'bag'


@pytest.mark.parametrize(('changes', 'text'), [
    ({'encoding': 'weird'}, f"{LEFT}: unknown encoding 'weird'"),
    ({'width': 0}, f'{LEFT}: image of size 0 x 32'),
    ({'step': 1}, f'{LEFT}: step 1 is less than 144'),
])
def test_broken_left_image_is_not_taken_for_a_missing_camera(
    tmp_path: Path, changes: dict[str, Any], text: str
) -> None:
    message = encode.image_message(encode.header(START, 'left_optical'), picture(), 'bgr8')
    for name, value in changes.items():
        setattr(message, name, value)
    assert text in refusal(with_left(tmp_path, image=message), ImageError)


@pytest.mark.parametrize(('changes', 'text'), [
    ({'width': 50}, f'{LEFT}: image is 48 x 32 but {LEFT_INFO} says 50 x 32'),
    ({'k': np.full(9, np.nan)}, f'{LEFT_INFO}: K holds NaN'),
    ({'p': -info_message().p}, f'{LEFT_INFO}: focal length P[0] = -40 px'),
])
def test_broken_left_calibration(tmp_path: Path, changes: dict[str, Any], text: str) -> None:
    path = with_left(tmp_path, info=info_message(**changes))
    assert text in refusal(path, CalibrationError)


def test_baseline_in_millimetres(tmp_path: Path) -> None:
    text = refusal(write_stereo(tmp_path / 'bag', baseline_m=250.0), CalibrationError)
    assert f'{RIGHT_INFO}: P[3] = -10000 means a baseline of 250 m' in text


def test_skipped_types_are_listed(tmp_path: Path) -> None:
    source = write_stereo(tmp_path / 'source')
    path = old_sqlite(source, tmp_path / 'old.db3', {'/drive': 'ackermann_msgs/msg/Drive'})
    found = found_in(path)
    assert found.kind == 'stereo'
    assert 'skipped: /drive: type ackermann_msgs/msg/Drive is not defined in the bag' in (
        found.lines())
