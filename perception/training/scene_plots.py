# SPDX-License-Identifier: Apache-2.0
"""Curves of a training run of a scene network."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure


def draw_scene_curves(history: list[dict[str, Any]], title: str, path: Path) -> None:
    """Loss by epoch; mean IoU, pixel accuracy and the IoU of each class on validation pictures."""
    scored = [line for line in history if 'miou' in line]
    figure = Figure(figsize=(10, 3.2), layout='constrained')
    left, middle, right = figure.subplots(1, 3)
    left.plot([line['epoch'] for line in history], [line['loss'] for line in history], color='k')
    left.set(xlabel='epoch', title=f'{title}: training loss')
    epochs = [line['epoch'] for line in scored]
    for name, label in (('miou', 'mean IoU'), ('pixel_accuracy', 'pixel accuracy'),
                        ('class_accuracy', 'class accuracy')):
        middle.plot(epochs, [100 * line[name] for line in scored], label=label)
    middle.set(xlabel='epoch', title='validation, %', ylim=(None, 100))
    for name in scored[-1]['per_class_iou'] if scored else ():
        values = [line['per_class_iou'][name] for line in scored]
        right.plot(epochs, [float('nan') if v is None else 100 * v for v in values],
                   label=name.replace('_', ' '))
    right.set(xlabel='epoch', title='IoU of each class, %', ylim=(0, 100))
    if scored:
        middle.legend(fontsize=7)
        right.legend(fontsize=6, ncols=2)
    with mpl.rc_context({'savefig.dpi': 100}):
        figure.savefig(path)
