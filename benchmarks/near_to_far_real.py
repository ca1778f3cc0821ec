# SPDX-License-Identifier: Apache-2.0
"""
Near-to-far learning on real frames: ``PERCEPTION_DATA=DIR python benchmarks/near_to_far_real.py``.

KITTI (stereo): labels within 12 m teach, full-resolution stereo at 15-40 m is the truth. Colour
against grey: two KITTI pairs, and two rendered worlds. Husky (RGB-D): hand-made cost grids. Each
frame is classified before anything is learned from it. Writes docs/results/near_to_far_real.json,
the tables in docs/near_to_far_real.md and one picture; nothing of KITTI is kept.
"""

import json
import os
import sys
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from near_to_far_real_tables import (
    BLOCK,
    Answers,
    answered,
    difference,
    husky_part,
    positions,
    report,
    score,
)
from numpy.typing import NDArray
from rich.progress import Progress

from perception.bag import open_bag
from perception.config import Config, config_hash
from perception.contrast import gather_some
from perception.evaluation.softmax import Softmax, fit_softmax
from perception.evaluation.truth import window_truth
from perception.evaluation.truth_bag import read_truth
from perception.ground_plane import fit_planes
from perception.inference import Network, load_network
from perception.judge import CANDIDATES, FAR, NEAR, W0
from perception.lesson import Sight
from perception.near_to_far import SEED, NearToFar
from perception.pipeline import Result, Traversability
from perception.pyramid import Pyramid
from perception.stereo import depth_grid, to_grey
from perception.supervisor import label_points, labels_from_masks, occlusion_edges, supervise
from perception.types import (
    FOOTLINE,
    SUPER_GROUND,
    SUPER_OBSTACLE,
    UNLABELED,
    Camera,
    DepthGrid,
    Float,
    Frame,
    Image,
    Mask,
)
from perception.world.record import Recording, record
from perception.world.spec import WorldSpec

SEEDS = (SEED, SEED + 1, SEED + 2)
NEAR_M, FAR_M, TRUTH_TO_M = 15.0, 40.0, 45.0
SEQUENCES = {'KITTI 06': 'kitti_odom06_0-50', 'KITTI 00': 'kitti_odom00_0-10'}
KITTI2015 = (Camera(1242, 375, 721.5, 721.5, 609.6, 172.9), 0.533)
WORLDS, WORLD_SEED, RECORDING = ('straw', 'frost'), 9901, Recording(20.0, 5.0)
MAIN = "teacher's rule"
MARKDOWN, PICTURE = Path('docs/near_to_far_real.md'), Path('docs/pictures/near_to_far_husky.png')
Index = NDArray[np.intp]


@dataclass(frozen=True)
class Moment:
    """
    One frame to learn from and to be scored.

    ``index`` (M,) scored windows, ``label`` (M,) their true class.
    """

    sight: Sight
    index: Index
    label: Image

    @property
    def standing(self) -> Mask:
        """Obstacle or foot, (M,)."""
        standing: Mask = self.label >= FOOTLINE
        return standing


def main(
    out: Annotated[Path, typer.Option(help='JSON to write')] = Path(
        'docs/results/near_to_far_real.json'),
    networks: Annotated[str, typer.Option(help='Names, with commas')] = 'default,lagr2008',
    worlds: Annotated[Path, typer.Option(help='Where the rendered bags lie')] = Path(
        'out/near_to_far_real'),
) -> None:
    """Run everything and write the page."""
    root = Path(os.environ.get('PERCEPTION_DATA', ''))
    if not (root / 'stereo').is_dir():
        raise typer.BadParameter('name the folder of the recorded data in PERCEPTION_DATA')
    sys.path.append(str(Path(__file__).resolve().parents[1] / 'docs'))
    recorded = import_module('real_images_data')  # how the folders are read
    result: dict[str, Any] = {'config_hash': config_hash(Config()), 'seeds': SEEDS,
                              'matching': matching_check(root / 'stereo', recorded)}
    with Progress() as progress:
        for name in progress.track(networks.split(','), description='networks'):
            network = load_network(name)
            result.setdefault('kitti', {})[name] = {
                title: kitti_part(recorded.kitti(root / 'stereo' / folder, title), network)
                for title, folder in SEQUENCES.items()}
            result.setdefault('grey', {})[name] = {
                'pairs': grey_pairs(root / 'stereo', recorded, network),
                'worlds': {season: grey_world(worlds, season, network) for season in WORLDS}}
            result.setdefault('husky', {})[name] = husky_part(
                root / 'husky_zed', recorded, network, SEEDS,
                PICTURE if name == 'default' else None)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + '\n')
    MARKDOWN.write_text(report(MARKDOWN.read_text(), result))


def without_learner() -> Config:
    """Settings of the chain: its sights are kept, learners go over them later."""
    return Config.model_validate({'near_to_far': {'enabled': False}})


def kitti_part(drive: Any, network: Network) -> dict[str, Any]:
    """All modes on one sequence, under three ideas of the truth."""
    chain = Traversability(without_learner(), network)
    results, grids = [], []
    for shot in drive.shots():
        frame = Frame(shot.stamp_ns, shot.image, drive.camera, shot.right, drive.baseline_m,
                      odom_from_base=shot.odom_from_base)
        results.append(chain.process(frame))
        grids.append(depth_grid(frame, chain.config.stereo.model_copy(update={'scale': 1})))
    truths = {}
    for result, grid in zip(results, grids, strict=True):
        for name, moment in far_truth(result, grid, chain.config).items():
            truths.setdefault(name, []).append(moment)
    near = np.concatenate([near_labels(moment.sight)[1] for moment in truths[MAIN]])
    return {'frames': len(results), 'poses': results[0].frame.odom_from_base is not None,
            'near_labels': np.bincount(near >= FOOTLINE, minlength=2).tolist(),
            'corridor': corridor_check(drive, truths[MAIN]),
            'truths': {name: evaluate(moments, network, SEEDS if name == MAIN else SEEDS[:1])
                       for name, moments in truths.items()}}


def matching_check(folder: Path, recorded: Any) -> dict[str, float]:
    """Full-resolution matching against lidar at 15-40 m, on the one pair that has both."""
    folder, (camera, baseline_m) = folder / 'kitti2015_000046_gt', KITTI2015
    left, right = (to_grey(recorded.read(folder / f'{side}.png')) for side in ('left', 'right'))
    stereo = Config().stereo.model_copy(update={'scale': 1})
    grid = depth_grid(Frame(0, left, camera, right, baseline_m), stereo)
    lidar = recorded.read(folder / 'disp_occ_0.png', -1) / 256
    far = (lidar > grid.focal_baseline / FAR_M) & (lidar <= grid.focal_baseline / NEAR_M)
    off = np.abs(grid.disparity - lidar)[far]
    known = np.isfinite(off)
    median, p95 = np.percentile(off[known] / lidar[far][known], (50, 95)).tolist()
    return {'pixels': int(far.sum()), 'matched': float(known.mean()), 'median_relative': median,
            'p95_relative': p95, 'off_3px': float((off[known] > 3).mean())}


def grey_pairs(folder: Path, recorded: Any, network: Network) -> dict[str, Any]:
    """W0 on colour pairs of KITTI, and on the same pairs made grey."""
    drive = recorded.kitti(folder / SEQUENCES['KITTI 06'], '')
    cameras = {'kitti_odom06_color_000012': (drive.camera, drive.baseline_m),
               'kitti2015_000046_gt': KITTI2015}
    found = {}
    for name, (camera, baseline_m) in cameras.items():
        left, right = (recorded.read(folder / name / f'{side}.png') for side in ('left', 'right'))
        found[name] = {}
        for kind, image in (('colour', left), ('grey', to_grey(left))):
            chain = Traversability(without_learner(), network)
            frame = Frame(0, image, camera, to_grey(right), baseline_m)
            grid = depth_grid(frame, chain.config.stereo.model_copy(update={'scale': 1}))
            result = chain.process(frame)
            moment = far_truth(result, grid, chain.config)['looser ground']
            answers = [answered(result.probabilities[moment.index])]
            found[name] |= {'ground': int(np.sum(~moment.standing)),
                            'obstacle': int(np.sum(moment.standing)),
                            kind: score(answers, moment.standing)}
    return found


def grey_world(folder: Path, season: str, network: Network) -> dict[str, Any]:
    """W0 and on-line learning in a rendered world, in colour and made grey."""
    bag = folder / f'{season}_{WORLD_SEED}'
    if not bag.exists():
        bag.parent.mkdir(parents=True, exist_ok=True)
        record(WorldSpec(WORLD_SEED, season), bag, RECORDING)
    return {kind: evaluate(world_moments(bag, network, kind == 'grey'), network, SEEDS,
                           position=False) for kind in ('colour', 'grey')}


def world_moments(bag: Path, network: Network, grey: bool) -> list[Moment]:
    """Every frame to learn from; those with rendered truth are scored."""
    chain, moments = Traversability(without_learner(), network), []
    with open_bag(bag, chain.config) as source:
        truth = read_truth(source, bag)
        for frame in source.frames():
            shown = replace(frame, image=to_grey(frame.image)) if grey else frame
            sight = chain.process(shown).sight
            label, scored = np.empty(0), np.zeros(0, bool)
            if frame.stamp_ns in truth.stamps:
                known = window_truth(truth.at(frame), sight.pyramid)
                scored = known.decided & sight.pyramid.windows.valid
                scored &= (known.range_m >= NEAR_M) & (known.range_m < FAR_M)
                label = np.where(known.obstacle, SUPER_OBSTACLE, SUPER_GROUND)
            moments.append(Moment(sight, np.flatnonzero(scored), label[scored].astype(np.uint8)))
    return moments


def far_truth(result: Result, grid: DepthGrid, config: Config) -> dict[str, Moment]:
    """Truth of the windows at 15-40 m: the teacher's rule, looser, and without footlines."""
    far = config.supervisor.model_copy(update={'max_range_m': TRUTH_TO_M})
    points = label_points(grid, fit_planes(grid, result.plane.plane, config.plane), far)
    strict = supervise(points, grid, result.pyramid, far).label
    edge = occlusion_edges(grid.disparity)
    v, u = np.nonzero(points.feet)
    feet = np.stack([grid.uv[0][u], grid.uv[1][v]], -1)
    loose = labels_from_masks(points.ground & ~edge, points.obstacle & ~edge, feet, grid.step,
                              result.pyramid, far).label
    pure = np.where(strict == FOOTLINE, UNLABELED, strict).astype(np.uint8)
    depth = centre_depth(result.pyramid, grid)
    within = (depth >= NEAR_M) & (depth < FAR_M) & result.pyramid.windows.valid
    moments = {}
    for name, label in ((MAIN, strict), ('looser ground', loose), ('no footlines', pure)):
        index = np.flatnonzero(within & (label != UNLABELED))
        moments[name] = Moment(result.sight, index, label[index])
    return moments


def centre_depth(pyramid: Pyramid, grid: DepthGrid) -> Float:
    """Measured depth at the centre of each window, (N,) [m]; NaN where there is none."""
    u, v = np.rint(pyramid.windows.uv).astype(int).T
    height, width = grid.disparity.shape
    inside = (u >= 0) & (v >= 0) & (u < width) & (v < height)
    depth = np.full(len(u), np.nan)
    depth[inside] = grid.depth[v[inside], u[inside]]
    return depth


def corridor_check(drive: Any, moments: list[Moment]) -> dict[str, int] | None:
    """Truth where the car itself drove later: how many windows, how many called obstacle."""
    if moments[0].sight.odom_from_base is None:
        return None
    pages = import_module('real_images')
    pages.CORRIDOR_M, pages.CORRIDOR_RANGE_M = 1.0, (NEAR_M, FAR_M)
    label = np.concatenate([
        m.label[pages.corridor(m.sight.pyramid, drive, number)[m.index]]
        for number, m in enumerate(moments)])
    return {'windows': len(label), 'obstacle': int(np.sum(label >= FOOTLINE)),
            'footline': int(np.sum(label == FOOTLINE))}


def near_labels(sight: Sight) -> tuple[Index, Image]:
    """Windows that the teacher labels, and their classes."""
    if sight.labels is None:
        return np.empty(0, np.intp), np.empty(0, np.uint8)
    index = np.flatnonzero(sight.labels.labeled & sight.pyramid.windows.valid)
    return index, sight.labels.label[index]


def evaluate(
    moments: list[Moment], network: Network, seeds: tuple[int, ...], *, position: bool = True
) -> dict[str, Any]:
    """Scores of every mode over the frames of one drive."""
    truth = np.concatenate([m.standing for m in moments])
    runs: dict[str, list[list[Answers]]] = {}
    serving: dict[str, Any] = {}
    for seed in seeds:
        for propagation in (False, True):
            answers, served = learn_along(moments, network, seed, propagation)
            for name, parts in answers.items():
                runs.setdefault(name, []).append(parts)
            serving.setdefault('propagation' if propagation else 'online', served)
    runs['w0'] = runs['w0'][:1]
    x = [gather_some(m.sight.maps, m.sight.pyramid, network.spec.receptive, m.index)
         for m in moments]
    runs['ceiling'] = [two_fold(x, moments)]
    if position:
        place = [positions(m.sight.pyramid)[m.index] for m in moments]
        runs |= {'position': [position_along(moments)],
                 'position_oracle': [two_fold(place, moments)]}
    scores = {name: [score(parts, truth) for parts in run] for name, run in runs.items()}
    return {'ground': int(np.sum(~truth)), 'obstacle': int(np.sum(truth)), 'serving': serving,
            'modes': {name: {key: [s[key] for s in several] for key in several[0]}
                      for name, several in scores.items()},
            'difference': {name: difference([m.standing for m in moments], run[0], runs['w0'][0])
                           for name, run in runs.items() if name != 'w0'}}


def learn_along(
    moments: list[Moment], network: Network, seed: int, propagation: bool
) -> tuple[dict[str, list[Answers]], dict[str, list[int]]]:
    """Classify each frame, then learn from it; how often each candidate served far ranges."""
    config = Config()
    settings = config.near_to_far.model_copy(update={'propagation': propagation})
    learner = NearToFar(settings, network.spec, config.supervisor.obstacle_m, seed)
    name, raw = ('propagation', FAR) if propagation else ('online', NEAR)
    fixed = {'w0': np.full(3, W0), f'{name}_raw': np.full(3, raw)}
    answers: dict[str, list[Answers]] = {}
    served = np.zeros((3, len(CANDIDATES)), int)
    for moment in moments:
        choice = learner.serving()
        served[np.arange(3), choice] += 1
        for mode, weights in {**fixed, name: choice}.items():
            found = learner.classified(moment.sight, weights)[moment.index]
            answers.setdefault(mode, []).append(answered(found))
        learner.learn(moment.sight)
    return answers, {'12-30 m': served[1].tolist(), '30 m+': served[2].tolist()}


def position_along(moments: list[Moment]) -> list[Answers]:
    """Softmax on position alone, fitted before each frame on all near labels so far."""
    taught: list[tuple[Float, Image]] = []
    answers = []
    for moment in moments:
        where = positions(moment.sight.pyramid)
        labels = np.concatenate([label for _, label in taught]) if taught else np.empty(0)
        if len(np.unique(labels >= FOOTLINE)) == 2:
            known = fit_softmax(np.concatenate([x for x, _ in taught]), labels)
            answers.append(answered(known.probabilities(where[moment.index])))
        else:
            nothing = np.full(len(moment.index), 0.5)
            answers.append(Answers(nothing, nothing))
        index, label = near_labels(moment.sight)
        taught.append((where[index], label))
    return answers


def two_fold(features: list[Float], moments: list[Moment]) -> list[Answers]:
    """Softmax fitted on the truth of every other block of frames, asked about the rest."""
    fold = (np.arange(len(moments)) // BLOCK) % 2
    fitted: list[Softmax] = []
    for k in (0, 1):
        chosen = np.flatnonzero(fold != k)
        fitted.append(fit_softmax(np.concatenate([features[i] for i in chosen]),
                                  np.concatenate([moments[i].label for i in chosen])))
    return [answered(fitted[k].probabilities(x)) for k, x in zip(fold, features, strict=True)]


if __name__ == '__main__':
    typer.run(main)
