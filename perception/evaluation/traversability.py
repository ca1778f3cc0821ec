# SPDX-License-Identifier: Apache-2.0
"""
How good labels and costs are against rendered truth, one frame at a time.

Source
    architecture.md: window error, cost AUC, and the JSON of ``lagr evaluate traversability``.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perception.config import Config
from perception.contrast import band_strips, gather
from perception.evaluation.cells import cell_items
from perception.evaluation.colour import colour_features
from perception.evaluation.online import Answer
from perception.evaluation.scores import (
    RANGES_M,
    Items,
    aucs_by_range,
    coverage_by_range,
    errors_by_range,
    pool,
)
from perception.evaluation.softmax import Softmax
from perception.evaluation.truth import (
    FREE,
    STANDING,
    TruthFrame,
    WindowTruth,
    feet_uv,
    ground_tilt_rad,
    window_truth,
)
from perception.pipeline import Pipeline, Result
from perception.projection import frame_evidence
from perception.pyramid import Pyramid
from perception.supervisor import WindowLabels, labels_from_masks
from perception.types import CLASSES, FOOTLINE, UNLABELED, Evidence, Float, Frame, Mask

ORACLE_GATES = {'min_feet': 1, 'min_valid': 0.5}
"""Truth needs no proof against noise: one foot makes a footline, half a window decides it."""


@dataclass(frozen=True)
class Baselines:
    """
    Classifiers that stand beside the network's own.

    ``colour`` sees the histogram of a window; ``joint`` (optional) the features of the network
    followed by the histogram.
    """

    colour: Softmax
    joint: Softmax | None = None


@dataclass(frozen=True)
class LabelCount:
    """Labels of the supervisor against window truth; the last two count undecided truth out."""

    ground: int = 0
    obstacle: int = 0
    ground_called_obstacle: int = 0
    obstacle_called_ground: int = 0
    labels: int = 0


@dataclass(frozen=True)
class FrameScores:
    """What one truth frame gave: items by mode, windows without a decided truth, ground tilt."""

    windows: dict[str, Items]
    cells: dict[str, Items]
    excluded: int
    labels: LabelCount
    tilt_rad: float


@dataclass
class Tally:
    """Scores of all frames of one or more bags."""

    frames: list[FrameScores] = field(default_factory=list)
    without_plane: int = 0
    served: dict[str, list[int]] = field(default_factory=dict)

    def summary(self) -> dict[str, Any]:
        """JSON of ``lagr evaluate traversability``: see architecture.md, command line."""
        windows = self._pooled([frame.windows for frame in self.frames])
        cells = self._pooled([frame.cells for frame in self.frames])
        tilts = np.array([f.tilt_rad for f in self.frames if np.isfinite(f.tilt_rad)])
        errors = {mode: errors_by_range(items) for mode, items in windows.items()}
        return {
            'ranges_m': [list(ends) for ends in RANGES_M],
            'window_error': {mode: e for mode, e in errors.items() if '@' not in mode},
            'window_error_of_seeds': {mode: e for mode, e in errors.items() if '@' in mode},
            'cost_auc': {mode: aucs_by_range(items) for mode, items in cells.items()},
            'coverage': {
                'windows': {mode: coverage_by_range(items) for mode, items in windows.items()
                            if '@' not in mode},
                'cells': {mode: coverage_by_range(items) for mode, items in cells.items()},
            },
            'excluded_windows': sum(frame.excluded for frame in self.frames),
            'truth_items': {'windows': _counts(windows), 'cells': _counts(cells)},
            'supervisor': self._supervisor(),
            'frames': len(self.frames) + self.without_plane,
            'frames_without_plane': self.without_plane,
            'ground_tilt_rad': _spread(tilts),
            'frames_not_served_by_w0': self.served,
        }

    @staticmethod
    def _pooled(frames: list[dict[str, Items]]) -> dict[str, Items]:
        modes = [mode for mode in (frames[0] if frames else {})
                 if all(mode in frame for frame in frames)]
        return {mode: pool([frame[mode] for frame in frames]) for mode in modes}

    def _supervisor(self) -> dict[str, float | None]:
        """Shares of wrong labels among those with a decided truth."""
        def total(name: str) -> int:
            return sum(getattr(frame.labels, name) for frame in self.frames)

        ground, obstacle = total('ground'), total('obstacle')
        rose, sank = total('ground_called_obstacle'), total('obstacle_called_ground')
        return {
            'wrong': _share(rose + sank, ground + obstacle),
            'ground_called_obstacle': _share(rose, ground),
            'obstacle_called_ground': _share(sank, obstacle),
            'labels_per_frame': _share(total('labels'), len(self.frames)),
            'undecided': _share(total('labels') - ground - obstacle, total('labels')),
        }


def score_frame(
    pipeline: Pipeline, result: Result, truth: TruthFrame, baselines: Baselines,
    online: dict[str, Answer],
) -> FrameScores:
    """
    Score all modes on one processed frame.

    Parameters
    ----------
    result : Result
        Of ``pipeline.process`` on the frame, with a pyramid.
    truth : TruthFrame
        Rendered truth of the same frame; its pose places all evidence.
    online : dict
        What the modes that learn said before they learned from this frame.

    Returns
    -------
    FrameScores
        Windows of modes ``colour``, ``stereo_only``, ``w0`` (and ``w0_colour`` where ``joint``
        is given) and of ``online``; cells of the same and ``oracle``.
    """
    pyramid, config = result.pyramid, pipeline.config
    assert pyramid is not None
    assert result.probabilities is not None
    histogram = colour_features(result.frame.image, pyramid)
    modes = {'colour': Answer(baselines.colour.probabilities(histogram)),
             'w0': Answer(result.probabilities)}
    if baselines.joint is not None:
        both = np.concatenate([network_features(pipeline, result.frame, pyramid), histogram], 1)
        modes['w0_colour'] = Answer(baselines.joint.probabilities(both))
    modes |= online
    window = window_truth(truth, pyramid)
    label = np.full(len(window.decided), UNLABELED, np.uint8)
    if result.labels is not None:
        label = result.labels.label
    scored = window.decided & pyramid.windows.valid
    oracle = _oracle(truth, pyramid, config)
    reached = (window.range_m >= RANGES_M[0][0]) & (window.range_m < RANGES_M[-1][1])
    return FrameScores(
        {'stereo_only': _window_items(_label_score(label), window, scored)}
        | window_modes(modes, window, scored),
        cell_modes(result, truth, modes | {'oracle': oracle}, config),
        int(np.count_nonzero(reached & pyramid.windows.valid & ~window.decided)),
        _count_labels(label, window),
        ground_tilt_rad(truth),
    )


def network_features(pipeline: Pipeline, frame: Frame, pyramid: Pyramid) -> Float:
    """Features (N, F) float32 of every window, in the order of ``pyramid.windows``."""
    network, receptive = pipeline.network, pipeline.network.spec.receptive
    strips = band_strips(frame.image, pyramid, pipeline.contrast, receptive, network.packed)
    return gather(network.features(strips), pyramid, receptive)


def truth_labels(truth: TruthFrame, pyramid: Pyramid, config: Config) -> WindowLabels:
    """Five-class labels of the windows as rendered truth gives them, at all ranges."""
    standing = truth.obstacle == STANDING
    gates = config.supervisor.model_copy(update=ORACLE_GATES)
    return labels_from_masks(truth.obstacle == FREE, standing, feet_uv(standing), 1, pyramid,
                             gates)


def _oracle(truth: TruthFrame, pyramid: Pyramid, config: Config) -> Answer:
    """Truth as an answer."""
    label = truth_labels(truth, pyramid, config).label
    oracle = np.zeros((len(label), len(CLASSES)), np.float32)
    known = label != UNLABELED
    oracle[known, label[known]] = 1
    return Answer(oracle)


def window_modes(
    modes: dict[str, Answer], window: WindowTruth, scored: Mask
) -> dict[str, Items]:
    """Windows of every mode against their truth; ``scored`` (N,) bool picks them."""
    return {mode: _window_items(_family(answer.probabilities), window, scored)
            for mode, answer in modes.items()}


def scored_windows(
    modes: dict[str, Answer], truth: TruthFrame, pyramid: Pyramid
) -> dict[str, Items]:
    """Windows of some modes where the truth is decided and the window lies in the image."""
    window = window_truth(truth, pyramid)
    return window_modes(modes, window, window.decided & pyramid.windows.valid)


def cell_modes(
    result: Result, truth: TruthFrame, modes: dict[str, Answer], config: Config
) -> dict[str, Items]:
    """
    Cells of every mode: stereo evidence, and that of the windows where the mode has any.

    With ``oracle`` among the modes, ``stereo_only`` comes too.
    """
    pyramid, pose = result.pyramid, truth.world_from_camera
    assert pyramid is not None

    def items(evidence: list[Evidence]) -> Items:
        return cell_items(truth, evidence, config.map, config.cost)

    depth = (result.points, result.grid) if result.points and result.grid else None
    parts = {
        mode: frame_evidence(pyramid, answer.probabilities, pose, config.map, depth,
                             answer.confidence)
        for mode, answer in modes.items()
    }
    # the windows' evidence comes last: without it stereo stands alone
    stereo = {'stereo_only': items(parts['oracle'][:-1])} if 'oracle' in parts else {}
    return stereo | {mode: items(evidence) for mode, evidence in parts.items()}


def _family(probabilities: Float) -> Float:
    """1 where the likeliest class is an obstacle's, else 0."""
    return np.asarray(probabilities.argmax(1) >= FOOTLINE, float)


def _label_score(label: NDArray[np.uint8]) -> Float:
    """1 obstacle family, 0 ground family, 0.5 unlabelled."""
    return np.asarray(np.where(label == UNLABELED, 0.5, label >= FOOTLINE))


def _window_items(score: Float, truth: WindowTruth, scored: Mask) -> Items:
    return Items(truth.range_m[scored], truth.obstacle[scored], score[scored],
                 score[scored] != 0.5)


def _count_labels(label: NDArray[np.uint8], truth: WindowTruth) -> LabelCount:
    """Compare the supervisor's families with truth."""
    labeled = label != UNLABELED
    says, known = label >= FOOTLINE, labeled & truth.decided

    def count(mask: Mask) -> int:
        return int(np.count_nonzero(known & mask))

    return LabelCount(
        count(~truth.obstacle), count(truth.obstacle), count(~truth.obstacle & says),
        count(truth.obstacle & ~says), int(np.count_nonzero(labeled)),
    )


def _counts(items: dict[str, Items]) -> dict[str, list[int]]:
    """Truth items of each range, the same for every mode: [ground, obstacle] counts."""
    if not items:
        return {}
    first = next(iter(items.values()))
    parts = [first.within(*ends) for ends in RANGES_M]
    return {'ground': [int(np.count_nonzero(~part.obstacle)) for part in parts],
            'obstacle': [int(np.count_nonzero(part.obstacle)) for part in parts]}


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _spread(values: Float) -> dict[str, float | None]:
    """Median and 90th percentile."""
    if not values.size:
        return {'p50': None, 'p90': None}
    return {'p50': float(np.percentile(values, 50)), 'p90': float(np.percentile(values, 90))}
