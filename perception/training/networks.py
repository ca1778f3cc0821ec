# SPDX-License-Identifier: Apache-2.0
"""
The two feature extractors: LAGR's of 2008, and a modern twin with the same interface.

Both take bands (B, 3, H, W) to features (B, F, H', W') without padding, so that a feature never
depends on where its band lies in a strip. W0, a linear layer to 5 classes, is kept apart.

Source
    IROS08-DBN; algorithms.md A4.
"""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from perception.contrast import ContrastMode, Receptive
from perception.types import CLASSES

Architecture = Literal['default', 'lagr2008']

C1_MAPS, C1_SIZE, POOL = (10, 5, 5), (7, 6), (1, 4)  # maps that read Y, U and V
C2_MAPS, C2_SIZE, C2_FAN = 100, (6, 5), 3
TABLE_SEED = 2008  # of the random triples that C2 reads


class GainConv(nn.Module):
    """
    tanh(c * conv(x) + b) before the tanh: convolution over a fixed connection table.

    ``table`` (maps, inputs) of 0 and 1 says which map reads which input.
    """

    def __init__(self, table: Tensor, size: tuple[int, int]) -> None:
        super().__init__()
        maps, inputs = table.shape
        self.register_buffer('table', table[:, :, None, None].float())
        fan = float(table[0].sum()) * size[0] * size[1]
        self.weight = nn.Parameter(torch.randn(maps, inputs, *size) / fan ** 0.5)
        self.gain = nn.Parameter(torch.ones(maps))
        self.bias = nn.Parameter(torch.zeros(maps))

    def folded(self) -> Tensor:
        """Masked weights with the gain multiplied in, (maps, inputs, rows, columns)."""
        table: Tensor = self.table  # type: ignore[assignment]
        return self.weight * table * self.gain[:, None, None, None]

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, maps, H - rows + 1, W - columns + 1), before the tanh."""
        return functional.conv2d(x, self.folded(), self.bias)


class Lagr2008(nn.Module):
    """C1 20 maps 7x6, tanh, max-pool 1x4, C2 100 maps 6x5, tanh; 10 080 parameters."""

    receptive = Receptive(12, 25, 1)
    contrast: ContrastMode = 'divisive_mean_16'
    features = C2_MAPS

    def __init__(self) -> None:
        super().__init__()
        self.c1 = GainConv(first_table(), C1_SIZE)
        self.c2 = GainConv(second_table(), C2_SIZE)

    def hidden(self, bands: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, 20, H - 6, (W - 5) // 4)."""
        # max-pool commutes with the rising tanh: pooling first saves three tanh in four
        return torch.tanh(functional.max_pool2d(self.c1(bands), POOL))

    def forward(self, bands: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, 100, H - 11, (W - 25) // 4 + 1)."""
        return torch.tanh(self.c2(self.hidden(bands)))


def first_table() -> Tensor:
    """C1: each map reads one channel, 10 read Y, 5 U, 5 V; (20, 3)."""
    channel = torch.arange(3).repeat_interleave(torch.tensor(C1_MAPS))
    return functional.one_hot(channel, 3)


def second_table() -> Tensor:
    """C2: each map reads three random C1 maps, the same for ever; (100, 20)."""
    generator = torch.Generator().manual_seed(TABLE_SEED)
    maps = sum(C1_MAPS)
    scores = torch.rand(C2_MAPS, maps, generator=generator)
    table = torch.zeros(C2_MAPS, maps)
    return table.scatter_(1, scores.topk(C2_FAN, dim=1).indices, 1.0)


class ModernTwin(nn.Module):
    """
    Strided stem, separable convolutions, batch norm, ReLU; window rows at stride 2.

    Receptive field 22 x 57: the labelled 12 x 25 window and what surrounds it.
    """

    receptive = Receptive(22, 57, 2)
    contrast: ContrastMode = 'divisive_mean_16'
    features = 64

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            _dense(3, 32, (6, 9), (2, 4)),
            _separable(32, 64, (3, 5)),
            _separable(64, 96, (3, 5)),
            _separable(96, 96, (3, 3)),
            _separable(96, self.features, (3, 3)),
        )

    def forward(self, bands: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, 64, (H - 22) // 2 + 1, (W - 57) // 4 + 1)."""
        features: Tensor = self.layers(bands)
        return features


FeatureNetwork = Lagr2008 | ModernTwin


def make_network(architecture: Architecture) -> FeatureNetwork:
    """Feature extractor of that name with random weights."""
    return Lagr2008() if architecture == 'lagr2008' else ModernTwin()


def make_classifier(features: int) -> nn.Conv2d:
    """W0 as a 1 x 1 convolution (features -> 5 logits)."""
    return nn.Conv2d(features, len(CLASSES), 1)


def _dense(inputs: int, maps: int, size: tuple[int, int], stride: tuple[int, int]) -> nn.Module:
    convolution = nn.Conv2d(inputs, maps, size, stride, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(maps), nn.ReLU(inplace=True))


def _separable(inputs: int, maps: int, size: tuple[int, int]) -> nn.Module:
    """Depthwise, then pointwise convolution."""
    depthwise = nn.Conv2d(inputs, inputs, size, groups=inputs, bias=False)
    pointwise = _dense(inputs, maps, (1, 1), (1, 1))
    return nn.Sequential(depthwise, nn.BatchNorm2d(inputs), nn.ReLU(inplace=True), pointwise)
