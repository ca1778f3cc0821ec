# SPDX-License-Identifier: Apache-2.0
"""Linear softmax fitted in one go: the classifier of the baselines."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from perception.errors import NetworkError
from perception.types import CLASSES, FOOTLINE, Float

DECAY = 1e-4
ITERATIONS = 150


@dataclass(frozen=True)
class Softmax:
    """``weight`` (5, F) and ``bias`` (5,) float64 on raw features."""

    weight: Float
    bias: Float

    def probabilities(self, features: Float) -> Float:
        """Class probabilities of features (N, F), (N, 5) float32."""
        return _softmax(features @ self.weight.T + self.bias).astype(np.float32)


def fit_softmax(features: Float, label: NDArray[np.uint8], decay: float = DECAY) -> Softmax:
    """
    Fit by L-BFGS, the ground classes together with the same weight as the obstacle classes.

    Parameters
    ----------
    features : (N, F) float
        Standardised inside, so their scale does not matter.
    label : (N,) uint8
        Class 0-4 of each row.
    decay : float
        Weight of the squared norm of the weights on standardised features.
    """
    mean, spread = features.mean(0), features.std(0) + 1e-6
    inputs = np.column_stack([(features - mean) / spread, np.ones(len(features))])
    family = (label >= FOOTLINE).astype(np.int64)
    weight = (0.5 / np.maximum(np.bincount(family, minlength=2), 1))[family]

    def loss(flat: Float) -> tuple[float, Float]:
        table = flat.reshape(len(CLASSES), -1)
        probability = _softmax(inputs @ table.T)
        picked = probability[np.arange(len(label)), label]
        penalty = decay * table * ([1.0] * (table.shape[1] - 1) + [0.0])
        probability[np.arange(len(label)), label] -= 1
        gradient = (probability * weight[:, None]).T @ inputs + 2 * penalty
        return float(-(weight * np.log(picked + 1e-12)).sum() + (penalty * table).sum()), \
            gradient.ravel()

    start = np.zeros(len(CLASSES) * inputs.shape[1])
    best = minimize(loss, start, jac=True, method='L-BFGS-B', options={'maxiter': ITERATIONS})
    table = best.x.reshape(len(CLASSES), -1)
    scaled = table[:, :-1] / spread
    return Softmax(scaled, table[:, -1] - scaled @ mean)


def save_softmax(path: Path, classifier: Softmax) -> None:
    """Write as .npz."""
    np.savez(path, weight=classifier.weight.astype(np.float32),
             bias=classifier.bias.astype(np.float32))


def load_softmax(path: Path) -> Softmax:
    """
    Read what ``save_softmax`` wrote.

    Raises
    ------
    NetworkError
        The file is missing or damaged.
    """
    try:
        with np.load(path) as stored:
            return Softmax(stored['weight'].astype(float), stored['bias'].astype(float))
    except (OSError, ValueError, KeyError) as error:
        raise NetworkError(f'{path}: no classifier weights ({error}); give its .npz') from None


def _softmax(logits: Float) -> Float:
    exponential = np.exp(logits - logits.max(1, keepdims=True))
    probability: Float = exponential / exponential.sum(1, keepdims=True)
    return probability
