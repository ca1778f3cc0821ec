# SPDX-License-Identifier: Apache-2.0
"""Truth of the cells of the polar map, and what one frame's evidence says about them."""

from dataclasses import dataclass

import numpy as np

from perception.config import CostConfig, MapConfig
from perception.costmap import evidence_score
from perception.evaluation.scores import Items
from perception.evaluation.truth import FREE, STANDING, TruthFrame
from perception.polar_geometry import planning_cells, planning_shape
from perception.polar_map import PolarMap
from perception.types import Evidence, Mask


@dataclass(frozen=True)
class CellTruth:
    """Planning cells (R, T) bool: seen by the camera, and holding any visible obstacle."""

    seen: Mask
    obstacle: Mask


def cell_truth(truth: TruthFrame, centre_m: tuple[float, float], config: MapConfig) -> CellTruth:
    """
    Which planning cells the camera sees, and which of them hold an obstacle.

    Parameters
    ----------
    centre_m : (x, y)
        Centre of the map in the world [m].

    Source
        architecture.md, cost AUC (any obstacle among what the camera can see).
    """
    points = truth.points_world()[..., :2] - np.asarray(centre_m)
    cell = planning_cells(points, config)
    rings, angles = planning_shape(config)

    def holding(kind: Mask) -> Mask:
        count = np.bincount(cell[kind & (cell >= 0)], minlength=rings * angles)
        return np.asarray(count.reshape(rings, angles) > 0)

    obstacle = holding(truth.obstacle == STANDING)
    return CellTruth(obstacle | holding(truth.obstacle == FREE), obstacle)


def cell_items(
    truth: TruthFrame, evidence: list[Evidence], map_config: MapConfig, cost: CostConfig
) -> Items:
    """
    Score the cells the camera sees by the evidence of one frame alone.

    Parameters
    ----------
    evidence : list of Evidence
        In the frame of ``truth`` (the world).

    Returns
    -------
    Items
        ``range_m`` of the cell centre; score (clip(S, -1, 1) + 1) / 2, never written = 0.5.

    Source
        architecture.md, cost AUC.
    """
    polar = PolarMap(map_config)
    polar.move_to(*truth.robot_xy)
    for part in evidence:
        polar.add(part)
    planning = polar.planning()
    cells = cell_truth(truth, planning.centre_m, map_config)
    score = (np.clip(evidence_score(planning.histogram, cost), -1, 1) + 1) / 2
    known = planning.touched
    radius = np.broadcast_to(planning.radii_m[:, None], known.shape)
    seen = cells.seen
    return Items(radius[seen], cells.obstacle[seen], np.where(known, score, 0.5)[seen],
                 known[seen])
