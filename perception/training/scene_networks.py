# SPDX-License-Identifier: Apache-2.0
"""
The scene-labelling networks by name, and the modern one.

All take a list of tensors, one a scale (``modern`` and ``fast_scnn`` have a single one), and give
logits (B, classes, h, w) at ``stride`` input pixels.
"""

from typing import Literal

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from perception.laplacian import laplacian_yuv
from perception.training.farabet2013 import Farabet2013
from perception.training.fast_scnn import FastScnn
from perception.types import Image

SceneArchitecture = Literal['modern', 'farabet2013', 'farabet2013_single', 'fast_scnn']

MEAN, STD = (103.0, 107.0, 104.0), (66.0, 68.0, 70.0)  # of blue, green and red outdoors
GROUP = 16  # channels that CPU engines compute together
SCALES = {'farabet2013': 3, 'farabet2013_single': 1}  # of the Laplacian pyramid


class Standardise(nn.Module):
    """(B, 3, H, W) BGR, uint8 or 0..255 -> zero mean, unit variance, inside the exported graph."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer('mean', torch.tensor(MEAN)[:, None, None], persistent=False)
        self.register_buffer('scale', 1 / torch.tensor(STD)[:, None, None], persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Same shape."""
        return (image - self.mean) * self.scale  # type: ignore[operator]


def convolution(
    inputs: int, maps: int, size: int, stride: int = 1, relu: bool = True, groups: int = 1
) -> nn.Sequential:
    """Padded convolution without bias, batch norm, ReLU."""
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, maps, size, stride, size // 2, groups=groups, bias=False),
        nn.BatchNorm2d(maps)]
    return nn.Sequential(*layers, nn.ReLU(inplace=True)) if relu else nn.Sequential(*layers)


class DilatedBlock(nn.Module):
    """
    Residual block whose grouped 3x3 convolution sees at two dilations at once.

    Source
        D block of RegSeg (Gao 2021, arXiv 2111.09957), without squeeze-and-excitation.
    """

    def __init__(
        self, inputs: int, maps: int, dilations: tuple[int, ...], stride: int = 1
    ) -> None:
        super().__init__()
        part = maps // len(dilations)
        self.enter = convolution(inputs, maps, 1)
        self.see = nn.ModuleList(
            nn.Conv2d(part, part, 3, stride, dilation, dilation, part // GROUP, bias=False)
            for dilation in dilations)
        self.norm = nn.BatchNorm2d(maps)
        self.leave = convolution(maps, maps, 1, relu=False)
        self.short: nn.Module = nn.Identity()
        if stride == 2 or inputs != maps:
            self.short = nn.Sequential(
                nn.AvgPool2d(2, 2, ceil_mode=True) if stride == 2 else nn.Identity(),
                convolution(inputs, maps, 1, relu=False))

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, maps, H / stride, W / stride), rounded up."""
        parts = self.enter(x).chunk(len(self.see), 1)
        seen = [see(part) for see, part in zip(self.see, parts, strict=True)]
        y = self.leave(functional.relu(self.norm(torch.cat(seen, 1))))
        return functional.relu(y + self.short(x))


class GlobalContext(nn.Module):
    """Adds what the whole picture says to every place."""

    def __init__(self, maps: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(maps, maps // 2, 1), nn.ReLU(inplace=True), nn.Conv2d(maps // 2, maps, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Same shape."""
        return x + self.layers(x.mean((2, 3), keepdim=True))  # type: ignore[no-any-return]


def _enlarged(x: Tensor, like: Tensor) -> Tensor:
    return functional.interpolate(x, size=like.shape[2:], mode='bilinear', align_corners=False)


class Modern(nn.Module):
    """
    Light encoder-decoder that trains from scratch on hundreds of images; logits at stride 2.

    Dilated blocks to 1/16 of the input see most of the picture; the decoder goes back to 1/4
    and writes four logits a class for each place, so that poles two pixels wide survive.
    """

    stride = 2
    maps = (24, 48, 96, 192)
    decoder = 48

    def __init__(self, classes: int) -> None:
        super().__init__()
        half, fourth, eighth, last = self.maps
        self.fourth = nn.Sequential(
            Standardise(), convolution(3, half, 3, 2), convolution(half, fourth, 3, 2),
            DilatedBlock(fourth, fourth, (1,)))
        self.eighth = nn.Sequential(
            DilatedBlock(fourth, eighth, (1,), 2),
            *(DilatedBlock(eighth, eighth, (1, d)) for d in (2, 4, 2, 4)))
        self.sixteenth = nn.Sequential(
            DilatedBlock(eighth, last, (1,), 2),
            *(DilatedBlock(last, last, (1, d)) for d in (2, 4, 6, 8, 10)), GlobalContext(last))
        self.from16 = convolution(last, 2 * self.decoder, 1, relu=False)
        self.from8 = convolution(eighth, 2 * self.decoder, 1, relu=False)
        self.join8 = convolution(2 * self.decoder, self.decoder, 3)
        self.from4 = convolution(fourth, self.decoder, 1, relu=False)
        self.join4 = nn.Sequential(
            convolution(self.decoder, self.decoder, 3, groups=self.decoder // GROUP),
            convolution(self.decoder, self.decoder, 1))
        self.head = nn.Conv2d(self.decoder, 4 * classes, 1)
        self.coarse = nn.Conv2d(last, classes, 1)  # for the auxiliary loss only

    def forward(self, image: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """(B, 3, H, W) BGR 0..255 -> (B, classes, H / 2, W / 2); training: and logits at 1/16."""
        x4 = self.fourth(image)
        x8 = self.eighth(x4)
        x16 = self.sixteenth(x8)
        y = self.join8(functional.relu(self.from8(x8) + _enlarged(self.from16(x16), x8)))
        y = self.join4(functional.relu(self.from4(x4) + _enlarged(y, x4)))
        logits = functional.pixel_shuffle(self.head(y), 2)
        return (logits, self.coarse(x16)) if self.training else logits


SceneNet = Modern | Farabet2013 | FastScnn


def make_scene_network(architecture: SceneArchitecture, classes: int) -> SceneNet:
    """Network of that name with random weights from torch's generator."""
    if architecture == 'modern':
        return Modern(classes)
    if architecture == 'fast_scnn':
        return FastScnn(classes)
    return Farabet2013(classes, scales=SCALES[architecture])


def scene_inputs(architecture: SceneArchitecture, image: Image) -> list[Tensor]:
    """What a network takes of one picture (H, W, 3) uint8 BGR, without the batch axis."""
    if architecture in SCALES:
        return [torch.from_numpy(one) for one in laplacian_yuv(image, SCALES[architecture])]
    return [torch.from_numpy(np.stack(cv2.split(image)))]


def scene_stride(architecture: SceneArchitecture) -> int:
    """Input pixels between logits."""
    if architecture == 'modern':
        return Modern.stride
    return FastScnn.stride if architecture == 'fast_scnn' else Farabet2013.stride
