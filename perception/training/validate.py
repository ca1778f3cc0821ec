# SPDX-License-Identifier: Apache-2.0
"""Balanced window error on held-out worlds of the training seasons."""

from typing import Any

import numpy as np
import torch
from torch import nn

from perception.contrast import band_strips, gather
from perception.inference import classify
from perception.training.dataset import RANGES_M, LabeledPyramid, LabeledWorlds
from perception.training.networks import FeatureNetwork
from perception.types import FOOTLINE, GROUND, SUPER_GROUND, UNLABELED, Float, Image


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
    network.eval()
    weight, bias = classifier.weight[:, :, 0, 0], classifier.bias
    assert bias is not None
    head = weight.detach().numpy(), bias.detach().numpy()
    counts = np.zeros((len(RANGES_M) - 1, 2, 2))  # range, obstacle in truth, wrong
    for item in range(len(labeled)):
        one = labeled.pyramids[item][0]
        features = window_features(network, labeled.image(item), one)
        stride = network.receptive.row_stride
        kept = one.pyramid.grid.row % stride == 0
        add_errors(counts, classify(features, *head), one.label[kept], one.bin[kept])
    return summary(counts)


def window_features(network: FeatureNetwork, image: Image, labeled: LabeledPyramid) -> Float:
    """Features (M, F) float32 of the windows of every ``row_stride``-th row, by torch."""
    receptive, pyramid = network.receptive, labeled.pyramid
    strided = type(pyramid)(pyramid.bands, pyramid.plane, receptive.row_stride)
    strips = band_strips(image, strided, network.contrast, receptive)
    with torch.no_grad():
        outputs = [network(torch.from_numpy(strip))[0].numpy() for strip in strips]
    return gather(outputs, strided, receptive)


def add_errors(counts: Float, probabilities: Float, label: Image, bins: Image) -> None:
    """Count decided windows by range bin, truth, and whether the prediction is wrong."""
    said_obstacle = probabilities[:, FOOTLINE:].sum(1) > 0.5
    decided = (label != GROUND) & (label != UNLABELED) & (bins < len(counts))
    truth = (label != SUPER_GROUND)[decided].astype(int)
    wrong = (said_obstacle[decided] != truth).astype(int)
    np.add.at(counts, (bins[decided], truth, wrong), 1)


def summary(counts: Float, fewest: int = 50) -> dict[str, Any]:
    """Counts (ranges, 2, 2) -> balanced error and its two halves for each range."""
    total = counts.sum(2)
    share = counts[..., 1] / np.maximum(total, 1)
    known = (total >= fewest).all(1)

    def rounded(values: Float) -> list[float | None]:
        return [round(float(v), 4) if ok else None for v, ok in zip(values, known, strict=True)]

    return {'window_error': rounded(share.mean(1)), 'ground_error': rounded(share[:, 0]),
            'obstacle_error': rounded(share[:, 1]), 'windows': total.astype(int).tolist()}
