# SPDX-License-Identifier: Apache-2.0
"""The modes that learn, beside the frozen weights on the very same frames and features."""

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from perception.contrast import gather
from perception.evaluation.softmax import fit_softmax
from perception.evaluation.truth import TruthFrame
from perception.inference import Network
from perception.judge import FAR, NEAR, RANGES_M, W0
from perception.learning_config import NearToFarConfig
from perception.lesson import Sight
from perception.near_to_far import NearToFar
from perception.pipeline import Result
from perception.supervisor import WindowLabels
from perception.types import UNLABELED, Float

FAR_FROM_M = RANGES_M[1]
BLOCK = 6  # truth frames in a row that are left out together: neighbours look alike
TRUTH_PASSES = 5  # 10 Hz over 2 Hz
MAX_FIT = 40_000  # windows that a ceiling is fitted on


@dataclass(frozen=True)
class Answer:
    """Class histograms of all windows, (N, 5), and how far they are trusted at each range."""

    probabilities: Float
    confidence: tuple[float, ...] | None = None


@dataclass
class OnlineModes:
    """
    Two learners, with and without propagation, that see every frame, and a third that is shown
    the truth within 12 m of the frames that have one: what perfect near labels would give.

    ``served`` counts, by mode, the truth frames in which each range was not served by W0.
    """

    config: NearToFarConfig
    network: Network
    obstacle_m: float
    seed: int
    learners: dict[str, NearToFar] = field(init=False)
    shown: NearToFar = field(init=False)
    served: dict[str, NDArray[np.int64]] = field(init=False)

    def __post_init__(self) -> None:
        """Begin afresh."""
        self.learners = {
            mode: NearToFar(self.config.model_copy(update={'propagation': propagation}),
                            self.network.spec, self.obstacle_m, self.seed)
            for mode, propagation in (('online', False), ('propagation', True))
        }
        self.shown = NearToFar(self.config, self.network.spec, self.obstacle_m, self.seed)
        self.served = {mode: np.zeros(len(RANGES_M), np.int64) for mode in self.learners}

    def served_answers(self, sight: Sight) -> dict[str, Answer]:
        """What enters the map in every mode, before it has learned from this frame."""
        answers = {}
        for mode, learner in self.learners.items():
            choice = learner.serving()
            self.served[mode] += choice != W0
            answers[mode] = Answer(learner.classified(sight, choice),
                                   tuple(learner.judge.confidence(choice).tolist()))
        return answers

    def answers(self, sight: Sight) -> dict[str, Answer]:
        """``served_answers``, and those of the learned weights wherever they are better or not."""
        answers = self.served_answers(sight)
        for mode, learner in self.learners.items():
            raw = np.full(len(RANGES_M), FAR if learner.far.steps else NEAR)
            raw[0] = NEAR
            answers[f'{mode}_raw'] = Answer(learner.classified(sight, raw))
        everywhere = np.full(len(RANGES_M), NEAR)
        return answers | {'true_near_raw': Answer(self.shown.classified(sight, everywhere))}

    def show_truth(self, sight: Sight, truth: WindowLabels) -> None:
        """Teach the third learner a truth frame, as often as frames come between two of them."""
        near = np.where(sight.range_m < FAR_FROM_M, truth.label, np.uint8(UNLABELED))
        labels = WindowLabels(near.astype(np.uint8), truth.target)
        for _ in range(TRUTH_PASSES):
            self.shown.learn(replace(sight, labels=labels, odom_from_camera=None))

    def learn(self, sight: Sight) -> None:
        """Let every mode learn from a frame."""
        for learner in self.learners.values():
            learner.learn(sight)


@dataclass
class Ceiling:
    """
    The best the features allow: a softmax fitted to the truth of the same drive.

    Two-fold by blocks of frames. Windows within 12 m and beyond have a fit of their own.
    """

    network: Network
    frames: list[tuple[Result, TruthFrame]] = field(default_factory=list)
    features: list[Float] = field(default_factory=list)
    label: list[NDArray[np.uint8]] = field(default_factory=list)
    range_m: list[Float] = field(default_factory=list)

    def add(
        self, result: Result, truth: TruthFrame, label: NDArray[np.uint8], range_m: Float
    ) -> None:
        """Keep a truth frame: ``label`` (N,) of its windows by truth, ``range_m`` (N,) true."""
        sight = result.sight
        assert sight is not None
        rows = gather(sight.maps, sight.pyramid, self.network.spec.receptive)
        self.frames.append((replace(result, sight=None), truth))
        self.features.append(rows.astype(np.float16))
        self.label.append(label)
        self.range_m.append(range_m)

    def answers(self) -> list[Answer]:
        """Answer for each kept frame; empty where the drive is too short to be halved."""
        half = np.arange(len(self.frames)) // max(min(BLOCK, len(self.frames) // 2), 1) % 2
        if len(set(half.tolist())) < 2:
            return []
        given = [np.zeros((len(rows), 5), np.float32) for rows in self.features]
        for low, high in ((0.0, FAR_FROM_M), (FAR_FROM_M, np.inf)):
            for fold in (0, 1):
                self._fit(np.flatnonzero(half != fold), np.flatnonzero(half == fold),
                          (low, high), given)
        return [Answer(rows) for rows in given]

    def _fit(
        self, teach: NDArray[np.intp], test: NDArray[np.intp], ends: tuple[float, float],
        given: list[Float],
    ) -> None:
        """Fit on some frames and answer for others, for windows of one range."""
        def within(k: int) -> NDArray[np.bool_]:
            far = np.nan_to_num(self.range_m[k], nan=np.inf)
            return np.asarray((far >= ends[0]) & (far < ends[1]))

        known = [within(k) & (self.label[k] != UNLABELED) for k in teach]
        x = np.concatenate([self.features[k][m] for k, m in zip(teach, known, strict=True)])
        label = np.concatenate([self.label[k][m] for k, m in zip(teach, known, strict=True)])
        if not len(x):
            return
        some = np.random.default_rng(0).permutation(len(x))[:MAX_FIT]
        fit = fit_softmax(x[some].astype(np.float32), label[some])
        for k in test:
            here = within(k)
            given[k][here] = fit.probabilities(self.features[k][here].astype(np.float32))
