# SPDX-License-Identifier: Apache-2.0
"""Evaluate a scene network on one split of a labelled data set."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from perception.errors import DataSetError, NetworkError
from perception.evaluation.scene_scores import SceneTally, intersection_over_union, mean
from perception.scene import (
    SceneLabels,
    SceneSpec,
    Superpixels,
    labels_from_scores,
    softmax_planes,
)
from perception.superpixels import average_labels, segment
from perception.training.scene_classes import COMMON, VOID, load_taxonomy, taxonomy_with
from perception.training.scene_sets import SceneSet
from perception.types import Float, Image

Progress = Callable[[int, int], object]


class Labeller(Protocol):
    """What is evaluated: ``perception.scene.SceneNetwork``."""

    spec: SceneSpec

    def dense(self, image: Image, scale: float = 1.0) -> Float:
        """Scores of the classes for every pixel, (C, H, W) float32."""


@dataclass(frozen=True)
class Options:
    """
    How each picture is labelled: the network once, unless more is asked for.

    ``flip`` adds the mirrored picture, ``scales`` resized ones; their probabilities are averaged.
    """

    flip: bool = False
    scales: tuple[float, ...] = (1.0,)
    superpixels: Superpixels = 'none'

    @property
    def plain(self) -> bool:
        """True for one pass at full size."""
        return not self.flip and self.scales == (1.0,) and self.superpixels == 'none'


@dataclass(frozen=True)
class Agreement:
    """
    The classes in which network and data set meet.

    ``common`` (C,) is the common class of each class of the network, None where both share the
    same classes.
    """

    scene_set: SceneSet
    common: tuple[int, ...] | None = None

    @property
    def answerable(self) -> tuple[int, ...]:
        """Classes that the network can give."""
        if self.common is None:
            return tuple(range(len(self.scene_set.taxonomy.classes)))
        return tuple(sorted(set(self.common) - {VOID}))


def agree(scene_set: SceneSet, spec: SceneSpec) -> Agreement:
    """
    Find classes for network and data set: their own if equal, else the common taxonomy.

    Raises
    ------
    NetworkError
        The network's classes are those of no known data set, so nothing says what they mean.
    """
    if spec.classes == scene_set.taxonomy.classes:
        return Agreement(scene_set)
    if spec.classes == load_taxonomy(COMMON).classes:
        return Agreement(scene_set.common())
    known = taxonomy_with(spec.classes)
    if known is None:
        raise NetworkError(
            f'network {spec.name}: its classes ({", ".join(spec.classes)}) are neither those of '
            f'{scene_set.name}, nor of the common taxonomy, nor of any known data set; train or '
            'export it with the classes of one, in that order')
    return Agreement(scene_set.common(), known.common)


def to_common(probabilities: Float, common: tuple[int, ...]) -> Float:
    """
    Sum probabilities of classes into those of the common taxonomy.

    Parameters
    ----------
    probabilities : (C, H, W) float32
        Sum to 1 over C.
    common : (C,)
        Common class of each; classes without one (255) are dropped and the rest scaled to sum
        to 1.

    Returns
    -------
    (8, H, W) float32
    """
    mapped = np.zeros((len(load_taxonomy(COMMON).classes), *probabilities.shape[1:]), np.float32)
    for plane, target in zip(probabilities, common, strict=True):
        if target != VOID:
            mapped[target] += plane
    return np.asarray(mapped / np.maximum(mapped.sum(axis=0), np.float32(1e-12)), np.float32)


def averaged(network: Labeller, image: Image, options: Options) -> Float:
    """Probabilities (C, H, W) float32, the mean over the asked for scales and flips."""
    views = []
    for scale in options.scales:
        views.append(softmax_planes(network.dense(image, scale)))
        if options.flip:
            mirrored = network.dense(np.ascontiguousarray(image[:, ::-1]), scale)
            views.append(softmax_planes(mirrored)[..., ::-1])
    return np.asarray(np.mean(views, axis=0), np.float32)


def label_picture(
    network: Labeller, image: Image, options: Options, common: tuple[int, ...] | None = None
) -> SceneLabels:
    """Label every pixel of a picture (H, W, 3) uint8 BGR, in common classes where asked for."""
    if options.plain and common is None:
        return labels_from_scores(network.dense(image))
    probabilities = averaged(network, image, options)
    if common is not None:
        probabilities = to_common(probabilities, common)
    if options.superpixels != 'none':
        return SceneLabels(*average_labels(probabilities, segment(image, options.superpixels)))
    label = probabilities.argmax(axis=0).astype(np.uint8)
    return SceneLabels(label, probabilities.max(axis=0))


def evaluate_scene(
    scene_set: SceneSet, network: Labeller, options: Options | None = None,
    on_progress: Progress = lambda done, total: None,
) -> tuple[SceneTally, dict[str, Any]]:
    """
    Score a network on all pictures of a split.

    Parameters
    ----------
    on_progress : callable
        Told how many of how many pictures are done.

    Returns
    -------
    tally : SceneTally
        One confusion matrix over all pixels that are not void.
    summary : dict
        Its scores, and what was compared with what.

    Raises
    ------
    DataSetError
        A file is damaged, or no pixel of the split has a class.
    NetworkError
        The network's classes cannot be compared.
    """
    options, meeting = options or Options(), agree(scene_set, network.spec)
    compared = meeting.scene_set
    tally = SceneTally(compared.taxonomy.classes)
    for done, (image, truth, depth) in enumerate(_read_ahead(compared), 1):
        labels = label_picture(network, image, options, meeting.common)
        tally.add(truth, labels.label, labels.confidence, depth)
        on_progress(done, len(compared))
    if not tally.matrix.any():
        raise DataSetError(
            f'{scene_set.name} {scene_set.split}: every pixel is void, there is nothing to '
            'score; choose a split with labels')
    described = _described(meeting, network.spec, options)
    answers = np.isin(np.arange(len(tally.classes)), meeting.answerable)
    iou = mean(intersection_over_union(tally.matrix), answers)
    described['miou_of_network_classes'] = iou if np.isfinite(iou) else None
    return tally, tally.summary() | described


def _described(meeting: Agreement, spec: SceneSpec, options: Options) -> dict[str, Any]:
    """What was compared, and how; ``classes_of_network`` is what it can answer at all."""
    taxonomy = meeting.scene_set.taxonomy
    return {
        'data_set': meeting.scene_set.name, 'split': meeting.scene_set.split,
        'taxonomy': taxonomy.name, 'network': {'name': spec.name, 'sha256': spec.sha256},
        'classes_of_network': [taxonomy.classes[k] for k in meeting.answerable],
        'flip': options.flip, 'scales': list(options.scales), 'superpixels': options.superpixels,
    }


def _read_ahead(scene_set: SceneSet) -> Iterator[tuple[Image, Image, Float | None]]:
    """Picture, truth and depth of each pair; the next one is read while one is worked on."""
    def read(item: int) -> tuple[Image, Image, Float | None]:
        return (*scene_set.read(item), scene_set.depth(item))

    with ThreadPoolExecutor(1) as pool:
        waiting: Future[tuple[Image, Image, Float | None]] = pool.submit(read, 0)
        for item in range(len(scene_set)):
            ready = waiting.result()
            if item + 1 < len(scene_set):
                waiting = pool.submit(read, item + 1)
            yield ready
