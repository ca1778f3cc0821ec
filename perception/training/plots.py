# SPDX-License-Identifier: Apache-2.0
"""Pictures of a training run: loss and error curves, and what auto-encoders give back."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.figure import Figure

from perception.training.networks import Lagr2008
from perception.types import Float

RANGE_NAMES = ('5-12 m', '12-30 m', '30-60 m')
SHOWN = ('Y', 'U', 'V')


def draw_curves(history: list[dict[str, Any]], title: str, path: Path) -> None:
    """Loss by epoch, validation error by range, and auto-encoder error by step where there is."""
    epochs = [line for line in history if 'epoch' in line]
    layers = [line for line in history if 'layer' in line]
    figure = Figure(figsize=(9 if layers else 6.5, 2.8), layout='constrained')
    axes = figure.subplots(1, 3 if layers else 2, squeeze=False)[0]
    axes[0].plot([e['epoch'] + 1 for e in epochs], [e['loss'] for e in epochs], color='k')
    axes[0].set(xlabel='epoch', title=f'{title}: training loss')
    for number, name in enumerate(RANGE_NAMES):
        errors = [e['window_error'][number] for e in epochs]
        axes[1].plot([e['epoch'] + 1 for e in epochs],
                     [np.nan if v is None else 100 * v for v in errors], label=name)
    axes[1].set(xlabel='epoch', title='held-out window error, %', ylim=(0, None))
    axes[1].legend(fontsize=7)
    for layer in (1, 2) if layers else ():
        lines = [line for line in layers if line['layer'] == layer]
        axes[2].semilogy([line['step'] for line in lines], [line['error'] for line in lines],
                         label=f'layer {layer}')
        axes[2].set(xlabel='step', title='auto-encoder error / variance')
        axes[2].legend(fontsize=7)
    _save(figure, path)


def draw_reconstructions(
    network: Lagr2008, decoders: list[torch.nn.Module], bands: Float, path: Path
) -> None:
    """
    Show what each layer keeps: a band, and its reconstruction from layer 1 and from both.

    Parameters
    ----------
    decoders : two modules
        Transposed convolutions of the two layers.
    bands : (3, h, w) float32
        One canvas; the left part is drawn.
    """
    x = torch.from_numpy(bands[None])
    with torch.no_grad():
        first = decoders[0](torch.tanh(network.c1(x)))
        hidden = decoders[1](network(x))
        # pooling has no inverse: each pooled value stands for its four columns
        both = decoders[0](hidden.repeat_interleave(4, dim=3))
    figure = Figure(figsize=(9, 3.6), layout='constrained')
    axes = figure.subplots(3, 3)
    pictures = (('input', x), ('layer 1', first), ('layers 1 + 2', both))
    for row, (name, picture) in enumerate(pictures):
        for column, channel in enumerate(SHOWN):
            limit = float(x[0, column].abs().max())
            axes[row, column].imshow(picture[0, column, :, :220].numpy(), vmin=-limit, vmax=limit,
                                     cmap='gray' if column == 0 else 'RdBu', aspect='equal')
            axes[row, column].set(xticks=[], yticks=[], title=f'{name} {channel}')
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    with mpl.rc_context({'savefig.dpi': 90}):
        figure.savefig(path)
