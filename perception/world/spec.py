# SPDX-License-Identifier: Apache-2.0
"""What names a world, and the ids of what stands in it."""

from dataclasses import dataclass

from perception.errors import WorldError

CLASS_NAMES = (
    'sky', 'grass', 'path', 'mud', 'tall_grass', 'bush',
    'trunk', 'crown', 'rock', 'log', 'fence', 'hay',
)
SKY, GRASS, PATH, MUD, TALL_GRASS, BUSH, TRUNK, CROWN, ROCK, LOG, FENCE, HAY = range(12)
GROUND_CLASSES = (GRASS, PATH, MUD)

SEASON_NAMES = ('clear', 'autumn', 'haze', 'forest', 'straw', 'frost')
DEFAULT_RELIEF = 0.2
MAX_RELIEF = 6.0


@dataclass(frozen=True)
class WorldSpec:
    """
    A world by its seed: the same spec gives the same world, drive and noise.

    ``relief`` is the amplitude of the height map [m]; ``flat`` makes it exactly zero.
    """

    seed: int
    season: str = 'clear'
    relief: float = DEFAULT_RELIEF
    flat: bool = False

    def __post_init__(self) -> None:
        """Refuse what no world can be made of."""
        if self.season not in SEASON_NAMES:
            raise WorldError(f'season {self.season!r}: choose one of {", ".join(SEASON_NAMES)}')
        if self.seed < 0:
            raise WorldError(f'seed {self.seed}: give a whole number of 0 or more')
        if not 0.0 <= self.relief <= MAX_RELIEF:
            raise WorldError(f'relief {self.relief}: give metres from 0 to {MAX_RELIEF:g}')

    @property
    def amplitude_m(self) -> float:
        """Amplitude of the height map in use [m]."""
        return 0.0 if self.flat else self.relief
