# SPDX-License-Identifier: Apache-2.0
"""Pictures of docs/scene.md: free pictures with their labels, and confusion matrices."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from scene_targets import free_pictures

from perception import draw
from perception.draw_scene import scene_overlay, with_legend
from perception.evaluation.scene_picture import draw_confusion
from perception.report import jpeg
from perception.scene import SceneNetwork, label_scene
from perception.training.scene_sets import SceneSet
from perception.types import Image

CELL, COLUMNS = (320, 200), 4  # width and height of a picture
BYTES = 220_000
FOR_NUMBERS = ('_train', '_single', '_balanced')  # ends of networks that nobody would run


def grid_path(folder: Path, name: str) -> Path:
    """File with the labelled pictures of a network."""
    return folder / f'scene_{name}.jpg'


def confusion_path(folder: Path, row: dict[str, Any]) -> Path:
    """File with the confusion matrix of a row."""
    return folder / f'scene_confusion_{row["network"]}_{row["data_set"]}.png'


def drawn(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows whose confusion matrix is drawn: each network where it is at home."""
    home = {(row['network'], row['data_set'], row['taxonomy']) for row in result['rows']
            if row['mode'] != 'plain'}
    return [row for row in result['rows'] if row['mode'] == 'plain'
            and (row['network'], row['data_set'], row['taxonomy']) in home
            and not row['network'].endswith(FOR_NUMBERS[1:])]


def draw_confusions(folder: Path, result: dict[str, Any]) -> None:
    """Draw the confusion matrices of all rows that have one."""
    for row in drawn(result):
        draw_confusion(confusion_path(folder, row), np.array(row['confusion']),
                       tuple(row['classes']),
                       f'{row["network"]} on {row["data_set"]} {row["split"]}')


def draw_grid(
    folder: Path, name: str, network: SceneNetwork, data: Path, worlds: SceneSet
) -> None:
    """Draw free pictures with a network's labels over them, and the legend."""
    spec = network.spec
    if name.endswith(FOR_NUMBERS):
        return
    cells = []
    for picture in free_pictures(data, worlds):
        small = cropped(picture)
        cells.append(scene_overlay(small, label_scene(network, small), spec.palette))
    strip = draw.film_strip(cells, columns=COLUMNS, width=CELL[0])
    strip = with_legend(strip, spec.classes, spec.palette)
    for quality in range(88, 30, -6):
        encoded = jpeg(strip, quality)
        if len(encoded) <= BYTES:
            break
    grid_path(folder, name).write_bytes(encoded)


def cropped(picture: Image) -> Image:
    """Middle of a picture in the shape of a cell, twice as large, so that networks see it."""
    width, height = CELL
    rows, columns = picture.shape[:2]
    scale = max(2 * width / columns, 2 * height / rows)
    size = max(round(columns * scale), 2 * width), max(round(rows * scale), 2 * height)
    large = cv2.resize(picture, size,
                       interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    left, top = (size[0] - 2 * width) // 2, (size[1] - 2 * height) // 2
    return np.ascontiguousarray(large[top:top + 2 * height, left:left + 2 * width])
