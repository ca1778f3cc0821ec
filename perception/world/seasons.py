# SPDX-License-Identifier: Apache-2.0
"""Six seasons, and how one world of a season looks: light, air, colours, counts."""

from dataclasses import dataclass

import numpy as np

from perception.types import Float
from perception.world.spec import WorldSpec

Matrix = tuple[tuple[float, float, float], ...]
Span = tuple[float, float]
Colour = tuple[float, float, float]

SAME: Matrix = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))


@dataclass(frozen=True)
class Season:
    """Ranges one world of the season is drawn from; matrices act on RGB columns."""

    leaf: Matrix = SAME
    grass: Matrix = SAME
    tall: Matrix = SAME
    path: Matrix = SAME
    fog_per_m: Span = (0.004, 0.010)
    haze: Colour = (0.60, 0.66, 0.72)
    sun: Colour = (2.5, 2.3, 1.95)
    ambient: Colour = (0.62, 0.72, 0.86)
    zenith: Colour = (0.16, 0.33, 0.66)
    cloud: Span = (0.30, 0.75)
    elevation_deg: Span = (28.0, 62.0)
    trees: float = 1.0
    bushes: float = 1.0
    tall_grass: float = 1.0


AUTUMN_GRASS = ((0.95, 0.35, 0.0), (0.10, 0.82, 0.0), (0.0, 0.0, 0.75))
STRAW_GRASS = ((0.88, 0.42, 0.05), (0.30, 0.58, 0.05), (0.06, 0.22, 0.60))
STRAW_TALL = ((0.85, 0.30, 0.05), (0.32, 0.55, 0.08), (0.10, 0.25, 0.60))
FROST_GRASS = ((0.72, 0.56, 0.34), (0.54, 0.66, 0.36), (0.44, 0.52, 0.60))
FROST_PATH = ((1.02, 0.10, 0.0), (0.16, 0.48, 0.08), (0.06, 0.18, 0.40))

SEASONS = {
    'clear': Season(),
    'autumn': Season(
        leaf=((1.10, 0.42, 0.0), (0.12, 0.80, 0.0), (0.0, 0.0, 0.65)),
        grass=AUTUMN_GRASS, tall=AUTUMN_GRASS,
        fog_per_m=(0.006, 0.012), haze=(0.70, 0.63, 0.54), sun=(3.0, 2.45, 1.7),
        ambient=(0.52, 0.61, 0.80), elevation_deg=(17.0, 38.0),
    ),
    'haze': Season(
        leaf=((1.02, 0.0, 0.0), (0.0, 1.0, 0.0), (0.05, 0.0, 1.0)),
        fog_per_m=(0.019, 0.027), haze=(0.66, 0.68, 0.70), sun=(1.2, 1.2, 1.15),
        ambient=(1.05, 1.10, 1.15), cloud=(0.05, 0.2), elevation_deg=(30.0, 60.0),
    ),
    'forest': Season(
        leaf=((0.80, 0.0, 0.0), (0.0, 0.92, 0.0), (0.0, 0.0, 0.85)),
        grass=((0.85, 0.12, 0.0), (0.05, 0.80, 0.0), (0.0, 0.0, 0.85)),
        path=((0.80, 0.0, 0.0), (0.0, 0.74, 0.0), (0.0, 0.0, 0.66)),
        fog_per_m=(0.008, 0.014), trees=2.2, bushes=1.9, tall_grass=0.7,
    ),
    'straw': Season(
        leaf=((0.78, 0.0, 0.0), (0.0, 1.02, 0.0), (0.0, 0.0, 0.85)),
        grass=STRAW_GRASS, tall=STRAW_TALL,
        haze=(0.68, 0.67, 0.64), elevation_deg=(40.0, 66.0),
    ),
    'frost': Season(
        leaf=((1.10, 0.30, 0.0), (0.32, 0.50, 0.05), (0.10, 0.12, 0.60)),
        grass=FROST_GRASS, tall=FROST_GRASS,
        path=FROST_PATH,
        fog_per_m=(0.007, 0.014), haze=(0.72, 0.75, 0.80), sun=(2.3, 2.2, 2.1),
        ambient=(0.70, 0.78, 0.92), elevation_deg=(16.0, 32.0),
    ),
}


@dataclass(frozen=True)
class Look:
    """One world's light, air and colours; colours are linear RGB, matrices (3, 3)."""

    leaf: Float
    grass: Float
    tall: Float
    path: Float
    sun_direction: Float
    sun: Float
    ambient: Float
    haze: Float
    zenith: Float
    cloud: float
    fog_per_m: float
    season: Season


def look_of(spec: WorldSpec) -> Look:
    """Draw the look of one world from its season."""
    rng = np.random.default_rng([spec.seed, 1])
    season = SEASONS[spec.season]
    elevation = np.radians(rng.uniform(*season.elevation_deg))
    azimuth = rng.uniform(0, 2 * np.pi)
    flat = np.cos(elevation)
    sun_share = rng.uniform(0.75, 1.1)  # thin cloud trades sunlight for sky light
    return Look(
        leaf=_vary(season.leaf, rng, 0.08),
        grass=_vary(season.grass, rng, 0.08),
        tall=_vary(season.tall, rng, 0.08),
        path=_vary(season.path, rng, 0.12),
        sun_direction=np.array(
            [flat * np.cos(azimuth), flat * np.sin(azimuth), np.sin(elevation)]
        ),
        sun=np.array(season.sun) * sun_share * rng.uniform(0.94, 1.06, 3),
        ambient=np.array(season.ambient) * (1.9 - 0.9 * sun_share) * rng.uniform(0.95, 1.05, 3),
        haze=np.array(season.haze) * rng.uniform(0.9, 1.08) * rng.uniform(0.96, 1.04, 3),
        zenith=np.array(season.zenith) * rng.uniform(0.7, 1.25, 3),
        cloud=float(rng.uniform(*season.cloud)),
        fog_per_m=float(rng.uniform(*season.fog_per_m)),
        season=season,
    )


def _vary(matrix: Matrix, rng: np.random.Generator, sigma: float) -> Float:
    """Matrix with another brightness and a slight cast."""
    cast = 1 + rng.normal(0, sigma * 0.35, 3)
    return np.array(matrix) * (cast * rng.uniform(0.82, 1.15))[:, None]
