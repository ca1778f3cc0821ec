# SPDX-License-Identifier: Apache-2.0
"""Tables of docs/navigation.md from the runs of ``benchmarks/navigation.py``."""

from pathlib import Path
from statistics import median
from typing import Any

from perception.navigation.planner import FREE_PRICE, UNKNOWN_PRICE

Run = dict[str, Any]
Pictured = tuple[tuple[int, int], ...]
MODES = {'off': 'off', 'w0': 'fixed weights (w0)', 'online': 'on-line'}
COMMAND = 'python benchmarks/navigation.py'
MIN_OFF_COURSES, MAX_TIME_RATIO, MAX_LENGTH_RATIO = 8, 0.65, 1.3

HEADER = f"""# Navigation in the synthetic world

Network `{{network}}`. Made by `{COMMAND}{{option}}`; all runs, with their tracks, in
[results/{{page}}.json](results/{{page}}.json). One run: `lagr drive --course 1 --seed 1
--long-range w0 --json FILE --film FILE.png --plot FILE.png`.

* A rover (collision radius 0.35 m, 1.5 m/s, 1.2 rad/s) drives to a goal 56-80 m away, closed loop:
  rendered stereo at 2 Hz, the pipeline, Dijkstra on the polar map, candidate arcs of up to 5 m.
  The limit is {{limit:g}} s. Seeds 1, 2, 3. Planner constants were chosen on seeds from 100 in
  clear and autumn, and so were the layouts: most courses were redrawn there until 5 m stereo lost
  time on them, so the ratios below speak of dead ends and not of open ground.
* **Stereo range is imposed.** The short-range module takes stereo within 5 m, in every mode.
  *off*: the planner reads that 5 m map alone. *w0* and *on-line*: it reads the map of the whole
  pipeline, whose stereo evidence and labels end at {{stereo:g}} m, and whose windows reach the
  horizon. The camera has a baseline of 0.12 m; a better stereo head would help *off*.
* Arcs, speed limit, recovery and planner are the same code in all modes: unseen ground costs
  {{unknown}} times what free ground costs.
* The pose is exact, and the goal is known in it, as from a perfect GPS. Perception takes no
  simulated time.
* Contact: the rover's circle meets an obstacle of the truth grid (anything at 0.25-2.0 m above
  the ground, tall grass too). It stops there and backs off; each new contact is one collision.
* *Shortest* is the shortest way on truth for that circle. Every course has a way with 1.2 m of
  room on both sides.
"""

FIELD_TEST = """LAGR's field test (IROS 2008, Sandy Hook), long range off -> on: 321 s -> 155.5 s,
interventions 3 -> 0; 196.1 s -> 142.2 s, interventions 1 -> 0."""


def report(runs: list[Run], folder: Path, pictured: Pictured, network: str) -> str:
    """Whole page as Markdown."""
    name = 'navigation' if network == 'default' else f'navigation_{network}'
    option = '' if network == 'default' else f' --network {network}'
    header = HEADER.format(
        network=network, page=name, option=option, limit=runs[0]['limit_s'],
        stereo=runs[0]['stereo_range_m'], unknown=f'{UNKNOWN_PRICE / FREE_PRICE:g}')
    parts = [header, '## Aims', aims_table(runs), FIELD_TEST, '## All courses', totals_table(runs),
             '## Each course, median over seeds', course_table(runs), '## Each run',
             run_table(runs), pictures(runs, folder, pictured)]
    return '\n\n'.join(part.strip() for part in parts) + '\n'


def aims_table(runs: list[Run]) -> str:
    """The aims, and what each mode with long range reaches."""
    by_mode = {mode: pick(runs, long_range=mode) for mode in MODES}
    numbers = sorted({run['course'] for run in runs})
    reached = sum(any(run['goal_reached'] for run in pick(by_mode['off'], course=number))
                  for number in numbers)
    rows = [['courses that *off* reaches in some seed (in every seed)', f'>= {MIN_OFF_COURSES}',
             f"{reached} ({_all_reached(by_mode['off'], numbers)}) of {len(numbers)}"]]
    for mode in ('w0', 'online'):
        if not by_mode[mode]:
            continue
        name = MODES[mode]
        worst = [n for n in numbers if goals(pick(by_mode[mode], course=n))
                 < goals(pick(by_mode['off'], course=n))]
        rows += [
            [f'median time ratio {name} / off', f'<= {MAX_TIME_RATIO}',
             _number(median_time_ratio(runs, mode))],
            [f'collisions, {name}', '0', str(sum(run['collisions'] for run in by_mode[mode]))],
            [f'courses where {name} reaches fewer goals than off', '0',
             f'{len(worst)}' + (f' ({", ".join(map(str, worst))})' if worst else '')],
            [f'length / shortest, {name}: median (worst)', f'<= {MAX_LENGTH_RATIO}',
             f'{_number(median_of(by_mode[mode], ratio))} '
             f'({_number(max(map(ratio, by_mode[mode])))})'],
        ]
    return table(['aim', 'wanted', 'reached'], rows)


def totals_table(runs: list[Run]) -> str:
    """One row a mode."""
    rows = []
    for mode, name in MODES.items():
        mine = pick(runs, long_range=mode)
        if mine:
            rows.append([name, f'{goals(mine)} of {len(mine)}', *_medians(mine),
                         str(sum(run['collisions'] for run in mine)),
                         f"{sum(run['contact_s'] for run in mine):.1f}"])
    return table(['long range', 'goals', 'time [s]', 'length [m]', 'length / shortest',
                  'collisions', 'contact [s]'], rows)


def course_table(runs: list[Run]) -> str:
    """One row a course and mode."""
    rows = []
    for number in sorted({run['course'] for run in runs}):
        for mode in MODES:
            mine = pick(runs, course=number, long_range=mode)
            if mine:
                label = f"{number} {mine[0]['course_name']}, {mine[0]['season']}"
                rows.append([label, mode, f'{goals(mine)} of {len(mine)}', *_medians(mine),
                             str(sum(run['collisions'] for run in mine))])
    return table(['course', 'long range', 'goals', 'time [s]', 'length [m]', 'length / shortest',
                  'collisions'], rows)


def run_table(runs: list[Run]) -> str:
    """Time, length ratio and collisions of every run: one row a course and seed."""
    rows = []
    for number, seed in sorted({(run['course'], run['seed']) for run in runs}):
        mine = pick(runs, course=number, seed=seed)
        first = mine[0]
        row = [str(number), str(seed), f"{first['straight_line_m']:.0f}",
               f"{first['optimal_length_m']:.0f}"]
        for mode in MODES:
            found = pick(mine, long_range=mode)
            row.append(_cell(found[0]) if found else '-')
        rows.append(row)
    note = 'Time [s] / length over shortest / collisions; a dagger where the goal was not reached.'
    head = ['course', 'seed', 'straight [m]', 'shortest [m]', *MODES]
    return note + '\n\n' + table(head, rows)


def pictures(runs: list[Run], folder: Path, pictured: Pictured) -> str:
    """Pictures of the runs that the benchmark draws."""
    lines = []
    for number, seed in pictured:
        for run in pick(runs, course=number, seed=seed):
            stem = f"navigation_{number}_{run['long_range']}"
            if (folder / f'{stem}.png').is_file():
                title = f"Course {number} ({run['course_name']}), long range {run['long_range']}"
                lines += [f'### {title}', f'![from above](pictures/{stem}.png)',
                          f'![film](pictures/{stem}_film.jpg)']
    return '\n\n'.join(['## Pictures', *lines]) if lines else ''


def pick(runs: list[Run], **values: Any) -> list[Run]:
    """Runs with these values."""
    return [run for run in runs if all(run[key] == value for key, value in values.items())]


def goals(runs: list[Run]) -> int:
    """How many runs reached the goal."""
    return sum(run['goal_reached'] for run in runs)


def ratio(run: Run) -> float:
    """Length driven over the shortest on truth."""
    return float(run['length_m'] / run['optimal_length_m'])


def median_of(runs: list[Run], value: Any) -> float:
    """Median of a value of runs."""
    return float(median(map(value, runs)))


def median_time_ratio(runs: list[Run], mode: str) -> float | None:
    """Median over courses and seeds of time with a mode over time with off (limit where none)."""
    pairs = []
    for run in pick(runs, long_range=mode):
        base = pick(runs, long_range='off', course=run['course'], seed=run['seed'])
        pairs += [run['time_s'] / other['time_s'] for other in base]
    return float(median(pairs)) if pairs else None


def table(head: list[str], rows: list[list[str]]) -> str:
    """Markdown table."""
    lines = [head, ['---'] * len(head), *rows]
    return '\n'.join('| ' + ' | '.join(line) + ' |' for line in lines)


def _medians(runs: list[Run]) -> list[str]:
    return [f"{median_of(runs, lambda run: run['time_s']):.0f}",
            f"{median_of(runs, lambda run: run['length_m']):.0f}",
            _number(median_of(runs, ratio))]


def _all_reached(runs: list[Run], numbers: list[int]) -> int:
    return sum(all(run['goal_reached'] for run in pick(runs, course=n)) for n in numbers)


def _cell(run: Run) -> str:
    mark = '' if run['goal_reached'] else ' †'
    return f"{run['time_s']:.0f} / {ratio(run):.2f} / {run['collisions']}{mark}"


def _number(value: float | None) -> str:
    return '-' if value is None else f'{value:.2f}'
