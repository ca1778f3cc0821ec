# SPDX-License-Identifier: Apache-2.0
"""Evaluate one bag with full truth: every frame is processed, the truth frames are scored."""

from collections.abc import Callable, Iterator
from pathlib import Path

from perception.bag import open_bag
from perception.config import Config
from perception.evaluation.traversability import Baselines, Tally, score_frame
from perception.evaluation.truth import TruthFrame
from perception.evaluation.truth_bag import read_truth
from perception.inference import Network
from perception.pipeline import Pipeline, Result

Progress = Callable[[int, int], None]


def truth_results(
    bag: Path, pipeline: Pipeline, on_progress: Progress = lambda done, total: None
) -> Iterator[tuple[Result, TruthFrame]]:
    """
    Process every frame of a bag and yield those that have truth.

    Raises
    ------
    BagError
        The bag has no full truth, or cannot be read.
    """
    with open_bag(bag, pipeline.config) as source:
        truth = read_truth(source, bag)
        wanted = set(truth.stamps)
        for done, frame in enumerate(source.frames(), 1):
            result = pipeline.process(frame)
            if frame.stamp_ns in wanted:
                yield result, truth.at(frame)
            on_progress(done, len(source))


def evaluate_bag(
    bag: Path, config: Config, network: Network, baselines: Baselines,
    on_progress: Progress = lambda done, total: None,
) -> Tally:
    """
    Score the chain on one bag.

    Parameters
    ----------
    bag : Path
        Made by ``lagr world --truth full``.

    Raises
    ------
    BagError
        The bag has no full truth, or cannot be read.
    """
    pipeline, tally = Pipeline(config, network), Tally()
    for result, truth in truth_results(bag, pipeline, on_progress):
        if result.pyramid is None:
            tally.without_plane += 1
        else:
            tally.frames.append(score_frame(pipeline, result, truth, baselines))
    return tally
