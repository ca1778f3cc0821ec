# SPDX-License-Identifier: Apache-2.0
"""Pictures of cost maps, alone or against the true map. Colours and images are BGR uint8."""

from dataclasses import dataclass, replace

import cv2
import numpy as np

from perception.camera import transform
from perception.draw import Colour, draw_text
from perception.types import Costmap, Float, Image, Mask

UNKNOWN_COLOUR: Colour = (176, 172, 168)
FREE_COLOUR: Colour = (255, 255, 255)
LETHAL_COLOUR: Colour = (0, 0, 0)
# low, middle and high graded cost: pale yellow, orange, dark red
GRADED_COLOURS: Image = np.array([(190, 240, 255), (50, 140, 250), (20, 15, 140)], np.uint8)
TRUTH_COLOUR: Colour = (220, 90, 0)
ROBOT_COLOUR: Colour = (200, 0, 200)
SCALE_BARS_M = (1, 2, 5, 10, 20, 50, 100)


@dataclass(frozen=True)
class TrueMap:
    """Obstacles as the world knows them: a grid in its own frame, and where that frame lies."""

    grid: Costmap
    odom_from_world: Float


def costmap_image(
    costmap: Costmap, *, cell_px: int = 4, truth: TrueMap | None = None,
    path_xy: Float | None = None,
) -> Image:
    """
    Draw a cost map with x to the right and y up.

    Unknown is grey, free white, graded cost pale yellow to dark red, lethal black.

    Parameters
    ----------
    truth : TrueMap, optional
        Its obstacles are outlined in blue.
    path_xy : (M, 2) float, optional
        Way of the robot in the frame of the map [m]; the last point is where it stands.

    Returns
    -------
    (cell_px * H, cell_px * W, 3) uint8
    """
    cells = cost_colours()[costmap.data.astype(np.int16) + 1]
    picture = np.repeat(np.repeat(cells, cell_px, 0), cell_px, 1)
    if truth is not None:
        standing = true_obstacles(costmap, truth).astype(np.uint8)
        mask = np.repeat(np.repeat(standing, cell_px, 0), cell_px, 1)
        contours, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
        cv2.drawContours(picture, contours, -1, TRUTH_COLOUR, 2)
    if path_xy is not None and len(path_xy):
        _draw_path(picture, costmap, path_xy, cell_px)
    picture = np.ascontiguousarray(picture[::-1])
    _draw_scale(picture, cell_px / costmap.resolution_m)
    return picture


def known_part(costmap: Costmap, margin_m: float = 3.0) -> Costmap:
    """Cut the map down to its known cells and a margin; an unknown map stays whole."""
    known = costmap.data >= 0
    if not known.any():
        return costmap
    margin = round(margin_m / costmap.resolution_m)
    spans = []
    for axis in (1, 0):
        there = np.flatnonzero(known.any(axis=axis))
        spans.append(slice(max(0, int(there[0]) - margin), int(there[-1]) + margin + 1))
    rows, columns = spans
    origin = (costmap.origin_m[0] + columns.start * costmap.resolution_m,
              costmap.origin_m[1] + rows.start * costmap.resolution_m)
    return replace(costmap, data=costmap.data[rows, columns], origin_m=origin)


def cost_colours() -> Image:
    """Colour of each cost, (102, 3) uint8: row cost + 1, so row 0 is unknown."""
    middle = np.linspace(0, 1, len(GRADED_COLOURS))
    graded = [np.interp(np.linspace(0, 1, 98), middle, GRADED_COLOURS[:, c]) for c in range(3)]
    table = np.empty((102, 3), np.uint8)
    table[0], table[1] = UNKNOWN_COLOUR, FREE_COLOUR
    table[2:100] = np.rint(np.stack(graded, -1))
    table[100:] = LETHAL_COLOUR
    return table


def true_obstacles(costmap: Costmap, truth: TrueMap) -> Mask:
    """Which cells of the cost map are obstacles in the true map, (H, W) bool."""
    rows, columns = np.indices(costmap.data.shape)
    xy = (np.stack([columns, rows], -1) + 0.5) * costmap.resolution_m + costmap.origin_m
    points = np.concatenate([xy, np.zeros((*xy.shape[:2], 1))], -1)
    there = transform(np.linalg.inv(truth.odom_from_world), points)[..., :2]
    cell = np.floor((there - truth.grid.origin_m) / truth.grid.resolution_m).astype(int)
    column, row = cell[..., 0], cell[..., 1]
    height, width = truth.grid.data.shape
    inside = (column >= 0) & (row >= 0) & (column < width) & (row < height)
    values = truth.grid.data[np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)]
    standing: Mask = inside & (values == 100)
    return standing


def _draw_path(picture: Image, costmap: Costmap, path_xy: Float, cell_px: int) -> None:
    """Draw the way of the robot and a dot where it stands, before the picture is flipped."""
    cells = (np.asarray(path_xy, float) - costmap.origin_m) / costmap.resolution_m
    points = np.rint(cells * cell_px - 0.5).astype(np.int32)
    cv2.polylines(picture, [points], False, ROBOT_COLOUR, 2, cv2.LINE_AA)
    cv2.circle(picture, points[-1].tolist(), max(3, 2 * cell_px), ROBOT_COLOUR, -1, cv2.LINE_AA)


def _draw_scale(picture: Image, px_per_m: float) -> None:
    """Draw a bar of 1, 2, 5, 10 ... m, at most a quarter of the width, at the lower left."""
    fitting = [m for m in SCALE_BARS_M if m * px_per_m <= picture.shape[1] / 4]
    if not fitting:
        return
    size = max(10, round(picture.shape[1] / 42))
    left, bottom = size, picture.shape[0] - size
    right = left + round(fitting[-1] * px_per_m)
    cv2.rectangle(picture, (left - 1, bottom - 3), (right + 1, bottom + 1), FREE_COLOUR, -1)
    cv2.rectangle(picture, (left, bottom - 2), (right, bottom), LETHAL_COLOUR, -1)
    draw_text(picture, f'{fitting[-1]} m', (left, bottom - round(0.6 * size)), size_px=size)
