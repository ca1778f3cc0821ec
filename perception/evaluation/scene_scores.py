# SPDX-License-Identifier: Apache-2.0
"""Scores of scene labels: one confusion matrix over all pixels, and how honest confidence is."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perception.errors import NetworkError
from perception.types import UNLABELED, Float, Image, Mask

Counts = NDArray[np.int64]

BINS = 15  # of confidence
FREQUENT = 0.01  # share of the pixels from which on a class counts as frequent
BANDS_M = ((0.0, 5.0), (5.0, 12.0), (12.0, 30.0), (30.0, 60.0), (60.0, float('inf')))


def confusion(truth: Image, label: Image, classes: int) -> Counts:
    """
    Count pixels by true and given class.

    Parameters
    ----------
    truth : (...) uint8
        True class, 255 = void, which does not count.
    label : (...) uint8
        Given class of the same pixels, below ``classes``.

    Returns
    -------
    (classes, classes) int64
        Row = true class, column = given class.
    """
    counted = truth != UNLABELED
    pairs = truth[counted].astype(np.int32) * classes + label[counted]
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def intersection_over_union(matrix: Counts) -> Float:
    """IoU of each class of a confusion matrix (C, C), (C,) float64; NaN = no true pixel."""
    hit, true, given = np.diag(matrix), matrix.sum(1), matrix.sum(0)
    iou: Float = np.divide(hit, true + given - hit, out=np.full(len(hit), np.nan),
                           where=true > 0)
    return iou


def recall(matrix: Counts) -> Float:
    """Share of the true pixels of each class that were found, (C,) float64; NaN = none true."""
    true = matrix.sum(1)
    found: Float = np.divide(np.diag(matrix), true, out=np.full(len(true), np.nan),
                             where=true > 0)
    return found


def pixel_accuracy(matrix: Counts) -> float:
    """Share of all pixels with the right class; NaN where there are none."""
    total = matrix.sum()
    return float(np.trace(matrix) / total) if total else float('nan')


def mean(values: Float, chosen: Mask | None = None) -> float:
    """Mean of the classes that have true pixels (and are chosen); NaN where none has."""
    counted = np.isfinite(values) if chosen is None else np.isfinite(values) & chosen
    return float(values[counted].mean()) if counted.any() else float('nan')


@dataclass
class Calibration:
    """
    Pixels, summed confidence and hits in ``BINS`` equal bins of confidence, each (BINS,) float64.

    Source
        Guo et al., On calibration of modern neural networks, ICML 2017 (expected calibration
        error). Differs: pixels of all pictures are pooled.
    """

    pixels: Float = field(default_factory=lambda: np.zeros(BINS))
    confidence: Float = field(default_factory=lambda: np.zeros(BINS))
    hits: Float = field(default_factory=lambda: np.zeros(BINS))

    def add(self, confidence: Float, hit: Mask) -> None:
        """Add pixels: confidence (N,) float in [0, 1], right or not (N,) bool."""
        bins = np.minimum((confidence * BINS).astype(np.int32), BINS - 1)
        self.pixels += np.bincount(bins, minlength=BINS)
        self.confidence += np.bincount(bins, confidence, BINS)
        self.hits += np.bincount(bins, hit, BINS)

    @property
    def error(self) -> float:
        """Expected calibration error: mean gap of confidence and accuracy, weighted by pixels."""
        total = self.pixels.sum()
        return float(np.abs(self.confidence - self.hits).sum() / total) if total else float('nan')

    def summary(self) -> dict[str, Any]:
        """Mean confidence, accuracy and share of pixels of each bin, for a reliability plot."""
        filled = np.maximum(self.pixels, 1)
        return {'confidence': _plain(np.where(self.pixels, self.confidence / filled, np.nan)),
                'accuracy': _plain(np.where(self.pixels, self.hits / filled, np.nan)),
                'share': _plain(self.pixels / max(self.pixels.sum(), 1))}


class SceneTally:
    """What is summed over the pictures: ``matrix`` (C, C) int64, calibration, distance bands."""

    def __init__(self, classes: tuple[str, ...]) -> None:
        self.classes = classes
        self.matrix: Counts = np.zeros((len(classes), len(classes)), np.int64)
        self.bands: Counts = np.zeros((len(BANDS_M), *self.matrix.shape), np.int64)
        self.calibration = Calibration()
        self.images = 0

    def add(
        self, truth: Image, label: Image, confidence: Float, depth: Float | None = None
    ) -> None:
        """
        Count one picture.

        Parameters
        ----------
        truth : (H, W) uint8
            True class, 255 = void.
        label : (H, W) uint8
        confidence : (H, W) float32
            Probability of ``label``.
        depth : (H, W) float32 or None
            [m], NaN = none; None = not known for this data set.
        """
        counted = truth != UNLABELED
        if (label[counted] >= len(self.classes)).any():
            raise NetworkError('the logits of a picture are no numbers; train or export the '
                               'network again')
        self.images += 1
        self.matrix += confusion(truth, label, len(self.classes))
        self.calibration.add(confidence[counted], (label == truth)[counted])
        if depth is None:
            return
        for band, (low, high) in enumerate(BANDS_M):
            inside = (depth >= low) & (depth < high)
            self.bands[band] += confusion(truth[inside], label[inside], len(self.classes))

    def summary(self) -> dict[str, Any]:
        """Scores by name as they go into JSON: in [0, 1], null for classes without true pixels."""
        iou, found = intersection_over_union(self.matrix), recall(self.matrix)
        share = self.matrix.sum(1) / max(int(self.matrix.sum()), 1)
        scores = {
            'miou': _number(mean(iou)),
            'pixel_accuracy': _number(pixel_accuracy(self.matrix)),
            'class_accuracy': _number(mean(found)),
            'per_class_iou': dict(zip(self.classes, _plain(iou))),
            'images': self.images,
            'per_class_accuracy': dict(zip(self.classes, _plain(found))),
            'class_share': dict(zip(self.classes, _plain(share))),
            'miou_frequent': _number(mean(iou, share >= FREQUENT)),
            'calibration_error': _number(self.calibration.error),
            'calibration': self.calibration.summary(),
            'classes': list(self.classes),
            'confusion': self.matrix.tolist(),
        }
        return scores | ({'distance_bands': self._bands()} if self.bands.any() else {})

    def _bands(self) -> list[dict[str, Any]]:
        return [{'range_m': [low, high if np.isfinite(high) else None],
                 'miou': _number(mean(intersection_over_union(matrix))),
                 'pixel_accuracy': _number(pixel_accuracy(matrix)),
                 'per_class_iou': dict(zip(self.classes,
                                           _plain(intersection_over_union(matrix)))),
                 'pixels': int(matrix.sum())}
                for (low, high), matrix in zip(BANDS_M, self.bands)]


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _plain(values: Float) -> list[float | None]:
    """Numbers of an array (N,), None for NaN."""
    return [_number(value) for value in values.tolist()]
