# SPDX-License-Identifier: Apache-2.0
"""
Losses of scene labelling, on logits (N, classes) and labels (N,) of decided pixels.

Without any such pixel they are zero, and so are their gradients.

Source
    On-line hard example mining: Shrivastava 2016, arXiv 1604.03540. Lovász-softmax: Berman 2018,
    arXiv 1705.08790. Class-balanced and natural sampling: PAMI13, algorithms.md B3.
"""

import torch
from torch import Tensor
from torch.nn import functional

VOID = 255


def decided(logits: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    """(B, C, h, w) and (B, h, w) -> (N, C) and (N,) of the pixels that are not void."""
    flat, label = logits.movedim(1, -1).reshape(-1, logits.shape[1]), label.reshape(-1).long()
    kept = label != VOID
    return flat[kept], label[kept]


def hard_cross_entropy(logits: Tensor, label: Tensor, weight: Tensor, share: float) -> Tensor:
    """Weighted cross entropy of the ``share`` of pixels that have the largest one."""
    entropy = functional.cross_entropy(logits, label, weight, reduction='none')
    count = max(int(share * len(entropy)), 1)
    if count < len(entropy):
        entropy = entropy.topk(count, sorted=False).values
    return entropy.mean() if len(entropy) else logits.sum()


def lovasz_softmax(logits: Tensor, label: Tensor) -> Tensor:
    """Mean over the present classes of the convex surrogate of 1 - IoU."""
    probabilities = logits.softmax(1)
    losses = []
    for number in label.unique().tolist():
        truth = (label == number).float()
        errors, order = (truth - probabilities[:, number]).abs().sort(descending=True)
        losses.append(errors @ _lovasz_gradient(truth[order]))
    return torch.stack(losses).mean() if losses else logits.sum()


def _lovasz_gradient(truth: Tensor) -> Tensor:
    """Steps of the Jaccard loss along errors sorted downwards, (N,)."""
    inside = truth.sum()
    jaccard = 1 - (inside - truth.cumsum(0)) / (inside + (1 - truth).cumsum(0))
    return torch.cat([jaccard[:1], jaccard[1:] - jaccard[:-1]])


def sampled_cross_entropy(logits: Tensor, label: Tensor, balanced: bool) -> Tensor:
    """
    Cross entropy as patches drawn by class see it (balanced), or as they come (natural).

    Balanced: the mean over the present classes of each one's mean, the expectation of drawing
    equally many pixels of each.
    """
    if not len(label):
        return logits.sum()
    if not balanced:
        return functional.cross_entropy(logits, label)
    counts = label.bincount(minlength=logits.shape[1]).float()
    entropy = functional.cross_entropy(logits, label, reduction='none')
    return (entropy / counts[label]).sum() / (counts > 0).sum()
