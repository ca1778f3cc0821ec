# SPDX-License-Identifier: Apache-2.0
"""Losses by hand, against slow twins, and where nothing is labelled."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip('torch')

from perception.training.scene_loss import (  # noqa: E402
    VOID,
    decided,
    hard_cross_entropy,
    lovasz_softmax,
    sampled_cross_entropy,
)

torch.set_num_threads(1)


def scores(*shares: list[float]) -> torch.Tensor:
    """Logits whose softmax are these."""
    return torch.tensor(shares).log()


def test_decided_keeps_pixel_and_label_together() -> None:
    logits = torch.arange(24.0).reshape(2, 3, 2, 2)
    label = torch.tensor([[[2, VOID], [0, 1]], [[VOID, VOID], [VOID, 1]]], dtype=torch.uint8)
    flat, truth = decided(logits, label)
    assert truth.tolist() == [2, 0, 1, 1]
    assert flat.tolist() == [[0, 4, 8], [2, 6, 10], [3, 7, 11], [15, 19, 23]]


def test_hard_cross_entropy_by_hand() -> None:
    logits = scores([0.5, 0.25, 0.25], [0.2, 0.7, 0.1], [0.1, 0.1, 0.8], [0.6, 0.3, 0.1])
    label, weight = torch.tensor([0, 1, 2, 1]), torch.tensor([1.0, 3.0, 0.5])
    losses = [np.log(2), -3 * np.log(0.7), -0.5 * np.log(0.8), -3 * np.log(0.3)]
    whole = hard_cross_entropy(logits, label, weight, 1.0)
    assert float(whole) == pytest.approx(np.mean(losses), rel=1e-5)
    half = hard_cross_entropy(logits, label, weight, 0.5)
    assert float(half) == pytest.approx((losses[3] + losses[1]) / 2, rel=1e-5)
    least = hard_cross_entropy(logits, label, weight, 0.01)
    assert float(least) == pytest.approx(losses[3], rel=1e-5)


def test_sampled_cross_entropy_by_hand() -> None:
    logits = scores([0.5, 0.25, 0.25], [0.2, 0.7, 0.1], [0.4, 0.5, 0.1])
    label = torch.tensor([0, 1, 1])  # none of the third class
    losses = -np.log([0.5, 0.7, 0.5])
    natural = sampled_cross_entropy(logits, label, balanced=False)
    assert float(natural) == pytest.approx(losses.mean(), rel=1e-5)
    balanced = sampled_cross_entropy(logits, label, balanced=True)
    assert float(balanced) == pytest.approx((losses[0] + losses[1:].mean()) / 2, rel=1e-5)


def slow_lovasz(probabilities: np.ndarray, label: np.ndarray) -> float:
    """Sum of errors times what each pixel adds to the Jaccard loss of those wrong so far."""
    found = []
    for number in set(label.tolist()):
        truth = label == number
        errors = np.where(truth, 1 - probabilities[:, number], probabilities[:, number])
        wrong, before, total = np.zeros(len(label), bool), 0.0, 0.0
        for k in np.argsort(-errors, kind='stable'):
            wrong[k] = True
            loss = wrong.sum() / (truth | wrong).sum()
            total += errors[k] * (loss - before)
            before = loss
        found.append(total)
    return float(np.mean(found))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 30))
def test_lovasz_equals_its_slow_twin(seed: int, pixels: int) -> None:
    rng = np.random.default_rng(seed)
    logits, label = rng.normal(0, 2, (pixels, 4)), rng.integers(0, 4, pixels)
    found = lovasz_softmax(torch.from_numpy(logits).float(), torch.from_numpy(label))
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert float(found) == pytest.approx(slow_lovasz(probabilities, label), abs=1e-5)
    assert -1e-6 <= float(found) <= 1 + 1e-6


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31))
def test_lovasz_of_certain_answers_is_one_minus_iou(seed: int) -> None:
    rng = np.random.default_rng(seed)
    given_class, label = rng.integers(0, 3, 20), rng.integers(0, 3, 20)
    logits = 200 * torch.eye(3)[torch.from_numpy(given_class)]
    iou = [((given_class == k) & (label == k)).sum() / ((given_class == k) | (label == k)).sum()
           for k in set(label.tolist())]
    found = lovasz_softmax(logits, torch.from_numpy(label))
    assert float(found) == pytest.approx(1 - np.mean(iou), abs=1e-5)


def test_lovasz_is_0_where_all_is_right_and_1_where_all_is_wrong() -> None:
    label = torch.tensor([0, 0, 2, 1, 2])
    assert float(lovasz_softmax(200 * torch.eye(3)[label], label)) == pytest.approx(0, abs=1e-6)
    wrong = 200 * torch.eye(3)[(label + 1) % 3]
    assert float(lovasz_softmax(wrong, label)) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize('loss', [
    lambda logits, label: hard_cross_entropy(logits, label, torch.ones(3), 0.4), lovasz_softmax,
    lambda logits, label: sampled_cross_entropy(logits, label, True),
    lambda logits, label: sampled_cross_entropy(logits, label, False),
], ids=['hard', 'lovasz', 'balanced', 'natural'])
def test_nothing_labelled_gives_nothing_to_learn(loss) -> None:
    logits = torch.randn(2, 3, 4, 5, requires_grad=True)
    found = loss(*decided(logits, torch.full((2, 4, 5), VOID, dtype=torch.uint8)))
    found.backward()
    assert float(found.detach()) == 0
    assert logits.grad is not None
    assert logits.grad.abs().max() == 0
