# SPDX-License-Identifier: Apache-2.0
"""Tables and curves of docs/near_to_far.md from the scores of ``benchmarks/near_to_far.py``."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

mpl.use('Agg')
import matplotlib.pyplot as plt

RANGES = ('5-12 m', '12-30 m', '30-60 m')
NEW_SEASONS = ('haze', 'forest', 'straw', 'frost')
MODES = {
    'w0': 'W0, frozen', 'online': 'on-line, as served', 'propagation': '+ propagation, as served',
    'online_raw': 'on-line, always', 'propagation_raw': '+ propagation, always',
    'true_near_raw': 'perfect near labels, always', 'ceiling': 'ceiling of the features',
    'colour': 'colour histogram, frozen',
}
STEP_M = 1.7 * 0.5  # driven between two truth frames
TEXT = Path(__file__).with_name('near_to_far_text.md')


def report(result: dict[str, Any]) -> str:
    """Whole page as Markdown."""
    parts = [TEXT.read_text(), '## Aims', aims_table(result)]
    for name, scores in result['networks'].items():
        new = {w: s for w, s in scores.items() if w.split()[0] in NEW_SEASONS}
        parts += [f'## Network `{name}`', '### Window error [%], mean over all worlds',
                  mean_table(scores), '### Window error [%], mean over unseen seasons',
                  mean_table(new), '### Cost AUC, mean over all worlds', auc_table(scores),
                  '### Each world: window error [%], spread over seeds', world_table(scores)]
    return '\n\n'.join(part.strip() for part in parts) + '\n'


def errors(scores: dict[str, Any], mode: str, k: int) -> list[float]:
    """Window errors [%] of a mode at a range, in the worlds that have one."""
    values = [s['window_error'][mode][k] for s in scores.values()]
    return [100 * v for v in values if v is not None]


def mean_table(scores: dict[str, Any]) -> str:
    """Mean window error of every mode."""
    rows = [[text, *(_mean(errors(scores, mode, k)) for k in range(3))]
            for mode, text in MODES.items()]
    return table(['mode', *RANGES], rows)


def auc_table(scores: dict[str, Any]) -> str:
    """Mean cost AUC of every mode and of the oracle."""
    rows = []
    for mode, text in {**MODES, 'stereo_only': 'stereo alone', 'oracle': 'oracle'}.items():
        cells = []
        for k in range(3):
            values = [s['cost_auc'][mode][k] for s in scores.values()]
            known = [v for v in values if v is not None]
            cells.append(f'{np.mean(known):.3f}' if known else '-')
        rows.append([text, *cells])
    return table(['mode', *RANGES], rows)


def world_table(scores: dict[str, Any]) -> str:
    """W0, served and raw errors of each world; the spread is max - min over the seeds."""
    rows = []
    for world, s in scores.items():
        rows.append([world, *(_triple(s, mode) for mode in (
            'w0', 'online', 'propagation', 'propagation_raw', 'ceiling')),
            _spread(s, 'propagation'), ' / '.join(str(v) for v in
                                                  s['frames_not_served_by_w0']['propagation']),
            str(s['frames'])])
    return table(['world', 'W0', 'on-line', '+ propagation', '+ propagation, always', 'ceiling',
                   'spread of + propagation', 'frames not served by W0', 'frames'], rows)


def aims_table(result: dict[str, Any]) -> str:
    """The aims beside what is reached, for every network."""
    rows = []
    for name, scores in result['networks'].items():
        new = {w: s for w, s in scores.items() if w.split()[0] in NEW_SEASONS}
        served, ceiling = (errors(new, mode, 1) for mode in ('propagation', 'ceiling'))
        rows += [
            [f'`{name}`: mean error, unseen seasons, 12-30 m (ceiling)', '<= 15 %',
             f'{_mean(served)} % ({_mean(ceiling)} %)'],
            [f'`{name}`: ratio to W0 where W0 >= 25 %, 12-30 m', '<= 0.60', _ratios(scores)],
            [f'`{name}`: worst loss against W0, any world, seed and range', '<= 2.0 points',
             _worst_loss(scores)],
            [f'`{name}`: frames to half of the final gain, 5-12 m', '< 2 s', _half_gain(scores)],
        ]
    return table(['aim', 'wanted', 'reached'], rows)


def _ratios(scores: dict[str, Any]) -> str:
    parts = []
    for world, s in scores.items():
        before, after = s['window_error']['w0'][1], s['window_error']['propagation'][1]
        if before is not None and after is not None and before >= 0.25:
            parts.append(f'{world}: {100 * before:.1f} -> {100 * after:.1f} %, '
                         f'{after / before:.2f}')
    return '; '.join(parts) or 'no such world'


def _worst_loss(scores: dict[str, Any]) -> str:
    worst = (-np.inf, '')
    for world, s in scores.items():
        modes = {**s['window_error'], **s['window_error_of_seeds']}
        for mode, values in modes.items():
            if mode.split('@')[0] not in ('online', 'propagation'):
                continue
            for k, range_ in enumerate(RANGES):
                if values[k] is not None and s['window_error']['w0'][k] is not None:
                    loss = 100 * (values[k] - s['window_error']['w0'][k])
                    worst = max(worst, (loss, f'{world}, {range_}, {mode}'))
    return f'{worst[0]:+.1f} points ({worst[1]})'


def curve(scores: dict[str, Any], mode: str, k: int) -> np.ndarray:
    """Balanced error [%] of all worlds together, truth frame by truth frame, (T,)."""
    length = min(len(s['curve']) for s in scores.values())
    counts = np.array([[s['curve'][t][mode][k] for t in range(length)]
                       for s in scores.values()], float).sum(0)
    with np.errstate(invalid='ignore'):
        return 50 * (counts[:, 0] / counts[:, 1] + counts[:, 2] / counts[:, 3])


def _half_gain(scores: dict[str, Any]) -> str:
    """When the near weights first have half of the gain that they have over the second half."""
    before, after = curve(scores, 'w0', 0), curve(scores, 'online_raw', 0)
    gain = before - after
    final = np.nanmean(gain[len(gain) // 2:])
    if final < 1:
        return f'no gain to speak of ({final:+.1f} points)'
    first = int(np.argmax(gain >= final / 2))
    return f'{first * 0.5:.1f} s ({final:+.1f} points)'


def draw_curves(result: dict[str, Any], path: Path) -> None:
    """Error over the drive, all worlds together, for each network and range."""
    names = list(result['networks'])
    figure, axes = plt.subplots(len(names), 3, figsize=(12, 3.2 * len(names)), squeeze=False)
    for row, name in zip(axes, names, strict=True):
        for k, axis in enumerate(row):
            for mode in ('w0', 'propagation', 'online_raw', 'propagation_raw', 'ceiling'):
                values = curve(result['networks'][name], mode, k)
                smooth = np.convolve(np.pad(values, 2, 'edge'), np.ones(5) / 5, 'valid')
                axis.plot(np.arange(len(values)) * STEP_M, smooth, label=MODES[mode], lw=1.4)
            axis.set(title=f'{name}, {RANGES[k]}', xlabel='driven [m]', ylim=(0, None))
        row[0].set_ylabel('window error [%]')
    axes[0, 0].legend(fontsize=7)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)
    plt.close(figure)


def _triple(s: dict[str, Any], mode: str) -> str:
    values = s['window_error'].get(mode, [None] * 3)
    return ' / '.join('-' if v is None else f'{100 * v:.1f}' for v in values)


def _spread(s: dict[str, Any], mode: str) -> str:
    every = [s['window_error'][mode]] + [
        v for name, v in s['window_error_of_seeds'].items() if name.startswith(f'{mode}@')]
    return ' / '.join('-' if column[0] is None else f'{100 * (max(column) - min(column)):.1f}'
                      for column in zip(*every, strict=True))


def _mean(values: list[float]) -> str:
    return f'{np.mean(values):.1f}' if values else '-'


def table(head: list[str], rows: list[list[str]]) -> str:
    """Rows of text as a Markdown table."""
    lines = ['| ' + ' | '.join(row) + ' |' for row in [head, ['---'] * len(head), *rows]]
    return '\n'.join(lines)
