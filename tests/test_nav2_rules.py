# SPDX-License-Identifier: Apache-2.0
"""
What Nav2 makes of our grids: the rules of its StaticLayer, restated, over grids of the demo bag.

Source
    Nav2, nav2_costmap_2d: static_layer.cpp (interpretValue), cost_values.hpp; nav2_ros_common:
    validate_messages.hpp (validateMsg).
"""

import math
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

from perception.bag import open_bag
from perception.bag_encode import occupancy_grid_message, typestore
from perception.config import Config
from perception.inference import load_network
from perception.mapping import unknown_like
from perception.pipeline import Pipeline
from perception.types import Costmap

FREE, INSCRIBED, LETHAL, NO_INFORMATION = 0, 253, 254, 255
FRAMES, EVERY = 31, 10
GRADES = np.arange(1, 99)


def interpret(value: int, rules: dict[str, Any]) -> int:
    """Cost of one cell; ``value`` is the int8 of the message, which Nav2 reads as a byte."""
    byte = value & 0xFF
    if byte == 255:  # unknown_cost_value
        return NO_INFORMATION if rules['track_unknown_space'] else FREE
    if byte == 99:  # inscribed_obstacle_cost_value, after Kilted
        return INSCRIBED
    if byte >= rules['lethal_cost_threshold']:
        return LETHAL
    if rules['trinary_costmap']:
        return FREE
    return int(byte / rules['lethal_cost_threshold'] * LETHAL)


def faults(grid: Any) -> list[str]:
    """Why Nav2 would reject a nav_msgs/OccupancyGrid as malformed."""
    info, at, q = grid.info, grid.info.origin.position, grid.info.origin.orientation
    norm = q.x * q.x + q.y * q.y + q.z * q.z + q.w * q.w
    checks = {
        'stamp': grid.header.stamp.nanosec < 10**9,
        'frame_id': grid.header.frame_id != '',
        'position': all(math.isfinite(v) for v in (at.x, at.y, at.z)),
        'orientation': math.isfinite(norm) and abs(norm - 1) < 1e-4,
        'resolution': math.isfinite(info.resolution) and info.resolution >= 1e-6,
        'size': 0 < info.width <= 32767 and 0 < info.height <= 32767,
        'data': len(grid.data) == info.width * info.height,
    }
    return [name for name, good in checks.items() if not good]


def received(costmap: Costmap) -> Any:
    """The message as a subscriber gets it."""
    message = occupancy_grid_message(costmap)
    name = message.__msgtype__
    return typestore().deserialize_cdr(typestore().serialize_cdr(message, name), name)


def interpreted(costmap: Costmap, rules: dict[str, Any]) -> NDArray[np.int64]:
    """Costs of all cells."""
    table = np.array([interpret(value, rules) for value in range(256)])
    return np.asarray(table[received(costmap).data.view(np.uint8)])


@pytest.fixture(scope='module')
def rules(repository: Path) -> dict[str, Any]:
    """The parameters of config/nav2_costmap.yaml."""
    written = yaml.safe_load((repository / 'config' / 'nav2_costmap.yaml').read_text())
    return dict(written['local_costmap']['local_costmap']['ros__parameters'])


@pytest.fixture(scope='module')
def costmaps(repository: Path) -> list[Costmap]:
    """Some grids of the shipped drive."""
    config = Config()
    pipeline = Pipeline(config, load_network('default'))
    with open_bag(repository / 'bags' / 'demo', config) as bag:
        results = [pipeline.process(frame) for frame in islice(bag.frames(), FRAMES)]
    made = [result.costmap for result in results if result.costmap is not None]
    assert len(made) == FRAMES
    return made[::EVERY]


def test_values_by_hand(rules: dict[str, Any]) -> None:
    assert [interpret(value, rules) for value in (-1, 0, 1, 50, 98, 99, 100)] == [
        NO_INFORMATION, FREE, 2, 127, 248, INSCRIBED, LETHAL]


def test_every_grade_stays_apart(rules: dict[str, Any]) -> None:
    costs = np.array([interpret(value, rules) for value in range(99)])
    assert (np.diff(costs) > 0).all()
    assert costs[-1] < INSCRIBED


def test_grids_of_a_drive(costmaps: list[Costmap], rules: dict[str, Any]) -> None:
    for costmap in costmaps:
        data, costs = costmap.data.ravel(), interpreted(costmap, rules)
        assert set(np.unique(data)) <= {-1, 0, *GRADES, 100}
        np.testing.assert_array_equal(costs == NO_INFORMATION, data == -1)
        np.testing.assert_array_equal(costs == FREE, data == 0)
        np.testing.assert_array_equal(costs == LETHAL, data == 100)
        assert not (costs == INSCRIBED).any()
        graded = (data > 0) & (data < 99)
        assert len(np.unique(costs[graded])) == len(np.unique(data[graded])) > 50
    last = costmaps[-1].data
    assert min((last == -1).sum(), (last == 0).sum(), (last == 100).sum()) > 500


def test_trinary_would_lose_the_grades(costmaps: list[Costmap], rules: dict[str, Any]) -> None:
    data = costmaps[-1].data.ravel()
    costs = interpreted(costmaps[-1], rules | {'trinary_costmap': True})
    assert set(np.unique(costs)) == {FREE, LETHAL, NO_INFORMATION}
    np.testing.assert_array_equal(costs == FREE, (data >= 0) & (data < 99))
    assert (costs == FREE).sum() > 3 * (data == 0).sum()


def test_untracked_unknown_would_be_free(costmaps: list[Costmap], rules: dict[str, Any]) -> None:
    costs = interpreted(costmaps[-1], rules | {'track_unknown_space': False})
    np.testing.assert_array_equal(costs == FREE, np.isin(costmaps[-1].data.ravel(), (-1, 0)))


def test_a_lost_input_leaves_nothing_known(costmaps: list[Costmap], rules: dict[str, Any]) -> None:
    unknown = unknown_like(costmaps[-1], costmaps[-1].stamp_ns + 2_000_000_000)
    assert (interpreted(unknown, rules) == NO_INFORMATION).all()
    assert faults(received(unknown)) == []
    assert received(unknown).info.origin == received(costmaps[-1]).info.origin


def test_messages_pass_nav2s_checks(costmaps: list[Costmap]) -> None:
    for costmap in costmaps:
        message = received(costmap)
        assert faults(message) == []
        assert message.header.frame_id == 'odom'
        assert message.data.dtype == np.int8
        q = message.info.origin.orientation
        assert (q.x, q.y, q.z, q.w) == (0, 0, 0, 1)  # Nav2 ignores any other


def test_origins_are_multiples_of_the_resolution(
    costmaps: list[Costmap], rules: dict[str, Any]
) -> None:
    step = rules['resolution']
    for costmap in costmaps:
        at = received(costmap).info.origin.position
        cells = np.array([at.x, at.y]) / step
        np.testing.assert_allclose(cells, np.rint(cells), atol=1e-6)
        assert costmap.data.shape == (rules['height'] / step, rules['width'] / step)
    assert costmaps[0].origin_m != costmaps[-1].origin_m


@pytest.mark.parametrize(('name', 'spoil'), [
    ('frame_id', lambda grid: replace(grid, header=replace(grid.header, frame_id=''))),
    ('size', lambda grid: replace(grid, info=replace(grid.info, width=0))),
    ('size', lambda grid: replace(grid, info=replace(grid.info, width=40000))),
    ('data', lambda grid: replace(grid, data=grid.data[1:])),
    ('resolution', lambda grid: replace(grid, info=replace(grid.info, resolution=math.nan))),
    ('position', lambda grid: with_origin(grid, 'position', x=math.inf)),
    ('orientation', lambda grid: with_origin(grid, 'orientation', w=0.9)),
])
def test_the_checks_bite(costmaps: list[Costmap], name: str, spoil: Any) -> None:
    assert name in faults(spoil(received(costmaps[0])))


def with_origin(grid: Any, part: str, **values: float) -> Any:
    """The grid with another number in its origin."""
    changed = replace(getattr(grid.info.origin, part), **values)
    return replace(grid, info=replace(grid.info, origin=replace(
        grid.info.origin, **{part: changed})))
