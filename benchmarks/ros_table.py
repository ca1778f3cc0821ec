# SPDX-License-Identifier: Apache-2.0
"""Write docs/ros.md from docs/results/ros_*.json: ``python benchmarks/ros_table.py``."""

import json
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parents[1] / 'docs'
TEXT = """\
# The nodes, measured

Written by `python benchmarks/ros_table.py` from what these commands left in `docs/results`. Two
cores of an Intel Xeon (drives and half an hour: of an AMD EPYC, and before stereo, map and nodes
became faster), ROS 2 Kilted from PyPI (Fast DDS 3.2), `lagr up` with its defaults.

## A recorded drive, live and offline

    python benchmarks/ros_drive.py BAG --json docs/results/ros_drive_NAME.json

`lagr play` at recorded speed into `lagr up`, against `lagr replay` of the same bag with the same
parameters (`mount.source: plane` in both, as the wheels have no tf2). Cells are compared grid by
grid, by stamp.

| bag | frames | answered | dropped | grids with an input's stamp | equal cells, least | mean |
|---|---|---|---|---|---|---|
{drives}

Points travel as float32 and the plane as a quaternion, so a cell on a border may differ: the
tests ask for 99.9 % of the cells of every grid (`tests/ros/test_replayed_drive.py`), and play at
half speed, where no frame is dropped. One dropped frame changes the grade of many cells by
little, as all evidence fades with every frame.

## Latency

    python benchmarks/ros_latency.py --json docs/results/ros_latency.json

Raw 640x480 stereo (bgr8 and mono8) at 10 Hz from another process; time from publishing the left
image to the cost map of its stamp. `offline` is the sum of the stages of `lagr replay` on the
same frames, between the turns. The plain node is what one would write first: one rclpy node,
queues of 10, default transports, the same pipeline in its callback.

| | p50 ms | p99 ms | over offline, p50 ms | answered |
|---|---|---|---|---|
{latency}

The aim, 8 ms over offline, is met. What lies between is not the stages: pictures of 1.2 MB on
their way, decoding, handing over, and the points that travel from one node to the other, which the
plain node spares; it pays in its p99.

## Two threads

    python benchmarks/ros_pipelining.py --json docs/results/ros_pipelining.json

Raw stereo published at a fixed rate, answered or not; age = from publishing the left image to the
arrival of labels or cost map of its stamp. Here on two cores of an Intel Xeon, which also carry
the publisher. In the rows "alone" no `costmap_node` runs: as where the map has a core of its own.

| camera, Hz | nodes | pipelining | labels, Hz | age p50, p95 ms | maps, Hz | age p50, p95 ms |
|---|---|---|---|---|---|---|
{pipelining}

Where frames come slower than one core works, two threads change nothing: a frame's halves follow
each other at once, whichever thread has them. Where they come faster, more are answered, and each
is older: the halves slow each other down, and the first may have to wait for the second. A map is
no fresher for that, so `auto` leaves the second thread out of a node; `on` is for who wants more
answers, as from a slow preset on a machine with cores to spare.

## Half an hour

    python benchmarks/ros_soak.py --minutes 30 --json docs/results/ros_soak.json

The shipped bag, looped: a jump backwards in time every six seconds.

| | first 5 min | last 5 min | most |
|---|---|---|---|
{soak}

{grids} cost maps in {minutes:.0f} minutes; {cores:.2f} of a core. Other work ran on the machine
meanwhile.

## Faults

`tests/ros` makes each with real processes and waits for map and diagnostics: camera or odometry
killed and restarted, a second camera that joins, half a pair that dies or comes later, a clock
that stands still, frames renamed, wrong or damaged messages, a publisher without the Fast DDS
profile (best effort is named with file and variable, reliable arrives), peers of another QoS, two
nodes of one name, bags that begin again, bad parameters.
"""


def read(name: str) -> dict[str, Any]:
    """One result."""
    return dict(json.loads((DOCS / 'results' / f'{name}.json').read_text()))


def drive_row(name: str) -> str:
    """A bag played once."""
    run = read(name)
    counts, equal = run['counts'], run['equal_cells']
    return (f"| {run['bag']} | {run['frames']} | {counts['answered']} | {counts['dropped']} | "
            f"{run['grids_with_input_stamp']} | {equal['least']:.2%} | {equal['mean']:.2%} |")


def latency_rows() -> list[str]:
    """One row for each way to run the pipeline."""
    return [f"| {name} | {row['p50_ms']:.1f} | {row['p99_ms']:.1f} | "
            f"{row['overhead_p50_ms']:.1f} | {row['answered']} of {row['frames']} |"
            for name, row in read('ros_latency').items()]


def pipelining_rows() -> list[str]:
    """One row for each rate, set of nodes and mode."""
    turns: dict[tuple[float, bool, str], dict[str, Any]] = {}
    for row in read('ros_pipelining')['rows']:
        key = row['rate_hz'], row['alone'], row['pipelining']
        turns.setdefault(key, {})[row['topic']] = row
    return [_pipelining_row(key, turns[key]) for key in sorted(turns)]


def _pipelining_row(key: tuple[float, bool, str], topics: dict[str, Any]) -> str:
    rows = [topics[name] for name in ('/traversability/points', '/costmap') if name in topics]
    cells = [f"{row['answers_hz']:.1f} | {row['p50_ms']:.0f}, {row['p95_ms']:.0f}" for row in rows]
    cells += [' | '] * (2 - len(rows))
    nodes = 'traversability alone' if key[1] else 'both'
    return f'| {key[0]:.0f} | {nodes} | {key[2]} | {" | ".join(cells)} |'


def soak_rows(run: dict[str, Any]) -> list[str]:
    """Rate, memory, threads, topics."""
    rate = run['rate_hz']
    rows = [f"| cost maps a second | {rate['first']:.3f} | {rate['last']:.3f} | |"]
    for key, unit in (('rss_mb', 'resident memory, MB'), ('threads', 'threads'),
                      ('topics', 'topics of the graph')):
        row = run[key]
        rows.append(f"| {unit} | {row['first']:.1f} | {row['last']:.1f} | {row['most']:.1f} |")
    return rows


def main() -> None:
    """Write the page."""
    soak = read('ros_soak')
    drives = sorted(path.stem for path in (DOCS / 'results').glob('ros_drive_*.json'))
    (DOCS / 'ros.md').write_text(TEXT.format(
        drives='\n'.join(drive_row(name) for name in drives),
        latency='\n'.join(latency_rows()), pipelining='\n'.join(pipelining_rows()),
        soak='\n'.join(soak_rows(soak)),
        grids=soak['grids'], minutes=soak['minutes'], cores=soak['cpu_cores']))


if __name__ == '__main__':
    main()
