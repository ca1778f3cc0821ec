# SPDX-License-Identifier: Apache-2.0
"""The linear layer and the softmax on top of the features."""

import numpy as np

from perception.errors import NetworkError
from perception.types import Float

SMALL = 1_000_000  # multiplications; products of up to so many go a quicker way in OpenBLAS


def classify(features: Float, weight: Float, bias: Float) -> Float:
    """
    Softmax classifier.

    Parameters
    ----------
    features : (N, F) float32
    weight : (5, F) float32
    bias : (5,) float32

    Returns
    -------
    (N, 5) float32
        Probabilities, rows sum to 1.

    Source
        IROS08-DBN; algorithms.md A6.
    """
    return softmax(features @ weight.T + bias)


def linear_maps(maps: list[Float], weight: Float) -> list[Float]:
    """
    Linear layer on feature maps, before windows are gathered: a few channels move, not a hundred.

    Parameters
    ----------
    maps : list of (F, h, w) float32
        Channels first or last in memory; numpy multiplies the latter slowly unless turned.
    weight : (K, F) float32, K few

    Returns
    -------
    list of (K, h, w) float32
    """
    flat = [part.reshape(len(part), -1) for part in maps]
    products = [weight @ part if part.flags.c_contiguous else _turned(part.T, weight).T
                for part in flat]
    return [product.reshape(-1, *part.shape[1:])
            for product, part in zip(products, maps, strict=True)]


def _turned(rows: Float, weight: Float) -> Float:
    """Rows (n, F) times weight (K, F), (n, K), part by part."""
    columns = np.ascontiguousarray(weight.T)  # a view would take twice the time
    step = max(SMALL // weight.size, 1)
    return np.concatenate([rows[k:k + step] @ columns for k in range(0, len(rows), step)])


def checked(logits: Float, network: str) -> Float:
    """Logits of a network of this name, as they are; NetworkError where one is not finite."""
    if not np.isfinite(logits).all():
        raise NetworkError(
            f'network {network}: features are not finite; restore its file, or check '
            'the image and its calibration'
        )
    return logits


def softmax(logits: Float) -> Float:
    """Logits (N, C) -> probabilities (N, C) float32, rows sum to 1."""
    columns = np.ascontiguousarray(logits.T)  # numpy is slow along an axis of five
    shares = np.asarray(columns - columns.max(axis=0))
    np.exp(shares, out=shares)
    shares /= shares.sum(axis=0)
    return np.ascontiguousarray(shares.T, np.float32)
