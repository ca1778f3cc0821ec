# SPDX-License-Identifier: Apache-2.0
"""Write docs/speed.md: ``python benchmarks/speed_table.py out/bench.json out/soak.json``."""

import json
import platform
from pathlib import Path
from typing import Annotated, Any

import typer

TARGET = Path(__file__).resolve().parents[1] / 'docs' / 'speed.md'
AIMS = {
    ('preprocess', 'bands7', 'default'): 0.15,
    ('preprocess', 'bands7', 'lagr2008'): 0.15,
    ('network', 'bands7', 'default'): 0.12,
    ('network', 'bands7', 'lagr2008'): 0.30,
    ('learning', 'bands7', 'default'): 0.06,
    ('learning', 'bands7', 'lagr2008'): 0.06,
    ('frame', 'bands7', 'default'): 0.60,
}
TEXT = """\
# Speed and memory

    make bench                                                   # out/bench.json
    python benchmarks/soak.py BAG --json out/soak.json           # ten minutes
    python benchmarks/speed_table.py out/bench.json out/soak.json

One thread, {machine}. A ratio is the median over the yardstick of the same run: one three-way
SGBM call (640x480, 96 disparities, block 5), {yardstick:.1f} ms here. Times are processor times.
`map` is all that evidence costs (telling points apart, placing windows, fusing, the grid),
`supervisor` and `learning` what only learning needs; `frame` = stereo + plane + preprocess +
network + map; `frame_learning` adds rectification, supervisor and learning. The p95 of
`learning` is a frame that labels an old view in hindsight: about one in six at 10 Hz.

| stage | preset | network | p50 ms | p95 ms | ratio | aim |
|---|---|---|---|---|---|---|
{rows}

Memory: {soak}
"""


def main(
    bench: Annotated[Path, typer.Argument(help='JSON of lagr bench')],
    soak: Annotated[Path, typer.Argument(help='JSON of soak.py')],
) -> None:
    """Turn both results into a table."""
    measured = json.loads(bench.read_text())
    text = TEXT.format(
        machine=_machine(), yardstick=measured['yardstick_ms'],
        rows='\n'.join(_row(row) for row in measured['rows']),
        soak=_memory(json.loads(soak.read_text())))
    TARGET.write_text(text)
    typer.echo(str(TARGET))


def _row(row: dict[str, Any]) -> str:
    aim = AIMS.get((row['name'], row['preset'], row['network']))
    verdict = '' if aim is None else f'{aim:.2f}, ' + ('met' if row['ratio'] <= aim else 'missed')
    return (f"| {row['name']} | {row['preset'] or ''} | {row['network'] or ''} "
            f"| {row['p50_ms']:.2f} | {row['p95_ms']:.2f} | {row['ratio']:.3f} | {verdict} |")


def _memory(soak: dict[str, Any]) -> str:
    verdict = 'flat' if soak['flat'] else 'not flat'
    return (f"{soak['frames']} frames in {soak['seconds']:.0f} s, resident set "
            f"{soak['start_mb']:.0f} MB after warm-up, {soak['end_mb']:.0f} MB at the end, growth "
            f"{soak['growth_mb']:+.1f} MB (bound {soak['bound_mb']:g} MB): {verdict}.")


def _machine() -> str:
    """Model of the processor."""
    info = Path('/proc/cpuinfo')
    names = [line.partition(':')[2].strip() for line in info.read_text().splitlines()
             if line.startswith('model name')] if info.exists() else []
    return names[0] if names else platform.processor() or platform.machine()


if __name__ == '__main__':
    typer.run(main)
