# SPDX-License-Identifier: Apache-2.0
"""
Scene labels on the ground: what of a labelled image may enter the map, and where.

The image is parted into strips of one bearing, each followed from the robot's feet outwards, in
steps that grow with distance as the bins of ``window_view`` do. Ground counts where it is seen,
up to the first thing that stands anywhere in the strip; of that thing only its foot counts. What
it hides stays unknown.

Source
    IROS08-MAP ("blocked after obstacle"), algorithms.md A7, for labels of pixels.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perception.config import MapConfig
from perception.errors import ConfigError
from perception.scene import SceneLabels, SceneSpec
from perception.scene_config import COMMON_COSTS, SceneConfig
from perception.supervisor import PointLabels
from perception.types import (
    CLASSES,
    FOOTLINE,
    SUPER_GROUND,
    SUPER_OBSTACLE,
    UNLABELED,
    DepthGrid,
    Float,
    GroundPlane,
    Mask,
    Observation,
)
from perception.window_loops import BEHIND_POINTS
from perception.window_view import BEARING_CELLS, DISTANCE_STEP

NEAREST_M = 0.5  # first step along a column
FEWEST_ROWS = 3
FOOT_GAIN = 3.0  # a foot is one bin, the ground around it many

Pixels = NDArray[np.integer[Any]]
_Samples = tuple[Pixels, Pixels, Float]  # row, column, depth [m] of the plane there, (N,) each


@dataclass(frozen=True)
class ClassCosts:
    """
    What labels mean for driving, by label: tables of 256.

    ``cost`` float32 in [0, 1], NaN = says nothing; ``standing`` bool, rises from the ground.
    """

    cost: Float
    standing: Mask


def class_costs(config: SceneConfig, spec: SceneSpec) -> ClassCosts:
    """
    Costs of the classes of a network: as listed, or as those of their common classes.

    Raises
    ------
    ConfigError
        ``scene.costs`` or ``scene.standing`` names a class that neither the network nor the
        common taxonomy has, or a class is not listed and has no common one.
    """
    _check_names(config, spec)
    costs = COMMON_COSTS | config.table
    cost, standing = np.full(256, np.nan, np.float32), np.zeros(256, bool)
    missing = []
    for label, names in enumerate(_names(spec)):
        said = [costs[name] for name in names if name in costs]
        missing += names[:1] if not said else []
        cost[label] = np.nan if not said or said[0] is None else said[0]
        standing[label] = any(name in config.standing for name in names)
    standing[UNLABELED] = True  # nobody knows what it hides
    if missing:
        raise ConfigError(f'scene.costs: no cost of {", ".join(missing)}: give one, or none as '
                          f'in {missing[0]}=none')
    return ClassCosts(cost, standing)


def _names(spec: SceneSpec) -> list[list[str]]:
    """What each class may be listed as: its own name, then its common one where it has one."""
    common = spec.common or (None,) * len(spec.classes)
    return [[name, *([general] if general else [])]
            for name, general in zip(spec.classes, common, strict=True)]


def _check_names(config: SceneConfig, spec: SceneSpec) -> None:
    """Refuse names that are no class."""
    for key, names in (('costs', list(config.table)), ('standing', config.standing)):
        for name in names:
            if name not in spec.classes and name not in COMMON_COSTS:
                raise ConfigError(
                    f"scene.{key}: no class {name!r}: the network's classes are "
                    f'{", ".join(spec.classes)}; common ones are {", ".join(COMMON_COSTS)}')


def scene_observation(
    labels: SceneLabels, plane: GroundPlane, costs: ClassCosts, config: SceneConfig,
    map_config: MapConfig, depth: tuple[PointLabels, DepthGrid] | None = None,
) -> Observation:
    """
    What the labels of one image say of the ground ahead.

    Parameters
    ----------
    labels : SceneLabels
        Of the rectified image of ``plane.camera``.
    depth : optional
        Labelled depth points; what stands there hides what lies behind it too.

    Returns
    -------
    Observation
        A class of cost c is (1 - c) super-ground and c super-obstacle; a foot is c footline, and
        counts ``FOOT_GAIN`` times. Weight = ``scene.weight`` x confidence of the label x
        min(1, ``distance_decay_m`` / distance).
    """
    stride = round(BEARING_CELLS * 2 * np.pi / map_config.angular_cells * plane.camera.fx)
    strips = np.arange(0, plane.camera.width, max(stride, 1))
    middle = np.minimum(strips + max(stride, 1) // 2, plane.camera.width - 1)
    sight = _Sight(middle, *_first_standing(costs.standing[labels.label], strips),
                   _hidden_from(strips, middle, depth))
    ground, feet = _ground(sight, plane, config), _feet(sight, plane, labels, costs)
    row, column, far = (np.concatenate(pair) for pair in zip(ground, feet, strict=True))
    points = _on_plane(column, far, plane)
    distance = np.sqrt(np.maximum(np.square(points).sum(0) - plane.height_m**2, 1e-6))
    weight = config.weight * labels.confidence[row, column]
    weight *= np.minimum(1.0, map_config.distance_decay_m / distance)
    weight[len(ground[0]):] *= FOOT_GAIN
    cost = costs.cost[labels.label[row, column]]
    keep = np.flatnonzero((cost >= 0) & (weight > 0) & (distance <= config.max_range_m))
    histogram = _histogram(cost, len(ground[0])).take(keep, 1)
    return Observation(points.take(keep, 1).astype(np.float32).T, histogram.T,
                       weight.take(keep).astype(np.float32))


@dataclass(frozen=True)
class _Sight:
    """
    How far each of the strips that part the image sees the ground, (C,) each.

    ``column`` its middle; ``foot`` the lowest row of the first thing that stands in it, -1 =
    nothing, ``foot_column`` where in the strip; ``hidden_m`` the depth [m] from which measured
    points hide the ground.
    """

    column: Pixels
    foot: Pixels
    foot_column: Pixels
    hidden_m: Float


def _first_standing(stands: Mask, strips: Pixels) -> tuple[Pixels, Pixels]:
    """
    Row and column of the lowest pixel that stands in each strip, (C,) each; row -1 = none.

    Strips begin at these columns of ``stands`` (H, W). Less than ``FEWEST_ROWS`` rows on end are
    a speck, not a thing.
    """
    upwards = np.logical_or.reduceat(stands[::-1], strips, axis=1)
    run = upwards.copy()
    for k in range(1, FEWEST_ROWS):
        run[:-k] &= upwards[k:]
        run[-k:] = False
    row = np.where(run.any(0), len(stands) - 1 - run.argmax(0), -1)
    within = strips[:, None] + np.arange(strips[1] if len(strips) > 1 else stands.shape[1])
    within = np.minimum(within, stands.shape[1] - 1)
    offset = stands[row[:, None], within].argmax(1)
    return row, within[np.arange(len(strips)), offset]


def _hidden_from(
    strips: Pixels, middle: Pixels, depth: tuple[PointLabels, DepthGrid] | None
) -> Float:
    """Depth [m] behind which measured obstacles hide each strip, (C,); infinite = nowhere."""
    if depth is None:
        return np.full(len(strips), np.inf)
    points, grid = depth
    nearest = np.where(points.feet, grid.disparity, 0).max(0)
    first, last = (np.clip(np.rint((at - (grid.step - 1) / 2) / grid.step).astype(int), 0,
                           len(nearest) - 1) for at in (strips, 2 * middle - strips))
    seen = np.array([nearest[a:b + 1].max() for a, b in zip(first, last, strict=True)])
    return np.asarray(BEHIND_POINTS * grid.focal_baseline / np.where(seen > 0, seen, 1e-9))


def _ground(sight: _Sight, plane: GroundPlane, config: SceneConfig) -> _Samples:
    """Steps along the columns, before what stands or hides there."""
    count = int(np.log(config.max_range_m / NEAREST_M) / DISTANCE_STEP)
    depth = NEAREST_M * np.exp((np.arange(count)[:, None] + 0.5) * DISTANCE_STEP)
    row = np.rint(plane.row(sight.column.astype(float), plane.focal_baseline / depth))
    seen = (row > sight.foot) & (row >= 0) & (row < plane.camera.height)
    step, column = np.nonzero(seen & (depth <= sight.hidden_m))
    return row[step, column].astype(int), sight.column[column], depth[step, 0]


def _feet(
    sight: _Sight, plane: GroundPlane, labels: SceneLabels, costs: ClassCosts
) -> _Samples:
    """Lowest pixels of what stands first, where ground is seen right below them."""
    below = np.minimum(sight.foot + 1, plane.camera.height - 1)
    ground = costs.cost[labels.label[below, sight.foot_column]] >= 0
    # it meets the ground between two rows
    disparity = plane.disparity(sight.foot_column.astype(float), sight.foot + 0.5)
    depth = plane.focal_baseline / np.where(disparity > 0, disparity, 1e-9)
    seen = (sight.foot >= 0) & (below > sight.foot) & ground & (depth <= sight.hidden_m)
    return sight.foot[seen], sight.foot_column[seen], depth[seen]


def _on_plane(column: Pixels, depth: Float, plane: GroundPlane) -> Float:
    """Points of the plane in these columns at these depths [m], optical (3, N) float64."""
    camera = plane.camera
    row = plane.row(column.astype(float), plane.focal_baseline / depth)
    return np.stack([(column - camera.cx) / camera.fx * depth,
                     (row - camera.cy) / camera.fy * depth, depth])


def _histogram(cost: Float, grounds: int) -> Float:
    """Class shares (5, N) float32 of costs (N,), the first of which are ground, the rest feet."""
    histogram = np.zeros((len(CLASSES), len(cost)), np.float32)
    histogram[SUPER_GROUND] = 1 - cost
    histogram[SUPER_OBSTACLE, :grounds] = cost[:grounds]
    histogram[FOOTLINE, grounds:] = cost[grounds:]
    return histogram


def joined(first: Observation, second: Observation) -> Observation:
    """All points of two observations of one camera."""
    return Observation(
        np.concatenate([first.points_optical.T, second.points_optical.T], 1).T,
        np.concatenate([first.histogram.T, second.histogram.T], 1).T,
        np.concatenate([first.weight, second.weight]),
    )
