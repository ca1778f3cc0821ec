# SPDX-License-Identifier: Apache-2.0
"""Tables of docs/traversability.md from the scores of ``benchmarks/traversability.py``."""

from typing import Any

Scores = dict[str, Any]
MODES = {
    'w0': 'network, frozen (w0)', 'w0_colour': 'colour + network features', 'colour': 'colour',
    'stereo_only': 'stereo only', 'oracle': 'oracle',
}
LEFT_OUT_OF_AUC = 'frost'
GOOD_ORACLE = 0.9
RANGES = ('5-12 m', '12-30 m', '30-60 m')
COMMAND = 'python benchmarks/traversability.py'

HEADER = f"""# Traversability on unseen worlds

Made by `{COMMAND}`; all numbers in [results/traversability.json](results/traversability.json).
Definitions of window error, cost AUC and truth: the docstrings of `perception/evaluation`.

* Window error: balanced error of obstacle-like against ground-like windows, in per cent. A window
  about which a mode says nothing is half wrong: *stereo only* speaks within 12 m alone.
* Cost AUC: planning cells of the polar map, each truth frame by itself with the exact pose. All
  modes contain the stereo evidence within 12 m. Cells without evidence score 0.5 and stay in.
  *Oracle* = rendered truth as window labels through the same projection, blocking and map.
* *Colour* = softmax on a 31-bin colour histogram of each window; *colour + network features* =
  one softmax on both; both are fitted on rendered truth of ten clear and autumn worlds, as many
  ground as obstacle windows of each range. A dash stands where a range holds fewer than 50 truth
  items of a class.
"""


def report(result: dict[str, Any]) -> str:
    """Whole page as Markdown."""
    parts = [HEADER, '## Aims', aims_table(result), '## Worlds', worlds_table(result)]
    for name, scores in result['networks'].items():
        parts += [f'## Network `{name}`', '### Window error [%], mean over worlds',
                  error_table(list(scores.values())),
                  f'### Cost AUC, mean over worlds without {LEFT_OUT_OF_AUC}',
                  auc_table([s for season, s in scores.items() if season != LEFT_OUT_OF_AUC])]
        if LEFT_OUT_OF_AUC in scores:
            parts += [f'### Cost AUC in {LEFT_OUT_OF_AUC}', auc_table([scores[LEFT_OUT_OF_AUC]])]
        parts += ['### Each world', season_table(scores)]
    first = next(iter(result['networks'].values()))
    parts += ['## Supervisor', supervisor_table(first)]
    return '\n\n'.join(part.strip() for part in parts) + '\n'


def aims_table(result: dict[str, Any]) -> str:
    """The aims of the project beside what the first network reaches."""
    name, scores = next(iter(result['networks'].items()))
    every = list(scores.values())
    warm = [s for season, s in scores.items() if season != LEFT_OUT_OF_AUC]
    better = [_difference(every, 'window_error', ('colour', 'w0'), k) for k in range(len(RANGES))]
    behind = [_difference(warm, 'cost_auc', ('oracle', 'w0'), k) for k in range(len(RANGES))]
    good = sum(all(v is not None and v >= GOOD_ORACLE for v in s['cost_auc']['oracle'][:2])
               for s in every)
    wrong = [s['supervisor']['wrong'] for s in every]
    rows = [
        [f'window error of `{name}` below that of colour, 12-30 m', '>= 5 points',
         f'{_number(better[1], 100, 1)} points'],
        [f'cost AUC of `{name}` behind the oracle, {" / ".join(RANGES)}', '<= 0.03',
         ' / '.join(_number(value, 1, 3) for value in behind)],
        [f'worlds with an oracle AUC >= {GOOD_ORACLE} to 30 m', '>= 3', f'{good} of {len(every)}'],
        ['labels of the supervisor wrong, mean (worst world)', '<= 4 %',
         f'{_number(sum(wrong) / len(wrong), 100, 1)} % ({_number(max(wrong), 100, 1)} %)'],
    ]
    return _table(['aim', 'wanted', 'reached'], rows)


def _difference(
    scores: list[Scores], kind: str, modes: tuple[str, str], index: int
) -> float | None:
    """Mean of the first mode less that of the second."""
    first, second = (mean(scores, kind, mode, index) for mode in modes)
    return None if first is None or second is None else first - second


def mean(scores: list[Scores], kind: str, mode: str, index: int) -> float | None:
    """Mean over the worlds that have this number."""
    values = [s[kind][mode][index] for s in scores if s[kind].get(mode)]
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def error_table(scores: list[Scores]) -> str:
    """Window error of each mode, per cent."""
    return _mode_table(scores, 'window_error', 100, 1)


def auc_table(scores: list[Scores]) -> str:
    """Cost AUC of each mode."""
    return _mode_table(scores, 'cost_auc', 1, 3)


def season_table(scores: dict[str, Scores]) -> str:
    """Window error and cost AUC of network and oracle, world by world."""
    columns = [
        ('error w0', 'window_error', 'w0', 100, 1),
        ('error colour', 'window_error', 'colour', 100, 1),
        ('AUC w0', 'cost_auc', 'w0', 1, 3), ('AUC oracle', 'cost_auc', 'oracle', 1, 3),
    ]
    rows = [
        [season] + [' / '.join(_number(s[kind][mode][k], scale, digits) for k in range(3))
                    for _, kind, mode, scale, digits in columns]
        for season, s in scores.items()
    ]
    return _table(['world', *(f'{title}, 5-12 / 12-30 / 30-60 m' for title, *_ in columns)], rows)


def worlds_table(result: dict[str, Any]) -> str:
    """What was driven through; tilt of the ground against gravity as frames saw it."""
    first = next(iter(result['networks'].values()))
    rows = []
    for season, world in result['worlds'].items():
        tilt = first[season]['ground_tilt_rad']['p50']
        rows.append([
            f"{season}, seed {world['seed']}", f"{world['relief_m']:g}",
            f"{world['tilt_deviation_rad']:.3f}", _number(tilt, 1, 3),
            str(world['near_obstacles']), str(world['visible_obstacles']),
            f"{world['driven_m']:.0f}", str(first[season]['frames']),
        ])
    return _table(['world', 'relief [m]', 'ground-tilt deviation [rad]',
                   'tilt within 12 m, median [rad]', 'obstacles within 12 m',
                   'obstacles seen at 12-60 m', 'driven [m]', 'truth frames'], rows)


def supervisor_table(scores: dict[str, Scores]) -> str:
    """Labels of the supervisor against window truth."""
    keys = ('wrong', 'ground_called_obstacle', 'obstacle_called_ground')
    rows = [
        [season] + [_number(s['supervisor'][key], 100, 1) for key in keys]
        + [_number(s['supervisor']['labels_per_frame'], 1, 0),
           _number(s['supervisor']['undecided'], 100, 1)]
        for season, s in scores.items()
    ]
    return _table(['world', 'wrong [%]', 'ground called obstacle [%]',
                   'obstacle called ground [%]', 'labels a frame', 'truth undecided [%]'], rows)


def _mode_table(scores: list[Scores], kind: str, scale: float, digits: int) -> str:
    modes = [mode for mode in MODES if any(mode in s[kind] for s in scores)]
    rows = [[MODES[mode]] + [_number(mean(scores, kind, mode, k), scale, digits)
                             for k in range(len(RANGES))] for mode in modes]
    return _table(['mode', *RANGES], rows)


def _number(value: float | None, scale: float, digits: int) -> str:
    return '-' if value is None else f'{value * scale:.{digits}f}'


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ['---'] * len(head), *rows]
    return '\n'.join('| ' + ' | '.join(line) + ' |' for line in lines)
