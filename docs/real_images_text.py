# SPDX-License-Identifier: Apache-2.0
"""The words and tables of docs/real_images.md."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from real_images_data import Drive

from perception.inference import NetworkSpec

if TYPE_CHECKING:
    from real_images import Counts, Row

HEAD = """# Real images

Made by `PERCEPTION_DATA=DIR python docs/real_images.py` (one to two minutes). Each folder becomes
a temporary rosbag2 and goes through the reader and pipeline of `lagr replay`; the network has
seen rendered worlds only, never a real image. Nothing was trained on
these images; one choice was made with a look at them: to leave the classifier of `default`
uncalibrated (its model card says why).

{networks}

## What is counted

- **plane**: frames with a freshly fitted ground plane / frames; height of the camera above it and
  pitch (down is +), medians.
- **valid**: share of the pyramid's windows at least 70 % inside the image; **7-12 m**: valid
  windows whose centre meets the ground there, median a frame.
- **road -> ground**: of the valid windows in known free places, the share the network calls
  super-ground or ground. **obstacle -> obstacle**: of the valid windows in known obstacle places,
  the share it calls footline, obstacle or super-obstacle. Both are needed: a network that always
  says *ground* scores 100 % in the first. In brackets the number of windows; neighbours overlap
  strongly, so it is not a number of independent trials.
- **teacher**: the same two shares for the labels that stereo or depth gives (it labels few
  windows, within 12 m).

Known places: KITTI 06, windows whose ground point lies within 2 m of the way the car itself drove
later (poses), 7 to 30 m ahead; KITTI 00 has no poses here, so within 2 m of straight ahead. The
obstacle windows of KITTI are those that stereo itself labels as such, so there the teacher has no
number. Elsewhere polygons drawn by hand (`real_images_regions.yaml`); a window counts by its
centre, so those at the rim of a region also see what is beside it.

## What is assumed

- SID comes without calibration: f = 0.55 x width and baseline 0.12 m are assumed, so its metres
  (and its plane height) are no measurement.
- `wvn_demo` comes without calibration and without depth: f = 0.5 x width, camera 0.6 m above the
  ground (forest: 1.0 m), pitch from a horizon placed by eye. No plane is fitted, no labels taught.
- ORFD's dense depth was completed from lidar by the data set's authors; value / 256 = metres.
- `husky_zed` depth is 8 bits from 0.7 to 7 m: about 2.5 cm a step, nothing farther.
- Single pictures: every row but KITTI is one instant; nothing is fused over time.
"""

GRIDS = """
## husky_zed: depth evidence against hand-made cost grids

The data set's authors drew a 4 x 4 m cost grid for six frames (cell 0.2 m, larger = worse, read
with rows going ahead and columns to the right, as the unseen corners show). **All of it is nearer
than any window of the pyramid**, so this compares the evidence of depth points alone (windows
switched off, `map.window_weight=0`), not the network. Their grids grade surfaces too (gravel
against asphalt in 06 and 07), which geometry cannot see; bushes and leaves carry 6.7.

| frame | their cells | ours known | not bush: ours < 50 | bush (>= 6): ours >= 50 | rank corr. |
|---|---|---|---|---|---|
"""

PICTURES = """
## Pictures

Left what the network says, right what depth or stereo says (the teacher; none for one camera).
Bright green super-ground, dark green ground, magenta footline, dark red obstacle, bright red
super-obstacle; fainter = less sure. Cyan: horizon of the plane in use. KITTI is given as numbers
only.
"""

DATA_SETS = {
    'husky_zed': 'husky_zed (RGB-D, 7 places)',
    'ORFD': 'ORFD (RGB-D, 3 frames of one track)',
    'SID': 'SID (stereo, 1 frame)',
    'wvn': 'wvn_demo (one camera, 4 places)',
    'KITTI odometry 06': 'KITTI 06 (grey stereo, 51 frames)',
    'KITTI odometry 00': 'KITTI 00 (grey stereo, 11 frames)',
}
CREDITS = {
    'husky_zed': 'husky_zed: Whojo/Autonomous-Navigation-Offroad-by-traversability-analysis, MIT',
    'orfd': 'ORFD: chaytonmin/Off-Road-Freespace-Detection, code and data set Apache-2.0',
    'sid': 'SID, Stereo Image Dataset for autonomous driving in adverse conditions (El-Shair et '
           'al.), CC BY 4.0, frame from ibaiGorordo/SIDMini-Stereo-Dataset-Autonomous-Driving; '
           'labels drawn over it by us',
    'wvn_demo': 'wvn_demo: leggedrobotics/wild_visual_navigation, MIT',
}


def page(
    specs: Sequence[NetworkSpec], tables: Mapping[str, Sequence['Row']],
    grids: Sequence[tuple[str, dict[str, float]]], pictures: Sequence[tuple[Drive, str]],
) -> str:
    """The whole page."""
    networks = '\n'.join(network_line(spec) for spec in specs)
    parts = [HEAD.format(networks=networks), pooled_table(tables)]
    parts += [results(name, rows) for name, rows in tables.items()]
    return ''.join(parts) + grid_table(grids) + picture_list(pictures)


def network_line(spec: NetworkSpec) -> str:
    """Which weights exactly."""
    trained = '' if spec.trained else ', **not trained: its columns mean nothing**'
    return f'- network `{spec.name}`, sha256 {spec.sha256[:12]}{trained}'


def pooled_table(tables: Mapping[str, Sequence['Row']]) -> str:
    """Shares pooled over the pictures of each data set, one pair of columns a network."""
    names = list(tables)
    heads = [f'{name}: {what}' for name in names for what in ('road', 'obstacle')]
    lines = ['\n## Summary\n', '| data set | ' + ' | '.join(heads) + ' |',
             '|---|' + '---|' * len(heads)]
    for key, title in DATA_SETS.items():
        cells = [share(pool([row.network.get(kind) for row in tables[name]
                             if row.name.startswith(key)]))
                 for name in names for kind in ('free', 'obstacle')]
        lines.append(f'| {title} | ' + ' | '.join(cells) + ' |')
    return '\n'.join(lines) + '\n'


def pool(parts: Sequence['Counts | None']) -> tuple[int, int]:
    """Right and all windows of several counts."""
    known = [part for part in parts if part is not None]
    return sum(part.right for part in known), sum(part.total for part in known)


def results(name: str, rows: Sequence['Row']) -> str:
    """Table of all drives of one network, and what failed."""
    lines = [
        f'\n## Results of `{name}`, drive by drive\n',
        '| drive | plane | height m | pitch deg | valid | 7-12 m | road -> ground '
        '| obstacle -> obstacle | teacher: road | teacher: obstacle |',
        '|---|---|---|---|---|---|---|---|---|---|',
        *(row_line(row) for row in rows),
    ]
    failed = [f'- {row.name}: {row.failure}' for row in rows if row.failure]
    failed += [f'- {row.name}: no plane in {row.frames - len(row.height_m)} of {row.frames} frames'
               for row in rows if len(row.height_m) < row.frames]
    lines += ['\nFailures:\n', *(failed or ['- No drive failed or lost its plane.'])]
    lines += [
        f'- {row.name}: most {kind} windows wrong, {share((counts.right, counts.total))} right'
        for row in rows for kind, counts in row.network.items()
        if counts.right < counts.total / 2
    ]
    return '\n'.join(lines) + '\n'


def row_line(row: 'Row') -> str:
    """One row of the table."""
    if row.failure or not row.height_m:
        return f'| {row.name} | failed |' + ' |' * 8
    cells = [
        row.name, f'{row.fresh}/{row.frames}', f'{np.median(row.height_m):.2f}',
        f'{np.median(row.pitch_deg):.1f}', f'{100 * row.valid.right / row.valid.total:.0f} %',
        f'{np.median(row.near):.0f}',
        *(share(pool([part.get(kind)])) for part in (row.network, row.teacher)
          for kind in ('free', 'obstacle')),
    ]
    return '| ' + ' | '.join(cells) + ' |'


def share(counts: tuple[int, int]) -> str:
    """Per cent right and number of windows, or a dash where there is none."""
    right, total = counts
    return f'{100 * right / total:.0f} % ({total})' if total else '-'


def grid_table(grids: Sequence[tuple[str, dict[str, float]]]) -> str:
    """Table of the hand-made cost grids."""
    lines = []
    for name, numbers in grids:
        cells = [name, number(numbers, 'set', '.0f'), number(numbers, 'both', '.0f'),
                 number(numbers, 'free', '.0%'), number(numbers, 'bush', '.0%'),
                 number(numbers, 'rank', '.2f')]
        lines.append('| ' + ' | '.join(cells) + ' |')
    return GRIDS + '\n'.join(lines) + '\n'


def number(numbers: dict[str, float], key: str, form: str) -> str:
    """A number that may be missing."""
    value = numbers.get(key, np.nan)
    return '-' if np.isnan(value) else format(value, form)


def picture_list(pictures: Sequence[tuple[Drive, str]]) -> str:
    """Pictures with captions, then the credits."""
    parts = [PICTURES]
    parts += [f'\n![{drive.name}]({name})\n\n*{drive.name}*\n' for drive, name in pictures]
    used = {drive.region.split('/')[0] for drive, _ in pictures}
    thanks = '\n'.join(f'- {CREDITS[key]}' for key in sorted(used))
    return ''.join(parts) + f'\nCredits:\n\n{thanks}\n'
