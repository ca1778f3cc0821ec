# SPDX-License-Identifier: Apache-2.0
"""Everything that makes a training run of a scene network; ``config/scene/*.yaml`` hold ours."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from perception.training.scene_augment import Jitter
from perception.training.scene_networks import SceneArchitecture

MULTIPLE = 8  # pixels; the sides of what a network sees
Side = Annotated[int, Field(ge=32, le=4096, multiple_of=MULTIPLE)]


class Source(BaseModel):
    """One data set of a run."""

    model_config = ConfigDict(frozen=True, extra='forbid')

    data_set: str = Field(description='camvid, ycor, rugd, rellis3d, cityscapes, kitti or worlds')
    folder: Path = Field(description='Relative folders are looked up in PERCEPTION_DATA, too')
    train: str = Field('train', description='Split to learn from; a+b joins two')
    validate_on: str = Field('val', description='Split that scores the run')
    width: int = Field(480, ge=64, le=4096, description='Pictures are brought to it, pixels')
    every: int = Field(1, ge=1, description='Take each n-th picture only')


class Stage(BaseModel):
    """Some epochs with one size of view."""

    model_config = ConfigDict(frozen=True, extra='forbid')

    epochs: int = Field(ge=1, le=10000)
    view: tuple[Side, Side] = Field(description='Rows and columns of what the network sees')
    jitter: Jitter = Jitter()


class SceneSettings(BaseModel):
    """A run: network, data, schedule."""

    model_config = ConfigDict(frozen=True, extra='forbid')

    network: SceneArchitecture = 'modern'
    sources: tuple[Source, ...] = Field(min_length=1)
    common: bool = Field(False, description='Train in the common taxonomy of 8 classes')
    stages: tuple[Stage, ...] = Field(min_length=1)
    batch: int = Field(8, ge=1, le=1024, description='Views a step, of all processes together')
    learning_rate: float = Field(2e-3, gt=0, le=1, description='Largest; warm start, then cosine')
    weight_decay: float = Field(0.02, ge=0, le=1)
    loss: Literal['hard', 'balanced', 'natural'] = Field(
        'hard', description='Hard examples and Lovász; or sampling of PAMI13')
    hard_share: float = Field(0.4, gt=0, le=1, description='Share of pixels that count (hard)')
    class_power: float = Field(
        0.25, ge=0, le=1, description='Classes weigh share ** -power (hard)')
    lovasz: float = Field(0.5, ge=0, le=10, description='Weight of the Lovász loss (hard)')
    average: float = Field(0.998, ge=0, lt=1, description='Decay of the averaged weights')
    validate_every: int = Field(5, ge=1, description='Epochs')
    start: Path | None = Field(None, description='Checkpoint (.pt) whose weights are the first')
    classifier_epochs: int = Field(
        0, ge=0, description='Epochs of the two-layer classifier on frozen features (farabet2013)')
    seed: int = Field(0, ge=0, description='Of weights, order and views')
    threads: int = Field(1, ge=1, le=256, description='Threads of torch, a process')
    workers: int = Field(1, ge=0, le=256, description='Processes that draw views')

    @model_validator(mode='after')
    def _has_a_second_classifier(self) -> Self:
        if self.classifier_epochs and not self.network.startswith('farabet2013'):
            raise ValueError('classifier_epochs: only farabet2013 has a second classifier; set 0')
        return self

    @property
    def epochs(self) -> int:
        """All stages together, and the classifier's."""
        return self.feature_epochs + self.classifier_epochs

    @property
    def feature_epochs(self) -> int:
        """Epochs before the two-layer classifier's."""
        return sum(stage.epochs for stage in self.stages)

    def stage(self, epoch: int) -> Stage:
        """The stage that an epoch belongs to."""
        for stage in self.stages:
            if epoch < stage.epochs:
                return stage
            epoch -= stage.epochs
        return self.stages[-1]
