# SPDX-License-Identifier: Apache-2.0
"""The baseline every network has to beat: a colour histogram of each window, and a softmax."""

from pathlib import Path

import cv2
import numpy as np

from perception.pyramid import Pyramid, window_shares
from perception.types import Float, Image

CHROMA_EDGES = (108, 122, 134, 148)  # grey is 128
LUMINANCE_EDGES = (40, 80, 120, 160, 200)
CHROMA_BINS = (len(CHROMA_EDGES) + 1) ** 2
BINS = CHROMA_BINS + len(LUMINANCE_EDGES) + 1
WEIGHTS = Path(__file__).with_name('colour.npz')


def colour_features(image: Image, pyramid: Pyramid) -> Float:
    """
    Root of the colour histogram of every window: 25 bins of (U, V) and six of Y.

    The square root makes a linear classifier compare histograms by their overlap.

    Parameters
    ----------
    image : (H, W, 3) uint8 BGR, or (H, W) uint8 grey
        The image the pyramid was built for.

    Returns
    -------
    (N, 31) float32
        In the order of ``pyramid.windows``; 0 outside the image.
    """
    chroma, luminance = _bins(image)
    masks = np.concatenate([
        chroma[..., None] == np.arange(CHROMA_BINS),
        luminance[..., None] == np.arange(BINS - CHROMA_BINS),
    ], -1).astype(np.uint8)
    # four masks at a time: OpenCV warps no more channels
    parts = [window_shares(np.ascontiguousarray(masks[..., first:first + 4]), 1, pyramid)
             for first in range(0, BINS, 4)]
    shares: Float = np.sqrt(np.maximum(np.concatenate(parts, 1), 0))
    return shares


def _bins(image: Image) -> tuple[Image, Image]:
    """Chroma bin and luminance bin of each pixel."""
    bgr = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR) if image.ndim == 2 else image
    y, u, v = cv2.split(cv2.cvtColor(bgr, cv2.COLOR_BGR2YUV))
    u_bin, v_bin = (np.digitize(plane, CHROMA_EDGES) for plane in (u, v))
    chroma = u_bin * (len(CHROMA_EDGES) + 1) + v_bin
    return chroma.astype(np.uint8), np.digitize(y, LUMINANCE_EDGES).astype(np.uint8)
