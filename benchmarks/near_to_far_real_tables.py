# SPDX-License-Identifier: Apache-2.0
"""Scores, the Husky part and the page of ``benchmarks/near_to_far_real.py``."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image as Picture
from scipy.spatial import cKDTree

from perception.camera import pixel_rays
from perception.config import load_config
from perception.draw import label_images, window_index
from perception.evaluation.scores import balanced_error, rank_auc
from perception.evaluation.softmax import fit_softmax
from perception.inference import Network
from perception.judge import NEAR, W0
from perception.near_to_far import NearToFar
from perception.pipeline import Result, Traversability
from perception.pyramid import Pyramid
from perception.report import paint, predicted_labels
from perception.types import FOOTLINE, Camera, Float, Frame, Image, Mask

BLOCK, RESAMPLES = 6, 1000  # frames of a fold and of a resample
CAMERA_XYZ_M, TILT_RAD = (0.084, 0.060, 0.774), 0.197  # the authors' pose, robot frame
CELL_M, SIDE, REACH_M, PASSES = 0.2, 20, 0.2, 5
PICTURED, PANEL = ('01', '10', '11'), 320


@dataclass(frozen=True)
class Answers:
    """Of the scored windows of one frame: ``says`` 0, 0.5 or 1; ``danger`` in [0, 1]."""

    says: Float
    danger: Float


def answered(probabilities: Float) -> Answers:
    """Family of the likeliest class, and the probability of the obstacle family."""
    return Answers((probabilities.argmax(1) >= FOOTLINE).astype(float),
                   probabilities[:, FOOTLINE:].sum(1))


def positions(pyramid: Pyramid) -> Float:
    """Band, and row in the band, of every window: all that a position-only classifier sees."""
    windows = pyramid.windows
    band = np.eye(len(pyramid.bands))[windows.band]
    rows = np.array([max(b.rows - 1, 1) for b in pyramid.bands])
    return np.concatenate([band, band * (windows.row / rows[windows.band])[:, None]], 1)


def score(parts: list[Answers], truth: Mask) -> dict[str, float]:
    """Balanced and raw error, errors of the two families, AUC."""
    says, danger = (np.concatenate([getattr(p, key) for p in parts]) for key in
                    ('says', 'danger'))
    wrong = np.where(says == 0.5, 0.5, (says > 0.5) != truth)
    return {'balanced': balanced_error(says, truth), 'raw': float(wrong.mean()),
            'auc': rank_auc(danger, truth), 'ground_wrong': float(wrong[~truth].mean()),
            'obstacle_wrong': float(wrong[truth].mean())}


def difference(truth: list[Mask], one: list[Answers], other: list[Answers]) -> list[float]:
    """Balanced error less W0's: 2.5 and 97.5 % points over resampled blocks of frames."""
    blocks = np.arange(len(truth)) // BLOCK
    sums = np.zeros((blocks[-1] + 1, 2, 3))  # block, family, (count, wrong, wrong of other)
    for block, standing, a, b in zip(blocks, truth, one, other, strict=True):
        wrong = [np.where(p.says == 0.5, 0.5, (p.says > 0.5) != standing) for p in (a, b)]
        for k in (0, 1):
            mine = standing == k
            sums[block, k] += [mine.sum(), wrong[0][mine].sum(), wrong[1][mine].sum()]
    if len(sums) < 5:
        return []
    drawn = np.random.default_rng(0).integers(len(sums), size=(RESAMPLES, len(sums)))
    total = sums[drawn].sum(1)
    total = total[(total[:, :, 0] > 0).all(1)]
    gain = ((total[..., 1] - total[..., 2]) / total[..., 0]).mean(1)
    return [float(v) for v in np.percentile(gain, (2.5, 97.5))]


def husky_part(
    folder: Path, recorded: Any, network: Network, seeds: tuple[int, ...], picture: Path | None
) -> dict[str, Any]:
    """Cost grids against W0, against weights taught by the other frames, and against depth."""
    shown = {path.name.split('_')[0]: husky_frame(recorded.husky(path), network)
             for path in sorted(folder.glob('*_rgb.jpg'))}
    costs = {name: np.load(folder / f'{name}_costmap.npy') for name in shown
             if (folder / f'{name}_costmap.npy').exists()}
    frames, panels = {}, []
    for name, cost in costs.items():
        grids, labels = husky_grids(name, shown, costs, network, seeds)
        pitch_deg = float(np.degrees(shown[name].plane.plane.pitch_rad))
        frames[name] = judged(cost, grids) | {'pitch_deg': pitch_deg}
        if name in PICTURED:
            panels.append(picture_row(name, shown[name], labels, cost))
    if picture is not None:
        strip = Picture.fromarray(np.ascontiguousarray(np.vstack(panels)[..., ::-1]))
        strip.quantize(256, Picture.Quantize.FASTOCTREE).save(picture, optimize=True)
    seen, known = in_view(shown['01'].frame.camera), costs['01'] > 0  # the same in all grids
    return {'frames': frames, 'mask_agrees': int(np.sum(seen == known)),
            'mask_mirrored': int(np.sum(seen[:, ::-1] == known))}


def husky_frame(drive: Any, network: Network) -> Result:
    """One frame through the chain, with the bands that reach down to 2 m."""
    config = load_config(overrides=[*drive.overrides, 'near_to_far.enabled=false',
                                    'pyramid.preset=bands24'])
    shot = next(drive.shots())
    depth = np.where(shot.depth_mm > 0, shot.depth_mm / 1000, np.nan).astype(np.float32)
    return Traversability(config, network).process(
        Frame(shot.stamp_ns, shot.image, drive.camera, depth=depth))


def husky_grids(
    name: str, shown: dict[str, Result], costs: dict[str, Float], network: Network,
    seeds: tuple[int, ...],
) -> tuple[dict[str, list[Float]], list[Float]]:
    """Danger in the cells of one frame by every mode; window probabilities of W0 and on line."""
    result, others = shown[name], [r for key, r in shown.items() if key != name]
    runs: dict[str, list[Float]] = {}
    for seed in seeds:
        learner = NearToFar(load_config().near_to_far, network.spec, seed=seed)
        for other in [o for _ in range(PASSES) for o in others]:
            learner.learn(other.sight)
        for mode, choice in (('w0', np.full(3, W0)), ('online', learner.serving()),
                             ('online_raw', np.full(3, NEAR))):
            runs.setdefault(mode, []).append(learner.classified(result.sight, choice))
    runs['w0'] = runs['w0'][:1]
    grids = {mode: [window_cells(result, p[:, FOOTLINE:].sum(1)) for p in several]
             for mode, several in runs.items()}
    known = fit_softmax(
        np.concatenate([positions(o.pyramid)[o.labels.labeled] for o in others]),
        np.concatenate([o.labels.label[o.labels.labeled] for o in others]))
    place = answered(known.probabilities(positions(result.pyramid)))
    depth = depth_cells(result)
    both = {f'{mode}_depth': [(g + depth) / 2 for g in several] for mode, several in grids.items()}
    seen = ~np.isnan(grids['w0'][0])
    grids |= {'position': [window_cells(result, place.danger)], 'depth': [depth],
              'distance': [np.where(seen, np.arange(SIDE)[:, None], np.nan)],
              'other_grids': [np.mean([c for key, c in costs.items() if key != name], axis=0)]}
    return grids | both, [runs['w0'][0], runs['online'][0], runs['online_raw'][0]]


def authors_ground(uv: Float, camera: Camera) -> Float:
    """Pixels (N, 2) -> (forward, left) [m] on the ground of the authors' fixed camera pose."""
    ray = pixel_rays(uv, camera)
    down = ray[:, 2] * np.sin(TILT_RAD) + ray[:, 1] * np.cos(TILT_RAD)
    ahead = ray[:, 2] * np.cos(TILT_RAD) - ray[:, 1] * np.sin(TILT_RAD)
    scale = CAMERA_XYZ_M[2] / np.where(down > 1e-3, down, np.nan)
    return np.stack([CAMERA_XYZ_M[0] + scale * ahead, CAMERA_XYZ_M[1] - scale * ray[:, 0]], -1)


def cell_centres() -> Float:
    """Centres (SIDE, SIDE, 2), forward and left [m]: row 0 is nearest, column 0 leftmost."""
    row, column = np.indices((SIDE, SIDE)) + 0.5
    return np.stack([row, SIDE / 2 - column], -1) * CELL_M


def in_view(camera: Camera) -> Mask:
    """Cells of whose image a tenth lies inside, corners clipped: what the authors' tool asks."""
    row, column = np.indices((SIDE, SIDE))[..., None] + np.array([[0, 0, 1, 1], [0, 1, 1, 0]])[
        :, None, None]
    ahead, left = row * CELL_M - CAMERA_XYZ_M[0], (SIDE / 2 - column) * CELL_M - CAMERA_XYZ_M[1]
    z = ahead * np.cos(TILT_RAD) + CAMERA_XYZ_M[2] * np.sin(TILT_RAD)
    y = CAMERA_XYZ_M[2] * np.cos(TILT_RAD) - ahead * np.sin(TILT_RAD)
    u, v = camera.cx - camera.fx * left / z, camera.cy + camera.fy * y / z

    def area(u: Float, v: Float) -> Float:
        return (v[..., 0] - v[..., 2]) * (u[..., 1] - u[..., 0] + u[..., 2] - u[..., 3]) / 2

    inside = area(np.clip(u, 0, camera.width), np.clip(v, 0, camera.height))
    return np.asarray((z > 0).all(-1) & (inside >= 0.1 * area(u, v)))


def window_cells(result: Result, danger: Float) -> Float:
    """Mean danger of the windows around each cell, (SIDE, SIDE); NaN where there are none."""
    windows = result.pyramid.windows
    ground = authors_ground(windows.uv, result.frame.camera)
    usable = np.flatnonzero(windows.valid & np.isfinite(ground).all(1))
    near = cKDTree(ground[usable]).query_ball_point(cell_centres().reshape(-1, 2), REACH_M)
    mean = [danger[usable[found]].mean() if found else np.nan for found in near]
    return np.reshape(mean, (SIDE, SIDE))


def depth_cells(result: Result) -> Float:
    """Share of obstacle points among the labelled ones seen in each cell, (SIDE, SIDE)."""
    columns, rows = result.grid.uv
    uv = np.stack(np.meshgrid(columns, rows), -1).reshape(-1, 2)
    ground = authors_ground(uv, result.frame.camera)
    row, column = ground[:, 0] / CELL_M, SIDE / 2 - ground[:, 1] / CELL_M
    inside = (row >= 0) & (row < SIDE) & (column >= 0) & (column < SIDE)
    cell = (np.floor(row[inside]) * SIDE + np.floor(column[inside])).astype(int)
    free, standing = (np.bincount(cell[mask.ravel()[inside]], minlength=SIDE * SIDE)
                      for mask in (result.points.ground, result.points.obstacle))
    share = np.where(free + standing >= 5, standing / np.maximum(free + standing, 1), np.nan)
    return share.reshape(SIDE, SIDE)


def judged(cost: Float, grids: dict[str, list[Float]]) -> dict[str, Any]:
    """Order of the cells that have a cost, windows and depth, by every mode."""
    used = cost > 0
    for several in grids.values():
        used = used & np.isfinite(several[0])
    order = {mode: [ordered(g[used], cost[used]) for g in several]
             for mode, several in grids.items()}
    return {'used': int(used.sum()), 'kinds': np.unique(cost[used]).round(1).tolist(),
            'order': order}


def ordered(danger: Float, cost: Float) -> float:
    """Share of the pairs of cells of different cost that are put in order; a tie is a half."""
    more = cost[:, None] > cost
    return float(((danger[:, None] > danger) + 0.5 * (danger[:, None] == danger))[more].mean())


def picture_row(name: str, result: Result, labels: list[Float], cost: Float) -> Image:
    """Labels of W0 and on line, depth and cost grid of one frame side by side."""
    index = window_index(result.pyramid, result.pyramid.windows.valid)
    panels = [paint(result.frame.image, result.pyramid,
                    label_images(*predicted_labels(result.pyramid, p), index),
                    bands=False, width=PANEL) for p in (labels[0], labels[2])]
    side, width = panels[0].shape[:2]
    near = np.nan_to_num(255 - 255 * result.frame.depth / 7).astype(np.uint8)
    shade = np.where(cost > 0, 255 - 36 * (cost - 2), 0)[::-1].astype(np.uint8)
    depth, grid = (cv2.cvtColor(cv2.resize(plane, size, interpolation=cv2.INTER_NEAREST),
                                cv2.COLOR_GRAY2BGR)
                   for plane, size in ((near, (width, side)), (shade, (side, side))))
    titles = (f'{name}: W0', 'on-line weights', 'depth (bright = near)', 'cost (dark = worse)')
    row = [np.pad(panel, ((20, 4), (0, 4), (0, 0))) for panel in (*panels, depth, grid)]
    for panel, title in zip(row, titles, strict=True):
        cv2.putText(panel, title, (4, 15), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1)
    return np.hstack(row)


MODES = {'always': 'always obstacle', 'w0': 'W0', 'online': 'on-line', 'propagation':
         'propagation', 'online_raw': 'on-line, raw', 'propagation_raw': 'propagation, raw',
         'position': 'position, near labels', 'position_oracle': 'position, far truth',
         'ceiling': 'ceiling'}
CELL_MODES = {'w0': 'W0', 'online': 'on-line', 'online_raw': 'on-line, raw', 'w0_depth':
              'W0 + depth', 'online_depth': 'on-line + depth', 'online_raw_depth':
              'raw + depth', 'depth': 'depth', 'distance': 'distance',
              'position': 'position, near labels', 'other_grids': 'mean of other grids'}
MATCHING = ('{matched:.0%} of {pixels} pixels matched; median error {median_relative:.1%} of the '
            'depth, 95 % below {p95_relative:.0%}; {off_3px:.1%} off by more than 3 px.')
CORRIDOR = '{windows} windows, {obstacle} called obstacle, {footline} of these footline.'


def report(page: str, result: dict[str, Any]) -> str:
    """Page with all tables between ``<!-- NAME -->`` and ``<!-- end -->`` written anew."""
    kitti, husky = result['kitti'], result['husky']
    corridor, first = kitti['default']['KITTI 06']['corridor'], husky['default']
    blocks = {
        'seeds': f'Sampling seeds {", ".join(map(str, result["seeds"]))}.',
        'kitti': '\n\n'.join(kitti_table(title, name, found) for title in kitti['default']
                             for name, found in ((n, k[title]) for n, k in kitti.items())),
        'matching': MATCHING.format(**result['matching']), 'corridor': CORRIDOR.format(**corridor),
        'variants': variants_table(kitti), 'pairs': pairs_table(result['grey']),
        'worlds': worlds_table(result['grey']), 'worse': f'{worse(result)}.',
        'mask': f'{first["mask_agrees"]} of 400 cells agree (mirrored: {first["mask_mirrored"]}).',
        'cells': '\n\n'.join(cells_table(n, found['frames']) for n, found in husky.items()),
    }
    for name, text in blocks.items():
        page, count = re.subn(f'<!-- {name} -->.*?<!-- end -->', lambda _, new=text, key=name:
                              f'<!-- {key} -->\n{new}\n<!-- end -->', page, flags=re.DOTALL)
        if count != 1:
            raise ValueError(f'the page needs one place <!-- {name} --> ... <!-- end -->')
    return page


def kitti_table(title: str, name: str, found: dict[str, Any]) -> str:
    """Modes on one sequence."""
    main = next(iter(found['truths'].values()))
    ground, obstacle = main['ground'], main['obstacle']
    served = main['serving']['propagation']
    rows = [['always obstacle', '50.0', f'{100 * ground / (ground + obstacle):.1f}', '50.0', '']]
    for mode, text in list(MODES.items())[1:]:
        gap = [f'{100 * v:+.1f}' for v in main['difference'].get(mode, [])]
        rows.append([text, *(spread(main['modes'][mode][key], 100)
                             for key in ('balanced', 'raw', 'auc')), ' to '.join(gap)])
    near = found['near_labels']
    text = (f'### {title}, `{name}`\n\n{found["frames"]} frames; near labels: {near[0]} ground, '
            f'{near[1]} obstacle. Far truth: {ground} ground, {obstacle} obstacle windows '
            '(overlapping). Frames in which W0 / near / far weights served with propagation: '
            + '; '.join(f'{k}: {" / ".join(map(str, v))}' for k, v in served.items()) + '.')
    return text + '\n\n' + table(['mode', 'balanced [%]', 'raw [%]', 'AUC [%]', 'interval'], rows)


def variants_table(kitti: dict[str, Any]) -> str:
    """The same under other ideas of the truth."""
    rows = [[f'`{name}`', truth, f'{e["ground"]} / {e["obstacle"]}',
             *(f'{100 * e["modes"][mode]["balanced"][0]:.1f}' for mode in list(MODES)[1:])]
            for name, found in kitti.items() for truth, e in found['KITTI 06']['truths'].items()]
    return table(['network', 'truth', 'ground / obstacle', *list(MODES.values())[1:]], rows)


def pairs_table(grey: dict[str, Any]) -> str:
    """Colour pairs of KITTI and the same made grey."""
    rows = [[f'`{name}`', pair, f'{e["ground"]} / {e["obstacle"]}', *(
        f'{100 * e[kind]["balanced"]:.1f}' for kind in ('colour', 'grey'))]
            for name, found in grey.items() for pair, e in found['pairs'].items()]
    return table(['network', 'pair', 'ground / obstacle', 'W0, colour', 'W0, grey'], rows)


def worlds_table(grey: dict[str, Any]) -> str:
    """Rendered worlds in colour and grey, balanced error."""
    modes = [mode for mode in MODES if mode not in ('always', 'position', 'position_oracle')]
    rows = [[f'`{name}`', f'{season}, {kind}', f'{e["ground"]} / {e["obstacle"]}',
             *(spread(e['modes'][mode]['balanced'], 100) for mode in modes)]
            for name, found in grey.items() for season, kinds in found['worlds'].items()
            for kind, e in kinds.items()]
    return table(['network', 'world', 'ground / obstacle', *(MODES[mode] for mode in modes)], rows)


def cells_table(name: str, frames: dict[str, Any]) -> str:
    """Order of the cells, frame by frame."""
    rows = []
    for mode, text in CELL_MODES.items():
        runs = [frame['order'][mode] for frame in frames.values()]
        rows.append([text, *(spread(run, 1, 2) for run in runs),
                     f'{np.mean([np.mean(run) for run in runs]):.2f}'])
    head = [f'`{name}`', *(f'{key} ({f["used"]} cells)' for key, f in frames.items()), 'mean']
    return table(head, rows)


def worse(result: dict[str, Any]) -> str:
    """Where the served weights were worse than W0."""
    runs = {f'`{name}` {title}': next(iter(e['truths'].values()))
            for name, found in result['kitti'].items() for title, e in found.items()}
    runs |= {f'`{name}` {season} {kind}': e for name, found in result['grey'].items()
             for season, kinds in found['worlds'].items() for kind, e in kinds.items()}
    gaps = {f'{title}, {MODES[mode]}': np.mean(e['modes'][mode]['balanced'])
            - e['modes']['w0']['balanced'][0]
            for title, e in runs.items() for mode in ('online', 'propagation')}
    found = [f'{title} +{100 * gap:.1f}' for title, gap in gaps.items() if gap >= 5e-4]
    return '; '.join(found) or 'nowhere'


def spread(values: list[float], scale: float, digits: int = 1) -> str:
    """Mean, and half the range where there are several values."""
    mean, half = scale * np.mean(values), scale * np.ptp(values) / 2
    return f'{mean:.{digits}f}' + (f' ± {half:.{digits}f}' if len(values) > 1 else '')


def table(head: list[str], rows: list[list[str]]) -> str:
    """Markdown table."""
    return '\n'.join('| ' + ' | '.join(line) + ' |' for line in [head, ['---'] * len(head), *rows])
