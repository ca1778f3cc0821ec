# SPDX-License-Identifier: Apache-2.0
"""Training loop of scene networks: views, steps, averaged weights, resume, several processes."""

import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader, Dataset

from perception.errors import ConfigError, NetworkError
from perception.training.export import DAMAGED
from perception.training.farabet2013 import Farabet2013
from perception.training.scene_augment import RARE_SHARE, Labelled, class_shares, draw_view
from perception.training.scene_checkpoint import SceneTrained, sources_of
from perception.training.scene_config import SceneSettings
from perception.training.scene_loss import (
    decided,
    hard_cross_entropy,
    lovasz_softmax,
    sampled_cross_entropy,
)
from perception.training.scene_networks import SceneNet, make_scene_network, scene_inputs
from perception.training.scene_schedule import warm_average, warm_cosine
from perception.types import Float

AUXILIARY = 0.4  # weight of the loss at 1/16
LARGEST_GRADIENT = 5.0
SEEDS = 1_000_003  # between runs; epochs lie between them


@dataclass(frozen=True)
class Team:
    """The processes of ``torchrun``; one of one without it."""

    rank: int
    size: int
    device: torch.device

    @classmethod
    def join(cls) -> 'Team':
        """Read torchrun's variables and meet the others."""
        rank, size, local = (int(os.environ.get(name, default)) for name, default in (
            ('RANK', '0'), ('WORLD_SIZE', '1'), ('LOCAL_RANK', '0')))
        cuda = torch.cuda.is_available()
        if size > 1 and not torch.distributed.is_initialized():
            torch.distributed.init_process_group('nccl' if cuda else 'gloo')
        device = torch.device('cuda', local) if cuda else torch.device('cpu')
        if cuda:
            torch.cuda.set_device(device)
            torch.backends.cudnn.benchmark = True  # views of a stage are of one size
        return cls(rank, size, device)

    def wrap(self, network: nn.Module) -> nn.Module:
        """Network whose gradients are those of all processes."""
        if self.size == 1:
            return network
        if self.device.type == 'cuda':
            network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
        # each of its two phases leaves out the other's layers
        return nn.parallel.DistributedDataParallel(
            network, find_unused_parameters=isinstance(network, Farabet2013))


class Views(Dataset[Any]):
    """Views by (epoch, item): the same pair gives the same view in any run."""

    def __init__(
        self, settings: SceneSettings, pictures: Sequence[Labelled], classes: int
    ) -> None:
        self.settings, self.pictures, self.classes = settings, pictures, classes
        shares = class_shares(pictures, classes)
        self.rare = np.flatnonzero((shares > 0) & (shares < RARE_SHARE)).tolist()

    def __getitem__(self, key: tuple[int, int]) -> Any:
        epoch, item = key
        stage = self.settings.stage(epoch)
        rng = np.random.default_rng([self.settings.seed, epoch, item])
        image, label = draw_view(
            self.pictures, item, stage.view, stage.jitter, rng, self.rare)
        return scene_inputs(self.settings.network, image), torch.from_numpy(label)


def batch_keys(
    items: int, settings: SceneSettings, epoch: int, team: Team
) -> list[list[tuple[int, int]]]:
    """
    Batches of (epoch, item) of one process in the shuffled order; a short rest is left out.

    Raises
    ------
    ConfigError
        The processes cannot share a batch equally, or there are more of them than pictures.
    """
    if settings.batch % team.size or items < team.size:
        raise ConfigError(
            f'batch = {settings.batch}: cannot be shared by {team.size} processes with {items} '
            'pictures; choose a multiple, or fewer processes')
    order = np.random.default_rng([settings.seed, epoch]).permutation(items)
    own = min(settings.batch, items) // team.size
    batch = own * team.size
    return [[(epoch, int(item)) for item in order[k + team.rank * own:k + (team.rank + 1) * own]]
            for k in range(0, items - batch + 1, batch)]


@dataclass(frozen=True)
class Phase:
    """Optimiser and schedule of some parameters."""

    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LambdaLR

    def state(self) -> dict[str, Any]:
        """What ``load`` takes."""
        return {'optimizer': self.optimizer.state_dict(), 'schedule': self.schedule.state_dict()}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a saved state."""
        self.optimizer.load_state_dict(state['optimizer'])
        self.schedule.load_state_dict(state['schedule'])


class SceneTrainer:
    """Network, its averaged weights, optimiser and schedule; saves and resumes them."""

    def __init__(self, settings: SceneSettings, views: Views, team: Team) -> None:
        torch.manual_seed(settings.seed)
        torch.set_num_threads(settings.threads)
        self.settings, self.team, self._views = settings, team, views
        self.earlier_sources: list[dict[str, Any]] = []  # of the weights that it began with
        network = make_scene_network(settings.network, views.classes)
        network.to(team.device)
        # oneDNN convolves channels-last without reordering
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network: SceneNet = network
        self.average = AveragedModel(
            self.network, multi_avg_fn=warm_average(settings.average), use_buffers=True)
        self._parallel = team.wrap(self.network)
        self._steps = len(batch_keys(len(views.pictures), settings, 0, team))
        self._phases = [self._phase(self.network.parameters(), settings.feature_epochs)]
        if isinstance(self.network, Farabet2013):
            self._phases.append(
                self._phase(self.network.classifier(), settings.classifier_epochs))
        self._weight = _class_weight(
            class_shares(views.pictures, views.classes), settings.class_power).to(team.device)
        self._stream: tuple[int, Iterator[Any]] = -1, iter(())

    @property
    def averaged(self) -> SceneNet:
        """The network with averaged weights: the one to score and to keep."""
        return self.average.module  # type: ignore[return-value]

    def epoch(self, number: int, advance: Callable[[str], object] = lambda text: None) -> float:
        """One pass over all pictures; the mean loss."""
        phase = self._enter(number)
        losses = []
        for step, (inputs, label) in enumerate(self._batches(number)):
            loss = self._loss(self._parallel(*inputs), label)
            phase.optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.network.parameters(), LARGEST_GRADIENT)
            phase.optimizer.step()
            phase.schedule.step()
            self.average.update_parameters(self.network)
            losses.append(_finite(float(loss.detach()), number))
            advance(f'epoch {number + 1}/{self.settings.epochs} step {step + 1}/{self._steps} '
                    f'loss {losses[-1]:.3f}')
        return float(np.mean(losses))

    def _phase(self, parameters: Iterable[nn.Parameter], epochs: int) -> Phase:
        optimizer = torch.optim.AdamW(parameters, self.settings.learning_rate,
                                      weight_decay=self.settings.weight_decay)
        return Phase(optimizer, warm_cosine(optimizer, self._steps * epochs))

    def _enter(self, epoch: int) -> Phase:
        """What an epoch trains: everything, or the classifier on features that stay."""
        torch.manual_seed(SEEDS * self.settings.seed + epoch)  # a resumed run draws the same lots
        self.network.train()
        self.network.zero_grad()  # gradients of another phase would be clipped with this one's
        if epoch == self.settings.feature_epochs:
            self.average.n_averaged.zero_()  # type: ignore[operator]  # the mean of a new network
        return self._phases[self._deepen(epoch)]

    def _deepen(self, epoch: int) -> bool:
        """Give both networks the classifier of an epoch; True for the deep one."""
        deep = epoch >= self.settings.feature_epochs
        for network in (self.network, self.averaged):
            if isinstance(network, Farabet2013):
                network.deepen(deep)
        return deep

    def _batches(self, epoch: int) -> Iterator[tuple[list[Tensor], Tensor]]:
        device = self.team.device
        following, stream = self._stream
        if epoch != following:
            stream = self._open_stream(epoch)
        self._stream = epoch + 1, stream
        for inputs, label in islice(stream, self._steps):
            yield [one.to(device, non_blocking=True).to(memory_format=torch.channels_last)
                   for one in inputs], label.to(device, non_blocking=True)

    def _open_stream(self, epoch: int) -> Iterator[Any]:
        """Batches of an epoch and all that follow: the workers draw ahead across their ends."""
        keys = [one for number in range(epoch, self.settings.epochs) for one in batch_keys(
            len(self._views.pictures), self.settings, number, self.team)]
        return iter(DataLoader(
            self._views, batch_sampler=keys, num_workers=self.settings.workers,
            pin_memory=self.team.device.type == 'cuda',
            generator=torch.Generator()))  # its own: lots of a step do not depend on the epoch

    def _loss(self, output: Tensor | tuple[Tensor, Tensor], label: Tensor) -> Tensor:
        settings = self.settings
        logits, coarse = output if isinstance(output, tuple) else (output, None)
        flat, truth = decided(logits, at_stride(label, logits))
        balanced = settings.loss == 'balanced'
        if settings.loss == 'hard':
            loss = hard_cross_entropy(flat, truth, self._weight, settings.hard_share)
        else:
            loss = sampled_cross_entropy(flat, truth, balanced)
        if settings.loss == 'hard' and settings.lovasz:
            # a quarter of the places, as sorting them is the dearest part
            thin = decided(logits[:, :, ::2, ::2], at_stride(label, logits)[:, ::2, ::2])
            loss = loss + settings.lovasz * lovasz_softmax(*thin)
        if coarse is not None:
            loss = loss + AUXILIARY * sampled_cross_entropy(
                *decided(coarse, at_stride(label, coarse)), balanced)
        return loss

    def save(self, path: Path, epochs_done: int) -> None:
        """All that ``resume`` needs; the file is whole or absent."""
        partial = path.with_suffix('.partial')
        torch.save({
            'settings': self.settings.model_dump_json(), 'epochs': epochs_done,
            'network': self.network.state_dict(), 'average': self.average.state_dict(),
            'phases': [phase.state() for phase in self._phases],
        }, partial)
        partial.replace(path)

    def begin_with(self, trained: SceneTrained, classes: tuple[str, ...]) -> None:
        """
        Take the weights of a checkpoint as the first ones, for data of these classes.

        Raises
        ------
        NetworkError
            It holds another network, or other classes.
        """
        if trained.architecture != self.settings.network:
            raise NetworkError(f'{self.settings.start}: holds network {trained.architecture}, not '
                               f'{self.settings.network}; choose another start')
        if trained.classes != classes:
            raise NetworkError(f'{self.settings.start}: classes {", ".join(trained.classes)}, the '
                               f'data has {", ".join(classes)}; choose another start')
        for network in (self.network, self.averaged):
            network.load_state_dict(trained.network.state_dict())
        self.earlier_sources = sources_of(trained)

    def resume(self, path: Path) -> int:
        """
        Take up a saved state.

        Returns
        -------
        int
            Epochs done so far; 0 where there is nothing to resume.

        Raises
        ------
        NetworkError
            The file is cut or is not a state of this network.
        """
        if not path.exists():
            return 0
        try:
            stored = torch.load(path, weights_only=True, map_location=self.team.device)
            self.network.load_state_dict(stored['network'])
            self.average.load_state_dict(stored['average'])
            for phase, state in zip(self._phases, stored['phases'], strict=True):
                phase.load(state)
            done = int(stored['epochs'])
        except DAMAGED as error:
            raise NetworkError(f'{path}: not the state of such a run ({type(error).__name__}); '
                               'remove it to begin anew, or choose another --out') from None
        self._deepen(done - 1)
        return done


def at_stride(label: Tensor, logits: Tensor) -> Tensor:
    """
    Labels (B, H, W) on the grid of logits (B, C, h, w): one pixel of each cell.

    Which pixel is drawn by lot, as the centre of a cell lies between pixels.
    """
    v, u = (_in_each_cell(label.shape[k + 1], logits.shape[k + 2]) for k in (0, 1))
    return label[:, v[:, None], u]


def _in_each_cell(pixels: int, cells: int) -> Tensor:
    """One pixel of each cell along one side; the last cell may reach beyond the border."""
    stride = 1 << (-(-pixels // cells) - 1).bit_length()  # a power of 2; cells are rounded up
    return (torch.arange(cells) * stride + torch.randint(stride, ())).clamp(max=pixels - 1)


def _finite(loss: float, epoch: int) -> float:
    if not math.isfinite(loss):
        raise NetworkError(f'epoch {epoch + 1}: the loss is no number any more; lower '
                           'learning_rate and go on from the last state')
    return loss


def _class_weight(shares: Float, power: float) -> Tensor:
    """Weights that grow as classes are rare; their mean over all pixels is 1."""
    weight = np.where(shares > 0, np.maximum(shares, 1e-3) ** -power, 0)
    return torch.from_numpy(weight / (weight * shares).sum()).float()
