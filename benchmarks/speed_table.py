# SPDX-License-Identifier: Apache-2.0
"""Write docs/speed.md: ``python benchmarks/speed_table.py out/bench.json out/soak.json``."""

import json
import platform
from pathlib import Path
from typing import Annotated, Any

import typer

TARGET = Path(__file__).resolve().parents[1] / 'docs' / 'speed.md'
AIMS = {
    ('preprocess', 'bands7', 'default', 1): 0.15,
    ('preprocess', 'bands7', 'lagr2008', 1): 0.15,
    ('network', 'bands7', 'default', 1): 0.12,
    ('network', 'bands7', 'lagr2008', 1): 0.30,
    ('learning', 'bands7', 'default', 1): 0.06,
    ('learning', 'bands7', 'lagr2008', 1): 0.06,
    ('frame', 'bands7', 'default', 1): 0.60,
    ('frame', 'bands7', 'default', 2): 0.22,
}
TEXT = """\
# Speed and memory

    make bench                                                   # out/bench.json
    python benchmarks/soak.py BAG --json out/soak.json           # ten minutes
    python benchmarks/speed_table.py out/bench.json out/soak.json

{machine}. A ratio is the median over the yardstick of the same run: one three-way
SGBM call (640x480, 96 disparities, block 5), {yardstick:.1f} ms here. Times are processor times.
`map` is all that evidence costs (telling points apart, placing windows, fusing, the grid),
`supervisor` and `learning` what only learning needs; `frame` = stereo + plane + preprocess +
network + map; `frame_learning` adds rectification, supervisor and learning. The p95 of
`learning` is a frame that labels an old view in hindsight: about one in six at 10 Hz.

| stage | preset | network | threads | p50 ms | p95 ms | ratio | aim |
|---|---|---|---|---|---|---|---|
{rows}

## Two threads

`runtime.pipelining: off | on | auto` (default `auto`). The first half of a frame (reading,
rectification, depth, ground plane, scene labels) remembers nothing but the plane; the second
(pyramid, network, learning, map) nothing but what was learned and the map. Pipelined, the first
half of frame t+1 runs on a second thread beside the second half of frame t. Results are the same
to the bit, whichever thread is faster, and an error stays with its frame
(`tests/test_pipelined.py`).

Latency: `lagr replay` hands the result of frame t over once frame t+1 has been taken up, one frame
later. A node publishes frame t as soon as it is done; no frame waits behind another, as the next
one is taken up just so late that its first half ends with the second half of this one. What that
does to rate and age is in [ros.md](ros.md#two-threads): it answers more frames where they come
faster than one core works, but none sooner. So `auto` takes the second thread in a replay that may
use two cores, and leaves it out of a node.

The rows `threads` 2 are the time from result to result of frames in a row, without learning, by
the clock on the wall in yardsticks so timed; they mean something only on two idle cores. Python's
lock makes each half dearer by about 15 % while the other runs, so two threads take 0.6 to 0.7 of
the time of one, not half. BLAS must not have threads of its own (`OPENBLAS_NUM_THREADS=1`, which
`lagr` and the nodes set): they wait with a core to themselves, and two threads then gain next to
nothing.

## Memory

{soak}
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
    aim = AIMS.get((row['name'], row['preset'], row['network'], row['threads']))
    verdict = '' if aim is None else f'{aim:.2f}, ' + ('met' if row['ratio'] <= aim else 'missed')
    return (f"| {row['name']} | {row['preset'] or ''} | {row['network'] or ''} "
            f"| {row['threads']} | {row['p50_ms']:.2f} | {row['p95_ms']:.2f} "
            f"| {row['ratio']:.3f} | {verdict} |")


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
