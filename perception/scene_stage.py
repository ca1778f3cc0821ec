# SPDX-License-Identifier: Apache-2.0
"""The scene network of a chain: labels of an image, and what they say of the ground."""

from dataclasses import dataclass

from perception.config import MapConfig
from perception.inference import check_engine, network_path, read_spec
from perception.scene import (
    SceneLabels,
    SceneNetwork,
    SceneSpec,
    label_scene,
    load_scene_network,
)
from perception.scene_config import SceneConfig
from perception.scene_view import ClassCosts, class_costs, scene_observation
from perception.supervisor import PointLabels
from perception.types import DepthGrid, GroundPlane, Image, Observation


@dataclass(frozen=True)
class SceneStage:
    """A loaded network and the costs of its classes; it has no state."""

    config: SceneConfig
    network: SceneNetwork
    costs: ClassCosts

    def label(self, image: Image) -> SceneLabels:
        """Label every pixel of a rectified image, (H, W, 3) BGR or (H, W) grey uint8."""
        return label_scene(self.network, image, self.config.superpixels)

    def observe(
        self, labels: SceneLabels, plane: GroundPlane, map_config: MapConfig,
        depth: tuple[PointLabels, DepthGrid] | None = None,
    ) -> Observation:
        """What the labels say of the ground, see ``scene_observation``."""
        return scene_observation(labels, plane, self.costs, self.config, map_config, depth)


def make_scene(config: SceneConfig) -> SceneStage | None:
    """
    Load the scene network that the settings name; None where scenes are not labelled.

    Raises
    ------
    NetworkError
        The network is missing, damaged, or keeps not the contract.
    ConfigError
        ``scene.costs`` or ``scene.standing`` does not fit its classes.
    """
    if not config.enabled:
        return None
    path = network_path(config.network, 'scene', config.precision)
    network = load_scene_network(path, config.threads, config.engine, config.precision)
    return SceneStage(config, network, class_costs(config, network.spec))


def check_scene(config: SceneConfig) -> None:
    """Refuse what ``make_scene`` would, by the manifest alone, and an engine that is not here."""
    if config.enabled:
        check_engine(config.engine)
        path = network_path(config.network, 'scene', config.precision)
        class_costs(config, read_spec(path, SceneSpec))
