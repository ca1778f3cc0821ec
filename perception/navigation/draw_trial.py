# SPDX-License-Identifier: Apache-2.0
"""Pictures of a trial: a film strip of what the rover saw and knew, and the course from above."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from perception.draw import draw_text, film_strip, overlay, predicted_images
from perception.draw_map import TrueMap, costmap_image
from perception.errors import ImageError
from perception.navigation.trial import Shot, Trial
from perception.types import Costmap, Float, Image

PICTURES = 8
HALF_MAP_M = 24.0
PICTURE_WIDTH, COLUMNS = 460, 2
JPEG_QUALITY = 75
MARGIN_M = 8.0
CONTACT_COLOUR, TRACK_COLOUR, SHORTEST_COLOUR = 'red', 'tab:purple', 'tab:green'


def write_film(trial: Trial, path: Path) -> None:
    """
    Write 6 to 8 moments side by side: picture with labels, and the planner's cost map.

    In the map: true obstacles outlined in blue, the way driven in violet. With long range off
    the labels are not drawn, as nobody uses them.
    """
    count = min(PICTURES, len(trial.shots))
    chosen = np.unique(np.linspace(0, len(trial.shots) - 1, count).round().astype(int))
    pictures = [_moment(trial, trial.shots[k]) for k in chosen]
    _write(film_strip(pictures, columns=COLUMNS, width=PICTURE_WIDTH), path)


def _write(picture: Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        written = cv2.imwrite(str(path), picture, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    except cv2.error:
        written = False
    if not written:
        raise ImageError(f'{path}: cannot be written; give a name that ends in .png or .jpg')


def _moment(trial: Trial, shot: Shot) -> Image:
    """Picture and map of one moment."""
    result = shot.result
    picture = result.frame.image
    if result.pyramid and result.probabilities is not None and trial.long_range != 'off':
        picture = overlay(picture, *predicted_images(result.pyramid, result.probabilities))
    picture = picture.copy()
    away = np.linalg.norm(shot.pose.xy - trial.course.goal)
    cv2.rectangle(picture, (0, 0), (picture.shape[1], 30), (40, 40, 40), -1)
    draw_text(picture, f'{shot.time_s:.0f} s, goal {away:.0f} m', (8, 22), size_px=18)
    side = picture.shape[0]
    top_down = cv2.resize(_map(trial, shot), (side, side), interpolation=cv2.INTER_AREA)
    return np.hstack([picture, np.asarray(top_down, np.uint8)])


def _map(trial: Trial, shot: Shot) -> Image:
    """The cost map around the rover with truth and the way so far."""
    grid = _around(shot.costmap, shot.pose.xy)
    track = np.array([row[1:] for row in trial.track if row[0] <= shot.time_s])
    picture = costmap_image(
        grid, truth=TrueMap(trial.course.world.obstacles, np.eye(4)), path_xy=track)
    if shot.way is not None:
        cells = (shot.way - grid.origin_m) / grid.resolution_m * 4
        cells[:, 1] = picture.shape[0] - cells[:, 1]
        cv2.polylines(picture, [np.rint(cells).astype(np.int32)], False, (0, 140, 0), 3)
    return picture


def _around(costmap: Costmap, xy: Float) -> Costmap:
    """The part of a cost map within ``HALF_MAP_M`` of a point."""
    step = costmap.resolution_m
    column, row = np.rint((xy - HALF_MAP_M - costmap.origin_m) / step).astype(int).clip(0)
    cells = round(2 * HALF_MAP_M / step)
    return replace(costmap, data=costmap.data[row:row + cells, column:column + cells], origin_m=(
        costmap.origin_m[0] + column * step, costmap.origin_m[1] + row * step))


def write_plot(trials: list[Trial] | Trial, path: Path) -> None:
    """Write the course from above with the way driven and the shortest one, a panel a trial."""
    from matplotlib.figure import Figure

    trials = [trials] if isinstance(trials, Trial) else trials
    figure = Figure(figsize=(6.0 * len(trials), 6.4), layout='constrained')
    for axes, trial in zip(figure.subplots(1, len(trials), squeeze=False)[0], trials, strict=True):
        draw_course(axes, trial)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        figure.savefig(path, dpi=90)
    except ValueError as error:
        raise ImageError(f'{path}: cannot be written ({error}); use .png') from None


def draw_course(axes: Any, trial: Trial) -> None:
    """Draw one trial from above into matplotlib axes."""
    course, track = trial.course, np.array(trial.track)
    grid = course.world.obstacles
    half = grid.data.shape[0] * grid.resolution_m / 2
    axes.imshow(grid.data, origin='lower', extent=(-half, half, -half, half), cmap='gray_r',
                interpolation='nearest')
    axes.plot(*course.shortest.T, color=SHORTEST_COLOUR, lw=1.2, label='shortest on truth')
    axes.plot(track[:, 1], track[:, 2], color=TRACK_COLOUR, lw=1.5, label='driven')
    axes.plot(*course.start, 'o', color='tab:blue', label='start')
    axes.plot(*course.goal, '*', color='tab:orange', ms=12, label='goal')
    if trial.contacts:
        axes.plot(*np.array(trial.contacts).T, 'x', color=CONTACT_COLOUR, label='contact')
    points = np.vstack([track[:, 1:], course.shortest])
    middle = (points.min(0) + points.max(0)) / 2
    reach = np.ptp(points, axis=0).max() / 2 + MARGIN_M
    axes.set(xlim=(middle[0] - reach, middle[0] + reach), xlabel='x [m]', ylabel='y [m]',
             ylim=(middle[1] - reach, middle[1] + reach), aspect='equal')
    ending = f'{trial.time_s:.0f} s' if trial.goal_reached else 'goal not reached'
    axes.set_title(f'{course.number} {course.name}, seed {course.seed}, long range '
                   f'{trial.long_range}: {ending}, {trial.length_m:.0f} m', fontsize=9)
    axes.legend(loc='best', fontsize=7)
