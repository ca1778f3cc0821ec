# SPDX-License-Identifier: Apache-2.0
"""Painted pictures for the training of scene networks, in memory and as folders of a data set."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from perception.training.scene_classes import load_class_map, load_taxonomy
from perception.training.scene_config import SceneSettings

SHAPE = (48, 64)  # rows, columns
VIEW = (32, 48)
SKY, POLE, ROAD = 0, 2, 3  # of CamVid
STILL = {'scale': [1, 1], 'rotation_deg': 0, 'focus': 0, 'paste': 0, 'light': 0, 'shadow': 0,
         'sensor': 0}


def painted(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Picture (H, W, 3) in the colours of CamVid and its classes: a pole before sky and road."""
    rng = np.random.default_rng(seed)
    label = np.full(SHAPE, SKY, np.uint8)
    label[rng.integers(18, 30):] = ROAD
    left = rng.integers(8, 48)
    label[6:40, left:left + 8] = POLE
    colours = np.array(load_taxonomy('camvid').colours, np.uint8)[:, ::-1]
    return colours[label], label


def camvid_tree(root: Path, pictures: int = 2) -> Path:
    """CamVid's layout with the splits train and val."""
    for split in ('train', 'val'):
        for k in range(pictures):
            image, label = painted(k)
            _put(root / split / f'{k:04}.png', image)
            _put(root / f'{split}annot' / f'{k:04}.png', label)
    return root


def ycor_tree(root: Path) -> Path:
    """YCOR's layout, one picture a split, with masks that hold each class in turn."""
    values = [value for one in load_class_map('ycor').classes for value in one.values]
    mask = np.repeat(np.resize(np.array(values, np.uint8), SHAPE[1])[None], SHAPE[0], 0)
    for split, stem in (('train', '0001'), ('val', '0002')):
        _put(root / 'images' / f'{stem}.png', painted()[0])
        _put(root / 'labels' / f'{stem}.png', mask)
        (root / f'{split}.txt').write_text(f'{stem}\n')
    return root


def _put(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)


def scene_settings(folder: Path | str = 'camvid', **changes: Any) -> SceneSettings:
    """One epoch of small views without jitter, in this process."""
    return SceneSettings.model_validate({
        'sources': [{'data_set': 'camvid', 'folder': str(folder), 'width': SHAPE[1]}],
        'stages': [{'epochs': 1, 'view': VIEW, 'jitter': STILL}],
        'batch': 2, 'workers': 0, 'validate_every': 1} | changes)
