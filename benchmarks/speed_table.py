# SPDX-License-Identifier: Apache-2.0
"""Write docs/speed.md: ``python benchmarks/speed_table.py out/bench.json out/soak.json``."""

import json
import platform
from pathlib import Path
from typing import Annotated, Any

import typer

TARGET = Path(__file__).resolve().parents[1] / 'docs' / 'speed.md'
F32, BEST = 'onnxruntime f32', 'openvino int8'
AIMS = {
    ('preprocess', 'bands7', 'default', None, 1): 0.10,
    ('preprocess', 'bands7', 'lagr2008', None, 1): 0.10,
    ('network', 'bands7', 'default', BEST, 1): 0.04,
    ('network', 'bands7', 'lagr2008', F32, 1): 0.20,
    ('network', 'bands7', 'lagr2008', BEST, 1): 0.07,
    ('learning', 'bands7', 'default', None, 1): 0.06,
    ('learning', 'bands7', 'lagr2008', None, 1): 0.06,
    ('map', 'bands7', 'default', None, 1): 0.06,
    ('map', 'bands7', 'lagr2008', None, 1): 0.06,
    ('frame', 'bands7', 'default', F32, 1): 0.40,
    ('frame', 'bands7', 'default', BEST, 1): 0.33,
    ('frame', 'bands24', 'default', F32, 1): 0.90,
    ('frame', 'bands24', 'default', BEST, 1): 0.50,
    ('frame', 'bands7', 'default', F32, 2): 0.22,
}
LEARNING_AIM = 0.12  # frame_learning beyond frame, 7 bands, default network
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

*Roofline*: useful operations of the network a second (none with a stored zero: `lagr2008` has its
connections only, a sixth of dense layers), over those of the best matrix product in f32
on one thread, {sgemm:.0f} GFLOP/s in the same run; int8 may exceed 1. Rows with another engine or
precision than ONNX Runtime f32 swap their own `preprocess` and `network` into the frames of the
same rounds. Accuracy of each precision: [precision.md](precision.md).

| stage | preset | network | engine | threads | p50 ms | p95 ms | ratio | roofline | aim |
|---|---|---|---|---|---|---|---|---|---|
{rows}

`frame_learning` beyond `frame`, 7 bands, `default`: {learning:.3f} (aim {learning_aim:.2f},
{learning_verdict}).

## What limits each stage

Figures of a profile of the same frame, shares of a stage's time. What neither OpenCV nor NumPy
does in a call or two are compiled loops (`perception/*_loops.py`).

- `rectify`: reading the pictures at other places: two thirds the colour one, by OpenCV.
- `stereo`: three quarters are matching at half size, in a bit more than half of the time of
  OpenCV's three-way SGBM (its wheel uses vectors of 128 bits): a quarter of it compares blocks,
  half adds up costs along three paths and picks disparities, a twelfth removes speckles. All is
  in 16 bits and vectors of 256 bits; in 8 bits matching took a tenth less, but near-to-far
  learning from it was worse. A fifth of the stage is the sub-pixel refinement.
- `preprocess`: nearly all in OpenCV: normalising filters, warps, colour conversion.
- `network`: [layer by layer](layers.md). In f32 nine tenths of the operations of `default` run at
  0.8 to 1.0 of the peak; the rest of its time are depthwise convolutions, layouts, gaps of strips
  and cold caches. The classes of all windows take 0.2 to 0.3 ms. int8 of ONNX Runtime is slower
  than f32 here.
- A frame of the dense preset, `default` by {best}, is bound by no stage alone:
  {dense}. The
  passes over its 209 thousand band pixels (3.4 times those of 7 bands: warps and the normalising
  filter, a third each) take as much as the network.
- `map`: a sixth tells 77 thousand depth points apart, a third places windows and depth points,
  more than a quarter lets 23 thousand points of the map fade, sorts them around the new centre
  and merges them with 14 thousand new ones, a seventh makes the grid. Each loop reads what lies
  in the second-level cache or beyond once: memory, not arithmetic, is the limit, and fewer points
  would be the next step.
- `learning`: frames that only learn take 1 ms; those that note places or label an old view in
  hindsight, about one in two, take up to three.

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
lock is let go by OpenCV, the engines and the compiled loops, so two threads take little more than
half the time of one. BLAS must not have threads of its own (`OPENBLAS_NUM_THREADS=1`, which
`lagr` and the nodes set): they wait with a core to themselves, and two threads then gain next to
nothing.

## Memory

{soak}
About 120 MB of it are Numba with LLVM, which compile the loops.
"""


def main(
    bench: Annotated[Path, typer.Argument(help='JSON of lagr bench')],
    soak: Annotated[Path, typer.Argument(help='JSON of soak.py')],
) -> None:
    """Turn both results into a table."""
    measured = json.loads(bench.read_text())
    extra = _ratio(measured, 'frame_learning') - _ratio(measured, 'frame')
    text = TEXT.format(
        machine=_machine(), yardstick=measured['yardstick_ms'], sgemm=measured['sgemm_gflops'],
        learning=extra, learning_aim=LEARNING_AIM,
        best=BEST, dense=_dense_parts(measured['rows']),
        learning_verdict='met' if extra <= LEARNING_AIM else 'missed',
        rows='\n'.join(_row(row) for row in measured['rows']),
        soak=_memory(json.loads(soak.read_text())))
    TARGET.write_text(text)
    typer.echo(str(TARGET))


def _ratio(measured: dict[str, Any], name: str) -> float:
    """Of the first row of that name: 7 bands, default network, ONNX Runtime f32."""
    return next(float(row['ratio']) for row in measured['rows'] if row['name'] == name)


def _dense_parts(rows: list[dict[str, Any]]) -> str:
    """Ratios of the stages of a frame of the dense preset at the best precision."""
    found = []
    for name in ('stereo', 'plane', 'preprocess', 'network', 'map'):
        engine = BEST if name == 'network' else None
        row = next(row for row in rows if row['name'] == name
                   and (row['preset'], row['network']) in ((None, None), ('bands24', 'default'))
                   and (engine is None or f"{row['engine']} {row['precision']}" == engine))
        found.append(f"{name} {row['ratio']:.2f}")
    return ', '.join(found)


def _row(row: dict[str, Any]) -> str:
    engine = f"{row['engine']} {row['precision']}" if row['engine'] else None
    by_device = ' (GPU time)' if row['clock'] == 'device' else ''
    aim = AIMS.get((row['name'], row['preset'], row['network'], engine, row['threads']))
    verdict = '' if aim is None else f'{aim:.2f}, ' + ('met' if row['ratio'] <= aim else 'missed')
    roofline = '' if row['roofline'] is None else f"{row['roofline']:.2f}"
    return (f"| {row['name']} | {row['preset'] or ''} | {row['network'] or ''} "
            f"| {engine or ''}{by_device} | {row['threads']} "
            f"| {row['p50_ms']:.2f} | {row['p95_ms']:.2f} "
            f"| {row['ratio']:.3f} | {roofline} | {verdict} |")


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
