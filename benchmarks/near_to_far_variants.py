# SPDX-License-Identifier: Apache-2.0
"""
What is worth its place in near-to-far learning: ``python benchmarks/near_to_far_variants.py``.

Runs the learner with one setting changed at a time over tuning worlds, as they are and recoloured
so that the default weights fail, and writes docs/near_to_far_variants.md. Test worlds are not
touched.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import typer
from near_to_far_tables import table
from rich.progress import track

from perception.bag import open_bag
from perception.config import Config, with_values
from perception.contrast import gather
from perception.evaluation.scores import RANGES_M, balanced_error, rank_auc
from perception.evaluation.truth import WindowTruth, window_truth
from perception.evaluation.truth_bag import read_truth
from perception.inference import Network, load_network
from perception.judge import RANGES_M as SERVED_RANGES
from perception.judge import W0
from perception.learning_config import NearToFarConfig
from perception.lesson import Sight
from perception.near_to_far import NearToFar
from perception.pipeline import Pipeline
from perception.types import FOOTLINE, Float, Image
from perception.world.record import Recording, record
from perception.world.spec import WorldSpec

WORLDS = (('clear', 7101), ('autumn', 7102))
SECONDS = 24.0
PAINTS = ('as rendered', 'hue turned', 'pale')
VARIANTS: dict[str, dict[str, Any]] = {
    'as shipped': {},
    'no propagation': {'propagation': False},
    'driven ground alone (one camera)': {'teach_stereo': False},
    'no driven ground': {'teach_driven': False},
    'ring of 300': {'samples': 300},
    'pull 0.02': {'pull': 0.02},
    'pull 1.5': {'pull': 1.5},
    'far rate 0.02': {'far_rate': 0.02},
    'margin 0.06': {'margin': 0.06},
    'always the learned weights': {'do_no_harm': False},
}
Scene = list[tuple[Sight, WindowTruth | None]]
MARKDOWN, TEXT = Path('docs/near_to_far_variants.md'), Path(__file__).with_name('variants_text.md')


def main(
    out: Annotated[Path, typer.Option(help='JSON to write')] = Path(
        'docs/results/near_to_far_variants.json'),
    worlds: Annotated[Path, typer.Option(help='Where the bags lie')] = Path('out/near_to_far'),
) -> None:
    """Run every variant on every tuning world and paint."""
    result: dict[str, Any] = {'errors': {}, 'novelty': {}}
    network, known = load_network('lagr2008'), None
    jobs = [(season, seed, paint) for season, seed in WORLDS for paint in PAINTS]
    for season, seed, paint in track(jobs, description='variants'):
        bag = worlds / f'{season}_{seed}'
        if not bag.exists():
            record(WorldSpec(seed, season), bag, Recording(SECONDS))
        scene = list(sights(bag, paint, network))
        name = f'{season}, {paint}'
        result['errors'][name] = {
            variant: errors(scene, network, NearToFarConfig(**values), W0 if first else None)
            for first, (variant, values) in enumerate_frozen()}
        known = known or sample(scene, network)
        result['novelty'][name] = novelty(known[0], *sample(scene, network), network)
    out.write_text(json.dumps(result, indent=1) + '\n')
    MARKDOWN.write_text(page(result))
    typer.echo(f'{out}\n{MARKDOWN}')


def enumerate_frozen() -> Iterator[tuple[bool, tuple[str, dict[str, Any]]]]:
    """W0 alone first, then every variant."""
    yield True, ('W0, frozen', {'frozen': True})
    for item in VARIANTS.items():
        yield False, item


def sights(
    bag: Path, paint: str, network: Network
) -> Iterator[tuple[Sight, WindowTruth | None]]:
    """What a learner takes in of every frame; stereo sees the true colours."""
    pipeline = Pipeline(with_values(Config(), {'near_to_far.enabled': False}), network)
    with open_bag(bag, pipeline.config) as source:
        truth = read_truth(source, bag)
        wanted = set(truth.stamps)
        for frame in source.frames():
            true_colours = pipeline.process(frame).sight
            sight = pipeline.process(replace(frame, image=painted(frame.image, paint))).sight
            if true_colours is None or sight is None:
                continue
            sight = replace(sight, labels=true_colours.labels, points=true_colours.points,
                            grid=true_colours.grid)
            known = frame.stamp_ns in wanted
            yield sight, window_truth(truth.at(frame), sight.pyramid) if known else None


def painted(image: Image, paint: str) -> Image:
    """Turn all hues by a third of the circle, or wash the colours out."""
    hsv = cv2.cvtColor(image, cv2.COLOR_BGR2HSV).astype(np.int32)
    if paint == 'hue turned':
        hsv[..., 0] = (hsv[..., 0] + 120) % 180
    if paint == 'pale':
        hsv[..., 1] //= 3
        hsv[..., 2] = 80 + hsv[..., 2] * 2 // 3
    return np.asarray(cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2BGR), np.uint8)


def errors(
    scene: Scene, network: Network, config: NearToFarConfig, only: int | None
) -> list[float]:
    """Balanced error [%] at each range, before each frame is learned from."""
    learner = NearToFar(config, network.spec)
    score, obstacle, range_m = [], [], []
    for sight, truth in scene:
        if truth is not None:
            choice = learner.serving() if only is None else np.full(len(SERVED_RANGES), only)
            says = learner.classified(sight, choice).argmax(1) >= FOOTLINE
            scored = truth.decided & sight.pyramid.windows.valid
            score.append(says[scored].astype(float))
            obstacle.append(truth.obstacle[scored])
            range_m.append(truth.range_m[scored])
        learner.learn(sight)
    s, o, r = (np.concatenate(part) for part in (score, obstacle, range_m))
    picks = [(r >= low) & (r < high) for low, high in RANGES_M]
    return [round(100 * balanced_error(s[pick], o[pick]), 2) for pick in picks]


def sample(scene: Scene, network: Network) -> tuple[Float, Float]:
    """Features and truth of decided windows beyond 12 m: (n, F), (n,) bool."""
    rows, obstacle = [], []
    for sight, truth in scene:
        if truth is not None:
            pick = truth.decided & sight.pyramid.windows.valid & (truth.range_m >= 12)
            rows.append(gather(sight.maps, sight.pyramid, network.spec.receptive)[pick])
            obstacle.append(truth.obstacle[pick])
    return np.concatenate(rows), np.concatenate(obstacle)


def novelty(known: Float, features: Float, obstacle: Float, network: Network) -> dict[str, float]:
    """How well each measure ranks the windows that W0 gets wrong: area under the ROC curve."""
    q = network.classify(features)
    wrong = (q.argmax(1) >= FOOTLINE) != obstacle
    mean = known.mean(0)
    inverse = np.linalg.inv(np.cov((known - mean).T) + 1e-4 * np.eye(known.shape[1]))
    basis = np.linalg.svd((known - mean)[::7], full_matrices=False)[2][:16]
    off = features - mean
    lost = off - (off @ basis.T) @ basis
    measures = {'Mahalanobis': ((off @ inverse) * off).sum(1), 'reconstruction': (lost**2).sum(1),
                "W0's own doubt": -np.abs(q[:, FOOTLINE:].sum(1) - 0.5)}
    return {name: round(rank_auc(values, wrong), 3) for name, values in measures.items()}


def page(result: dict[str, Any]) -> str:
    """The page as Markdown."""
    scenes = list(result['errors'])
    rows = [[variant, *(' / '.join(f'{v:.1f}' for v in result['errors'][scene][variant])
                        for scene in scenes)] for variant in result['errors'][scenes[0]]]
    measures = list(result['novelty'][scenes[0]])
    seen = [[scene, *(f"{result['novelty'][scene][m]:.2f}" for m in measures)]
            for scene in scenes]
    return '\n\n'.join([
        TEXT.read_text().strip(), '## One setting at a time',
        table(['variant', *scenes], rows), '## Does novelty tell where W0 is wrong?',
        table(['scene', *measures], seen)]) + '\n'


if __name__ == '__main__':
    typer.run(main)
