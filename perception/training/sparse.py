# SPDX-License-Identifier: Apache-2.0
"""
LAGR's network as exported: engines compute the connections of its tables, and few zeros.

Dense, C2 alone would take seven times its operations. Engines are slow with groups of three
inputs but fast with one a map, so each map gets its inputs one after the other: a pick (1 x 1
convolution of ones and zeros) lays them side by side, a depthwise convolution reads them.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from perception.training.networks import C1_MAPS, C2_FAN, POOL, Lagr2008

BLOCK = 16  # channels that CPU engines compute together


class SparseLagr(nn.Module):
    """
    Same function as ``Lagr2008``, gains folded.

    C1 is two convolutions, one on Y and one on U and V, each with empty maps up to a block;
    pooling comes before tanh; C2 is three picks, three depthwise convolutions, and their sum.
    """

    def __init__(self, network: Lagr2008) -> None:
        super().__init__()
        luminance = C1_MAPS[0]
        weight, bias = network.c1.folded().detach(), network.c1.bias.detach()
        self.first = nn.ModuleList([
            _padded(weight[:luminance, :1], bias[:luminance]),
            _padded(weight[luminance:, 1:], bias[luminance:]),
        ])
        # where a map of C1 lies among those of both blocks
        self._place = torch.cat([torch.arange(luminance),
                                 torch.arange(len(bias) - luminance) + BLOCK])
        weight, bias = network.c2.folded().detach(), network.c2.bias.detach()
        table: Tensor = network.c2.table  # type: ignore[assignment]
        reads = table[:, :, 0, 0].topk(C2_FAN, dim=1).indices.sort(dim=1).values
        self.picks = nn.ModuleList([self._pick(inputs) for inputs in reads.T])
        self.second = nn.ModuleList([
            _depthwise(weight[torch.arange(len(bias)), inputs], bias if k == 0 else None)
            for k, inputs in enumerate(reads.T)
        ])

    def _pick(self, inputs: Tensor) -> nn.Conv2d:
        """Copy these maps of C1, (maps,), side by side."""
        ones = functional.one_hot(self._place[inputs], 2 * BLOCK).float()
        return _convolution(ones[:, :, None, None], None)

    def forward(self, bands: Tensor) -> Tensor:
        """As ``Lagr2008.forward``."""
        luminance, chroma = self.first
        maps = torch.cat([functional.max_pool2d(luminance(bands[:, :1]), POOL),
                          functional.max_pool2d(chroma(bands[:, 1:]), POOL)], 1)
        hidden = torch.tanh(maps)
        first, second, third = (read(pick(hidden)) for pick, read in zip(self.picks, self.second))
        return torch.tanh(first + second + third)


def _padded(weight: Tensor, bias: Tensor) -> nn.Conv2d:
    """Convolution with empty maps up to a block."""
    empty = BLOCK - len(bias)
    return _convolution(functional.pad(weight, (0, 0, 0, 0, 0, 0, 0, empty)),
                        functional.pad(bias, (0, empty)))


def _depthwise(weight: Tensor, bias: Tensor | None) -> nn.Conv2d:
    """Each map reads the input of its own number; weight (maps, rows, columns)."""
    return _convolution(weight[:, None], bias, len(weight))


def _convolution(weight: Tensor, bias: Tensor | None, groups: int = 1) -> nn.Conv2d:
    maps, inputs, rows, columns = weight.shape
    convolution = nn.Conv2d(inputs * groups, maps, (rows, columns), groups=groups,
                            bias=bias is not None)
    convolution.weight.data = weight.clone()
    if bias is not None and convolution.bias is not None:
        convolution.bias.data = bias.clone()
    return convolution
