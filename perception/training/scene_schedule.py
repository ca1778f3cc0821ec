# SPDX-License-Identifier: Apache-2.0
"""How learning rate and averaged weights of a training run change with its steps."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

WARM_SHARE = 0.05  # of the steps
Tensors = tuple[Tensor, ...] | list[Tensor]


def warm_average(decay: float) -> Callable[[Tensors, Tensors, Tensor | int], None]:
    """
    Exponential mean of weights and batch statistics that forgets the first steps.

    The decay grows to its value: at a fixed one the statistics of a network that knows nothing
    yet, which can be large, would spoil the mean for thousands of steps.
    """
    def average(means: Tensors, news: Tensors, count: Tensor | int) -> None:
        done = int(count)
        share = 1 - min(decay, (1 + done) / (10 + done))
        if torch.is_floating_point(means[0]):
            torch._foreach_lerp_(means, news, share)
        else:
            torch._foreach_copy_(means, news)  # the number of batches

    return average


def warm_cosine(
    optimizer: torch.optim.Optimizer, steps: int
) -> torch.optim.lr_scheduler.LambdaLR:
    """Learning rate up over a twentieth of the steps, then down to zero along a cosine."""
    warm = max(int(WARM_SHARE * steps), 1)

    def factor(step: int) -> float:
        if step < warm:
            return (step + 1) / warm
        return 0.5 + 0.5 * math.cos(math.pi * min((step - warm) / max(steps - warm, 1), 1))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
