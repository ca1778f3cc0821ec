# SPDX-License-Identifier: Apache-2.0
"""
Twelve courses for a rover that must find its way: dead ends, bends, gaps, and a path.

A course is a world of its season with walls that stereo meets only when the rover is close. The
seed varies world, lengths, sides and positions.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from perception.errors import WorldError
from perception.types import Float, Mask
from perception.world.content import Content, furnish
from perception.world.course_layout import Layout, Rng, Stage, path_layout
from perception.world.drive import World
from perception.world.free_way import free_way
from perception.world.layout import Instances, place_instances, scatter_objects
from perception.world.seasons import look_of
from perception.world.sensors import rig_of
from perception.world.spec import WorldSpec
from perception.world.terrain import Terrain, make_terrain
from perception.world.truth import obstacle_grid

END_ROOM_M = 6.0
VARIANTS = 6
FIRST_SEED = 700_000

HEDGE = ('bush', 'rock')
YARD = ('hay', 'bush')
MIXED = ('bush', 'rock', 'log')

Maker = Callable[[Rng, Terrain], Layout]


@dataclass(frozen=True)
class Course:
    """
    One course in one world.

    ``start`` and ``goal`` (2,) in the world [m]; ``start_yaw_rad`` looks at the goal;
    ``shortest`` (N, 2) is the shortest way on truth for the rover's circle.
    """

    number: int
    name: str
    seed: int
    world: World
    start: Float
    goal: Float
    start_yaw_rad: float
    shortest: Float

    @property
    def optimal_length_m(self) -> float:
        """Length of the shortest way [m]."""
        return float(np.hypot(*np.diff(self.shortest, axis=0).T).sum())

    @property
    def straight_line_m(self) -> float:
        """Distance from start to goal [m]."""
        return float(np.linalg.norm(self.goal - self.start))


def build_course(number: int, seed: int, season: str | None = None) -> Course:
    """
    Build one of the courses; needs no graphics.

    Parameters
    ----------
    number : int
        1 to 12.
    seed : int
        Names the variant: 0 or more.
    season : str, optional
        Another season than the course's own.

    Raises
    ------
    WorldError
        Unknown course or season, or no free way in any variant of the layout.
    """
    if number not in COURSES:
        raise WorldError(f'course {number}: choose one of 1 to {len(COURSES)}')
    name, own, maker = COURSES[number]
    spec = WorldSpec(seed, season or own)
    spec = WorldSpec(FIRST_SEED + 1000 * number + seed, spec.season)
    terrain = make_terrain(spec)
    for variant in range(VARIANTS):
        layout = maker(np.random.default_rng([spec.seed, 10, variant]), terrain)
        content = course_content(spec, terrain, layout)
        obstacles = obstacle_grid(content)
        shortest = free_way(obstacles, layout.start, layout.goal)
        if shortest is None:
            continue
        ahead = layout.goal - layout.start
        return Course(number, name, seed, World(content, obstacles, rig_of(spec)), layout.start,
                      layout.goal, float(np.arctan2(ahead[1], ahead[0])), shortest)
    raise WorldError(f'course {number}, seed {seed}: no free way; take another seed')


def course_content(spec: WorldSpec, terrain: Terrain, layout: Layout) -> Content:
    """Everything in the world of a course: its own things among those of any world."""
    rng = np.random.default_rng([spec.seed, 11])
    around = scatter_objects(spec, terrain, look_of(spec).season)
    objects = {kind: copies if kind == 'tuft' else copies.only(_clear_of(copies, layout))
               for kind, copies in around.items()}
    for kind, points in layout.things.items():
        objects[kind] = objects[kind].joined(place_instances(rng, terrain, kind, points))
    return furnish(spec, terrain, objects, layout.fences)


def _clear_of(copies: Instances, layout: Layout) -> Mask:
    """Tell which things of the world leave the room that the course needs, (N,) bool."""
    ends = np.array([[*layout.start, END_ROOM_M], [*layout.goal, END_ROOM_M]])
    circles = np.vstack([ends, layout.clear])
    apart = np.linalg.norm(copies.position[:, None, :2] - circles[:, :2], axis=-1)
    return np.asarray((apart >= circles[:, 2]).all(1))


def _cul_de_sac(rng: Rng, terrain: Terrain) -> Layout:
    """A yard of hay bales across the straight way, open towards the start."""
    del terrain
    stage = Stage(rng, rng.uniform(68, 74))
    _pocket(stage, YARD, stage.length_m * rng.uniform(0.52, 0.6), rng.uniform(-2, 2),
            (rng.uniform(13, 15), rng.uniform(18, 21)))
    return stage.laid()


def _pocket(
    stage: Stage, kinds: tuple[str, ...], back: float, middle: float, size: tuple[float, float]
) -> None:
    """A U of some depth and width whose back stands at ``back``."""
    depth, half = size[0], size[1] / 2
    stage.wall(kinds, [(back - depth, middle - half), (back, middle - half),
                       (back, middle + half), (back - depth, middle + half)])


def _funnel(rng: Rng, terrain: Terrain) -> Layout:
    """Two hedges that draw together to a dead end."""
    del terrain
    stage = Stage(rng, rng.uniform(68, 74))
    back, mouth = stage.length_m * rng.uniform(0.56, 0.64), rng.uniform(11, 14)
    deep, off = rng.uniform(20, 23), rng.uniform(-2, 2)
    stage.wall(HEDGE, [(back - deep, off - mouth), (back, off - 3), (back, off + 3),
                       (back - deep, off + mouth)])
    return stage.laid()


def _fence_gap(rng: Rng, terrain: Terrain) -> Layout:
    """A long fence aslant over the way, a corner on its inviting side, a gap on the other."""
    del terrain
    stage = Stage(rng, rng.uniform(66, 72))
    x, gap, half = stage.length_m * rng.uniform(0.42, 0.5), rng.uniform(11, 14), 2.4
    stage.fence([(x - 9, -20.0), (x + 5, -16.0), (x - 3, gap - half)])
    stage.fence([(x - 4, gap + half), (x - 8, 26.0)])
    stage.gap(x - 3.5, gap, 5.0)
    return stage.laid()


def _grass_bend(rng: Rng, terrain: Terrain) -> Layout:
    """Two hooks of tall grass, open at opposite ends: the way bends behind the first."""
    del terrain
    stage = Stage(rng, rng.uniform(66, 72))
    first, second = stage.length_m * rng.uniform(0.36, 0.42), stage.length_m * 0.66
    stage.wall(('tall',), [(first - 11, -18.0), (first + 4, -15.0),
                           (first - 4, 10 + rng.uniform(0, 3))], rows=4)
    stage.wall(('tall',), [(second - 2, -8 - rng.uniform(0, 3)), (second + 3, 14.0),
                           (second - 8, 17.0)], rows=4)
    return stage.laid()


def _bush_path(rng: Rng, terrain: Terrain) -> Layout:
    """A path through bushes that the eye sees and stereo does not."""
    return path_layout(rng, terrain, ('bush',))


def _thicket_rows(rng: Rng, terrain: Terrain) -> Layout:
    """Two rows of thickets aslant, each with a dead corner and a gap, at opposite sides."""
    del terrain
    stage = Stage(rng, rng.uniform(70, 76))
    for share, side in ((0.34, 1), (0.7, -1)):
        x, gap = share * stage.length_m, rng.uniform(7, 10)
        stage.wall(MIXED, [(x - 8, side * -17.0), (x + 4, side * -14.0),
                           (x - 2, side * (gap - 2.7))])
        stage.wall(MIXED, [(x - 3, side * (gap + 2.7)), (x - 5, side * 20.0)])
        stage.gap(x - 2.5, side * gap, 4.5)
    return stage.laid()


def _wooded_path(rng: Rng, terrain: Terrain) -> Layout:
    """A narrow path through a wood."""
    return path_layout(rng, terrain, ('bush', 'bush', 'tree', 'conifer'))


def _hook(rng: Rng, terrain: Terrain) -> Layout:
    """A hedge across the way, with an arm that comes back on the nearer side."""
    del terrain
    stage = Stage(rng, rng.uniform(66, 72))
    x, near, far = stage.length_m * rng.uniform(0.5, 0.58), rng.uniform(6, 8), 20.0
    stage.wall(HEDGE, [(x - rng.uniform(18, 21), near), (x, near), (x, -far)])
    return stage.laid()


def _hedge_gap(rng: Rng, terrain: Terrain) -> Layout:
    """A long hedge aslant over the way: a dead corner on one side, a gap on the other."""
    del terrain
    stage = Stage(rng, rng.uniform(66, 72))
    x, gap = stage.length_m * rng.uniform(0.45, 0.52), rng.uniform(11, 14)
    stage.wall(('bush',), [(x - 8, -21.0), (x + 7, -17.0), (x - 4, gap - 2.5)])
    stage.wall(('bush',), [(x - 5, gap + 2.5), (x - 9, 26.0)])
    stage.gap(x - 4.5, gap, 4.5)
    return stage.laid()


def _crescent(rng: Rng, terrain: Terrain) -> Layout:
    """A crescent of rocks, hollow side to the start."""
    del terrain
    stage = Stage(rng, rng.uniform(68, 74))
    radius, half = rng.uniform(12, 14), np.radians(rng.uniform(95, 110))
    angle = np.linspace(-half, half, 40)
    x = stage.length_m * 0.42 + radius * np.cos(angle)
    y = rng.uniform(-2, 2) + radius * np.sin(angle)
    stage.wall(('rock', 'log'), list(zip(x.tolist(), y.tolist(), strict=True)), rows=3)
    return stage.laid()


def _two_pockets(rng: Rng, terrain: Terrain) -> Layout:
    """Two dead ends, one behind the other and to the side of it."""
    del terrain
    stage, side = Stage(rng, rng.uniform(72, 78)), rng.choice([-1.0, 1.0])
    _pocket(stage, YARD, 0.36 * stage.length_m, side * rng.uniform(0, 2),
            (rng.uniform(13, 15), 13.0))
    _pocket(stage, HEDGE, 0.78 * stage.length_m, -side * rng.uniform(2, 4),
            (rng.uniform(15, 17), rng.uniform(15, 18)))
    return stage.laid()


def _fenced_yard(rng: Rng, terrain: Terrain) -> Layout:
    """A yard open to the start: fences on two sides, hay bales on the third."""
    del terrain
    stage = Stage(rng, rng.uniform(68, 74))
    x, middle = stage.length_m * rng.uniform(0.5, 0.58), rng.uniform(-2, 2)
    half, deep = rng.uniform(9.5, 11), rng.uniform(12, 14)
    stage.fence([(x - deep, middle + half + 1), (x, middle + half), (x + 2, middle - 3)])
    stage.wall(YARD, [(x + 2, middle - 3), (x + 3, middle - half), (x - deep, middle - half - 1)])
    return stage.laid()


COURSES: dict[int, tuple[str, str, Maker]] = {
    1: ('cul-de-sac', 'haze', _cul_de_sac),
    2: ('funnel', 'forest', _funnel),
    3: ('fence with a gap', 'straw', _fence_gap),
    4: ('bend behind tall grass', 'frost', _grass_bend),
    5: ('path through bushes', 'straw', _bush_path),
    6: ('rows of thickets', 'haze', _thicket_rows),
    7: ('wooded path', 'forest', _wooded_path),
    8: ('hook', 'frost', _hook),
    9: ('hedge with a gap', 'forest', _hedge_gap),
    10: ('crescent of rocks', 'clear', _crescent),
    11: ('two pockets', 'autumn', _two_pockets),
    12: ('fenced yard', 'haze', _fenced_yard),
}
"""Number -> name, season and maker."""
