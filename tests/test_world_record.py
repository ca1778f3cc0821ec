# SPDX-License-Identifier: Apache-2.0
"""``lagr world``: what lies in the bag, and what the command says when it cannot."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from perception.bag import open_bag
from perception.bag_messages import image_from_message
from perception.commands.main import app
from perception.config import Config
from perception.errors import BagError
from perception.world.drive import START_NS
from perception.world.record import Recording, Summary, depth_mm, record
from perception.world.sensors import BASELINE_M, base_from_left
from perception.world.spec import CLASS_NAMES, WorldSpec

ALWAYS = {
    '/stereo/left/image_rect/compressed', '/stereo/right/image_rect/compressed',
    '/stereo/left/camera_info', '/stereo/right/camera_info', '/tf', '/tf_static', '/odom', '/imu',
    '/truth/odom', '/truth/classes', '/truth/obstacles', '/truth/left/class',
}
FULL = {'/truth/left/obstacle', '/truth/left/depth'}
WITHOUT_MODERNGL = """
import sys
sys.modules['moderngl'] = None
sys.argv = 'lagr world --seed 1 --season clear --seconds 1 --out'.split() + [{out!r}]
from perception.commands.main import main
main()
"""


@pytest.fixture(scope='module')
def bag(egl: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Summary]:
    folder = tmp_path_factory.mktemp('world') / 'bag'
    return folder, record(WorldSpec(6, 'straw'), folder, Recording(1.5, 4.0))


@pytest.mark.egl
def test_the_bag_is_a_stereo_drive(bag: tuple[Path, Summary]) -> None:
    with open_bag(bag[0], Config()) as source:
        assert source.found.kind == 'stereo'
        assert source.found.baseline_m == pytest.approx(BASELINE_M)
        frames = list(source.frames())
        assert set(source.topics) == ALWAYS | FULL
    assert len(frames) == bag[1].frames == 6
    assert [f.stamp_ns - START_NS for f in frames] == [k * 250_000_000 for k in range(6)]
    first = frames[0]
    assert first.image.shape == (384, 512, 3)
    assert first.right is not None
    assert first.right.shape == (384, 512)
    np.testing.assert_allclose(first.base_from_camera, base_from_left(), atol=1e-9)
    assert first.odom_from_base is not None
    np.testing.assert_allclose(first.odom_from_base[:3, 3], 0, atol=1e-9)


@pytest.mark.egl
def test_truth_is_written_twice_a_second(bag: tuple[Path, Summary]) -> None:
    topics = ['/truth/left/class', '/truth/left/obstacle', '/truth/left/depth']
    with open_bag(bag[0], Config()) as source:
        messages = list(source.messages(topics))
    stamps = {t: [s - START_NS for topic, s, _ in messages if topic == t] for t in topics}
    assert all(s == [0, 500_000_000, 1_000_000_000] for s in stamps.values())
    kinds, obstacle, depth = (image_from_message(m) for _, _, m in messages[:3])
    assert kinds.dtype == obstacle.dtype == np.uint8
    assert depth.dtype == np.uint16
    assert kinds.max() < len(CLASS_NAMES)
    assert set(np.unique(obstacle).tolist()) == {0, 1, 255}
    assert 1000 < np.median(depth[depth > 0]) < 30000


@pytest.mark.egl
def test_the_world_describes_itself(bag: tuple[Path, Summary]) -> None:
    with open_bag(bag[0], Config()) as source:
        found = {t: m for t, _, m in source.messages(['/truth/classes', '/truth/obstacles'])}
        poses = [m for _, _, m in source.messages(['/truth/odom'])]
    text = json.loads(found['/truth/classes'].data)
    assert text['classes']['path'] == 2
    assert text['world']['season'] == 'straw'
    assert 0 < text['world']['ground_tilt_deviation_rad'] < 0.05
    grid = found['/truth/obstacles']
    assert grid.header.frame_id == poses[0].header.frame_id == 'world'
    assert grid.info.resolution == pytest.approx(0.2)
    values = set(np.unique(grid.data).tolist())
    assert values == {0, 100}
    assert bag[1].near_obstacles >= 15


def test_depth_pictures_hold_millimetres_and_zero_for_unknown() -> None:
    depth = np.array([[np.nan, 1.2344, 65.535], [65.6, 0.2, 400]], np.float32)
    assert depth_mm(depth).tolist() == [[0, 1234, 65535], [0, 200, 0]]


@pytest.mark.egl
def test_light_truth_leaves_out_depth_and_obstacle(egl: None, tmp_path: Path) -> None:
    arguments = ['world', '--seed', '2', '--season', 'haze', '--seconds', '0.2', '--truth',
                 'light', '--encoding', 'raw', '--flat', '--out', str(tmp_path / 'bag')]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert '2 stereo frames' in result.output
    with open_bag(tmp_path / 'bag', Config()) as source:
        raw = {t.removesuffix('/compressed') for t in ALWAYS}
        assert set(source.topics) == raw
        assert len(list(source.frames())) == 2


@pytest.mark.egl
def test_a_bag_is_never_written_over(bag: tuple[Path, Summary]) -> None:
    with pytest.raises(BagError, match='is there already'):
        record(WorldSpec(1), bag[0], Recording(0.1))


@pytest.mark.parametrize('arguments', [
    ['--season', 'monsoon'], ['--seconds', '0'], ['--seed', '-3'], ['--relief', '-1'],
    ['--truth', 'half'], ['--encoding', 'webp'],
])
def test_bad_usage_ends_with_code_2(arguments: list[str], tmp_path: Path) -> None:
    good = {'--seed': '1', '--season': 'clear', '--seconds': '1', '--out': str(tmp_path / 'b')}
    good |= dict([arguments])
    result = CliRunner().invoke(app, ['world', *[a for pair in good.items() for a in pair]])
    assert result.exit_code == 2
    assert not (tmp_path / 'b').exists()


def test_without_a_renderer_one_line_names_the_packages(tmp_path: Path, repository: Path) -> None:
    code = WITHOUT_MODERNGL.format(out=str(tmp_path / 'bag'))
    result = subprocess.run(
        [sys.executable, '-c', code], cwd=repository, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert len(result.stderr.strip().splitlines()) == 1
    for name in ('libegl1', 'libegl-mesa0', 'libgl1', 'libgl1-mesa-dri', 'pip install moderngl'):
        assert name in result.stderr
    assert not (tmp_path / 'bag').exists()
