# SPDX-License-Identifier: Apache-2.0
"""Whole runs of ``lagr train scene`` on painted trees, and what is refused before they start."""

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from command import lagr
from pydantic import ValidationError
from rich.progress import Progress
from scene_trees import SHAPE, STILL, VIEW, camvid_tree, painted, scene_settings, ycor_tree

torch = pytest.importorskip('torch')

from perception.errors import DataSetError, PerceptionError  # noqa: E402
from perception.training.scene_checkpoint import load_scene_checkpoint  # noqa: E402
from perception.training.scene_classes import load_taxonomy  # noqa: E402
from perception.training.scene_config import SceneSettings  # noqa: E402
from perception.training.scene_export import licence_of  # noqa: E402
from perception.training.scene_log import keep_log, log_line, read_log  # noqa: E402
from perception.training.scene_plots import draw_scene_curves  # noqa: E402
from perception.training.scene_run import (  # noqa: E402
    Pictures,
    find_data,
    fit,
    open_folder,
    run_scene,
    scored_on,
    validate,
)
from perception.training.scene_sets import VOID, open_scene_set  # noqa: E402

torch.set_num_threads(1)

CAMVID = load_taxonomy('camvid')
STAGES = [{'epochs': 2, 'view': list(VIEW), 'jitter': STILL}]


def run(settings: SceneSettings, out: Path) -> Path:
    return run_scene(settings, out, 'lagr train scene', Progress(disable=True))


@pytest.fixture(scope='module')
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Settings of two epochs on a tree of four pictures."""
    root = tmp_path_factory.mktemp('run')
    settings = scene_settings(camvid_tree(root / 'camvid'), stages=STAGES, validate_every=2)
    path = root / 'tiny.yaml'
    path.write_text(yaml.safe_dump(json.loads(settings.model_dump_json())))
    assert lagr('train', 'scene', '--config', str(path), '--out', str(root / 'out')) == 0
    return path


def test_a_run_leaves_checkpoint_log_curves_and_settings(config: Path) -> None:
    out = config.parent / 'out'
    assert {path.name for path in out.iterdir()} == {
        'trained.pt', 'state.pt', 'log.jsonl', 'curves.png', 'settings.json'}
    assert cv2.imread(str(out / 'curves.png')) is not None
    settings = SceneSettings.model_validate_json((out / 'settings.json').read_text())
    assert settings.epochs == 2
    first, second = read_log(out)
    assert (first['epoch'], second['epoch']) == (1, 2)
    assert 'miou' not in first
    assert set(second) == {'epoch', 'loss', 'miou', 'pixel_accuracy', 'class_accuracy',
                           'per_class_iou'}
    trained = load_scene_checkpoint(out / 'trained.pt')
    assert trained.trained
    assert (trained.classes, trained.colours) == (CAMVID.classes, CAMVID.colours)
    assert trained.width == SHAPE[1]
    assert trained.scores['validation']['miou'] == second['miou']
    assert trained.command == f'lagr train scene --config={config}'
    assert trained.data['sources'] == [
        {'data_set': 'camvid', 'train': 'train', 'validate_on': 'val'}]
    assert (trained.data['pictures'], trained.data['epochs']) == (2, 2)


def test_scores_on_pictures_it_learned_from_are_called_so() -> None:
    source = {'data_set': 'camvid', 'folder': 'camvid'}
    assert scored_on(scene_settings(sources=[source])) == 'validation'
    both = [source, source | {'train': 'train+val'}]
    assert scored_on(scene_settings(sources=both)) == 'pictures it learned from'


def test_a_finished_run_is_not_done_again_and_forgets_unsaved_epochs(config: Path) -> None:
    out = config.parent / 'out'
    log, state = (out / 'log.jsonl').read_text(), (out / 'state.pt').read_bytes()
    log_line(out, epoch=3, loss=9.0)  # as if its state had not been written any more
    settings = SceneSettings.model_validate_json((out / 'settings.json').read_text())
    assert run(settings, out) == out / 'trained.pt'
    assert (out / 'log.jsonl').read_text() == log
    assert (out / 'state.pt').read_bytes() == state


def test_a_run_with_other_settings_is_refused(config: Path) -> None:
    settings = scene_settings(config.parent / 'camvid', stages=STAGES, seed=1)
    with pytest.raises(PerceptionError, match=r'settings\.json: holds a run with other.*--out'):
        run(settings, config.parent / 'out')


def test_joint_training_needs_the_common_taxonomy(tmp_path: Path) -> None:
    sources = [{'data_set': name, 'folder': str(tree(tmp_path / name)), 'width': 64}
               for name, tree in (('camvid', camvid_tree), ('ycor', ycor_tree))]
    with pytest.raises(DataSetError, match=r'ycor: its classes differ.*camvid; set common: true'):
        run(scene_settings(sources=sources), tmp_path / 'out')
    trained = load_scene_checkpoint(
        run(scene_settings(sources=sources, common=True, batch=3), tmp_path / 'out'))
    assert trained.classes == load_taxonomy('common8').classes
    assert trained.data['pictures'] == 3
    licence = licence_of(trained)
    assert licence.startswith('research only')
    assert 'camvid: ' in licence and 'ycor: ' in licence


@pytest.mark.parametrize(('split', 'name', 'content', 'message'), [
    ('train', 'train/0001.png', lambda path: path.read_bytes()[:90], r'0001\.png: damaged PNG'),
    ('val', 'valannot/0001.png', lambda path: png(np.full(SHAPE, 77, np.uint8)),
     r'valannot/0001\.png: value 77 \(3072 pixels\) is no class of camvid'),
    ('train', 'trainannot/0001.png', lambda path: png(np.zeros((48, 56), np.uint8)),
     r'trainannot/0001\.png: mask of 56x48 for a picture of 64x48'),
], ids=['damaged', 'unknown class', 'other size'])
def test_a_fault_is_named_before_the_hours_are_spent(
    split: str, name: str, content, message: str, tmp_path: Path
) -> None:
    root = camvid_tree(tmp_path / 'camvid')
    (root / name).write_bytes(content(root / name))
    with pytest.raises(DataSetError, match=message):
        run(scene_settings(root), tmp_path / 'out')
    assert list((tmp_path / 'out').iterdir()) == []  # corrected settings may use it


def png(pixels: np.ndarray) -> bytes:
    return cv2.imencode('.png', pixels)[1].tobytes()


def test_splits_without_anything_to_learn_are_refused(tmp_path: Path) -> None:
    root = camvid_tree(tmp_path / 'camvid')
    for path in (root / 'valannot').iterdir():
        path.write_bytes(png(np.full(SHAPE, 11, np.uint8)))
    with pytest.raises(DataSetError, match=r"valannot: all pixels of split 'val' are void"):
        run(scene_settings(root), tmp_path / 'out')
    for path in (*(root / 'train').iterdir(), *(root / 'trainannot').iterdir()):
        path.unlink()
    with pytest.raises(DataSetError, match=r"split 'train' has no pictures"):
        run(scene_settings(root), tmp_path / 'out')


def test_relative_folders_are_found_below_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('PERCEPTION_DATA', str(tmp_path))
    assert find_data(Path('camvid')) == tmp_path / 'camvid'
    assert find_data(tmp_path) == tmp_path
    monkeypatch.delenv('PERCEPTION_DATA')
    assert find_data(Path('camvid')) == Path('camvid')


def test_pictures_are_brought_to_the_width_of_the_source() -> None:
    image, label = painted()
    assert fit((image, label), 64)[0] is image
    small, names = fit((image, label), 36)
    assert small.shape == (24, 32, 3) and names.shape == (24, 32)
    np.testing.assert_array_equal(names, label[::2, ::2])
    large, names = fit((image, label), 128)
    assert large.shape == (96, 128, 3)
    np.testing.assert_array_equal(names, label.repeat(2, 0).repeat(2, 1))


class Knowing(torch.nn.Module):
    """Tells classes by their colours."""

    def __init__(self) -> None:
        super().__init__()
        self.colours = torch.nn.Parameter(torch.tensor(CAMVID.colours).flip(1).float())

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return -(image[:, None] - self.colours[:, :, None, None]).abs().sum(2)


def test_validation_by_hand(tmp_path: Path) -> None:
    pictures = [painted(0), painted(1)]
    chosen = Pictures([], pictures, (open_scene_set(camvid_tree(tmp_path), 'val'),))
    scores = validate(Knowing(), scene_settings(), chosen)
    assert scores['miou'] == scores['pixel_accuracy'] == scores['class_accuracy'] == 1
    assert scores['per_class_iou']['road'] == 1 and scores['per_class_iou']['tree'] is None
    label = pictures[0][1]
    label[:] = np.where(label == 2, 4, label)  # poles that are said to be something else
    scores = validate(Knowing(), scene_settings(), Pictures([], pictures[:1], chosen.sets))
    assert scores['pixel_accuracy'] == pytest.approx(1 - (label == 4).mean())
    assert scores['miou'] == pytest.approx(2 / 3)
    label[label == 4] = VOID
    assert validate(Knowing(), scene_settings(), Pictures([], pictures[:1], chosen.sets))[
        'miou'] == 1


def test_curves_are_drawn_with_and_without_scores(tmp_path: Path) -> None:
    scores = {'miou': 0.4, 'pixel_accuracy': 0.9, 'class_accuracy': 0.5,
              'per_class_iou': {'sky': 0.8, 'sign_symbol': None}}
    lines = [{'epoch': 1, 'loss': 2.0}, {'epoch': 2, 'loss': 1.5, **scores}]
    for count in (1, 2):
        draw_scene_curves(lines[:count], 'modern', tmp_path / 'curves.png')
        assert cv2.imread(str(tmp_path / 'curves.png')).shape == (320, 1000, 3)


@pytest.mark.parametrize(('text', 'more', 'message'), [
    (None, (), r'none\.yaml: cannot be read .*give a YAML file'),
    ('sources: [', (), r'none\.yaml: cannot be read'),
    ('epochs: 3', (), r'none\.yaml: sources = .*Field required; known settings: network'),
    ('FULL', ('--set', 'stages=[{epochs: 1, view: [36, 48]}]'),
     r'stages\.0\.view\.0 = 36: .*multiple of 8'),
    ('{}', ('--set', 'batch=['), r"--set 'batch=\[': the value is no YAML"),
    ('FULL', ('--set', 'bacth=3'), r'none\.yaml: bacth = 3: .*known settings: network'),
    ('FULL', ('--set', 'sources=[{data_set: camvid, folder: no/such}]'),
     r'no/such: no such folder; give the root'),
    ('FULL', ('--set', 'start=first.pt'), r'first\.pt: no such checkpoint; run lagr train scene'),
])
def test_bad_input_is_one_line_with_path_and_remedy(
    text: str | None, more: tuple[str, ...], message: str, config: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / 'none.yaml'
    if text:
        path.write_text(config.read_text() if text == 'FULL' else text)
    assert lagr('train', 'scene', '--config', str(path), '--out', str(tmp_path / 'out'),
                *more) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith('lagr: error: ')
    assert re.search(message, line), line


@pytest.mark.parametrize('name', ['camvid_modern', 'ycor_modern'])
def test_our_settings_are_whole(name: str, repository: Path) -> None:
    text = (repository / 'config' / 'scene' / f'{name}.yaml').read_text()
    settings = SceneSettings.model_validate(yaml.safe_load(text))
    assert settings.network in name
    assert [settings.stage(epoch) for epoch in (0, settings.stages[0].epochs)] == list(
        settings.stages[:2])
    assert settings.stage(settings.epochs + 3) == settings.stages[-1]


def test_a_log_line_cut_short_is_left_out(tmp_path: Path) -> None:
    for epoch in (1, 2, 3):
        log_line(tmp_path, epoch=epoch, loss=1.5)
    path = tmp_path / 'log.jsonl'
    path.write_text(path.read_text() + '{"epoch": 4, "lo')
    keep_log(tmp_path, 2)
    assert [line['epoch'] for line in read_log(tmp_path)] == [1, 2]


def test_only_the_network_of_2013_has_a_second_classifier() -> None:
    with pytest.raises(ValidationError, match='only farabet2013 has a second classifier'):
        scene_settings(network='modern', classifier_epochs=3)


def test_damaged_settings_of_a_run_are_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / 'settings.json').write_text('{"network": ')
    with pytest.raises(PerceptionError, match=r'settings\.json: is damaged.*--out'):
        open_folder(scene_settings(), tmp_path)
