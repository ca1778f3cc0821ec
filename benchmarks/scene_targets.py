# SPDX-License-Identifier: Apache-2.0
"""Labelled pictures that ``benchmarks/scene.py`` scores networks on, and free ones it draws."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rich.progress import Progress

from perception.training.scene_classes import load_taxonomy
from perception.training.scene_files import read_picture
from perception.training.scene_sets import WORLDS, SceneSet, open_scene_set
from perception.types import Image
from perception.world.record import Recording, record
from perception.world.spec import WorldSpec

SPLITS = {'camvid': 'val', 'ycor': 'val', WORLDS: 'unseen'}
TEST_WORLDS = (('haze', 9201), ('forest', 9202), ('straw', 9203), ('frost', 9204))
"""Neither the seasons nor the seeds are used in training or tuning."""
SECONDS, RATE_HZ = 10.0, 2.0  # every frame has its truth
FREE_PICTURES = (
    'husky_zed/01_rgb.jpg', 'husky_zed/02_rgb.jpg', 'husky_zed/10_rgb.jpg',
    'orfd_y0613_1242/image_data/1623721491895.jpg',
    'stereo/sid_Campus_CCW_Clear_Day_002/left.png', 'wvn_demo/forest_clean.jpg',
    'wvn_demo/mountain_bike_trail_raw.png', 'wvn_demo/mpi_outdoor_raw.png')
CREDITS = {
    'husky_zed': 'husky_zed: Whojo/Autonomous-Navigation-Offroad-by-traversability-analysis, MIT',
    'orfd': 'ORFD: chaytonmin/Off-Road-Freespace-Detection, code and data set Apache-2.0',
    'stereo/sid': 'SID, Stereo Image Dataset for autonomous driving in adverse conditions '
                  '(El-Shair et al.), CC BY 4.0, frame from '
                  'ibaiGorordo/SIDMini-Stereo-Dataset-Autonomous-Driving; labels drawn over it by '
                  'us',
    'wvn_demo': 'wvn_demo: leggedrobotics/wild_visual_navigation, MIT',
}


def targets(data: Path, worlds: Path, every: int, progress: Progress) -> dict[str, SceneSet]:
    """Sets to score on by name, each ``every``-th picture of them."""
    record_worlds(worlds, progress)
    folders = {name: worlds if name == WORLDS else data / name for name in SPLITS}
    opened = [open_scene_set(folders[name], split, name) for name, split in SPLITS.items()]
    return {one.name: replace(one, pairs=one.pairs[::every]) for one in opened}


def record_worlds(folder: Path, progress: Progress) -> None:
    """Record the test worlds that are not there yet."""
    for season, seed in TEST_WORLDS:
        bag = folder / f'{season}_{seed}'
        note = folder / f'{bag.name}.json'
        if note.is_file():
            continue
        shutil.rmtree(bag, ignore_errors=True)  # of an interrupted run
        task = progress.add_task(f'render {season} {seed}')
        summary = record(WorldSpec(seed, season), bag, Recording(SECONDS, RATE_HZ),
                         lambda done, total, task=task: progress.update(
                             task, completed=done, total=total))
        note.write_text(json.dumps(asdict(summary)))


def one_to_one(scene_set: SceneSet) -> bool:
    """Tell whether the classes of a set are those of the common taxonomy by other names."""
    return sorted(scene_set.taxonomy.common) == list(range(len(scene_set.taxonomy.classes)))


def home_taxonomy(about: dict[str, Any], scene_set: SceneSet) -> str | None:
    """Taxonomy in which all modes are scored; None = a set that the network is foreign to."""
    own, classes = scene_set.taxonomy, tuple(about['classes'])
    if classes == own.classes:
        return own.name
    common = load_taxonomy('common8')
    trained_on = [source['data_set'] for source in about['data'].get('sources', ())]
    if classes == common.classes and own.name in trained_on and one_to_one(scene_set):
        return common.name
    return None


def free_pictures(data: Path, worlds: SceneSet) -> Iterator[Image]:
    """Pictures (H, W, 3) BGR that may be shown: free real ones, and one of each world."""
    for name in FREE_PICTURES:
        yield read_picture(data / name)
    last = {picture.parent: item for item, (picture, _) in enumerate(worlds.pairs)}
    for item in last.values():
        yield worlds.read(item)[0]
