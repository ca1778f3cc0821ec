# SPDX-License-Identifier: Apache-2.0
"""Settings of scene labelling and of what its classes cost."""

import math
from typing import Literal

from pydantic import Field, field_validator

from perception.section import Section
from perception.types import EngineChoice, PrecisionChoice

NO_SAY = 'none'
COMMON_COSTS: dict[str, float | None] = {
    'smooth_ground': 0.0, 'rough_ground': 0.2, 'grass': 0.1, 'low_vegetation': 0.8,
    'high_vegetation': 1.0, 'water': 0.7, 'obstacle': 1.0, 'sky': None,
}
"""Costs of the common classes, to which a network's manifest maps its own; None = no say."""


class SceneConfig(Section):
    """Scene labels, and the cost of each class in the map (algorithms.md B)."""

    enabled: bool = Field(False, description='Label scenes')
    network: str = Field(
        'scene', description='Scene network: a stem in perception/weights, or a path to .onnx'
    )
    engine: EngineChoice = Field(
        'auto', description='What runs the scene network; auto = the fastest that works here'
    )
    precision: PrecisionChoice = Field(
        'auto', description='What it computes in, see network.precision'
    )
    threads: int = Field(1, ge=1, le=64, description='Threads of the scene network')
    superpixels: Literal['none', 'felzenszwalb', 'slic'] = Field(
        'none', description='Segments whose pixels decide together; costs tens of milliseconds'
    )
    costs: list[str] = Field(
        [f'{name}={NO_SAY if cost is None else format(cost, "g")}'
         for name, cost in COMMON_COSTS.items()],
        min_length=1,
        description='class=cost, 0 = free to 1 = lethal; none = the class says nothing of the '
        'ground. A class of the network, or a common one, which costs all that it covers; what '
        'is not listed keeps the default of its common class',
    )
    standing: list[str] = Field(
        ['low_vegetation', 'high_vegetation', 'obstacle'], min_length=1,
        description='Classes, of the network or common ones, that rise from the ground: only '
        'their foot is entered, and they hide what is behind',
    )
    weight: float = Field(
        1.0, ge=0.0, le=100.0,
        description='Weight of a bin (bearing, distance) of labels in the map; 0 = labels only',
    )
    max_range_m: float = Field(
        40.0, ge=1.0, le=200.0, description='Labels enter the map up to here [m]'
    )

    @field_validator('costs')
    @classmethod
    def _are_costs(cls, costs: list[str]) -> list[str]:
        names = [_pair(text)[0] for text in costs]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f'{twice} has two costs; keep one')
        return costs

    @property
    def table(self) -> dict[str, float | None]:
        """Listed class -> cost in [0, 1]; None = no say."""
        return dict(_pair(text) for text in self.costs)


def _pair(text: str) -> tuple[str, float | None]:
    """Class and cost out of ``class=cost``; ValueError where it is none."""
    name, equals, cost = (part.strip() for part in text.partition('='))
    if not (name and equals and cost):
        raise ValueError(f'{text!r}: write class=cost or class={NO_SAY}')
    if cost == NO_SAY:
        return name, None
    try:
        value = float(cost)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise ValueError(f'{text!r}: a cost is a number from 0 to 1, or {NO_SAY}')
    return name, value
