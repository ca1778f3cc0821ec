# SPDX-License-Identifier: Apache-2.0
"""A trained scene network on disk: weights, classes, where they come from."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import torch

from perception.errors import NetworkError
from perception.training.export import DAMAGED
from perception.training.farabet2013 import Farabet2013
from perception.training.scene_networks import (
    SceneArchitecture,
    SceneNet,
    make_scene_network,
)

TASK = 'scene'


@dataclass
class SceneTrained:
    """A scene network; ``width`` is what pictures are brought to before it sees them."""

    architecture: SceneArchitecture
    network: SceneNet
    classes: tuple[str, ...]
    colours: tuple[tuple[int, int, int], ...]
    width: int | None
    trained: bool = False
    data: dict[str, Any] = field(default_factory=dict)
    scores: dict[str, Any] = field(default_factory=dict)
    command: str = ''

    def save(self, path: Path) -> None:
        """Write it; the file is whole or absent."""
        partial = path.with_suffix('.partial')
        torch.save({
            'task': TASK, 'architecture': self.architecture, 'classes': self.classes,
            'colours': self.colours, 'width': self.width, 'trained': self.trained,
            'data': self.data, 'scores': self.scores, 'command': self.command,
            'deep': self.network.deep if isinstance(self.network, Farabet2013) else None,
            'network': self.network.state_dict(),
        }, partial)
        partial.replace(path)


def untrained_scene(
    architecture: SceneArchitecture, classes: tuple[str, ...],
    colours: tuple[tuple[int, int, int], ...], width: int | None = None, seed: int = 0,
) -> SceneTrained:
    """Network of that name with the random weights of a seed."""
    torch.manual_seed(seed)
    network = make_scene_network(architecture, len(classes))
    if isinstance(network, Farabet2013):
        network.deepen(True)
    return SceneTrained(architecture, network, classes, colours, width)


def sources_of(trained: SceneTrained) -> list[dict[str, Any]]:
    """Every data set that the weights ever learned from."""
    return [*trained.data.get('sources', ()), *trained.data.get('earlier_sources', ())]


def holds_scene_network(path: Path) -> bool:
    """Tell a checkpoint of ``lagr train scene`` from anything else."""
    try:
        return bool(torch.load(path, map_location='cpu', weights_only=True)['task'] == TASK)
    except DAMAGED:
        return False


def load_scene_checkpoint(path: Path) -> SceneTrained:
    """
    Read what ``SceneTrained.save`` wrote.

    Raises
    ------
    NetworkError
        No such file, or not a checkpoint of ``lagr train scene``.
    """
    try:
        stored = torch.load(path, map_location='cpu', weights_only=True)
        if stored['task'] != TASK or stored['architecture'] not in get_args(SceneArchitecture):
            raise KeyError(stored['architecture'])
        trained = untrained_scene(
            stored['architecture'], tuple(stored['classes']), tuple(stored['colours']),
            stored['width'])
        trained.network.load_state_dict(stored['network'])
        if isinstance(trained.network, Farabet2013):
            trained.network.deepen(stored.get('deep', True))
    except FileNotFoundError:
        raise NetworkError(f'{path}: no such checkpoint; run lagr train scene first') from None
    except DAMAGED as error:
        raise NetworkError(
            f'{path}: no checkpoint of lagr train scene ({type(error).__name__}); give its '
            'trained.pt') from None
    for name in ('trained', 'data', 'scores', 'command'):
        setattr(trained, name, stored[name])
    return trained
