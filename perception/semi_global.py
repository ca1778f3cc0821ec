# SPDX-License-Identifier: Apache-2.0
"""Disparity of a rectified pair by semi-global matching along three paths."""

import cv2
import numpy as np
from numpy.typing import NDArray

from perception import sgm_cost_loops, sgm_path_loops
from perception.config import StereoConfig
from perception.sgm_cost_loops import GREY, LANES, SLOPE, STEP
from perception.sgm_path_loops import NONE
from perception.types import Image

SIXTEENTHS = 16
ONE_APART, FURTHER_APART = 8, 32  # penalties for each pixel of a block, in grey values
GREY_MOST = 255 // 4  # what grey values add to the cost of a pixel


class Matcher:
    """
    Matches pairs of one size; keeps its working memory, so one thread at a time may use it.

    Sums of paths fit 16 bits: costs of large blocks are divided by a power of two.

    Parameters
    ----------
    config : StereoConfig
        Search range as for the full image.
    size : (w, h)
        Of the images to match.

    Source
        Hirschmueller 2008, with the paths from the left, the right and above; Birchfield and
        Tomasi 1998.
    """

    def __init__(self, config: StereoConfig, size: tuple[int, int]) -> None:
        w, h = size
        block, area = config.block_px, config.block_px ** 2
        self._config, self._block = config, block
        self.search = max(16, min(config.disparities_px // config.scale, w // 2) // 16 * 16)
        self._columns, self._rows = w - self.search, min(LANES - block + 1, LANES - 1)
        if self._columns < 1:
            return
        small, large = ONE_APART * area, FURTHER_APART * area
        highest = 3 * ((2 * config.prefilter_cap + GREY_MOST) * area + large)
        self._shift = max(0, (highest * 9 // 8).bit_length() - 15)  # at most FAR
        self._penalties = np.array([small, large], np.int16) >> self._shift
        steps = self._columns + self._rows - 1
        margin = block // 2 + LANES + 1
        volume = (steps, self.search * LANES)
        self._planes = np.zeros((2, 2, h + 2 * LANES, w + 2 * margin), np.uint8)
        self._strips = [np.empty((steps + 2 * block + more, STEP), np.uint8)
                        for more in (0, self.search - 1)]
        self._costs, self._sums = _aligned(volume), _aligned(volume)
        self._last_row = np.zeros((self._columns, self.search + 1), np.int16)
        self._raw, self._least = np.empty((2, h, self._columns), np.int16)

    def compute(self, left: Image, right: Image) -> NDArray[np.int16]:
        """
        Match two images.

        Parameters
        ----------
        left, right : (h, w) uint8
            Rectified: rows correspond.

        Returns
        -------
        (h, w) int16 [px / 16]
            Negative = no match; so are the first ``search`` columns.
        """
        disparity = np.full(left.shape, NONE, np.int16)
        if self._columns < 1:
            return disparity
        self._match(np.ascontiguousarray(left), np.ascontiguousarray(right))
        config, raw = self._config, self._raw
        if config.left_right_px >= 0:
            sgm_path_loops.check(self._least, self.search, config.left_right_px, raw)
        raw = np.asarray(cv2.medianBlur(raw, 3), np.int16)
        if config.speckle_px:
            cv2.filterSpeckles(raw, NONE, config.speckle_px, SIXTEENTHS)
        disparity[:, self.search:] = raw
        return disparity

    def _match(self, left: Image, right: Image) -> None:
        """Fill in ``_raw`` and ``_least``, some rows at a time."""
        radius, cap = self._block // 2, self._config.prefilter_cap
        for image, planes in zip((left, right), self._planes, strict=True):
            sgm_cost_loops.prefilter(image, cap, radius, planes)
        mirrored = np.ascontiguousarray(self._planes[1, ..., ::-1])
        self._last_row[:] = 0
        start = LANES + self.search
        for top in range(0, len(left), self._rows):
            some = slice(top, top + self._rows)
            _lay(self._planes[0], top, start, -1, self._strips[0])
            _lay(mirrored, top, mirrored.shape[2] - start - len(self._strips[0]), 1,
                 self._strips[1])
            sgm_cost_loops.block_costs(self._strips[0], self._strips[1], self._block,
                                       self._shift, self._costs)
            sgm_cost_loops.clear_outside(self._columns, self._rows, self._costs)
            sgm_path_loops.forward(self._costs, self._rows, self._penalties, self._last_row,
                                   self._sums)
            sgm_path_loops.backward(self._costs, self._sums, self._penalties,
                                    self._config.uniqueness_percent, self._raw[some],
                                    self._least[some])


def _lay(planes: Image, top: int, column: int, slope: int, strip: Image) -> None:
    """
    Lay rows askew: lane l of step s is row top + l, column + s + slope * l.

    Parameters
    ----------
    planes : (2, H, W) uint8
        Slope and grey.
    slope : int
        -1, or 1 for a mirrored picture.
    strip : (n, STEP) uint8
        Written to.
    """
    width = planes.shape[2] + slope
    first = top * planes.shape[2] + column
    for plane, place in zip(planes, (SLOPE, GREY), strict=True):
        rows = plane.ravel()[first:first + LANES * width].reshape(LANES, width)
        cv2.transpose(rows[:, :len(strip)], strip[:, place:place + LANES])
    sgm_cost_loops.bound(strip)


def _aligned(shape: tuple[int, int]) -> NDArray[np.int16]:
    """Memory that starts with a cache line."""
    room = np.empty(shape[0] * shape[1] + 32, np.int16)
    start = -room.ctypes.data % 64 // 2
    return room[start:start + shape[0] * shape[1]].reshape(shape)
