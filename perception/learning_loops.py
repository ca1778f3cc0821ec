# SPDX-License-Identifier: Apache-2.0
"""Compiled loops of the classifier that learns: mini-batches, sizes of features, ranges."""

import numpy as np
from numba import types

from perception.compiled import F4, F8, I8, compiled, given
from perception.types import Float

MINI_BATCH = 32


@compiled(F4[::1], given(F4, 2))
def root_mean_square(features: Float) -> Float:
    """Of each column of (n, F) float32: (F,) float32."""
    total = np.zeros(features.shape[1], np.float32)
    for i in range(len(features)):
        for j in range(len(total)):
            total[j] += features[i, j] * features[i, j]
    for j in range(len(total)):
        total[j] = np.sqrt(total[j] / np.float32(len(features)))
    return total


@compiled(types.void, F4[:, ::1], given(F4, 2), I8)
def _surprise(logits: Float, target: Float, first: int) -> None:
    """Turn the logits of samples into their targets, from the first one on, less what they say."""
    samples, classes = logits.shape
    for i in range(samples):
        top, total = logits[i, 0], np.float32(0)
        for k in range(1, classes):
            top = max(top, logits[i, k])
        for k in range(classes):
            logits[i, k] = np.exp(logits[i, k] - top)
            total += logits[i, k]
        for k in range(classes):
            logits[i, k] = target[first + i, k] - logits[i, k] / total


@compiled(types.void, F4[:, ::1], given(F4, 2), given(F4, 2), given(F4, 2), given(F4, 1),
          types.UniTuple(F8, 2))
def descend(
    weights: Float, anchor: Float, features: Float, target: Float, scale: Float,
    rates: tuple[float, float],
) -> None:
    """
    Go once through samples in mini-batches.

    Parameters
    ----------
    weights : (K, F) float32
        Of features of unit scale; after each mini-batch W + rate (p - q) x - rate pull (W - W0).
    anchor : (K, F) float32
        W0.
    features, target : (n, F), (n, K) float32
        Soft targets p.
    scale : (F,) float32
        What features are divided by.
    rates : float, float
        Rate and pull.
    """
    rate, pull = np.float32(rates[0]), np.float32(rates[1])
    classes, width = weights.shape
    for first in range(0, len(features), MINI_BATCH):
        x = np.empty((min(MINI_BATCH, len(features) - first), width), np.float32)
        for i in range(len(x)):
            for j in range(width):
                x[i, j] = features[first + i, j] / scale[j]
        surprise = np.dot(x, weights.T)
        _surprise(surprise, target, first)
        step, count = np.dot(surprise.T, x), np.float32(len(x))
        for k in range(classes):
            for j in range(width):
                pulled = pull * (weights[k, j] - anchor[k, j])
                weights[k, j] += rate * (step[k, j] / count - pulled)


@compiled(F8[::1], given(F8, 2), given(F8, 1), given(F4, 2), types.UniTuple(F8, 4))
def ranges_shown(
    uv: Float, distance: Float, disparity: Float, measures: tuple[float, float, float, float]
) -> Float:
    """
    How far away is what windows show.

    Parameters
    ----------
    uv : (2, N) float64
        Image pixels of their centres.
    distance : (N,) float64 [m]
        Of the ground there; NaN above the horizon.
    disparity : (h, w) float32 [px]
    measures : four floats
        Image pixel of the first grid pixel, image pixels a grid pixel, focal length x baseline,
        and from where on the ground says it.

    Returns
    -------
    (N,) float64 [m], infinite above the horizon
    """
    first, step, focal_baseline, far = measures
    height, width = disparity.shape
    ranges = np.empty(len(distance))
    for n in range(len(distance)):
        u, v = np.rint((uv[0, n] - first) / step), np.rint((uv[1, n] - first) / step)
        column, row = min(u if u > 0 else 0, width - 1), min(v if v > 0 else 0, height - 1)
        depth = np.float32(focal_baseline) / disparity[np.int64(row), np.int64(column)]
        ground = np.inf if np.isnan(distance[n]) else distance[n]
        ranges[n] = depth if depth < far else ground
    return ranges
