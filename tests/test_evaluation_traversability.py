# SPDX-License-Identifier: Apache-2.0
"""`lagr evaluate traversability` from a tiny drive to its JSON, and what it refuses."""

import json
from pathlib import Path

import numpy as np
import pytest
from onnx_files import write_scene_network
from typer.testing import CliRunner

from perception.bag_writer import BagWriter
from perception.commands.evaluate import app
from perception.config import MapConfig
from perception.errors import BagError, WorldError
from perception.evaluation.cells import cell_truth
from perception.evaluation.scores import Items
from perception.evaluation.traversability import FrameScores, LabelCount, Tally
from perception.evaluation.truth import TruthFrame
from perception.evaluation.truth_bag import Truth
from perception.polar_geometry import planning_shape
from perception.types import Camera, Frame

CAMERA = Camera(40, 24, 30.0, 33.0, 17.3, 11.2)  # off the pixel grid: no point on a cell edge


def _top_down(depth: float) -> TruthFrame:
    """A camera that looks straight down from ``depth`` above the world's origin."""
    pose = np.eye(4)
    pose[:3, :3] = [[0, -1, 0], [-1, 0, 0], [0, 0, -1]]
    pose[2, 3] = depth
    obstacle = np.zeros((24, 40), np.uint8)
    obstacle[3, 35] = 1
    obstacle[20:, :] = 255
    return TruthFrame(0, CAMERA, obstacle, np.full((24, 40), depth), pose, np.zeros(2))


def test_cells_hold_what_their_pixels_show() -> None:
    truth, config = _top_down(15.37), MapConfig()
    cells = cell_truth(truth, (0.0, 0.0), config)
    rings, angles = planning_shape(config)
    seen = np.zeros((rings, angles), bool)
    standing = np.zeros((rings, angles), bool)
    for row in range(20):
        for column in range(40):
            x = -(row - 11.2) / 33.0 * 15.37  # down in the image is backwards
            y = -(column - 17.3) / 30.0 * 15.37
            ring = int(np.hypot(x, y) / 0.2)
            angle = int(np.arctan2(y, x) % (2 * np.pi) * 400 / (2 * np.pi))
            seen[ring, angle] = True
            standing[ring, angle] |= (row, column) == (3, 35)
    np.testing.assert_array_equal(cells.seen, seen)
    np.testing.assert_array_equal(cells.obstacle, standing)


def test_cells_follow_the_centre_of_the_map() -> None:
    truth, config = _top_down(15.37), MapConfig()
    near = cell_truth(truth, (0.0, 0.0), config)
    far = cell_truth(truth, (-30.0, 0.0), config)
    assert near.seen[:10].any()
    assert not far.seen[:75].any()


def _frame_scores(mode_score: float) -> FrameScores:
    obstacle = np.arange(200) < 100
    score = np.where(obstacle, mode_score, 0.1)
    items = Items(np.full(200, 20.0), obstacle, score, score != 0.5)
    return FrameScores({'w0': items}, {'w0': items}, 7, LabelCount(40, 60, 2, 3, 110), 0.01)


def test_summary_pools_frames_and_counts_labels() -> None:
    summary = Tally([_frame_scores(0.9), _frame_scores(0.5)], without_plane=1).summary()
    assert summary['window_error']['w0'] == [None, 0.125, None]
    assert summary['cost_auc']['w0'] == [None, 1.0, None]
    assert summary['coverage']['cells']['w0'] == [None, 0.75, None]
    assert summary['excluded_windows'] == 14
    assert summary['frames'] == 3
    assert summary['supervisor'] == {
        'wrong': 0.05, 'ground_called_obstacle': 0.05, 'obstacle_called_ground': 0.05,
        'labels_per_frame': 110.0, 'undecided': pytest.approx(20 / 220),
    }
    json.dumps(summary)


def test_no_frame_gives_empty_scores() -> None:
    summary = Tally([], without_plane=2).summary()
    assert summary['window_error'] == {}
    assert summary['supervisor']['wrong'] is None
    assert summary['ground_tilt_rad'] == {'p50': None, 'p90': None}


def test_truth_takes_the_nearest_pose_within_tolerance() -> None:
    mask, depth = np.zeros((24, 40), np.uint8), np.full((24, 40), 1500, np.uint16)
    moved = np.eye(4)
    moved[0, 3] = 3.0
    truth = Truth({10**9: mask, 2 * 10**9: mask}, {10**9: depth, 2 * 10**9: depth},
                  {10**9 - 5_000_000: moved, 10**9 + 9_000_000: np.eye(4)})
    assert truth.stamps == [10**9]
    mount = np.eye(4)
    frame = Frame(10**9, np.zeros((24, 40, 3), np.uint8), CAMERA, base_from_camera=mount)
    at = truth.at(frame)
    assert at.robot_xy.tolist() == [3.0, 0.0]
    assert at.depth[5, 7] == pytest.approx(1.5)


def test_truth_of_another_size_is_refused() -> None:
    mask = np.zeros((12, 40), np.uint8)
    truth = Truth({5: mask}, {5: mask}, {5: np.eye(4)})
    frame = Frame(5, np.zeros((24, 40, 3), np.uint8), CAMERA, base_from_camera=np.eye(4))
    with pytest.raises(BagError, match='40x12 does not fit the camera 40x24'):
        truth.at(frame)


@pytest.fixture(scope='module')
def drive_bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from perception.world.record import Recording, record
    from perception.world.spec import WorldSpec

    path = tmp_path_factory.mktemp('world') / 'bag'
    try:
        record(WorldSpec(5, 'clear'), path, Recording(1.0, 2.0, 'jpeg', 'full'))
    except WorldError as error:
        pytest.skip(f'cannot render here: {error}')
    return path


@pytest.mark.egl
def test_drive_gives_the_json_contract(drive_bag: Path, tmp_path: Path) -> None:
    target = tmp_path / 'new' / 'scores.json'
    result = CliRunner().invoke(app, ['traversability', str(drive_bag), '--json', str(target)])
    assert result.exit_code == 0, result.output
    scores = json.loads(target.read_text())
    assert scores['ranges_m'] == [[5, 12], [12, 30], [30, 60]]
    modes = {'colour', 'stereo_only', 'w0', 'online', 'online_raw', 'propagation',
             'propagation_raw', 'true_near_raw', 'ceiling'}
    assert set(scores['window_error']) == modes
    assert set(scores['cost_auc']) == modes | {'oracle'}
    assert scores['window_error']['online'] == scores['window_error']['w0']  # nothing proved yet
    assert all(len(v) == 3 for kind in ('window_error', 'cost_auc') for v in scores[kind].values())
    assert scores['frames'] == 2
    assert scores['excluded_windows'] > 0
    oracle = [value for value in scores['cost_auc']['oracle'] if value is not None]
    assert oracle
    assert max(oracle) > 0.6
    assert scores['supervisor']['labels_per_frame'] > 10


@pytest.mark.egl
def test_labelled_scenes_are_scored_in_the_map(drive_bag: Path, tmp_path: Path) -> None:
    """A network that knows colours fills cells beyond stereo, alone and beside the windows."""
    target, network = tmp_path / 'scores.json', write_scene_network(tmp_path / 'colours.onnx')
    settings = ('near_to_far.enabled=false', 'scene.enabled=true', f'scene.network={network}',
                'scene.costs=[smooth_ground=0, grass=0.1, obstacle=1, sky=none]',
                'scene.standing=[obstacle]')
    result = CliRunner().invoke(app, ['traversability', str(drive_bag), '--json', str(target),
                                      *(f'--set={text}' for text in settings)])
    assert result.exit_code == 0, result.output
    scores = json.loads(target.read_text())
    assert set(scores['cost_auc']) == {'colour', 'stereo_only', 'w0', 'oracle', 'scene',
                                       'w0_scene'}
    assert set(scores['window_error']) == {'colour', 'stereo_only', 'w0'}
    cells = scores['coverage']['cells']
    far = {mode: cells[mode][1] for mode in ('stereo_only', 'scene', 'w0', 'w0_scene')}
    assert far['stereo_only'] < far['scene'] <= far['w0_scene']
    assert far['w0'] <= far['w0_scene']


def test_bag_without_truth_is_refused(tmp_path: Path) -> None:
    bag = tmp_path / 'plain'
    camera = Camera(64, 48, 60.0, 62.0, 30.0, 25.0, 'left')
    with BagWriter(bag) as writer:
        for name, baseline in (('left', 0.0), ('right', 0.1)):
            writer.image(f'/{name}/image_rect', 1, 'left', np.zeros((48, 64), np.uint8), 'mono8')
            writer.camera_info(f'/{name}/camera_info', 1, camera, baseline_m=baseline)
    result = CliRunner().invoke(app, ['traversability', str(bag), '--json', str(tmp_path / 'j')])
    assert isinstance(result.exception, BagError)
    assert '--truth full' in str(result.exception)
    assert str(bag) in str(result.exception)
    assert not (tmp_path / 'j').exists()
