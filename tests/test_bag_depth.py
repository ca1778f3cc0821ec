# SPDX-License-Identifier: Apache-2.0
"""RGB-D frames: metres, invalid values, other sizes, rectification, blind cameras."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drives import info_message, picture, stamp

from perception.bag import open_bag
from perception.bag_writer import BagWriter
from perception.config import Config
from perception.errors import ImageError
from perception.types import Frame

MS = 1_000_000


def frames_of(path: Path) -> list[Frame]:
    with open_bag(path, Config()) as source:
        return list(source.frames())


def write_rgbd(path: Path, depths: list[Any], encoding: str, **info: Any) -> Path:
    with BagWriter(path) as bag:
        for frame, depth in enumerate(depths):
            bag.write('/rgb/camera_info', stamp(frame), info_message(**info))
            bag.image('/rgb/image_raw', stamp(frame), 'cam', picture(frame), 'bgr8')
            bag.image('/depth/image', stamp(frame) + 5 * MS, 'cam', depth, encoding)
    return path


def test_rgbd_frames_in_metres(tmp_path: Path) -> None:
    depth = np.zeros((32, 48), np.uint16)
    depth[4, 7] = 2345
    metres = np.where(depth > 0, depth / 1000, np.inf).astype(np.float32)
    for name, array, encoding in (('mm', depth, '16UC1'), ('m', metres, '32FC1')):
        (frame,) = frames_of(write_rgbd(tmp_path / name, [array], encoding))
        assert frame.depth is not None
        assert frame.depth.dtype == np.float32
        assert np.argwhere(np.isfinite(frame.depth)).tolist() == [[4, 7]]
        assert frame.depth[4, 7] == pytest.approx(2.345)
        assert (frame.right, frame.baseline_m) == (None, None)


def test_depth_of_raw_pixels_is_rectified_with_the_image(tmp_path: Path) -> None:
    """The raw centre lies 3 columns right of the rectified one, so everything moves left by 3."""
    depth = np.tile(np.arange(1, 49, dtype=np.uint16) * 100, (32, 1))
    k = np.array([40.0, 0, 25.5, 0, 38, 17.25, 0, 0, 1])
    (frame,) = frames_of(write_rgbd(tmp_path / 'bag', [depth], '16UC1', k=k))
    np.testing.assert_array_equal(frame.image[:, :45], picture(0)[:, 3:])
    assert frame.depth is not None
    np.testing.assert_allclose(frame.depth[:, :45], depth[:, 3:] / 1000, rtol=1e-6)
    assert np.isnan(frame.depth[:, 45:]).all()


def test_smaller_depth_of_the_same_frame_is_enlarged_without_mixing(tmp_path: Path) -> None:
    depth = np.arange(1, 16 * 24 + 1, dtype=np.uint16).reshape(16, 24)
    (frame,) = frames_of(write_rgbd(tmp_path / 'bag', [depth], '16UC1'))
    assert frame.depth is not None
    np.testing.assert_allclose(frame.depth, depth.repeat(2, 0).repeat(2, 1) / 1000, rtol=1e-6)


@pytest.mark.parametrize('count', [1, 3, 30])
def test_depth_that_is_never_valid(tmp_path: Path, count: int) -> None:
    blind = [np.full((32, 48), np.nan, np.float32)] * count
    text = r'/depth/image: no valid depth in the first \d+ images \(all 0, NaN or infinite\)'
    with pytest.raises(ImageError, match=text):
        frames_of(write_rgbd(tmp_path / 'bag', blind, '32FC1'))


def test_depth_that_is_blind_for_a_while(tmp_path: Path) -> None:
    blind, seeing = np.zeros((32, 48), np.uint16), np.full((32, 48), 900, np.uint16)
    path = write_rgbd(tmp_path / 'bag', [blind] * 3 + [seeing] + [blind] * 15, '16UC1')
    assert len(frames_of(path)) == 19
