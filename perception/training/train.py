# SPDX-License-Identifier: Apache-2.0
"""
``lagr train features``: worlds -> labels -> network -> W0, resumable after each epoch.

The twin is trained end to end. LAGR's layers are trained one by one as auto-encoders on the same
pictures without labels, then only its softmax W0 is trained on their frozen features.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from perception.errors import NetworkError
from perception.supervisor import soft_targets
from perception.training.autoencoder import LayerPair, train_layer, warm_cosine
from perception.training.dataset import LabeledWorlds, balance
from perception.training.export import Trained, load_checkpoint, make_trained
from perception.training.networks import Architecture, FeatureNetwork, Lagr2008
from perception.training.validate import validate
from perception.types import UNLABELED

SOFT_TARGET = 0.9
WEIGHT_DECAY = 1e-4
Batch = tuple[Tensor, Tensor, Tensor]


class TrainSettings(BaseModel):
    """Everything that makes a training run; a YAML file may name any of it."""

    model_config = ConfigDict(frozen=True, extra='forbid')

    network: Architecture = Field('default', description='Which network to train')
    worlds: int = Field(44, ge=1, le=1000, description='Training worlds, clear and autumn')
    validation_worlds: int = Field(6, ge=1, le=100, description='Held-out worlds, same seasons')
    frames: int = Field(40, ge=2, le=1000, description='Frames a world, 1 s apart')
    first_seed: int = Field(1000, ge=0, description='Seed of the first world')
    variants: int = Field(1, ge=0, le=10, description='Perturbed ground planes a frame')
    epochs: int = Field(20, ge=1, le=1000, description='Passes over all training frames')
    batch: int = Field(8, ge=1, le=256, description='Frames a step')
    learning_rate: float = Field(3e-3, gt=0, le=1, description='Largest; warm start, then cosine')
    autoencoder_steps: int = Field(500, ge=1, description='Steps a layer (lagr2008)')
    start: str = Field('', description='Checkpoint (.pt) to start from; empty = from random')
    calibrate: bool = Field(
        False, description='Shift W0 to the smallest error on the held-out worlds'
    )
    seed: int = Field(0, ge=0, description='Of weights, order and augmentation')
    threads: int = Field(1, ge=1, le=64, description='Threads of torch')
    workers: int = Field(1, ge=0, le=64, description='Processes that draw samples')


@dataclass
class Run:
    """A training run on disk: ``state.pt`` (resume), ``log.jsonl``, ``trained.pt``, curves."""

    settings: TrainSettings
    folder: Path

    @property
    def state(self) -> Path:
        """Everything needed to go on."""
        return self.folder / 'state.pt'

    def log(self, **values: Any) -> None:
        """Append one line."""
        with (self.folder / 'log.jsonl').open('a') as file:
            file.write(json.dumps(values) + '\n')

    def history(self) -> list[dict[str, Any]]:
        """All lines so far."""
        path = self.folder / 'log.jsonl'
        return [json.loads(line) for line in path.read_text().split('\n') if line] \
            if path.exists() else []


class Frames(Dataset[Any]):
    """Samples by (epoch, item): the same pair gives the same picture in any run."""

    def __init__(self, labeled: LabeledWorlds, network: FeatureNetwork, seed: int) -> None:
        self.labeled, self.seed = labeled, seed
        self.receptive, self.contrast = network.receptive, network.contrast

    def __getitem__(self, key: tuple[int, int]) -> Any:
        epoch, item = key
        rng = np.random.default_rng([self.seed, epoch, item])
        return self.labeled.sample(item, self.receptive, self.contrast, rng)


def batch_keys(items: int, batch: int, epoch: int, seed: int) -> list[list[tuple[int, int]]]:
    """Batches of (epoch, item) in the shuffled order of the epoch; the last may be short."""
    order = np.random.default_rng([seed, epoch]).permutation(items)
    return [[(epoch, int(item)) for item in order[k:k + batch]] for k in range(0, items, batch)]


def collate(samples: list[Any]) -> Batch:
    """Samples -> bands (B, 3, H, W), label and bin (B, h, w), padded to the widest canvas."""
    width = max(sample.bands.shape[2] for sample in samples)
    columns = max(sample.label.shape[1] for sample in samples)

    def padded(values: Any, size: int, fill: int) -> Tensor:
        pad = [(0, 0)] * (values.ndim - 1) + [(0, size - values.shape[-1])]
        return torch.from_numpy(np.pad(values, pad, constant_values=fill))

    return (torch.stack([padded(one.bands, width, 0) for one in samples]),
            torch.stack([padded(one.label, columns, UNLABELED) for one in samples]),
            torch.stack([padded(one.bin, columns, UNLABELED) for one in samples]))


def loader(run: Run, frames: Frames, epochs: range) -> DataLoader[Any]:
    """Batches of several epochs, in order."""
    keys = [one for epoch in epochs for one in batch_keys(
        len(frames.labeled), run.settings.batch, epoch, run.settings.seed)]
    return DataLoader(frames, batch_sampler=keys, collate_fn=collate,
                      num_workers=run.settings.workers)


class WeightedLoss:
    """Cross entropy with soft targets, weighted by label and range bin."""

    def __init__(self, weights: Any) -> None:
        self.weights = torch.from_numpy(weights)
        self.targets = torch.from_numpy(
            soft_targets(np.arange(256, dtype=np.uint8), SOFT_TARGET))

    def __call__(self, logits: Tensor, label: Tensor, bins: Tensor) -> Tensor:
        """Logits (B, 5, h, w), label and bin (B, h, >= w) uint8 -> scalar."""
        label, bins = (t[:, :, :logits.shape[3]].int() for t in (label, bins))
        weight = self.weights[label, bins]
        target = self.targets[label].movedim(-1, 1)
        entropy = -(target * functional.log_softmax(logits, 1)).sum(1)
        return (weight * entropy).sum() / weight.sum().clamp(min=1e-6)


def train(
    run: Run, training: LabeledWorlds, validation: LabeledWorlds, advance: Any = lambda text: None
) -> Trained:
    """
    Train from where the folder left off, to the end.

    Parameters
    ----------
    advance : callable
        Told a line of text after every step, for a progress bar.
    """
    settings = run.settings
    torch.manual_seed(settings.seed)
    torch.set_num_threads(settings.threads)
    trained = first_weights(settings)
    # three in ten less time in the separable convolutions
    trained.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    frames = Frames(training, trained.network, settings.seed)
    trainer = Trainer(run, trained, WeightedLoss(balance(training)),
                      -(-len(training) // settings.batch))
    first = trainer.resume()
    if isinstance(trained.network, Lagr2008) and first == 0 and not settings.start:
        pretrain(run, trained.network, frames, advance)
    batches = iter(loader(run, frames, range(first, settings.epochs)))
    for epoch in range(first, settings.epochs):
        trainer.epoch(epoch, batches, advance)
        scores = validate(trained.network, trained.classifier, validation)
        run.log(epoch=epoch, loss=trainer.loss, **scores)
        trainer.save(epoch + 1)
        trained.scores = scores
    trained.trained = True
    return trained


def first_weights(settings: TrainSettings) -> Trained:
    """Random weights, or those of the checkpoint to start from."""
    if not settings.start:
        return make_trained(settings.network)
    trained = load_checkpoint(Path(settings.start))
    if trained.architecture != settings.network:
        raise NetworkError(f'{settings.start}: holds network {trained.architecture}, not '
                           f'{settings.network}; choose another --set start=')
    return trained


def pretrain(run: Run, network: Lagr2008, frames: Frames, advance: Any) -> list[LayerPair]:
    """Both layers as auto-encoders; nothing of a label is read."""
    pairs = []
    for layer in (0, 1):
        # epochs of augmentation of their own, so that W0 sees other pictures
        batches = (batch[0] for batch in loader(run, frames, range(10**6, 10**6 + 10**3)))

        def report(step: int, loss: float, layer: int = layer) -> None:
            advance(f'layer {layer + 1} step {step + 1} error {loss:.3f}')
            if step % 10 == 0:
                run.log(layer=layer + 1, step=step, error=loss)

        pairs.append(train_layer(
            network, layer, batches, run.settings.autoencoder_steps, report))
        torch.save(pairs[-1].decoder.state_dict(), run.folder / f'decoder{layer + 1}.pt')
    return pairs


class Trainer:
    """Optimiser and schedule of the supervised part; saves and resumes them."""

    def __init__(self, run: Run, trained: Trained, loss: WeightedLoss, steps: int) -> None:
        self._run, self._trained, self._criterion = run, trained, loss
        settings = run.settings
        parts: list[nn.Module] = [trained.classifier]
        if not isinstance(trained.network, Lagr2008):
            parts.append(trained.network)
        parameters = [p for part in parts for p in part.parameters()]
        self._optimizer = torch.optim.AdamW(
            parameters, settings.learning_rate, weight_decay=WEIGHT_DECAY)
        self._schedule = warm_cosine(self._optimizer, steps * settings.epochs)
        self._steps = steps
        self.loss = float('nan')

    def epoch(self, number: int, batches: Iterator[Batch], advance: Any) -> None:
        """One pass over all frames."""
        network, classifier = self._trained.network, self._trained.classifier
        frozen = isinstance(network, Lagr2008)
        network.train(not frozen)
        losses = []
        for step in range(self._steps):
            bands, label, bins = next(batches)
            with torch.set_grad_enabled(not frozen):
                features = network(bands)
            loss = self._criterion(classifier(features), label, bins)
            self._optimizer.zero_grad()
            loss.backward()
            self._optimizer.step()
            self._schedule.step()
            losses.append(float(loss.detach()))
            advance(f'epoch {number + 1} step {step + 1}/{self._steps} loss {losses[-1]:.3f}')
        self.loss = float(np.mean(losses))

    def save(self, epochs_done: int) -> None:
        """All that ``resume`` needs; the file is whole or absent."""
        partial = self._run.state.with_suffix('.partial')
        torch.save({
            'epochs': epochs_done, 'network': self._trained.network.state_dict(),
            'classifier': self._trained.classifier.state_dict(),
            'optimizer': self._optimizer.state_dict(), 'schedule': self._schedule.state_dict(),
        }, partial)
        partial.replace(self._run.state)

    def resume(self) -> int:
        """Epochs done so far; 0 where there is nothing to resume."""
        if not self._run.state.exists():
            return 0
        stored = torch.load(self._run.state, weights_only=True)
        self._trained.network.load_state_dict(stored['network'])
        self._trained.classifier.load_state_dict(stored['classifier'])
        self._optimizer.load_state_dict(stored['optimizer'])
        self._schedule.load_state_dict(stored['schedule'])
        return int(stored['epochs'])
