# SPDX-License-Identifier: Apache-2.0
"""Evaluate one bag with full truth: every frame is processed, the truth frames are scored."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from perception.bag import open_bag
from perception.config import Config
from perception.evaluation.online import Ceiling, OnlineModes
from perception.evaluation.scene_cells import scene_modes
from perception.evaluation.traversability import (
    Baselines,
    FrameScores,
    Tally,
    cell_modes,
    score_frame,
    scored_windows,
    truth_labels,
)
from perception.evaluation.truth import TruthFrame, window_truth
from perception.evaluation.truth_bag import read_truth
from perception.inference import Network
from perception.lesson import Sight
from perception.near_to_far import SEED
from perception.pipeline import Pipeline
from perception.types import Frame

Progress = Callable[[int, int], None]


@dataclass
class Evaluation:
    """All modes on the same frames, planes and features: ``add`` frames, then ``finish``."""

    config: Config
    network: Network
    baselines: Baselines
    seeds: tuple[int, ...] = (SEED,)
    tally: Tally = field(default_factory=Tally)

    def __post_init__(self) -> None:
        """Begin with a pipeline that does not learn, and the learners beside it."""
        learning = self.config.near_to_far
        frozen = learning.model_copy(update={'enabled': False})
        self.pipeline = Pipeline(self.config.model_copy(update={'near_to_far': frozen}),
                                 self.network)
        modes = [OnlineModes(learning, self.network, self.config.supervisor.obstacle_m, seed)
                 for seed in (self.seeds if learning.enabled else ())]
        self.online = modes[0] if modes else None
        self.others = modes[1:]
        self.ceiling = Ceiling(self.network)

    def add(self, frame: Frame, truth: TruthFrame | None) -> None:
        """Process a frame; score it where it has a truth, then let the learners have it."""
        result = self.pipeline.process(frame)
        sight = result.sight
        if sight is None:
            self.tally.without_plane += truth is not None
            return
        if truth is not None:
            answers = self.online.answers(sight) if self.online else {}
            scores = score_frame(self.pipeline, result, truth, self.baselines, answers)
            self._add_seeds(scores, sight, truth)
            if self.pipeline.scene and result.scene:
                scores.cells.update(
                    scene_modes(self.pipeline.scene, result, truth, self.config))
            self.tally.frames.append(scores)
        if self.online is None:
            return
        if truth is not None:
            label = truth_labels(truth, sight.pyramid, self.config)
            range_m = window_truth(truth, sight.pyramid).range_m
            self.ceiling.add(result, truth, label.label, range_m)
            self.online.show_truth(sight, label)
        for modes in (self.online, *self.others):
            modes.learn(sight)

    def _add_seeds(self, scores: FrameScores, sight: Sight, truth: TruthFrame) -> None:
        """Windows of the learners of further seeds, under names such as ``online@1``."""
        for modes in self.others:
            answers = {f'{mode}@{modes.seed}': answer
                       for mode, answer in modes.served_answers(sight).items()}
            scores.windows.update(scored_windows(answers, truth, sight.pyramid))

    def finish(self) -> Tally:
        """All scores, with the ceiling that only the whole drive can give."""
        if self.online is None:
            return self.tally
        self.tally.served = {mode: count.tolist() for mode, count in self.online.served.items()}
        kept = zip(self.ceiling.frames, self.tally.frames, strict=True)
        for ((result, truth), scores), answer in zip(kept, self.ceiling.answers()):
            modes, pyramid = {'ceiling': answer}, result.pyramid
            assert pyramid is not None
            scores.windows.update(scored_windows(modes, truth, pyramid))
            scores.cells.update(cell_modes(result, truth, modes, self.config))
        return self.tally


def evaluate_bag(
    bag: Path, config: Config, network: Network, baselines: Baselines,
    on_progress: Progress = lambda done, total: None, seeds: tuple[int, ...] = (SEED,),
) -> Tally:
    """
    Score the chain on one bag.

    Parameters
    ----------
    bag : Path
        Made by ``lagr world --truth full``.
    seeds : tuple of int
        Of the samples that learners draw; further ones are scored on windows alone.

    Raises
    ------
    BagError
        The bag has no full truth, or cannot be read.
    """
    evaluation = Evaluation(config, network, baselines, seeds)
    with open_bag(bag, config) as source:
        truth = read_truth(source, bag)
        wanted = set(truth.stamps)
        for done, frame in enumerate(source.frames(), 1):
            evaluation.add(frame, truth.at(frame) if frame.stamp_ns in wanted else None)
            on_progress(done, len(source))
    return evaluation.finish()
