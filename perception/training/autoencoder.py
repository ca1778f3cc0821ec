# SPDX-License-Identifier: Apache-2.0
"""
Greedy layer-wise training of LAGR's layers as convolutional auto-encoders.

Each layer is the encoder of a pair that minimises the squared error of its own input; the next
one learns on the pooled maps of the layers before it, which stay as they are.

Source
    IROS08-DBN; algorithms.md A4. Differs: the input of the encoder carries a little noise
    (denoising auto-encoder), because 20 maps at every pixel could otherwise copy 3 channels.
"""

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from perception.training.networks import GainConv, Lagr2008

NOISE = 0.15  # of the standard deviation of each map
LEARNING_RATE = 2e-3


class LayerPair(nn.Module):
    """Encoder tanh(c * conv + b) and a linear transposed convolution back."""

    def __init__(self, encoder: GainConv) -> None:
        super().__init__()
        maps, inputs, rows, columns = encoder.weight.shape
        self.encoder = encoder
        self.decoder = nn.ConvTranspose2d(maps, inputs, (rows, columns))

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> its reconstruction of the same shape."""
        reconstructed: Tensor = self.decoder(torch.tanh(self.encoder(x)))
        return reconstructed


def layer_input(network: Lagr2008, layer: int, bands: Tensor) -> Tensor:
    """What layer 0 (bands) or 1 (pooled maps of the first) learns to reconstruct."""
    if layer == 0:
        return bands
    with torch.no_grad():
        return network.hidden(bands)


def train_layer(
    network: Lagr2008, layer: int, batches: Iterator[Tensor], steps: int,
    report: Callable[[int, float], object] = lambda step, loss: None,
) -> LayerPair:
    """
    Train one layer in place.

    Parameters
    ----------
    layer : int
        0 = C1, 1 = C2.
    batches : iterator of (B, 3, H, W)
        Canvases of bands; endless.
    report : callable
        Told the step and its loss: mean squared error over the variance of the input.

    Returns
    -------
    LayerPair
        With the decoder, to show reconstructions.
    """
    pair = LayerPair(network.c2 if layer else network.c1)
    optimizer = torch.optim.Adam(pair.parameters(), LEARNING_RATE)
    schedule = warm_cosine(optimizer, steps)
    for step in range(steps):
        x = layer_input(network, layer, next(batches))
        loss = functional.mse_loss(pair(_noisy(x)), x) / x.var()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        report(step, float(loss.detach()))
    return pair


def warm_cosine(
    optimizer: torch.optim.Optimizer, steps: int
) -> torch.optim.lr_scheduler.LambdaLR:
    """Learning rate up over a tenth of the steps, then down to zero along a cosine."""
    warm = max(steps // 10, 1)
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(
        (step + 1) / warm, 0.5 + 0.5 * math.cos(math.pi * min(step / steps, 1))))


def _noisy(x: Tensor) -> Tensor:
    spread = x.std(dim=(0, 2, 3), keepdim=True)
    return x + NOISE * spread * torch.randn_like(x)
