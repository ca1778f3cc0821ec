# SPDX-License-Identifier: Apache-2.0
"""
Scene labels: an exported network that says for every pixel what it shows.

A network is two files with one stem: ``NAME.onnx`` (image -> logits) and ``NAME.json`` (classes,
preprocessing, licence, data, scores).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import cv2
import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from perception.errors import NetworkError
from perception.inference import (
    Opened,
    check_digest,
    computed_precision,
    one_line,
    open_session,
    read_spec,
)
from perception.laplacian import laplacian_yuv, padded
from perception.superpixels import average_labels, segment
from perception.types import (
    UNLABELED,
    EngineChoice,
    Float,
    Image,
    Precision,
    PrecisionChoice,
)

Preprocess = Literal['bgr', 'laplacian_yuv']
Superpixels = Literal['none', 'felzenszwalb', 'slic']
PROBE = (96, 128)  # height and width of the image that checks a network's contract


class SceneSpec(BaseModel):
    """
    What the manifest beside the ``.onnx`` promises.

    Preprocess ``bgr``: input ``image`` (1, 3, H, W) float32, BGR in 0..255. ``laplacian_yuv``:
    inputs ``scale0`` ... (1, 3, H / 2 ** k, W / 2 ** k) float32, see ``laplacian_yuv``. The one
    output is (1, classes, H / stride, W / stride) float32; H and W are multiples of ``multiple``.
    ``input_width`` is what the image is brought to before, its height keeping the shape; None =
    as it comes. ``colours`` are RGB and ``common`` the names of common classes, one a class;
    ``common`` is empty where nothing maps them.
    """

    model_config = ConfigDict(frozen=True, extra='forbid')

    task: Literal['scene']
    name: str
    sha256: str
    architecture: str
    preprocess: Preprocess
    scales: Literal[1, 3] = 1
    input_width: int | None = Field(None, ge=16, le=8192)
    multiple: int = Field(8, ge=1, le=64)
    stride: int = Field(ge=1, le=64)
    precision: Precision = 'f32'
    classes: tuple[str, ...] = Field(min_length=2, max_length=UNLABELED)
    colours: tuple[tuple[int, int, int], ...]
    common: tuple[str | None, ...] = ()
    trained: bool
    licence: str
    data: dict[str, Any] = {}
    scores: dict[str, Any] = {}
    command: str = ''

    @model_validator(mode='after')
    def _fits_together(self) -> Self:
        if len(set(self.classes)) < len(self.classes):
            raise ValueError('classes: one name twice')
        if len(self.colours) != len(self.classes):
            raise ValueError(f'{len(self.colours)} colours for {len(self.classes)} classes')
        if len(self.common) not in (0, len(self.classes)):
            raise ValueError(f'{len(self.common)} common for {len(self.classes)} classes')
        if not all(0 <= value <= 255 for colour in self.colours for value in colour):
            raise ValueError('colours: values must be 0 to 255')
        if self.multiple % self.stride:
            raise ValueError(f'multiple must be one of the stride, {self.stride}')
        return self

    @property
    def palette(self) -> Image:
        """Colours for OpenCV, (classes, 3) uint8 BGR."""
        return np.array(self.colours, np.uint8)[:, ::-1]


class SceneNetwork:
    """A session; ``logits`` on the network's grid, ``dense`` for every pixel."""

    def __init__(self, spec: SceneSpec, opened: Opened) -> None:
        self.spec = spec
        self.opened = opened
        self._run = opened.session.run

    def logits(self, image: Image, scale: float = 1.0) -> Float:
        """
        Scores of the classes on the network's own grid.

        Parameters
        ----------
        image : (H, W, 3) uint8 BGR, or (H, W) uint8
        scale : float
            Of what the network sees, for tests at several scales.

        Returns
        -------
        (C, h, w) float32
            Cells of ``stride`` pixels of what the network sees: the image brought to
            ``input_width``, or, where the spec names none, mirrored at the bottom and right up
            to a multiple.
        """
        colour = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR) if image.ndim == 2 else image
        seen = prepare(fitted(colour, self.spec, scale), self.spec)
        found: Float = self._run(seen)[0][0]
        return found

    def dense(self, image: Image, scale: float = 1.0) -> Float:
        """Scores of the classes for every pixel, (C, H, W) float32: ``logits`` up-sampled."""
        logits, (height, width) = self.logits(image, scale), image.shape[:2]
        if self.spec.input_width or scale != 1:
            return upsample(logits, (height, width))
        covered = (logits.shape[1] * self.spec.stride, logits.shape[2] * self.spec.stride)
        return upsample(logits, covered)[:, :height, :width]


def fitted(image: Image, spec: SceneSpec, scale: float = 1.0) -> Image:
    """Colour image (H, W, 3) as a network sees it: resized, or padded where any size will do."""
    if not spec.input_width and scale == 1:
        return np.asarray(padded(image, spec.multiple), np.uint8)
    wanted = (spec.input_width or image.shape[1]) * scale
    height, width = fitted_shape(image.shape, wanted, spec.multiple)
    if (height, width) == image.shape[:2]:
        return image
    how = cv2.INTER_AREA if width < image.shape[1] else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (width, height), interpolation=how), np.uint8)


def fitted_shape(shape: tuple[int, ...], width: float, multiple: int) -> tuple[int, int]:
    """Height and width near ``width``, both multiples, the shape kept as far as that allows."""
    rows, columns = (max(round(side * width / shape[1] / multiple), 1) for side in shape[:2])
    return rows * multiple, columns * multiple


@dataclass(frozen=True)
class SceneLabels:
    """What each pixel shows: ``label`` (H, W) uint8, ``confidence`` (H, W) float32 in [0, 1]."""

    label: Image
    confidence: Float


def prepare(image: Image | Float, spec: SceneSpec) -> dict[str, Float]:
    """Inputs of the network, of a colour image (H, W, 3) with sides of multiples of the stride."""
    if spec.preprocess == 'bgr':
        return {'image': np.stack(cv2.split(image))[None].astype(np.float32)}
    pyramid = laplacian_yuv(np.asarray(image, np.uint8), spec.scales)
    return {f'scale{k}': scale[None] for k, scale in enumerate(pyramid)}


def load_scene_network(
    path: Path,
    threads: int = 1,
    engine: EngineChoice = 'auto',
    precision: PrecisionChoice = 'auto',
) -> SceneNetwork:
    """
    Load an exported scene network and check it against the manifest beside it.

    Parameters
    ----------
    path : Path
        The ``.onnx`` file.
    threads : int
        Threads inside one layer.
    engine : str
        What runs it; ``auto`` takes the fastest that works here.
    precision : str
        What it computes in; ``auto`` = what the file was made for.

    Raises
    ------
    NetworkError
        File or manifest missing, damaged, or not keeping the contract; engine or precision not
        to be had; names path and remedy.
    """
    spec = read_spec(path, SceneSpec)
    if not path.is_file():
        raise NetworkError(f'{path}: no such network; give the path of an .onnx file')
    check_digest(path, spec.sha256)
    computed = computed_precision(path, spec.precision, precision)
    network = SceneNetwork(spec, open_session(path, engine, computed, threads))
    _check_contract(network, path)
    return network


def _check_contract(network: SceneNetwork, path: Path) -> None:
    """Run the network once on a small image, or on one of the size it demands."""
    spec = network.spec
    probe = np.zeros((*PROBE, 3), np.uint8)
    height, width = fitted(probe, spec).shape[:2]
    try:
        shape = network.logits(probe).shape
    except (NetworkError, ValueError, IndexError) as error:
        raise NetworkError(
            f'{path}: does not take {spec.preprocess} of an image ({one_line(error)}); export '
            'a network with these inputs'
        ) from None
    promised = (len(spec.classes), height // spec.stride, width // spec.stride)
    if shape != promised:
        raise NetworkError(
            f'{path}: logits of a {height}x{width} image are {tuple(shape)}, its manifest '
            f'promises {promised}; run lagr export again'
        )


def upsample(logits: Float, shape: tuple[int, int]) -> Float:
    """
    Bilinear, half-pixel centres: what torch calls ``align_corners=False``.

    Parameters
    ----------
    logits : (C, h, w) float32
    shape : int, int
        Height and width of the result.

    Returns
    -------
    (C, H, W) float32
    """
    large = np.empty((len(logits), *shape), np.float32)
    for small, out in zip(logits, large, strict=True):  # faster than all channels at once
        cv2.resize(small, shape[::-1], dst=out, interpolation=cv2.INTER_LINEAR)
    return large


def label_scene(
    network: SceneNetwork, image: Image, superpixels: Superpixels = 'none'
) -> SceneLabels:
    """
    Label every pixel of an image.

    Parameters
    ----------
    image : (H, W, 3) uint8 BGR, or (H, W) uint8
    superpixels : 'none', 'felzenszwalb' or 'slic'
        Average the probabilities over segments of the image first (B4).

    Returns
    -------
    SceneLabels
        The likeliest class, and its probability.
    """
    scores = network.dense(image)
    if superpixels == 'none':
        return labels_from_scores(scores)
    colour = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR) if image.ndim == 2 else image
    return SceneLabels(*average_labels(softmax_planes(scores), segment(colour, superpixels)))


def labels_from_scores(scores: Float) -> SceneLabels:
    """Likeliest class and its softmax probability, of scores (C, H, W); 255 where no number."""
    best, label = scores[0].copy(), np.zeros(scores.shape[1:], np.uint8)
    for k in range(1, len(scores)):
        np.copyto(label, np.uint8(k), where=scores[k] > best)
        np.maximum(best, scores[k], out=best)
    total = np.zeros_like(best)
    with np.errstate(invalid='ignore'):
        for plane in scores:
            total += cv2.exp(plane - best)
    bad = ~np.isfinite(total)
    if bad.any():
        label[bad], total[bad] = UNLABELED, np.inf
    return SceneLabels(label, 1 / total)


def softmax_planes(scores: Float) -> Float:
    """Probabilities (C, H, W) float32 of scores (C, H, W): they sum to 1 over C."""
    shifted = np.exp(scores - scores.max(axis=0))
    return np.asarray(shifted / shifted.sum(axis=0), np.float32)
