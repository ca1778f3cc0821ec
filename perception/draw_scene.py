# SPDX-License-Identifier: Apache-2.0
"""Pictures of scene labels: the image painted in the colours of its classes, with their names."""

import cv2
import numpy as np

from perception.draw import FONT, SHADE, draw_text
from perception.scene import SceneLabels
from perception.types import Image

STRONGEST = 0.7  # opacity where the network is sure
SWATCH_PX, GAP_PX = 12, 6


def scene_overlay(image: Image, labels: SceneLabels, palette: Image) -> Image:
    """
    Paint labels over the image, the surer the denser.

    Parameters
    ----------
    image : (H, W, 3) BGR or (H, W) grey uint8
        Not changed.
    palette : (C, 3) uint8
        BGR of each class; other labels stay unpainted.

    Returns
    -------
    (H, W, 3) uint8
    """
    picture = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR) if image.ndim == 2 else image
    colours = np.zeros((256, 3), np.uint8)
    colours[:len(palette)] = palette
    weight = np.where(labels.label < len(palette), STRONGEST * labels.confidence, 0)
    weight = weight.astype(np.float32)
    return np.asarray(cv2.blendLinear(picture, colours[labels.label], 1 - weight, weight),
                      np.uint8)


def with_legend(picture: Image, classes: tuple[str, ...], palette: Image) -> Image:
    """
    Picture (H, W, 3) above a strip that names the classes, (H + h, W, 3) uint8.

    The strip is the same for all pictures of one width, so that a video stays still.
    """
    size = max(9, round(picture.shape[1] / 50))
    names = [name.replace('_', ' ') for name in classes]
    widths = [SWATCH_PX + 2 * GAP_PX + _text_width(name, size) + GAP_PX for name in names]
    across = max(1, min(len(names), (picture.shape[1] - GAP_PX) // max(widths)))
    pitch, line = (picture.shape[1] - GAP_PX) // across, size + 2 * GAP_PX
    strip = np.full((-(-len(names) // across) * line, picture.shape[1], 3), SHADE, np.uint8)
    for number, (name, colour) in enumerate(zip(names, palette.tolist(), strict=True)):
        x, y = GAP_PX + number % across * pitch, number // across * line
        cv2.rectangle(strip, (x, y + GAP_PX), (x + SWATCH_PX, y + GAP_PX + size), colour, -1)
        draw_text(strip, name, (x + SWATCH_PX + GAP_PX, y + GAP_PX + size - 1), size_px=size)
    return np.concatenate([picture, strip])


def confidence_image(labels: SceneLabels) -> Image:
    """Confidence as ``scene/confidence`` carries it, (H, W) uint8: 255 = sure."""
    return np.asarray(cv2.convertScaleAbs(labels.confidence, alpha=255), np.uint8)


def _text_width(text: str, size_px: int) -> int:
    return int(cv2.getTextSize(text, FONT, size_px / 22, 1)[0][0])
