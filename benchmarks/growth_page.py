# SPDX-License-Identifier: Apache-2.0
"""The page docs/growth.md and its plots, from the points of ``benchmarks/growth.py``."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from perception.bench import IN_FRAME as STAGES

Row = dict[str, Any]
AXES = {
    'picture': 'megapixels of the picture', 'bands': 'bands of the pyramid',
    'grid': 'thousand cells of the cost map', 'map': 'thousand cells of the polar map',
    'cameras': 'cameras on one map'}
TEXT = """\
# Growth

    {command}

Each point is a process of its own, one thread, on the shipped pair scaled to the size; all else as
by default (640 x 480, 7 bands, `default` network in ONNX Runtime f32, 60 m of cost map). Times are
processor times over one stereo match (SGBM, 640 x 480, 96 disparities) of the same process. Memory
is the largest resident set beyond the loaded program's. *Slope*: exponent of the time over the
sweep; 1 = in proportion, 0 = no growth. Stereo grows with the pixels; what follows works on bands
of fixed size and on a thinned grid of depth, and so grows less. Each further camera costs the same
again.

![time and memory against each size](pictures/growth.png)

{slopes}

{tables}
"""


def page(result: dict[str, Any]) -> str:
    """Whole page as Markdown."""
    head = ['sweep', *STAGES, 'frame', 'memory']
    slopes = [[AXES[sweep], *(f'{slope(rows, name):.2f}' for name in (*STAGES, 'frame')),
               f'{slope(rows, None):.2f}'] for sweep, rows in sweeps(result)]
    tables = []
    for sweep, rows in sweeps(result):
        lines = [[label(row), *(f'{row["ratio"][name]:.3f}' for name in (*STAGES, 'frame')),
                  f'{row["memory_mb"]:.0f} MB'] for row in rows]
        tables.append(table([AXES[sweep], *STAGES, 'frame', 'memory'], lines))
    return TEXT.format(command=result['command'], slopes=table(head, slopes),
                       tables='\n\n'.join(tables))


def sweeps(result: dict[str, Any]) -> list[tuple[str, list[Row]]]:
    """Points by what changes."""
    return [(name, [row for row in result['rows'] if row['sweep'] == name]) for name in AXES]


def label(row: Row) -> str:
    """Name of a point."""
    size = f' ({row["width"]} x {row["height"]})' if row['sweep'] == 'picture' else ''
    return f'{row["value"]:.3g}{size}'


def slope(rows: list[Row], stage: str | None) -> float:
    """Exponent of a stage's time, or of memory, over the sweep by least squares."""
    values = [row['ratio'][stage] if stage else max(row['memory_mb'], 1) for row in rows]
    return float(np.polyfit(np.log([row['value'] for row in rows]), np.log(values), 1)[0])


def draw(result: dict[str, Any], path: Path) -> None:
    """Stages stacked against each size, memory on the right axis."""
    figure = Figure(figsize=(15, 3.4), layout='constrained')
    for axes, (sweep, rows) in zip(figure.subplots(1, len(AXES)), sweeps(result), strict=True):
        values = [row['value'] for row in rows]
        axes.stackplot(values, *([row['ratio'][name] for row in rows] for name in STAGES),
                       labels=STAGES, alpha=0.8)
        axes.set(xlabel=AXES[sweep], xlim=(0, None), ylim=(0, None))
        memory = axes.twinx()
        megabytes = [row['memory_mb'] for row in rows]
        memory.plot(values, megabytes, 'k.--', label='memory')
        memory.set(ylim=(0, 1.2 * max(megabytes)))
        if sweep == 'picture':
            axes.set_ylabel('ratio to one stereo match')
            axes.legend(loc='upper left', fontsize=7)
        if sweep == 'cameras':
            memory.set_ylabel('memory, MB (dashed)')
    with mpl.rc_context({'savefig.dpi': 80}):
        figure.savefig(path)


def table(head: list[str], rows: list[list[str]]) -> str:
    """Markdown table."""
    return '\n'.join('| ' + ' | '.join(line) + ' |' for line in (head, ['---'] * len(head), *rows))
