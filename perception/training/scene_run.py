# SPDX-License-Identifier: Apache-2.0
"""One whole run of ``lagr train scene``: pictures, training, scores, curves, checkpoint."""

import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from rich.progress import Progress

from perception.errors import DataSetError, PerceptionError
from perception.evaluation.scene_scores import SceneTally
from perception.scene import fitted_shape, upsample
from perception.training.scene_augment import Labelled
from perception.training.scene_checkpoint import SceneTrained, load_scene_checkpoint
from perception.training.scene_config import MULTIPLE, SceneSettings, Source
from perception.training.scene_log import keep_log, log_line, read_log
from perception.training.scene_networks import SceneNet, scene_inputs
from perception.training.scene_plots import draw_scene_curves
from perception.training.scene_sets import VOID, SceneSet, open_scene_set
from perception.training.scene_train import SceneTrainer, Team, Views
from perception.types import Image

FREE = ('threads', 'workers')  # may change when a run goes on
SAVE_EVERY_S = 60.0
DATA_VARIABLE = 'PERCEPTION_DATA'


@dataclass(frozen=True)
class Pictures:
    """Labelled pictures in memory, and the set they come from."""

    training: list[Labelled]
    validation: list[Labelled]
    sets: tuple[SceneSet, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        """Names in the order of the labels."""
        return self.sets[0].taxonomy.classes


def run_scene(settings: SceneSettings, out: Path, command: str, progress: Progress) -> Path:
    """
    Train a scene network from seeds; go on where an interrupted run stopped.

    Returns
    -------
    Path
        ``out/trained.pt``; beside it ``log.jsonl``, ``curves.png`` and, to go on, ``state.pt``.

    Raises
    ------
    PerceptionError
        ``out`` holds a run with other settings, or data, start or checkpoint are not usable.
    """
    cv2.setNumThreads(1)  # forked workers cannot take over a pool of threads
    team = Team.join()
    if team.rank == 0:
        open_folder(settings, out)
    pictures = read_pictures(settings, progress)
    trainer = SceneTrainer(
        settings, Views(settings, pictures.training, len(pictures.classes)), team)
    if settings.start:
        trainer.begin_with(load_scene_checkpoint(settings.start), pictures.classes)
    first = trainer.resume(out / 'state.pt')
    if team.rank == 0:
        (out / 'settings.json').write_text(settings.model_dump_json(indent=1))
        keep_log(out, first)
    task = progress.add_task('train', total=settings.epochs, completed=first)
    for epoch in range(first, settings.epochs):
        loss = trainer.epoch(epoch, lambda text: progress.update(task, description=text))
        progress.advance(task)
        if team.rank == 0:
            _record(trainer, pictures, out, epoch, loss)
    if team.rank == 0:
        return _finish(trainer, pictures, out, command)
    return out / 'trained.pt'


def open_folder(settings: SceneSettings, out: Path) -> None:
    """Make the folder; refuse to mix two runs in one."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / 'settings.json'
    if not path.exists():
        return
    try:
        stored = json.loads(path.read_text())
    except ValueError:
        raise PerceptionError(f'{path}: is damaged, so the run cannot go on; choose another '
                              '--out, or remove that folder') from None
    wanted = json.loads(settings.model_dump_json())
    for key, value in wanted.items():
        if key not in FREE and stored.get(key) != value:
            raise PerceptionError(f'{path}: holds a run with other settings ({key}); choose '
                                  'another --out, or remove that folder')


def read_pictures(settings: SceneSettings, progress: Progress) -> Pictures:
    """Every picture of every source, so that a fault shows before the hours are spent."""
    parts: tuple[list[Labelled], list[Labelled]] = ([], [])
    sets = []
    for source in settings.sources:
        for split, pictures in zip((source.train, source.validate_on), parts, strict=True):
            one = open_scene_set(find_data(source.folder), split, source.data_set)
            sets.append(one.common() if settings.common else one)
            pictures.extend(_read_split(sets[-1], source, progress))
    _same_classes(sets)
    return Pictures(*parts, tuple(sets))


def _read_split(one: SceneSet, source: Source, progress: Progress) -> list[Labelled]:
    """Each n-th picture, as large as the network sees it."""
    task, pictures = progress.add_task(f'read {one.name} {one.split}', total=len(one)), []
    for item in range(0, len(one), source.every):
        pictures.append(fit(one.read(item), source.width))
        progress.update(task, completed=item + 1)
    progress.remove_task(task)
    if all((label == VOID).all() for _, label in pictures):
        raise DataSetError(f'{one.pairs[0][1].parent}: all pixels of split {one.split!r} are '
                           'void; restore the masks, or choose another split')
    return pictures


def find_data(folder: Path) -> Path:
    """Folder as it stands, else below the folder that PERCEPTION_DATA names."""
    named = os.environ.get(DATA_VARIABLE)
    return Path(named) / folder if named and not folder.exists() else folder


def _same_classes(sets: Sequence[SceneSet]) -> None:
    for one in sets:
        if one.taxonomy.classes != sets[0].taxonomy.classes:
            raise DataSetError(f'{one.name}: its classes differ from those of {sets[0].name}; '
                               'set common: true, or train on one of them')


def fit(picture: Labelled, width: int) -> Labelled:
    """Bring picture and labels to a width; the height follows, to a multiple of 8."""
    image, label = picture
    height, width = fitted_shape(image.shape, width, MULTIPLE)
    if image.shape[:2] == (height, width):
        return picture
    how = cv2.INTER_AREA if width < image.shape[1] else cv2.INTER_LINEAR
    small: Image = cv2.resize(image, (width, height), interpolation=how)
    return small, cv2.resize(label, (width, height), interpolation=cv2.INTER_NEAREST)


def _record(
    trainer: SceneTrainer, pictures: Pictures, out: Path, epoch: int, loss: float
) -> None:
    """Log every epoch; now and then score, save and draw."""
    settings, state = trainer.settings, out / 'state.pt'
    due = (epoch + 1) % settings.validate_every == 0 or epoch + 1 == settings.epochs
    scores = validate(trainer.averaged, settings, pictures) if due else {}
    log_line(out, epoch=epoch + 1, loss=loss, **scores)
    if due or not state.exists() or time.time() - state.stat().st_mtime > SAVE_EVERY_S:
        trainer.save(state, epoch + 1)
        draw_scene_curves(read_log(out), settings.network, out / 'curves.png')


def validate(network: SceneNet, settings: SceneSettings, pictures: Pictures) -> dict[str, Any]:
    """Score a network on the validation pictures, at the size it was trained for."""
    tally = SceneTally(pictures.classes)
    device = next(network.parameters()).device
    network.eval()
    with torch.inference_mode():
        for image, label in pictures.validation:
            inputs = [one[None].to(device) for one in scene_inputs(settings.network, image)]
            logits = network(*inputs)[0].float().cpu().numpy()
            given = upsample(logits, label.shape).argmax(0).astype(np.uint8)
            tally.add(label, given, np.zeros(label.shape, np.float32))
    summary = tally.summary()
    return {key: summary[key] for key in ('miou', 'pixel_accuracy', 'class_accuracy',
                                          'per_class_iou')}


def _finish(trainer: SceneTrainer, pictures: Pictures, out: Path, command: str) -> Path:
    """Write the averaged weights with where they come from."""
    settings = trainer.settings
    scored = [line for line in read_log(out) if 'miou' in line]
    trained = SceneTrained(
        settings.network, trainer.averaged, pictures.classes,
        pictures.sets[0].taxonomy.colours, _width(settings.sources), trained=True,
        data={'sources': [_described(source) for source in settings.sources],
              'pictures': len(pictures.training), 'epochs': settings.epochs,
              'seed': settings.seed,
              'started_from': str(settings.start) if settings.start else None,
              'earlier_sources': trainer.earlier_sources},
        scores={scored_on(settings): {'at': 'the size of training', **scored[-1]}}
        if scored else {},
        command=command)
    trained.save(out / 'trained.pt')
    return out / 'trained.pt'


def scored_on(settings: SceneSettings) -> str:
    """What the pictures that score a run are to it."""
    seen = any(source.validate_on in source.train.split('+') for source in settings.sources)
    return 'pictures it learned from' if seen else 'validation'


def _width(sources: Sequence[Source]) -> int:
    return sources[0].width


def _described(source: Source) -> dict[str, Any]:
    return {'data_set': source.data_set, 'train': source.train, 'validate_on': source.validate_on}
