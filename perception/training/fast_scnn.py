# SPDX-License-Identifier: Apache-2.0
"""
Fast-SCNN's published layout, the yardstick of speed; logits at stride 8.

Source
    Poudel, Liwicki, Cipolla 2019, arXiv 1902.04502, table 1.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

BINS = (1, 2, 3, 6)  # of the pyramid pooling


def _convolution(inputs: int, maps: int, size: int, stride: int = 1, groups: int = 1) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(inputs, maps, size, stride, size // 2, groups=groups, bias=False),
        nn.BatchNorm2d(maps), nn.ReLU(inplace=True))


def _separable(inputs: int, maps: int, stride: int = 1) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs, bias=False),
        nn.BatchNorm2d(inputs), nn.ReLU(inplace=True), _convolution(inputs, maps, 1))


class Bottleneck(nn.Module):
    """Inverted residual of MobileNet-V2, expansion 6."""

    def __init__(self, inputs: int, maps: int, stride: int) -> None:
        super().__init__()
        wide = 6 * inputs
        self.layers = nn.Sequential(
            _convolution(inputs, wide, 1), _convolution(wide, wide, 3, stride, wide),
            nn.Conv2d(wide, maps, 1, bias=False), nn.BatchNorm2d(maps))
        self.same = stride == 1 and inputs == maps

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, maps, H / stride, W / stride)."""
        y: Tensor = self.layers(x)
        return x + y if self.same else y


class PyramidPooling(nn.Module):
    """Means over 1, 4, 9 and 36 parts of the picture beside each place."""

    def __init__(self, maps: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(_convolution(maps, maps // len(BINS), 1) for _ in BINS)
        self.join = _convolution(2 * maps, maps, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Same shape."""
        pooled = [functional.interpolate(
            branch(part_means(x, bins)), size=x.shape[2:], mode='bilinear', align_corners=False,
        ) for branch, bins in zip(self.branches, BINS, strict=True)]
        return self.join(torch.cat([x, *pooled], 1))  # type: ignore[no-any-return]


def part_means(x: Tensor, bins: int) -> Tensor:
    """
    Means of (B, C, H, W) over bins x bins parts, (B, C, bins, bins).

    As products with (bins, H) and (W, bins), because an exported pooling has one fixed size.
    """
    return _parts(x, 2, bins) @ x @ _parts(x, 3, bins).T


def _parts(x: Tensor, axis: int, bins: int) -> Tensor:
    """Weight of each place in the mean of each part, (bins, places); parts may be empty."""
    places = torch.arange(x.shape[axis], device=x.device) * bins // x.shape[axis]
    inside = (places == torch.arange(bins, device=x.device)[:, None]).to(x.dtype)
    return inside / inside.sum(1, keepdim=True).clamp(min=1)


def _stage(inputs: int, maps: int, count: int, stride: int) -> nn.Module:
    return nn.Sequential(Bottleneck(inputs, maps, stride),
                         *(Bottleneck(maps, maps, 1) for _ in range(count - 1)))


class FastScnn(nn.Module):
    """Learning to down-sample, global features, feature fusion, classifier."""

    stride = 8

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.down = nn.Sequential(
            _convolution(3, 32, 3, 2), _separable(32, 48, 2), _separable(48, 64, 2))
        self.deep = nn.Sequential(
            _stage(64, 64, 3, 2), _stage(64, 96, 3, 2), _stage(96, 128, 3, 1),
            PyramidPooling(128))
        self.from_deep = nn.Sequential(
            nn.Conv2d(128, 128, 3, 1, 4, 4, groups=128, bias=False), nn.BatchNorm2d(128),
            nn.ReLU(inplace=True), nn.Conv2d(128, 128, 1, bias=False), nn.BatchNorm2d(128))
        self.from_high = nn.Sequential(nn.Conv2d(64, 128, 1, bias=False), nn.BatchNorm2d(128))
        self.classifier = nn.Sequential(
            _separable(128, 128), _separable(128, 128), nn.Conv2d(128, classes, 1))

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) BGR 0..255 -> (B, classes, H / 8, W / 8)."""
        high = self.down(image / 255)
        deep = functional.interpolate(
            self.deep(high), size=high.shape[2:], mode='bilinear', align_corners=False)
        fused = functional.relu(self.from_deep(deep) + self.from_high(high))
        return self.classifier(fused)  # type: ignore[no-any-return]
