# SPDX-License-Identifier: Apache-2.0
"""Bags of ``lagr world`` as a labelled data set: pictures that have ``/truth/left/class``."""

import json
import os
from collections import OrderedDict
from pathlib import Path
from threading import Lock
from typing import Any

import cv2
import numpy as np

from perception.bag_file import BagFile
from perception.bag_messages import image_from_message
from perception.errors import DataSetError
from perception.evaluation.truth_bag import metres
from perception.training.scene_classes import load_class_map
from perception.types import Float, Image

PICTURES = ('/stereo/left/image_rect/compressed', '/stereo/left/image_rect')
CLASS, DEPTH, NAMES = '/truth/left/class', '/truth/left/depth', '/truth/classes'
REMEDY = 'record it with lagr world --truth full'
OPEN_BAGS = 16
_open: OrderedDict[tuple[int, Path], BagFile] = OrderedDict()
_lock = Lock()


def is_bag(path: Path) -> bool:
    """Tell whether a path is a rosbag2."""
    if path.is_dir():
        return (path / 'metadata.yaml').is_file()
    return path.suffix in ('.mcap', '.db3')


def bags_in(folder: Path) -> list[Path]:
    """The folder itself where it is a bag, else the bags in it, by name."""
    if is_bag(folder):
        return [folder]
    return sorted(path for path in folder.iterdir() if is_bag(path)) if folder.is_dir() else []


def frames_of(bag: Path) -> list[Path]:
    """
    Labelled frames of a bag, as ``BAG/STAMP`` with the stamp in nanoseconds.

    Raises
    ------
    DataSetError
        The bag has no class truth, or its class numbers are not those of this program.
    BagError
        It cannot be read.
    """
    with BagFile(bag) as file:
        if not file.counts.get(CLASS) or not any(file.counts.get(topic) for topic in PICTURES):
            raise DataSetError(f'{bag}: no {CLASS}, or no picture of {PICTURES[0]}; {REMEDY}')
        names = file.first(NAMES)
        known = {one.name: one.values[0] for one in load_class_map('worlds').classes}
        if names is None or json.loads(names[1].data).get('classes') != known:
            raise DataSetError(f'{bag}: {NAMES} has other classes than this program; {REMEDY}')
        return [bag / str(stamp) for _, stamp, _ in file.raw([CLASS])]


def picture_at(frame: Path) -> Image:
    """Left picture, (H, W, 3) uint8 BGR."""
    picture = _image(frame, PICTURES)
    return picture if picture.ndim == 3 else np.asarray(cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR))


def class_at(frame: Path) -> Image:
    """Class numbers, (H, W) uint8."""
    return _image(frame, (CLASS,))


def depth_at(frame: Path) -> Float:
    """Distance along the optical axis, (H, W) float32 [m], NaN = sky or beyond 65.5 m."""
    return metres(_image(frame, (DEPTH,)))


def _image(frame: Path, topics: tuple[str, ...]) -> Image:
    """Pixels of the first of these topics that has a message at the frame's stamp."""
    bag, stamp = frame.parent, int(frame.name)
    with _lock:
        file = _bag(bag)
        found = file.at(list(topics), stamp)
        topic = next((name for name in topics if name in found), None)
        if topic is None:
            raise DataSetError(f'{bag}: no {topics[0]} at {stamp} ns; {REMEDY}')
        message: Any = file.decode(topic, found[topic])
    return image_from_message(message, f'{bag}: {topic}')


def _bag(path: Path) -> BagFile:
    """Open bag of this process; a forked worker may not share the file of its parent."""
    key = os.getpid(), path
    if key not in _open:
        while len(_open) >= OPEN_BAGS:
            _open.popitem(last=False)[1].__exit__(None, None, None)
        _open[key] = BagFile(path)
    _open.move_to_end(key)
    return _open[key]
