# SPDX-License-Identifier: Apache-2.0
"""
The multi-scale ConvNet of 2013: one filter bank on three scales, 768 features for each place.

Source
    PAMI13 3.1-3.3; algorithms.md B2, B3. Differs: the layers that end a place's features are
    applied to each scale before it is enlarged, which is the same function for less work.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

FILTER, POOL = 7, 2
FIELD, STRIDE = 46, 4  # pixels a feature sees, pixels between features
FIRST, SECOND, THIRD = (10, 6), 64, 256  # the first: maps that read Y, and both U and V
SECOND_FAN, THIRD_FAN = 8, 32
HIDDEN = 1024
TABLE_SEED = 2013  # of the random connections


class TableConv(nn.Module):
    """Convolution over a fixed connection table (maps, inputs) of 0 and 1."""

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        maps, inputs = table.shape
        self.register_buffer('table', table[:, :, None, None].float())
        fan = table.sum(1).clamp(min=1)[:, None, None, None] * FILTER ** 2
        self.weight = nn.Parameter(torch.randn(maps, inputs, FILTER, FILTER) / fan ** 0.5)
        self.bias = nn.Parameter(torch.zeros(maps))

    def folded(self) -> Tensor:
        """Weights with those of absent connections at zero."""
        return self.weight * self.table  # type: ignore[operator,no-any-return]

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, maps, H - 6, W - 6)."""
        return functional.conv2d(x, self.folded(), self.bias)


class FilterBank(nn.Module):
    """16, 64 and 256 maps of 7x7; tanh and max-pool after the first two, the third is linear."""

    def __init__(self) -> None:
        super().__init__()
        self.first = TableConv(first_table())
        self.second = TableConv(random_table(SECOND, sum(FIRST), SECOND_FAN))
        self.third = TableConv(random_table(THIRD, SECOND, THIRD_FAN))

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, h, w) -> (B, 256, h / 4, w / 4), zeros seen beyond the border."""
        margin = (FIELD - STRIDE) // 2
        x = functional.pad(x, (margin, margin, margin, margin))
        # max-pool commutes with the rising tanh: pooling first saves three tanh in four
        x = torch.tanh(functional.max_pool2d(self.first(x), POOL))
        x = torch.tanh(functional.max_pool2d(self.second(x), POOL))
        return self.third(x)  # type: ignore[no-any-return]


def first_table() -> Tensor:
    """Ten maps read Y, six read U and V; (16, 3)."""
    luminance, chroma = torch.tensor([[1, 0, 0]]), torch.tensor([[0, 1, 1]])
    return torch.cat([luminance.expand(FIRST[0], 3), chroma.expand(FIRST[1], 3)])


def random_table(maps: int, inputs: int, fan: int) -> Tensor:
    """Each map reads ``fan`` random inputs, the same for ever; (maps, inputs)."""
    generator = torch.Generator().manual_seed(TABLE_SEED + maps)
    scores = torch.rand(maps, inputs, generator=generator)
    return torch.zeros(maps, inputs).scatter_(1, scores.topk(fan, dim=1).indices, 1.0)


class Farabet2013(nn.Module):
    """
    Filter bank on each scale, then a classifier of the features of all scales.

    ``deep`` false: linear, which trains the features. True: 1024 tanh units on features that no
    longer change.
    """

    stride = STRIDE

    def __init__(self, classes: int, scales: int = 3) -> None:
        super().__init__()
        self.bank = FilterBank()
        self.linear = _layer(THIRD, classes, scales)
        self.hidden = _layer(THIRD, HIDDEN, scales)
        self.output = nn.Conv2d(HIDDEN, classes, 1)
        self.deep = False

    def deepen(self, deep: bool) -> None:
        """Choose the classifier; with the deep one the features stay as they are."""
        self.deep = deep
        self.bank.requires_grad_(not deep)
        self.linear.requires_grad_(not deep)

    def classifier(self) -> list[nn.Parameter]:
        """What the second phase trains."""
        return [*self.hidden.parameters(), *self.output.parameters()]

    def features(self, *scales: Tensor) -> list[Tensor]:
        """Maps of each scale, (B, 256, h / 4, w / 4)."""
        return [self.bank(scale) for scale in scales]

    def forward(self, *scales: Tensor) -> Tensor:
        """(B, 3, h / 2^k, w / 2^k) for each scale k -> logits (B, classes, h / 4, w / 4)."""
        features = self.features(*scales)
        if not self.deep:
            return _joined(features, self.linear)
        return self.output(torch.tanh(_joined(features, self.hidden)))  # type: ignore[no-any-return]


def _layer(inputs: int, maps: int, scales: int) -> nn.ModuleList:
    """A 1x1 layer on the features of all scales, one part a scale; the first has the bias."""
    parts = [nn.Conv2d(inputs, maps, 1, bias=k == 0) for k in range(scales)]
    for part in parts:
        nn.init.normal_(part.weight, std=(inputs * scales) ** -0.5)
    return nn.ModuleList(parts)


def _joined(features: list[Tensor], layer: nn.ModuleList) -> Tensor:
    """What the layer gives on features enlarged to the finest scale and put side by side."""
    parts = [part(maps) for part, maps in zip(layer, features, strict=True)]
    total, size = parts[0], parts[0].shape[2:]
    for part in parts[1:]:
        total = total + functional.interpolate(
            part, size=size, mode='bilinear', align_corners=False)
    return total
