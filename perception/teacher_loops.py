# SPDX-License-Identifier: Apache-2.0
"""Compiled loops of the teacher: steps of the disparity, and labels of windows."""

import numpy as np

from perception.compiled import BOOL, F4, F8, I4, U1, compiled, given
from perception.types import Float, Image, Index, Mask

SEEN_GROUND, SEEN_OBSTACLE, RAISED = 0, 1, 2
"""Bits of a point's code."""


@compiled(BOOL[:, ::1], given(F4, 2), F8)
def steps(disparity: Float, jump: float) -> Mask:
    """
    Points within one of a step of the disparity; NaN counts as 0.

    ``disparity`` (h, w) float32 [px]; a step is more than ``jump`` of the nearer side, plus 1 px.
    Returns (h, w) bool.
    """
    height, width = disparity.shape
    share, none = np.float32(jump), np.float32(0)
    high, low = np.empty(width + 2, np.float32), np.empty(width + 2, np.float32)
    step, found = np.empty(disparity.shape, np.bool_), np.empty(disparity.shape, np.bool_)
    for v in range(height):
        above, below = max(v - 1, 0), min(v + 1, height - 1)
        for u in range(width):
            a, b, c = disparity[above, u], disparity[v, u], disparity[below, u]
            # NaN is no number
            a, b, c = a if a > none else none, b if b > none else none, c if c > none else none
            high[u + 1], low[u + 1] = max(a, b, c), min(a, b, c)
        high[0], low[0] = high[1], low[1]
        high[width + 1], low[width + 1] = high[width], low[width]
        for u in range(width):
            most = max(high[u], high[u + 1], high[u + 2])
            least = min(low[u], low[u + 1], low[u + 2])
            step[v, u] = most - least > share * most + np.float32(1)
    row = np.zeros(width + 2, np.bool_)
    for v in range(height):
        above, below = max(v - 1, 0), min(v + 1, height - 1)
        for u in range(width):
            row[u + 1] = step[above, u] | step[v, u] | step[below, u]
        for u in range(width):
            found[v, u] = row[u] | row[u + 1] | row[u + 2]
    return found


@compiled(U1[:, ::1], given(BOOL, 2), given(BOOL, 2), given(BOOL, 2), given(F4, 2), F8)
def point_codes(
    ground: Mask, obstacle: Mask, edge: Mask, height: Float, raised: float
) -> Image:
    """
    What is known of points, bit by bit: ground, obstacle (neither on an edge), and raised.

    All (h, w), ``height`` float32 [m]; raised points are higher than ``raised`` [m]. Returns
    (h, w) uint8.
    """
    codes, least = np.empty(ground.shape, np.uint8), np.float32(raised)
    for v in range(ground.shape[0]):
        for u in range(ground.shape[1]):
            seen = ground[v, u] << SEEN_GROUND | obstacle[v, u] << SEEN_OBSTACLE
            codes[v, u] = (0 if edge[v, u] else seen) | (height[v, u] > least) << RAISED
    return codes


@compiled(U1[::1], given(F4, 2), given(I4, 1), given(F4, 1), given(F4, 1), given(U1, 1))
def window_labels(
    shares: Float, feet: Index, outside: Float, limits: Float, classes: Image
) -> Image:
    """
    Label windows.

    Parameters
    ----------
    shares : (2, N) float32
        Of ground and of obstacle in each window.
    feet : (N,) int32
        Points where obstacles meet the ground, near its centre.
    outside : (N,) float32
        Share of it outside the image.
    limits : (5,) float32
        Obstacle share that makes a pure obstacle and that leaves pure ground, share that must be
        decided, feet that make a footline, greatest share outside.
    classes : (6,) uint8
        Values of the five classes in order, and of no label.

    Returns
    -------
    (N,) uint8
    """
    pure, clear, valid, enough, most = limits
    labels = np.empty(len(feet), np.uint8)
    half, one, tiny = np.float32(0.5), np.float32(1), np.float32(1e-6)
    for n in range(len(feet)):
        decided = shares[0, n] + shares[1, n]
        part = shares[1, n] / max(decided, tiny)
        label = 3 if part > half else 1
        label = 4 if part >= pure else label
        label = 0 if part <= clear else label
        label = 2 if feet[n] >= enough else label
        doubtful = feet[n] > 0 and feet[n] < enough and label <= 1
        scarce = decided < valid * (one - outside[n]) or outside[n] > most
        labels[n] = classes[5 if doubtful or scarce else label]
    return labels
