# SPDX-License-Identifier: Apache-2.0
"""
Score scene networks: ``python benchmarks/scene.py research_weights/*.onnx``.

Each network is scored on the validation split of its own data set with every way of labelling, and
on all sets in the common taxonomy. PERCEPTION_DATA names the folder with ``camvid`` and ``ycor``;
the test worlds are rendered where they are not yet. What docs/results/scene.json already has of a
network's very file is not computed again, and what it has of other networks is kept, so that a run
can be interrupted, and networks added. Also writes docs/scene.md and its pictures.
"""

import json
import shlex
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from scene_pages import learned_from_val, page
from scene_pictures import draw_confusions, draw_grid
from scene_targets import home_taxonomy, targets

from perception.evaluation.scene import (
    Agreement,
    Options,
    agree,
    averaged,
    label_picture,
    to_common,
)
from perception.evaluation.scene_scores import (
    Counts,
    SceneTally,
    confusion,
    intersection_over_union,
    mean,
)
from perception.scene import SceneLabels, SceneNetwork, load_scene_network
from perception.superpixels import cover, levels
from perception.training.scene_classes import COMMON
from perception.training.scene_sets import SceneSet
from perception.types import Float, Image

MODES = {
    'plain': Options(), 'felzenszwalb': Options(superpixels='felzenszwalb'),
    'slic': Options(superpixels='slic'), 'cover': Options(), 'flip': Options(flip=True),
    'flip, 3 scales': Options(flip=True, scales=(0.75, 1.0, 1.25)),
}
RESAMPLES, SEED = 200, 0  # of pictures, for the spread

Result = dict[str, Any]
Rows = list[dict[str, Any]]


class Remembering:
    """A network that keeps its answers on the picture at hand: the modes share them."""

    def __init__(self, network: SceneNetwork) -> None:
        self.spec = network.spec
        self._network = network
        self._known: dict[tuple[float, bytes], Float] = {}

    def dense(self, image: Image, scale: float = 1.0) -> Float:
        """As ``SceneNetwork.dense``."""
        key = scale, image.tobytes()
        if key not in self._known:
            self._known[key] = self._network.dense(image, scale)
        return self._known[key]

    def forget(self) -> None:
        """Make room for the next picture."""
        self._known.clear()


@dataclass
class Column:
    """One way of labelling a set: what meets what, and what was counted, picture by picture."""

    mode: str
    meeting: Agreement
    tally: SceneTally
    matrices: list[Counts] = field(default_factory=list)

    def add(self, network: Remembering, item: int) -> None:
        """Label one picture and count."""
        scene_set = self.meeting.scene_set
        image, truth = scene_set.read(item)
        labels = label(network, image, self.mode, self.meeting.common)
        self.tally.add(truth, labels.label, labels.confidence, scene_set.depth(item))
        self.matrices.append(confusion(truth, labels.label, len(self.tally.classes)))

    def row(self, name: str, sha256: str) -> dict[str, Any]:
        """Scores as they go into the JSON."""
        scene_set, answers = self.meeting.scene_set, self.meeting.answerable
        iou = intersection_over_union(self.tally.matrix)
        known = mean(iou, np.isin(np.arange(len(iou)), answers))
        return {
            'network': name, 'sha256': sha256, 'data_set': scene_set.name,
            'split': scene_set.split, 'taxonomy': scene_set.taxonomy.name, 'mode': self.mode,
            'miou_spread': spread(np.stack(self.matrices)),
            'miou_of_network_classes': known if np.isfinite(known) else None,
            'classes_of_network': [self.tally.classes[k] for k in answers],
            **self.tally.summary(),
        }


def main(
    networks: Annotated[list[Path], typer.Argument(help='Exported .onnx files')],
    docs: Annotated[Path, typer.Option(
        help='Folder of scene.md, its pictures and results/scene.json')] = Path('docs'),
    data: Annotated[Path, typer.Option(
        envvar='PERCEPTION_DATA', help='Folder with camvid and ycor')] = Path('data'),
    worlds: Annotated[Path, typer.Option(help='Where the bags lie')] = Path('out/scene_worlds'),
    way: Annotated[list[str] | None, typer.Option(
        help=f'Way of labelling, again for each: {", ".join(MODES)}; default: all')] = None,
    every: Annotated[int, typer.Option(min=1, help='Score each n-th picture')] = 1,
) -> None:
    """Score all networks on all sets and write the page."""
    if not data.is_dir():
        raise typer.BadParameter(f'{data}: no such folder; set PERCEPTION_DATA or give --data')
    if not set(way or ()) <= set(MODES):
        raise typer.BadParameter(f'{way}: choose of {", ".join(MODES)}', param_hint='--way')
    json_, page_ = docs / 'results' / 'scene.json', docs / 'scene.md'
    result, missing = opened(json_, every), [path for path in networks if not path.is_file()]
    bar = (TextColumn('{task.description:44}'), BarColumn(), MofNCompleteColumn(),
           TimeRemainingColumn())
    with Progress(*bar) as progress:
        sets = targets(data, worlds, every, progress)
        for path in networks:
            if path in missing:
                continue
            network = load_scene_network(path)
            enter(result, network, path)
            for scene_set in sets.values():
                columns = missing_columns(network, path.stem, scene_set, result, way or [*MODES])
                result['rows'] += score(network, path.stem, columns, scene_set, progress)
                save(json_, result)
            draw_grid(picture_folder(page_), path.stem, network, data, sets['worlds'])
    draw_confusions(picture_folder(page_), result)
    page_.write_text(page(result, [str(path) for path in missing], page_.parent))
    typer.echo(f'{json_}\n{page_}' + ''.join(f'\n{path}: no such file' for path in missing))


def picture_folder(page_: Path) -> Path:
    """Where the pictures of a page lie."""
    folder = page_.parent / 'pictures'
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def opened(path: Path, every: int) -> Result:
    """Scores of an earlier run."""
    if not path.is_file():
        return {'every': every, 'commands': [], 'networks': {}, 'rows': []}
    result: Result = json.loads(path.read_text())
    if result['every'] != every:
        raise SystemExit(f'{path}: holds scores of each {result["every"]}-th picture, not of each '
                         f'{every}-th; name another --json')
    return result


def save(path: Path, result: Result) -> None:
    """Write the JSON, one row a line; it is whole or as it was."""
    rows = ',\n'.join(json.dumps(row) for row in result['rows'])
    head = json.dumps({key: value for key, value in result.items() if key != 'rows'}, indent=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix('.partial')
    partial.write_text(f'{head[:-2]},\n "rows": [\n{rows}\n]\n}}\n')
    partial.replace(path)


def enter(result: Result, network: SceneNetwork, path: Path) -> None:
    """Note what a network is; scores of another file of that name go."""
    spec = network.spec
    result['networks'][path.stem] = spec.model_dump(
        include={'sha256', 'architecture', 'input_width', 'classes', 'trained', 'licence', 'data',
                 'command'}, mode='json') | {'bytes': path.stat().st_size}
    result['rows'] = [row for row in result['rows']
                      if row['network'] != path.stem or row['sha256'] == spec.sha256]
    command = shlex.join(['python', *sys.argv])
    result['commands'] = [*(one for one in result['commands'] if one != command), command]


def score(
    network: SceneNetwork, name: str, columns: list[Column], scene_set: SceneSet,
    progress: Progress,
) -> Rows:
    """Rows of one network on one set, in one pass over its pictures."""
    if not columns:
        return []
    remembering = Remembering(network)
    for item in progress.track(range(len(scene_set)), description=f'{name} on {scene_set.name}'):
        remembering.forget()
        for column in columns:
            column.add(remembering, item)
    return [column.row(name, network.spec.sha256) for column in columns]


def missing_columns(
    network: SceneNetwork, name: str, scene_set: SceneSet, result: Result, modes: list[str]
) -> list[Column]:
    """What is not known yet: these modes where the network is at home, one in common classes."""
    if learned_from_val(result['networks'][name], scene_set.name):
        return []
    home = home_taxonomy(result['networks'][name], scene_set)
    wanted = [(home, mode) for mode in modes if home] + [(COMMON, 'plain')]
    done = {(row['taxonomy'], row['mode']) for row in result['rows']
            if row['network'] == name and row['data_set'] == scene_set.name}
    columns = []
    for taxonomy, mode in dict.fromkeys(wanted):
        if (taxonomy, mode) not in done:
            asked = scene_set.common() if taxonomy == COMMON else scene_set
            meeting = agree(asked, network.spec)
            columns.append(Column(mode, meeting, SceneTally(meeting.scene_set.taxonomy.classes)))
    return columns


def label(
    network: Remembering, image: Image, mode: str, common: tuple[int, ...] | None
) -> SceneLabels:
    """Label every pixel of a picture in one of the modes."""
    if mode != 'cover':
        return label_picture(network, image, MODES[mode], common)
    probabilities = averaged(network, image, MODES[mode])
    if common is not None:
        probabilities = to_common(probabilities, common)
    return SceneLabels(*cover(probabilities, levels(image)))


def spread(matrices: Counts) -> float:
    """
    Standard deviation of the mean IoU over resampled pictures.

    Parameters
    ----------
    matrices : (N, C, C) int64
        Confusion matrix of each picture.
    """
    count = len(matrices)
    times = np.random.default_rng(SEED).multinomial(count, np.full(count, 1 / count), RESAMPLES)
    return float(np.std([mean(intersection_over_union(matrix))
                         for matrix in np.tensordot(times, matrices, 1)]))


if __name__ == '__main__':
    typer.run(main)
