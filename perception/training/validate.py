# SPDX-License-Identifier: Apache-2.0
"""Balanced window error on held-out worlds of the training seasons."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from perception.contrast import band_strips, gather
from perception.inference import classify
from perception.training.dataset import RANGES_M, LabeledPyramid, LabeledWorlds
from perception.training.networks import FeatureNetwork
from perception.types import FOOTLINE, GROUND, SUPER_GROUND, UNLABELED, Float, Image, Mask


def validate(
    network: FeatureNetwork, classifier: nn.Conv2d, labeled: LabeledWorlds
) -> dict[str, Any]:
    """
    Errors over all frames, through the planes as fitted, on pictures as rendered.

    Returns
    -------
    dict
        ``window_error`` at 5-12, 12-30, 30-60 m: mean of the two class errors, None where a
        class has fewer than 50 windows; ``ground_error`` and ``obstacle_error`` its two halves.
    """
    return error_summary(judge(network, classifier, labeled))


@dataclass(frozen=True)
class Judged:
    """
    Decided windows, (N,) each, of all frames.

    ``log_odds`` float32 of obstacle against ground; ``obstacle`` bool in truth; ``bin`` uint8.
    """

    log_odds: Float
    obstacle: Mask
    bin: Image


def judge(network: FeatureNetwork, classifier: nn.Conv2d, labeled: LabeledWorlds) -> Judged:
    """Predictions for every window that the evaluation counts."""
    network.eval()
    weight, bias = classifier.weight[:, :, 0, 0], classifier.bias
    assert bias is not None
    head, stride = (weight.detach().numpy(), bias.detach().numpy()), network.receptive.row_stride
    parts = []
    for item in range(len(labeled)):
        one = labeled.pyramids[item][0]
        features = window_features(network, labeled.image(item), one)
        kept = one.pyramid.grid.row % stride == 0
        parts.append(decided_windows(classify(features, *head), one.label[kept], one.bin[kept]))
    return Judged(*(np.concatenate([getattr(part, name) for part in parts])
                    for name in ('log_odds', 'obstacle', 'bin')))


def calibrate(classifier: nn.Conv2d, judged: Judged) -> float:
    """
    Shift the biases of W0 to the smallest balanced error.

    Training balances the classes on augmented pictures; on plain ones the odds are a little off.

    Returns
    -------
    float
        What was added to the log-odds of obstacle: of a grid within +-1.5, the value with the
        smallest balanced error, mean over the ranges.
    """
    assert classifier.bias is not None

    def error(shift: float) -> float:
        moved = replace(judged, log_odds=judged.log_odds + np.float32(shift))
        known = [e for e in error_summary(moved)['window_error'] if e is not None]
        return float(np.mean(known)) if known else abs(shift)

    best = float(min(np.linspace(-1.5, 1.5, 31), key=lambda shift: (error(shift), abs(shift))))
    with torch.no_grad():
        classifier.bias[FOOTLINE:] += best
    return round(best, 3)


def window_features(network: FeatureNetwork, image: Image, labeled: LabeledPyramid) -> Float:
    """Features (M, F) float32 of the windows of every ``row_stride``-th row, by torch."""
    receptive, pyramid = network.receptive, labeled.pyramid
    strided = type(pyramid)(pyramid.bands, pyramid.plane, receptive.row_stride)
    strips = band_strips(image, strided, network.contrast, receptive)
    with torch.no_grad():
        outputs = [network(torch.from_numpy(strip))[0].numpy() for strip in strips]
    return gather(outputs, strided, receptive)


def decided_windows(probabilities: Float, label: Image, bins: Image) -> Judged:
    """Windows whose truth the evaluation counts, at 5-60 m."""
    decided = (label != GROUND) & (label != UNLABELED) & (bins < len(RANGES_M) - 1)
    obstacle = probabilities[decided, FOOTLINE:].sum(1)
    ground = probabilities[decided, :FOOTLINE].sum(1)
    log_odds = np.log(np.maximum(obstacle, 1e-9)) - np.log(np.maximum(ground, 1e-9))
    return Judged(log_odds, label[decided] != SUPER_GROUND, bins[decided])


def error_summary(judged: Judged, fewest: int = 50) -> dict[str, Any]:
    """Balanced error, its two halves and the number of windows, for each range."""
    counts = np.zeros((len(RANGES_M) - 1, 2, 2))  # range, obstacle in truth, wrong
    wrong = (judged.log_odds > 0) != judged.obstacle
    np.add.at(counts, (judged.bin, judged.obstacle.astype(int), wrong.astype(int)), 1)
    return summary(counts, fewest)


def summary(counts: Float, fewest: int = 50) -> dict[str, Any]:
    """Counts (ranges, 2, 2) -> balanced error and its two halves for each range."""
    total = counts.sum(2)
    share = counts[..., 1] / np.maximum(total, 1)
    known = (total >= fewest).all(1)

    def rounded(values: Float) -> list[float | None]:
        return [round(float(v), 4) if ok else None for v, ok in zip(values, known, strict=True)]

    return {'window_error': rounded(share.mean(1)), 'ground_error': rounded(share[:, 0]),
            'obstacle_error': rounded(share[:, 1]), 'windows': total.astype(int).tolist()}
