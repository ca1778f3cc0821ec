# SPDX-License-Identifier: Apache-2.0
"""What a network is given for pictures of a recording or a folder: the data of calibration."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from perception.bag import open_bag
from perception.config import Config, with_values
from perception.contrast import band_strips
from perception.errors import DataSetError
from perception.inference import INPUT, Network, load_network, read_spec
from perception.inference.shapes import Manifest
from perception.pipeline import Traversability
from perception.scene import SceneSpec, fitted, prepare
from perception.training.scene_files import image_files, read_picture
from perception.training.scene_worlds import is_bag
from perception.types import Float, Frame, Image

Feeds = list[dict[str, Float]]  # inputs of the network, one picture: one call, or one a strip
Progress = Callable[[int, int], None]


def read_feeds(
    network: Path, source: Path, count: int, on_progress: Progress = lambda done, total: None
) -> list[Feeds]:
    """
    Pictures of one source as this network reads them, spread evenly over it.

    Parameters
    ----------
    network : Path
        The ``.onnx`` file, its manifest beside it.
    source : Path
        A bag, whose frames go through the chain up to the strips; for scene networks also a
        folder of pictures.
    count : int
        Pictures taken at most.

    Returns
    -------
    list of Feeds
        At least one; frames without a ground plane have no strips and are left out.

    Raises
    ------
    NetworkError
        No manifest, or no network for it.
    BagError, DataSetError
        The source is neither, cannot be read, or holds no picture that can be used.
    """
    scene = read_spec(network, Manifest).task == 'scene'
    if is_bag(source):
        taken = _frames(source, count, on_progress)
        feeds = _scene_feeds(network, (frame.image for frame in taken)) if scene else (
            _strip_feeds(load_network(network, 'onnxruntime'), taken))
    elif scene and source.is_dir():
        feeds = _scene_feeds(network, _pictures(source, count, on_progress))
    else:
        what = 'a bag, or a folder of pictures' if scene else 'a bag'
        raise DataSetError(f'{source}: not {what}; give one, such as of lagr world')
    found = list(feeds)
    if not found:
        needed = 'picture' if scene else 'frame with a ground plane'
        raise DataSetError(f'{source}: no {needed}; give a longer recording, or another')
    return found


def _scene_feeds(network: Path, images: Iterator[Image]) -> Iterator[Feeds]:
    spec = read_spec(network, SceneSpec)
    for image in images:
        colour = image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2)
        yield [prepare(fitted(colour, spec), spec)]


def _strip_feeds(network: Network, frames: Iterator[Frame]) -> Iterator[Feeds]:
    """Strips of every frame that has a plane."""
    config = with_values(Config(), {'near_to_far.enabled': False})
    chain = Traversability(config, network, teach=False)
    for frame in frames:
        pyramid = chain.process(frame).pyramid
        if pyramid is not None:
            strips = band_strips(frame.image, pyramid, chain.contrast, network.spec.receptive)
            yield [{INPUT: strip} for strip in strips]


def _frames(bag: Path, count: int, on_progress: Progress) -> Iterator[Frame]:
    with open_bag(bag, Config()) as source:
        wanted = _spread(len(source), count)
        for number, frame in enumerate(source.frames()):
            if number in wanted:
                yield frame
            on_progress(number + 1, len(source))


def _pictures(folder: Path, count: int, on_progress: Progress) -> Iterator[Image]:
    files = image_files(folder)
    wanted = sorted(_spread(len(files), count))
    for done, number in enumerate(wanted, 1):
        yield read_picture(files[number])
        on_progress(done, len(wanted))


def _spread(length: int, count: int) -> set[int]:
    """So many numbers below ``length``, as evenly as can be."""
    return set(np.linspace(0, length - 1, min(count, length)).round().astype(int).tolist())
