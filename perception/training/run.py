# SPDX-License-Identifier: Apache-2.0
"""One whole training run: worlds, labels, training, curves, checkpoint."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import Progress

from perception.errors import PerceptionError
from perception.training.dataset import LabeledWorlds, label_worlds
from perception.training.export import Trained, save_checkpoint
from perception.training.networks import Lagr2008
from perception.training.plots import draw_curves, draw_reconstructions
from perception.training.train import Frames, Run, TrainSettings, train
from perception.training.validate import calibrate, error_summary, judge
from perception.training.worlds import (
    RELIEF_M,
    TRAINING_SEASONS,
    WorldSplit,
    read_worlds,
    render_worlds,
)

DATA_LICENCE = 'Apache-2.0 (our own synthetic worlds)'


def run_features(
    settings: TrainSettings, out: Path, worlds: Path, command: str, progress: Progress
) -> Path:
    """
    Train a feature network and W0 from seeds; go on where an interrupted run stopped.

    Returns
    -------
    Path
        ``out/trained.pt``; beside it ``log.jsonl``, ``curves.png`` and, for LAGR's network,
        ``reconstructions.png``.

    Raises
    ------
    PerceptionError
        ``out`` holds a run with other settings.
    """
    run = Run(settings, out)
    _begin(run)
    training, validation = (
        _labeled(split, worlds, variants, settings.seed, progress) for split, variants in (
            (WorldSplit(settings.worlds, settings.frames, settings.first_seed),
             settings.variants),
            (WorldSplit(settings.validation_worlds, settings.frames,
                        settings.first_seed + settings.worlds), 0)))
    task = progress.add_task('train', total=None)
    trained = train(run, training, validation.every(3),
                    lambda text: progress.update(task, description=text))
    _finish(run, trained, validation, command)
    draw_curves(run.history(), settings.network, out / 'curves.png')
    if isinstance(trained.network, Lagr2008) and not settings.start:
        _show_reconstructions(run, trained.network, validation)
    return out / 'trained.pt'


def _begin(run: Run) -> None:
    """Make the folder; refuse to mix two runs in one."""
    run.folder.mkdir(parents=True, exist_ok=True)
    path, text = run.folder / 'settings.json', run.settings.model_dump_json(indent=1)
    if path.exists() and path.read_text() != text:
        raise PerceptionError(
            f'{path}: holds a run with other settings; choose another --out or remove it')
    path.write_text(text)


def _labeled(
    split: WorldSplit, folder: Path, variants: int, seed: int, progress: Progress
) -> LabeledWorlds:
    total = split.worlds * split.frames
    rendering = progress.add_task('render worlds', total=total)
    paths = render_worlds(split.specs(), split.frames, folder,
                          lambda frames: progress.advance(rendering, frames))
    labelling = progress.add_task('label windows', total=total)
    return label_worlds(list(read_worlds(paths)), variants, seed,
                        lambda frames: progress.advance(labelling, frames))


def _finish(run: Run, trained: Trained, validation: LabeledWorlds, command: str) -> None:
    """Score on all held-out frames; write the checkpoint with its provenance."""
    settings = run.settings
    judged = judge(trained.network, trained.classifier, validation)
    before = error_summary(judged)
    shift = calibrate(trained.classifier, judged) if settings.calibrate else 0.0
    judged = replace(judged, log_odds=judged.log_odds + np.float32(shift))
    trained.scores = {'held_out_worlds': error_summary(judged),
                      'before_calibration': before['window_error'], 'calibration': shift}
    trained.command = command
    earlier = {'started_from': trained.data} if settings.start else {}
    trained.data = {
        'what': 'rendered by lagr world', 'licence': DATA_LICENCE,
        'seasons': list(TRAINING_SEASONS), 'relief_m': list(RELIEF_M),
        'worlds': settings.worlds, 'frames_a_world': settings.frames,
        'first_seed': settings.first_seed, 'held_out_worlds': settings.validation_worlds,
        'epochs': settings.epochs, 'seed': settings.seed, **earlier,
    }
    save_checkpoint(trained, run.folder / 'trained.pt')


def _show_reconstructions(run: Run, network: Lagr2008, validation: LabeledWorlds) -> None:
    decoders: list[Any] = []
    for layer in (network.c1, network.c2):
        maps, inputs, rows, columns = layer.weight.shape
        decoder = torch.nn.ConvTranspose2d(maps, inputs, (rows, columns))
        path = run.folder / f'decoder{len(decoders) + 1}.pt'
        decoder.load_state_dict(torch.load(path, weights_only=True))
        decoders.append(decoder)
    frames = Frames(validation, network, run.settings.seed)
    sample = validation.sample(0, frames.receptive, frames.contrast, np.random.default_rng(2))
    draw_reconstructions(network, decoders, sample.bands, run.folder / 'reconstructions.png')
