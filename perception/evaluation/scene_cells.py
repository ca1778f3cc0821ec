# SPDX-License-Identifier: Apache-2.0
"""What scene labels are worth in the map: cells of scene evidence, alone and beside W0's."""

from perception.config import Config
from perception.evaluation.cells import cell_items
from perception.evaluation.scores import Items
from perception.evaluation.truth import TruthFrame
from perception.pipeline import Result
from perception.projection import frame_evidence, place
from perception.scene_stage import SceneStage


def scene_modes(
    scene: SceneStage, result: Result, truth: TruthFrame, config: Config
) -> dict[str, Items]:
    """
    Cells of one frame with labelled scene, stereo evidence included.

    Returns
    -------
    dict of Items
        ``scene``: scene labels instead of windows; ``w0_scene``: both.
    """
    pyramid, pose = result.pyramid, truth.world_from_camera
    assert result.scene is not None and pyramid is not None and result.plane is not None
    assert result.probabilities is not None
    depth = (result.points, result.grid) if result.points and result.grid else None
    seen = place(scene.observe(result.scene, result.plane.plane, config.map, depth), pose)
    w0 = frame_evidence(pyramid, result.probabilities, pose, config.map, depth)
    modes = {'scene': [*w0[:-1], seen], 'w0_scene': [*w0, seen]}
    return {mode: cell_items(truth, evidence, config.map, config.cost)
            for mode, evidence in modes.items()}
