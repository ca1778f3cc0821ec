# SPDX-License-Identifier: Apache-2.0
"""Input sizes that an engine is built for, where it wants to know them beforehand."""

from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from perception.inference.network import CHANNELS, INPUT, read_spec
from perception.pyramid import FIRST_HEIGHT, WINDOW_ROWS
from perception.types import Float, Precision

STRIP_WIDTH, WIDEST_STRIP = 1024, 8192  # a 640-pixel camera's strips; 24 bands of 1920 pixels
SPARE_ROWS = 32
SCENE_WIDTH, WIDEST_SCENE = 640, 1920  # where the manifest names no width
BRIGHT = 255.0  # scene networks read pixel values

Size = tuple[int, int]


class Sides(NamedTuple):
    """Smallest, usual and largest (height, width) of one input."""

    low: Size
    usual: Size
    high: Size

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """The same as tensor shapes (1, 3, height, width)."""
        return tuple((1, CHANNELS, *size) for size in self)


class Manifest(BaseModel):
    """What of either kind of manifest the sizes depend on."""

    model_config = ConfigDict(frozen=True, extra='ignore')

    sha256: str
    task: Literal['features', 'scene'] = 'features'
    precision: Precision = 'f32'
    rows: int = Field(WINDOW_ROWS, ge=1)
    columns: int = Field(1, ge=1)
    preprocess: str = 'bgr'
    scales: int = Field(1, ge=1, le=8)
    multiple: int = Field(8, ge=1)
    input_width: int | None = None


def input_sizes(path: Path, largest: Size | None = None) -> dict[str, Sides]:
    """
    Sizes of every input of the network file ``path``, from its manifest.

    Parameters
    ----------
    path : Path
        The ``.onnx`` file.
    largest : int, int, optional
        Height and width of the largest strip or picture; default: what cameras up to 1920
        pixels need.

    Raises
    ------
    NetworkError
        No manifest, or no sound one.
    """
    manifest = read_spec(path, Manifest)
    return (_scene if manifest.task == 'scene' else _features)(manifest, largest)


def _features(manifest: Manifest, largest: Size | None) -> dict[str, Sides]:
    low = (manifest.rows, manifest.columns)
    rows = FIRST_HEIGHT + manifest.rows - WINDOW_ROWS
    high = largest or (rows + SPARE_ROWS, WIDEST_STRIP)
    return {INPUT: _sides(low, (rows, STRIP_WIDTH), high)}


def _scene(manifest: Manifest, largest: Size | None) -> dict[str, Sides]:
    width, side = manifest.input_width or SCENE_WIDTH, manifest.multiple
    widest = 2 * manifest.input_width if manifest.input_width else WIDEST_SCENE
    sides = _sides((side, side), (width * 3 // 4, width), largest or (widest, widest))
    whole = Sides(*((-(-h // side) * side, -(-w // side) * side) for h, w in sides))
    names = ['image'] if manifest.preprocess == 'bgr' else [
        f'scale{k}' for k in range(manifest.scales)]
    return {name: Sides(*((max(h >> k, 1), max(w >> k, 1)) for h, w in whole))
            for k, name in enumerate(names)}


def _sides(low: Size, usual: Size, high: Size) -> Sides:
    """The three sizes in order: the largest may be smaller than what is usual."""
    top = (max(high[0], low[0]), max(high[1], low[1]))
    return Sides(low, (min(usual[0], top[0]), min(usual[1], top[1])), top)


def probe(sizes: dict[str, Sides]) -> dict[str, Float]:
    """The same noise every time, of the usual size: what two engines are compared on."""
    random = np.random.default_rng(0)
    return {name: random.random(sides.shapes[1], np.float32) * (BRIGHT if name == 'image' else 1)
            for name, sides in sizes.items()}
