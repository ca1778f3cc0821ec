# SPDX-License-Identifier: Apache-2.0
"""
YUV Laplacian pyramid, each channel of each scale locally normalised: the input of farabet2013.

Source
    PAMI13 3.1; algorithms.md B1, A3 (local contrast normalisation as of EBLearn and Torch).
    Differs: flat kernel, which the paper leaves open; the coarsest scale keeps its low
    frequencies, so that one scale alone is the normalised image.
"""

import cv2
import numpy as np

from perception.types import Float, Image

PATCH = 15  # side of the patch that gets zero mean and unit variance
LEAST_DEVIATION = 1e-2  # grey levels; a flat image stays zero


def laplacian_yuv(image: Image, scales: int) -> list[Float]:
    """
    Pyramid of an image, ready for a network.

    Burt and Adelson's five taps with a = 0.375 are OpenCV's pyramid kernel (1 4 6 4 1) / 16. Each
    scale but the last is the difference to the next one; the last is what is left.

    Parameters
    ----------
    image : (H, W, 3) uint8 BGR, or (H, W) uint8
        At least 2 ** scales pixels a side.
    scales : int
        Number of octaves, >= 1.

    Returns
    -------
    list of (3, h / 2 ** k, w / 2 ** k) float32
        Y, U, V of scale k = 0, 1 ...; h and w are H and W, rounded up to a multiple of
        2 ** (scales - 1) by mirroring rows at the bottom and columns at the right.
    """
    level = padded(bgr_to_yuv_float(image), 2 ** (scales - 1))
    pyramid = []
    for _ in range(scales - 1):
        coarse = cv2.pyrDown(level)
        pyramid.append(level - cv2.pyrUp(coarse, dstsize=level.shape[1::-1]))
        level = coarse
    return [np.stack([normalize_patches(channel) for channel in cv2.split(scale)])
            for scale in [*pyramid, level]]


def bgr_to_yuv_float(image: Image) -> Float:
    """(H, W, 3) BGR or (H, W) grey uint8 -> (H, W, 3) YUV float32, not rounded."""
    colour = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR) if image.ndim == 2 else image
    return np.asarray(cv2.cvtColor(colour.astype(np.float32), cv2.COLOR_BGR2YUV), np.float32)


def padded(image: Float | Image, multiple: int) -> Float | Image:
    """Image (H, W, C), its sides raised to a multiple by mirroring at the bottom and right."""
    bottom, right = (-side % multiple for side in image.shape[:2])
    if not bottom and not right:
        return image
    return np.asarray(cv2.copyMakeBorder(image, 0, bottom, 0, right, cv2.BORDER_REFLECT))


def normalize_patches(channel: Float) -> Float:
    """
    Give every 15 x 15 patch zero mean and unit deviation.

    v = x - mean(x); v / max(sd, mean of sd over the image), sd^2 = mean(v^2): where little
    happens, noise is not blown up.

    Parameters
    ----------
    channel : (H, W) float32

    Returns
    -------
    (H, W) float32
    """
    difference = cv2.subtract(channel, _box(channel))
    deviation = cv2.sqrt(cv2.max(_box(cv2.multiply(difference, difference)), 0.0))
    floor = max(cv2.mean(deviation)[0], LEAST_DEVIATION)
    return np.asarray(cv2.divide(difference, cv2.max(deviation, floor)), np.float32)


def _box(channel: Float) -> Float:
    """Mean over the patch around each pixel, mirrored at the border."""
    return np.asarray(cv2.boxFilter(channel, -1, (PATCH, PATCH), borderType=cv2.BORDER_REFLECT))
