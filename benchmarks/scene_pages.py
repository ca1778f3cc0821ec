# SPDX-License-Identifier: Apache-2.0
"""The page docs/scene.md from the scores of ``benchmarks/scene.py``."""

from pathlib import Path
from typing import Any

from scene_pictures import confusion_path, drawn, grid_path
from scene_targets import CREDITS, TEST_WORLDS

from perception.training.scene_classes import COMMON, load_taxonomy

Result = dict[str, Any]
Row = dict[str, Any]

TITLES = {'camvid': 'CamVid', 'ycor': 'YCOR', 'worlds': 'worlds'}
PUBLISHED = (('ENet', 51.3), ('SegNet', 55.6), ('ESPNet', 55.6), ('DABNet, from scratch', 66.7),
             ('FC-DenseNet103', 66.9))
RARE = {'ycor': ('puddle', 'obstacle'), COMMON: ('water', 'obstacle')}
GAPS = (
    ('one scale', 'farabet2013_single', 'plain', 66.0),
    ('three scales', 'farabet2013', 'plain', 78.8),
    ('three scales, superpixels (felzenszwalb)', 'farabet2013', 'felzenszwalb', 80.4),
    ('three scales, superpixels (slic)', 'farabet2013', 'slic', None),
    ('three scales, purest cover', 'farabet2013', 'cover', None),
)
NO_ROWS = 'No network yet.'

HEADER = """\
# Scene labels

{commands}

{size} All numbers are in [results/scene.json](results/scene.json), here in per cent.

One confusion matrix over all pixels at the resolution of the labels; void never counts; classes
without true pixels are left out of a mean. *±* is the standard deviation of the mean IoU over 200
resamplings of the pictures with replacement (neighbours in a video resemble each other, so the
true spread is larger). *Calibration* is the expected calibration error over 15 bins. Licences of
the data sets and the mapping of their classes: [scene_classes.md](scene_classes.md). Speed:
[scene_speed.md](scene_speed.md).

Ways of labelling: *plain*, the network once. *felzenszwalb*, *slic*: probabilities averaged over
superpixels. *cover*: each pixel labelled by the purest of the segments that hold it, over ten
segmentations. *flip*: mean with the mirrored picture. *flip, 3 scales*: that at 0.75, 1 and 1.25
of the size.
"""
CAMVID = """\
Ours are on **val**, which is from one drive that also gave 204 of the 367 training pictures, and
so flatters: they do not compare with what was published for 480 x 360 and 11 classes on **test**,

{published}

The test pictures are kept for judging, by

    lagr evaluate scene --data CAMVID --split test --network FILE.onnx --json FILE
"""
YCOR = """\
Labels have 1024 x 544 pixels. Puddle is 0.3 % and obstacle 0.9 % of them: *without rare* is the
mean IoU of the other six classes. The classes of the common taxonomy are those of YCOR by other
names, so a network of the common taxonomy stands here too where it learned from YCOR.
"""
GAP_TEXT = """\
Pixel accuracy as in Farabet et al., PAMI 2013, on Stanford Background, beside ours (mean IoU in
brackets). In the paper, one scale is the same filter bank on the full-size picture alone. Where
two numbers stand, the first is of natural, the second of balanced sampling.
"""
TRANSFER = """\
Everything in the common taxonomy of eight classes: rows are networks, columns the pictures they
are tested on. Mean IoU over all classes that have true pixels; in brackets over those among them
that the network knows at all; then pixel accuracy. Bold: the network learned from (other pictures
of) this data set. Worlds are of seasons and seeds that no network learned from:
{worlds}.
"""
BANDS = """\
Mean IoU in the worlds by true distance along the optical axis; sky has none, so it is left out.
"""
PICTURES = """\
None of these was trained on. Denser colour = surer. Last row: worlds of the unseen seasons.
"""


def page(result: Result, missing: list[str], folder: Path) -> str:
    """Whole page as Markdown, for a file in ``folder``."""
    pictures = folder / 'pictures'
    parts = [
        header(result), '## Networks', networks_table(result, missing),
        '## CamVid val', CAMVID.format(published=table(
            ['published', 'mIoU, test'], [[name, f'{value}'] for name, value in PUBLISHED])),
        *scores(result, 'camvid'),
        '## YCOR val', YCOR, *scores(result, 'ycor'),
        '## Scales and superpixels', GAP_TEXT, gaps_table(result),
        '## Transfer', TRANSFER.format(worlds=', '.join(
            f'{season} ({seed})' for season, seed in TEST_WORLDS)), transfer_table(result),
        '### By distance', BANDS, bands_table(result),
        '## Confusion', *confusions(result, pictures),
        '## Pictures', PICTURES, *grids(result, pictures),
        'Credits:', '\n'.join(f'- {line}' for line in CREDITS.values()),
    ]
    return '\n\n'.join(part.strip('\n') for part in parts) + '\n'


def header(result: Result) -> str:
    """What made the page."""
    every = result['every']
    return HEADER.format(
        commands='\n'.join(f'    {command}' for command in result['commands']),
        size=f'**A trial**: of each split, one picture in {every}.'
        if every > 1 else 'All pictures of each split.')


def networks_table(result: Result, missing: list[str]) -> str:
    """What each network is and how it was made; then those that are not there."""
    rows = []
    for name, about in result['networks'].items():
        data = about['data']
        rows.append([
            f'`{name}`', about['architecture'], trained_on(about),
            str(about['input_width'] or '-'),
            *(str(data.get(key, '-')) for key in ('epochs', 'seed')),
            f"{about['bytes'] / 1e6:.1f}", about['sha256'][:12],
            f"`{about['command']}`" if about['command'] else '-'])
    head = ['network', 'architecture', 'trained on', 'sees width', 'epochs', 'seed', 'MB',
            'sha256', 'command']
    absent = f'\n\nNot there yet: {", ".join(f"`{path}`" for path in missing)}.' if missing else ''
    return table(head, rows) + absent


def trained_on(about: Row) -> str:
    """Data sets and splits that a network learned from."""
    if not about['trained']:
        return 'nothing (random weights)'
    return ' + '.join(f'{TITLES.get(source["data_set"], source["data_set"])} {source["train"]}'
                      for source in about['data'].get('sources', ())) or 'not stated'


def found(result: Result, data_set: str, **wanted: str) -> list[Row]:
    """Rows of a data set with these values."""
    return [row for row in result['rows'] if row['data_set'] == data_set
            and all(row[key] == value for key, value in wanted.items())]


def at_home(result: Result, data_set: str) -> list[Row]:
    """Rows of the networks that speak the classes of a data set, all modes."""
    homes = {(row['network'], row['taxonomy']) for row in found(result, data_set)
             if row['mode'] != 'plain' or row['taxonomy'] == data_set}
    return [row for row in found(result, data_set) if (row['network'], row['taxonomy']) in homes]


def scores(result: Result, data_set: str) -> list[str]:
    """Means of every mode, and IoU by class of the plain one."""
    rows = at_home(result, data_set)
    if not rows:
        return [NO_ROWS]
    late = [f'`{name}`' for name, about in result['networks'].items()
            if learned_from_val(about, data_set)]
    note = [f'Learned from val too, so not scored on it: {", ".join(late)}; `..._train` is the '
            'same recipe on train alone.'] if late else []
    return [*note, modes_table(rows, data_set), '### IoU by class, plain',
            classes_table([row for row in rows if row['mode'] == 'plain'], data_set)]


def learned_from_val(about: Row, data_set: str) -> bool:
    """Tell whether a network has seen the pictures that it is scored on."""
    return any(source['data_set'] == data_set and 'val' in source['train'].split('+')
               for source in about['data'].get('sources', ()))


def modes_table(rows: list[Row], data_set: str) -> str:
    """Means of every network and mode."""
    rare = data_set in RARE
    lines = [[f"`{row['network']}`", row['mode'],
              f"{percent(row['miou'])} ± {percent(row['miou_spread'])}",
              *([percent(without_rare(row))] if rare else []),
              percent(row['pixel_accuracy']), percent(row['class_accuracy']),
              percent(row['calibration_error']), str(row['images'])] for row in rows]
    return table(['network', 'way', 'mIoU', *(['without rare'] if rare else []),
                  'pixel accuracy', 'class accuracy', 'calibration', 'pictures'], lines)


def without_rare(row: Row) -> float | None:
    """Mean IoU of YCOR without puddle and obstacle."""
    values = [value for name, value in row['per_class_iou'].items()
              if name not in RARE[row['taxonomy']] and value is not None]
    return sum(values) / len(values) if values else None


def classes_table(rows: list[Row], data_set: str) -> str:
    """IoU by class; common classes stand under the data set's own names for them."""
    taxonomy, common = load_taxonomy(data_set), load_taxonomy(COMMON)
    lines = []
    for row in rows:
        names = taxonomy.classes if row['taxonomy'] == data_set else tuple(
            common.classes[number] for number in taxonomy.common)
        lines.append([f"`{row['network']}`",
                      *(percent(row['per_class_iou'][name]) for name in names)])
    return table(['network', *(name.replace('_', ' ') for name in taxonomy.classes)], lines)


def gaps_table(result: Result) -> str:
    """One scale, three scales, superpixels: the paper's pixel accuracy and ours."""
    lines = []
    for title, architecture, mode, published in GAPS:
        line = [title, '-' if published is None else f'{published:.1f}']
        for data_set in ('camvid', 'ycor'):
            rows = [row for row in at_home(result, data_set) if row['mode'] == mode
                    and result['networks'][row['network']]['architecture'] == architecture]
            line.append(', '.join(f"{percent(row['pixel_accuracy'])} ({percent(row['miou'])})"
                                  for row in rows) or '-')
        lines.append(line)
    return table(['', 'paper', 'CamVid val', 'YCOR val'], lines)


def transfer_table(result: Result) -> str:
    """Every network on every set, in the common taxonomy."""
    lines = []
    for name, about in result['networks'].items():
        learned = [source['data_set'] for source in about['data'].get('sources', ())]
        line = [f'`{name}`', trained_on(about)]
        for data_set in TITLES:
            rows = found(result, data_set, network=name, taxonomy=COMMON, mode='plain')
            cell = transfer_cell(rows[0]) if rows else '-'
            line.append(f'**{cell}**' if data_set in learned and rows else cell)
        lines.append(line)
    return table(['network', 'trained on', 'CamVid val', 'YCOR val', 'unseen worlds'], lines)


def transfer_cell(row: Row) -> str:
    """Scores of one network on one set."""
    return (f"{percent(row['miou'])} ({percent(row['miou_of_network_classes'])}), "
            f"{percent(row['pixel_accuracy'])}")


def bands_table(result: Result) -> str:
    """Mean IoU by distance where depth is known."""
    rows = [row for row in found(result, 'worlds', taxonomy=COMMON, mode='plain')
            if row.get('distance_bands')]
    if not rows:
        return NO_ROWS
    ends = [band['range_m'] for band in rows[0]['distance_bands']]
    head = [f'{low:g}-{high:g} m' if high else f'{low:g} m and more' for low, high in ends]
    return table(['network', *head], [
        [f"`{row['network']}`", *(percent(band['miou']) for band in row['distance_bands'])]
        for row in rows])


def confusions(result: Result, pictures: Path) -> list[str]:
    """Confusion matrices."""
    return [f'![{row["network"]} on {TITLES[row["data_set"]]} {row["split"]}]'
            f'(pictures/{confusion_path(pictures, row).name})'
            for row in drawn(result)] or [NO_ROWS]


def grids(result: Result, pictures: Path) -> list[str]:
    """Labelled pictures of each network, each under a line that says whose they are."""
    return [f'`{name}`, trained on {trained_on(about)}:\n\n'
            f'![labels of {name}](pictures/{grid_path(pictures, name).name})'
            for name, about in result['networks'].items() if grid_path(pictures, name).is_file()]


def percent(value: float | None) -> str:
    """Share as per cent with one decimal; a dash for none."""
    return '-' if value is None else f'{100 * value:.1f}'


def table(head: list[str], rows: list[list[str]]) -> str:
    """Markdown table."""
    return '\n'.join('| ' + ' | '.join(line) + ' |' for line in (head, ['---'] * len(head), *rows))
