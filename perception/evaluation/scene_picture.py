# SPDX-License-Identifier: Apache-2.0
"""Picture of a confusion matrix; matplotlib is imported only when one is drawn."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from perception.evaluation.scene_scores import Counts, intersection_over_union
from perception.types import Float

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DARK = 0.55  # share from which on the number in a cell is white


def draw_confusion(path: Path, matrix: Counts, classes: tuple[str, ...], title: str) -> None:
    """
    Draw the confusion matrix with each row scaled to 1, as percent, into an image file.

    Parameters
    ----------
    path : Path
        Its suffix (``.png``, ``.svg``) chooses the format.
    matrix : (C, C) int64
        Row = true class, column = given class; rows without true pixels stay empty.
    """
    from matplotlib.figure import Figure

    true = matrix.sum(1)
    shares = np.divide(matrix, true[:, None], out=np.full(matrix.shape, np.nan),
                       where=true[:, None] > 0)
    side = 2.6 + 0.55 * len(classes)
    figure = Figure(figsize=(side + 0.8, side), layout='constrained')
    axes = figure.subplots()
    shown = axes.imshow(shares, vmin=0, vmax=1, cmap='Blues')
    axes.set_xticks(range(len(classes)), [c.replace('_', ' ') for c in classes], rotation=45,
                    ha='right', rotation_mode='anchor')
    axes.set_yticks(range(len(classes)), _row_names(matrix, classes))
    axes.set_xlabel('given class  (% of the true class)')
    axes.set_ylabel('true class  (% of all pixels; IoU in %)')
    axes.set_title(title)
    _write_cells(axes, shares)
    bar = figure.colorbar(shown, ax=axes, fraction=0.046, pad=0.02)
    bar.set_label('share of the true pixels')
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120, bbox_inches='tight')


def _row_names(matrix: Counts, classes: tuple[str, ...]) -> list[str]:
    share = 100 * matrix.sum(1) / max(int(matrix.sum()), 1)
    iou = 100 * intersection_over_union(matrix)
    scores = [f'{part:.1f} %; {value:.0f}' if np.isfinite(value) else 'none'
              for part, value in zip(share, iou)]
    return [f'{name.replace("_", " ")}  {score}' for name, score in zip(classes, scores)]


def _write_cells(axes: 'Axes', shares: Float) -> None:
    """Percent in each cell from half a percent on."""
    for row, column in np.argwhere(shares >= 0.005):
        share = shares[row, column]
        axes.text(column, row, f'{100 * share:.0f}', ha='center', va='center', fontsize=8,
                  color='white' if share > DARK else 'black')
