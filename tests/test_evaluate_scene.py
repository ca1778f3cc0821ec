# SPDX-License-Identifier: Apache-2.0
"""Scores of scene networks: hand-computed, against naive twins, and through the command."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx_files import manifest, quick_scene_network, write_scene_network
from typer.testing import CliRunner

from perception.commands import main
from perception.errors import DataSetError, NetworkError
from perception.evaluation.scene import (
    Options,
    agree,
    averaged,
    evaluate_scene,
    label_picture,
    to_common,
)
from perception.evaluation.scene_picture import draw_confusion
from perception.evaluation.scene_scores import (
    Calibration,
    SceneTally,
    confusion,
    intersection_over_union,
    mean,
    pixel_accuracy,
    recall,
)
from perception.training.scene_classes import load_taxonomy
from perception.training.scene_sets import open_scene_set

SHAPE = (16, 28)  # rows, columns, multiples of the tiny network's stride of 4
TRUTH = np.array([[0, 0, 2, 255], [2, 2, 2, 255], [0, 0, 0, 2]], np.uint8)
LABEL = np.array([[0, 1, 2, 3], [0, 2, 2, 0], [0, 0, 1, 3]], np.uint8)


def blocks(classes: list[int]) -> np.ndarray:
    """Classes in blocks of 4 x 4, in turn."""
    small = np.resize(np.array(classes, np.uint8), (SHAPE[0] // 4, SHAPE[1] // 4))
    return np.kron(small, np.ones((4, 4), np.uint8))


def painted(name: str, classes: np.ndarray) -> np.ndarray:
    """Picture (BGR) in the colours of a taxonomy."""
    return np.array(load_taxonomy(name).colours, np.uint8)[:, ::-1][classes]


def network_of(path: Path, name: str, **changes: object) -> Path:
    """Network that takes each block for the class of a taxonomy whose colour is nearest."""
    taxonomy = load_taxonomy(name)
    return write_scene_network(
        path, classes=taxonomy.classes, colours=taxonomy.colours, **changes)


def camvid_tree(root: Path, wrong: int = 0, void: int = 2) -> Path:
    """Two pictures in the colours of their classes; some blocks of the masks say otherwise."""
    for k in range(2):
        classes = blocks([3, 0, 8, 5, 1 + k])
        picture = painted('camvid', classes)
        classes[:4, :4 * wrong] = 10
        classes[-4:, :4 * void] = 11
        for folder, pixels in (('test', picture), ('testannot', classes)):
            (root / folder).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(root / folder / f'seq_{k}.png'), pixels)
    return root


def command(*arguments: Any) -> Any:
    return CliRunner().invoke(main.app, ['evaluate', 'scene', *map(str, arguments)])


def failed(capsys: pytest.CaptureFixture[str], *arguments: Any) -> str:
    """The one line on stderr of a command that ends with 1."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('sys.argv', ['lagr', 'evaluate', 'scene', *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main.main()
    assert end.value.code == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith('lagr: error: ')
    return line


def test_confusion_by_hand() -> None:
    expected = [[3, 2, 0, 0], [0, 0, 0, 0], [1, 0, 3, 1], [0, 0, 0, 0]]
    matrix = confusion(TRUTH, LABEL, 4)
    np.testing.assert_array_equal(matrix, expected)
    assert matrix.dtype == np.int64


def test_scores_by_hand() -> None:
    matrix = confusion(TRUTH, LABEL, 4)
    np.testing.assert_allclose(intersection_over_union(matrix), [3 / 6, np.nan, 3 / 5, np.nan])
    np.testing.assert_allclose(recall(matrix), [3 / 5, np.nan, 3 / 5, np.nan])
    assert pixel_accuracy(matrix) == pytest.approx(6 / 10)
    assert mean(intersection_over_union(matrix)) == pytest.approx(0.55)
    assert np.isnan(mean(np.array([np.nan, np.nan])))
    assert np.isnan(pixel_accuracy(np.zeros((2, 2), np.int64)))


def naive_iou(truth: np.ndarray, label: np.ndarray, one: int) -> float | None:
    """Twin that walks over the pixels."""
    both = either = true = 0
    for t, p in zip(truth.ravel().tolist(), label.ravel().tolist()):
        if t == 255:
            continue
        true += t == one
        both += t == one and p == one
        either += one in (t, p)
    return both / either if true else None


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 7))
def test_iou_equals_its_naive_twin(seed: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.choice([*range(classes - 1), 255], (5, 8)).astype(np.uint8)
    label = rng.integers(0, classes, (5, 8), np.uint8)
    found = intersection_over_union(confusion(truth, label, classes))
    for one in range(classes):
        expected = naive_iou(truth, label, one)
        assert np.isnan(found[one]) if expected is None else found[one] == expected


def test_confusions_of_pictures_add_up() -> None:
    tally = SceneTally(('a', 'b', 'c', 'd'))
    for rows in (slice(0, 2), slice(2, 3)):
        tally.add(TRUTH[rows], LABEL[rows], np.full(TRUTH[rows].shape, 0.5, np.float32))
    np.testing.assert_array_equal(tally.matrix, confusion(TRUTH, LABEL, 4))
    summary = tally.summary()
    assert summary['images'] == 2 and summary['miou'] == pytest.approx(0.55)
    assert summary['per_class_iou'] == {'a': 0.5, 'b': None, 'c': pytest.approx(0.6), 'd': None}
    assert 'distance_bands' not in summary
    json.dumps(summary, allow_nan=False)


def test_rare_classes_do_not_count_as_frequent() -> None:
    tally = SceneTally(('much', 'rare'))
    truth = np.zeros((10, 25), np.uint8)
    truth[0, :2] = 1  # 0.8 % of the pixels
    tally.add(truth, np.zeros_like(truth), np.ones(truth.shape, np.float32))
    summary = tally.summary()
    assert summary['miou'] == pytest.approx(248 / 250 / 2)
    assert summary['miou_frequent'] == pytest.approx(248 / 250)


def test_calibration_error_by_hand() -> None:
    """Bins of 1/15: 0.50 and 0.52 share one (accuracy 1/2), 0.90 and 1.0 stand alone."""
    calibration = Calibration()
    calibration.add(np.array([0.50, 0.52]), np.array([True, False]))
    calibration.add(np.array([0.90, 1.0]), np.array([False, True]))
    expected = (2 * abs(0.51 - 0.5) + abs(0.90 - 0) + abs(1.0 - 1)) / 4
    assert calibration.error == pytest.approx(expected)
    summary = calibration.summary()
    assert summary['share'][7] == 0.5 and summary['accuracy'][7] == 0.5
    assert summary['confidence'][7] == pytest.approx(0.51)
    assert summary['accuracy'][13] == 0 and summary['share'][14] == 0.25
    assert summary['confidence'][0] is None
    assert np.isnan(Calibration().error)


def test_void_does_not_count_in_the_calibration() -> None:
    tally = SceneTally(('a', 'b', 'c', 'd'))
    confidence = np.where(TRUTH == 255, 0.1, 0.95).astype(np.float32)
    tally.add(TRUTH, LABEL, confidence)
    assert tally.calibration.pixels.sum() == 10
    assert tally.summary()['calibration_error'] == pytest.approx(0.95 - 0.6, abs=1e-6)


def test_distance_bands_by_hand() -> None:
    tally = SceneTally(('a', 'b', 'c', 'd'))
    depth = np.array([[1, 4.9, 5, 5], [12, 29, 31, 61], [100, 3, np.nan, np.nan]], np.float32)
    tally.add(TRUTH, LABEL, np.ones(TRUTH.shape, np.float32), depth)
    bands = tally.summary()['distance_bands']
    assert [band['range_m'] for band in bands] == [
        [0, 5], [5, 12], [12, 30], [30, 60], [60, None]]
    assert [band['pixels'] for band in bands] == [3, 1, 2, 1, 1]
    assert bands[0]['pixel_accuracy'] == pytest.approx(2 / 3)
    assert bands[2]['per_class_iou']['c'] == pytest.approx(1 / 2)


def test_probabilities_are_summed_into_common_classes() -> None:
    probabilities = np.zeros((4, 1, 2), np.float32)
    probabilities[:, 0, 0] = [0.4, 0.3, 0.3, 0.0]
    probabilities[:, 0, 1] = [0.1, 0.1, 0.3, 0.5]
    mapped = to_common(probabilities, (3, 6, 6, 255))
    assert mapped.shape == (8, 1, 2)
    np.testing.assert_allclose(mapped[[3, 6], 0, 0], [0.4, 0.6], rtol=1e-6)
    np.testing.assert_allclose(mapped[[3, 6], 0, 1], [0.2, 0.8], rtol=1e-6)


def test_a_network_with_the_classes_of_the_data_set(tmp_path: Path) -> None:
    """All right but for the blocks whose mask says bicyclist: 2 x 16 of 2 x (28 - 2) x 16."""
    scene_set = open_scene_set(camvid_tree(tmp_path, wrong=1), 'test')
    network = quick_scene_network(network_of(tmp_path / 'net.onnx', 'camvid'))
    progress: list[tuple[int, int]] = []
    tally, summary = evaluate_scene(scene_set, network,
                                    on_progress=lambda *now: progress.append(now))
    assert progress == [(1, 2), (2, 2)]
    total = 2 * 16 * (28 - 2)
    assert tally.matrix.sum() == total
    # up-sampling blends neighbours at the borders of blocks, so a hit is not certain there
    inner = confusion_of_centres(scene_set, network)
    assert inner[10, 3] == 2 and np.trace(inner) == inner.sum() - 2
    assert summary['taxonomy'] == 'camvid' and summary['images'] == 2
    assert summary['per_class_iou']['bicyclist'] == 0.0
    assert summary['per_class_iou']['fence'] is None
    assert summary['pixel_accuracy'] == pytest.approx(np.trace(tally.matrix) / total)


def confusion_of_centres(scene_set: Any, network: Any) -> np.ndarray:
    """Confusion at one inner pixel of each block."""
    total = np.zeros((11, 11), np.int64)
    for item in range(len(scene_set)):
        picture, truth = scene_set.read(item)
        label = label_picture(network, picture, Options()).label
        total += confusion(truth[1::4, 1::4], label[1::4, 1::4], 11)
    return total


def test_labels_equal_a_naive_twin_of_the_whole_way(tmp_path: Path) -> None:
    """Logits enlarged pixel by pixel by the formula of half-pixel centres, then the largest."""
    network = quick_scene_network(network_of(tmp_path / 'net.onnx', 'camvid'))
    picture = np.random.default_rng(3).integers(0, 256, (8, 12, 3), np.uint8)
    logits = network.logits(picture)
    found = label_picture(network, picture, Options())
    for row, column in np.ndindex(8, 12):
        y = np.clip((row + 0.5) / 4 - 0.5, 0, logits.shape[1] - 1)
        x = np.clip((column + 0.5) / 4 - 0.5, 0, logits.shape[2] - 1)
        top, left = int(y), int(x)
        bottom, right = min(top + 1, logits.shape[1] - 1), min(left + 1, logits.shape[2] - 1)
        v, u = y - top, x - left
        score = ((1 - v) * ((1 - u) * logits[:, top, left] + u * logits[:, top, right])
                 + v * ((1 - u) * logits[:, bottom, left] + u * logits[:, bottom, right]))
        assert found.label[row, column] == score.argmax()
        share = np.exp(score - score.max())
        assert found.confidence[row, column] == pytest.approx(1 / share.sum(), rel=1e-4)


@pytest.mark.parametrize(('name', 'taxonomy', 'answers'), [
    ('common8', 'common8', 8), ('ycor', 'common8', 8), ('worlds', 'common8', 7),
])
def test_other_classes_meet_in_the_common_taxonomy(
    tmp_path: Path, name: str, taxonomy: str, answers: int
) -> None:
    scene_set = open_scene_set(camvid_tree(tmp_path), 'test')
    network = quick_scene_network(network_of(tmp_path / 'net.onnx', name))
    _, summary = evaluate_scene(scene_set, network)
    assert summary['taxonomy'] == taxonomy
    assert len(summary['classes_of_network']) == answers
    assert summary['data_set'] == 'camvid' and len(summary['confusion']) == 8
    assert summary['per_class_iou']['water'] is None


def test_transfer_by_hand(tmp_path: Path) -> None:
    """A CamVid network on YCOR pictures painted in CamVid's colours."""
    mapping = load_taxonomy('camvid').common
    classes = blocks([3, 0, 5, 1, 8, 4])
    ycor_of = {0: 1, 7: 8, 4: 7, 6: 5}  # common class -> value in a mask of YCOR
    mask = np.vectorize(lambda one: ycor_of[mapping[one]])(classes).astype(np.uint8)
    for folder, pixels in (('images', painted('camvid', classes)), ('labels', mask)):
        (tmp_path / folder).mkdir()
        cv2.imwrite(str(tmp_path / folder / '0001.png'), pixels)
    scene_set = open_scene_set(tmp_path, 'val')
    network = quick_scene_network(network_of(tmp_path / 'net.onnx', 'camvid'))
    meeting = agree(scene_set, network.spec)
    assert meeting.common == mapping
    picture, truth = meeting.scene_set.read(0)
    label = label_picture(network, picture, Options(), meeting.common).label
    np.testing.assert_array_equal(label[1::4, 1::4], truth[1::4, 1::4])
    _, summary = evaluate_scene(scene_set, network)
    assert summary['classes_of_network'] == ['smooth_ground', 'high_vegetation', 'obstacle', 'sky']
    assert summary['miou_of_network_classes'] == pytest.approx(summary['miou'])


def test_unknown_classes_are_refused(tmp_path: Path) -> None:
    scene_set = open_scene_set(camvid_tree(tmp_path), 'test')
    network = quick_scene_network(write_scene_network(tmp_path / 'odd.onnx'))
    with pytest.raises(NetworkError, match=r'network odd: its classes .* neither those of camvid'):
        evaluate_scene(scene_set, network)


def test_only_void_is_nothing_to_score(tmp_path: Path) -> None:
    camvid_tree(tmp_path)
    for path in (tmp_path / 'testannot').iterdir():
        cv2.imwrite(str(path), np.full(SHAPE, 11, np.uint8))
    network = quick_scene_network(network_of(tmp_path / 'net.onnx', 'camvid'))
    with pytest.raises(DataSetError, match='camvid test: every pixel is void'):
        evaluate_scene(open_scene_set(tmp_path, 'test'), network)


def test_flip_is_the_mean_with_the_mirrored_picture(tmp_path: Path) -> None:
    network = quick_scene_network(network_of(tmp_path / 'net.onnx', 'ycor'))
    picture = np.random.default_rng(1).integers(0, 256, (12, 20, 3), np.uint8)
    mirrored = np.ascontiguousarray(picture[:, ::-1])
    plain = averaged(network, picture, Options())
    both = averaged(network, picture, Options(flip=True))
    np.testing.assert_allclose(both, averaged(network, mirrored, Options(flip=True))[..., ::-1],
                               atol=1e-6)
    np.testing.assert_allclose(
        both, (plain + averaged(network, mirrored, Options())[..., ::-1]) / 2, atol=1e-6)
    np.testing.assert_allclose(both.sum(0), 1, rtol=1e-5)


def test_scales_of_an_even_picture_change_nothing(tmp_path: Path) -> None:
    network = quick_scene_network(network_of(tmp_path / 'net.onnx', 'ycor'))
    picture = np.full((13, 22, 3), (30, 90, 20), np.uint8)
    plain = averaged(network, picture, Options())
    several = averaged(network, picture, Options(flip=True, scales=(0.5, 1.0, 1.7)))
    assert several.shape == (8, 13, 22)
    np.testing.assert_allclose(several, plain, atol=1e-5)


def test_scales_reach_a_network_of_one_width(tmp_path: Path) -> None:
    network = quick_scene_network(network_of(tmp_path / 'net.onnx', 'ycor', input_width=32))
    picture = np.random.default_rng(2).integers(0, 256, (13, 22, 3), np.uint8)
    single = [averaged(network, picture, Options(scales=(scale,))) for scale in (1.0, 2.0)]
    assert np.abs(single[0] - single[1]).max() > 0.01
    np.testing.assert_allclose(averaged(network, picture, Options(scales=(1.0, 2.0))),
                               (single[0] + single[1]) / 2, atol=1e-6)


def test_the_command_writes_scores_and_picture(tmp_path: Path) -> None:
    network = network_of(tmp_path / 'net.onnx', 'camvid')
    done = command('--data', camvid_tree(tmp_path / 'data', wrong=2), '--split', 'test',
                   '--network', network, '--json', tmp_path / 'deep' / 'scores.json',
                   '--picture', tmp_path / 'deep' / 'confusion.png')
    assert done.exit_code == 0, done.output
    scores = json.loads((tmp_path / 'deep' / 'scores.json').read_text())
    assert {'miou', 'pixel_accuracy', 'class_accuracy', 'per_class_iou', 'images',
            'calibration_error', 'confusion'} <= scores.keys()
    assert scores['images'] == 2 and 0 < scores['miou'] < 1
    matrix = np.array(scores['confusion'])
    assert scores['pixel_accuracy'] == pytest.approx(np.trace(matrix) / matrix.sum())
    assert scores['network'] == {'name': 'net', 'sha256': manifest(network)['sha256']}
    assert cv2.imread(str(tmp_path / 'deep' / 'confusion.png')).shape[0] > 400
    assert 'bicyclist' in done.output and 'pixel accuracy' in done.output


@pytest.mark.parametrize('extra', [('--flip', '--scales', '0.5,1'), ('--superpixels', 'slic'),
                                   ('--superpixels', 'felzenszwalb'), ('--threads', '1')])
def test_the_command_takes_its_options(tmp_path: Path, extra: tuple[str, ...]) -> None:
    done = command('--data', camvid_tree(tmp_path / 'data'), '--split', 'test', '--network',
                   network_of(tmp_path / 'net.onnx', 'camvid'), '--json', tmp_path / 's.json',
                   '--data-set', 'camvid', *extra)
    assert done.exit_code == 0, done.output
    scores = json.loads((tmp_path / 's.json').read_text())
    assert scores['pixel_accuracy'] > (0.1 if 'felzenszwalb' in extra else 0.5)
    assert scores['flip'] == ('--flip' in extra)
    assert scores['scales'] == ([0.5, 1.0] if '--scales' in extra else [1.0])
    assert scores['superpixels'] == (extra[1] if '--superpixels' in extra else 'none')


@pytest.mark.parametrize(('option', 'value'), [
    ('--scales', '1,big'), ('--scales', '0'), ('--superpixels', 'some'),
    ('--picture', 'confusion.docx'), ('--threads', '-1'),
])
def test_bad_usage_exits_2(tmp_path: Path, option: str, value: str) -> None:
    done = command('--data', tmp_path, '--split', 'test', '--network', 'x.onnx', '--json', 'x',
                   option, value)
    assert done.exit_code == 2
    assert option in done.output


def test_bad_input_exits_1_with_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = network_of(tmp_path / 'net.onnx', 'camvid')
    data = camvid_tree(tmp_path / 'data')
    rest = ['--json', tmp_path / 's.json']
    line = failed(capsys, '--data', tmp_path / 'no', '--split', 'x', '--network', network, *rest)
    assert f'{tmp_path / "no"}: no such folder; give' in line
    line = failed(capsys, '--data', data, '--split', 'tset', '--network', network, *rest)
    assert f"{data}: split 'tset'" in line and 'choose one of test' in line
    line = failed(capsys, '--data', data, '--split', 'test', '--network', 'no.onnx', *rest)
    assert 'no.onnx' in line
    bad = data / 'test' / 'seq_1.png'
    bad.write_bytes(bad.read_bytes()[:60])
    line = failed(capsys, '--data', data, '--split', 'test', '--network', network, *rest)
    assert f'{bad}: damaged PNG' in line and 'restore' in line
    assert not (tmp_path / 's.json').exists()


def test_a_picture_of_a_matrix_with_absent_classes(tmp_path: Path) -> None:
    draw_confusion(tmp_path / 'new' / 'c.svg', confusion(TRUTH, LABEL, 4),
                   ('smooth_ground', 'b', 'c', 'd'), 'a title')
    text = (tmp_path / 'new' / 'c.svg').read_text()
    assert text.count('<svg') == 1


def test_labels_of_no_number_are_refused() -> None:
    tally = SceneTally(('a', 'b', 'c'))
    with pytest.raises(NetworkError, match='no numbers'):
        tally.add(np.array([[0, 255, 2]], np.uint8), np.array([[0, 255, 255]], np.uint8),
                  np.ones((1, 3), np.float32))
    assert tally.images == 0
