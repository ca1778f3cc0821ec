# SPDX-License-Identifier: Apache-2.0
"""Compiled loop over the pixels of bands: colour beside the normalised luminance."""

import numpy as np
from numba import types

from perception.compiled import F4, U1, compiled, given
from perception.types import Float, Image

GREY = np.float32(128)


@compiled(types.void, given(U1, 3), given(U1, 2), F4, F4[:, :, ::1])
def set_colour(yuv: Image, mask: Image, gain: float, planes: Float) -> None:
    """
    Centre and scale U and V, and clear what is masked.

    Parameters
    ----------
    yuv : (h, w, 4) uint8
        The last channel says nothing.
    mask : (h, w) uint8
        0 where no pixel is real.
    gain : float
        Factor of U and V.
    planes : (3, h, w) float32
        Of the first, masked pixels are set to 0; the others are written.
    """
    for row in range(len(mask)):
        pixels, real, y, u, v = yuv[row], mask[row], planes[0, row], planes[1, row], planes[2, row]
        for i in range(len(real)):
            y[i] = y[i] if real[i] else np.float32(0)
            u[i] = (np.float32(pixels[i, 1]) - GREY) * gain if real[i] else np.float32(0)
            v[i] = (np.float32(pixels[i, 2]) - GREY) * gain if real[i] else np.float32(0)
