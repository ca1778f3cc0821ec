# SPDX-License-Identifier: Apache-2.0
"""
Run the shipped network on real images and write docs/real_images.md and docs/pictures/real_*.jpg.

``PERCEPTION_DATA=DIR python docs/real_images.py`` turns folders of recorded images into temporary
rosbag2 bags, runs each through the same reader and pipeline as ``lagr replay``, and counts what
the windows in known places are labelled. A drive that fails is reported as failed.
"""

import argparse
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
import real_images_data as data
import real_images_text as text
import yaml
from real_images_data import Drive
from scipy.stats import spearmanr

from perception import draw
from perception.bag import open_bag
from perception.bag_writer import BagWriter
from perception.camera import transform
from perception.config import Config, load_config
from perception.errors import PerceptionError
from perception.inference import Network, load_network
from perception.pipeline import Pipeline, Result
from perception.pyramid import Pyramid
from perception.report import jpeg, paint, predicted_labels
from perception.types import GROUND, UNLABELED, Image, Mask

DOCS = Path(__file__).parent
CORRIDOR_M, CORRIDOR_RANGE_M = 2.0, (7.0, 30.0)
PICTURE_WIDTH, PICTURE_BYTES = 560, 150_000
COSTGRID_CELL_M, COSTGRID_BUSH = 0.2, 6.0

Regions = dict[str, Mask]
Polygons = list[list[list[float]]]


@dataclass
class Counts:
    """Windows in a region and how many of them got the right side (ground or obstacle)."""

    right: int = 0
    total: int = 0

    def add(self, right: Mask) -> None:
        """Count windows."""
        self.right += int(right.sum())
        self.total += right.size


@dataclass
class Row:
    """Numbers of one drive."""

    name: str
    frames: int = 0
    fresh: int = 0
    height_m: list[float] = field(default_factory=list)
    pitch_deg: list[float] = field(default_factory=list)
    valid: Counts = field(default_factory=Counts)
    near: list[int] = field(default_factory=list)
    network: dict[str, Counts] = field(default_factory=dict)
    teacher: dict[str, Counts] = field(default_factory=dict)
    failure: str = ''


def main() -> None:
    """Run everything and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--data', type=Path, default=os.environ.get('PERCEPTION_DATA'),
                        help='folder of the recorded images; default $PERCEPTION_DATA')
    parser.add_argument('--networks', nargs='+', default=['default', 'lagr2008'],
                        help='stems in perception/weights; the first makes the pictures')
    options = parser.parse_args()
    if options.data is None or not Path(options.data).is_dir():
        parser.error('name the folder of the recorded images: --data DIR or PERCEPTION_DATA')
    networks = [load_network(name, 'onnxruntime', 1) for name in options.networks]
    used = [n for n in networks if n.spec.trained or n is networks[0]]
    regions, horizons = read_regions()
    tables: dict[str, list[Row]] = {network.spec.name: [] for network in used}
    grids, pictures = [], []
    for drive in data.drives(Path(options.data), horizons):
        for network in used:
            row, results = judge(drive, network, regions)
            tables[network.spec.name].append(row)
            print(network.spec.name, text.row_line(row))
            if network is not used[0] or not results:
                continue
            if drive.cost_grid is not None:
                grids.append((drive.name, compare_grid(drive, network)))
            if drive.picture:
                pictures.append((drive, save_picture(drive, results[0])))
    specs = [network.spec for network in used]
    (DOCS / 'real_images.md').write_text(text.page(specs, tables, grids, pictures))


def judge(
    drive: Drive, network: Network, regions: dict[str, dict[str, Polygons]]
) -> tuple[Row, list[Result]]:
    """Run a drive and count; a failure is written down, not raised."""
    row = Row(drive.name)
    try:
        results = run(drive, network)
    except PerceptionError as error:
        row.failure = str(error)
        return row, []
    for number, result in enumerate(results):
        measure(row, drive, result, region_windows(drive, number, result, regions))
    return row, results


def read_regions() -> tuple[dict[str, dict[str, Polygons]], dict[str, float]]:
    """Hand-drawn polygons and horizons by drive."""
    document = yaml.safe_load((DOCS / 'real_images_regions.yaml').read_text())
    polygons = {key: {kind: r[kind] for kind in ('free', 'obstacle')}
                for key, r in document.items()}
    return polygons, {key: r['horizon'] for key, r in document.items() if 'horizon' in r}


def run(drive: Drive, network: Network, overrides: tuple[str, ...] = ()) -> list[Result]:
    """Write a drive as a bag and run it as ``lagr replay`` does."""
    config = load_config(overrides=[*drive.overrides, *overrides])
    with tempfile.TemporaryDirectory() as folder:
        bag = Path(folder) / 'bag'
        write_bag(bag, drive)
        return list(process(bag, config, network))


def process(bag: Path, config: Config, network: Network) -> Iterator[Result]:
    """Results of a bag, frame by frame, without the depth grid (memory)."""
    pipeline = Pipeline(config, network)
    with open_bag(bag, config) as source:
        for frame in source.frames():
            result = pipeline.process(frame)
            yield replace(result, grid=None, points=None)


def write_bag(path: Path, drive: Drive) -> None:
    """Images, calibration and (where known) poses of a drive as rosbag2."""
    left = replace(drive.camera, frame_id='left_optical')
    with BagWriter(path) as bag:
        for shot in drive.shots():
            stamp = shot.stamp_ns
            bag.camera_info('/left/camera_info', stamp, left)
            bag.image('/left/image_rect', stamp, left.frame_id, shot.image, encoding(shot.image))
            if shot.right is not None:
                right = replace(drive.camera, frame_id='right_optical')
                bag.camera_info('/right/camera_info', stamp, right, baseline_m=drive.baseline_m)
                bag.image('/right/image_rect', stamp, right.frame_id, shot.right,
                          encoding(shot.right))
            if shot.depth_mm is not None:
                bag.camera_info('/depth/camera_info', stamp, left)
                bag.image('/depth/image_rect', stamp, left.frame_id, shot.depth_mm, '16UC1')
            if shot.odom_from_base is not None:
                bag.odometry('/odom', stamp, shot.odom_from_base)


def encoding(image: Image) -> str:
    """ROS encoding of an image."""
    return 'mono8' if image.ndim == 2 else 'bgr8'


def region_windows(
    drive: Drive, number: int, result: Result, polygons: dict[str, dict[str, Polygons]]
) -> Regions:
    """Windows known to show free ground ('free') or obstacles ('obstacle'), (N,) bool each."""
    if result.pyramid is None:
        return {}
    if drive.path_xz is not None:
        found = {'free': corridor(result.pyramid, drive, number)}
        if result.labels is not None:
            label = result.labels.label
            found['obstacle'] = (label > GROUND) & (label != UNLABELED)
        return found
    named = polygons[drive.region]
    return {kind: inside(result.pyramid, named[kind]) for kind in ('free', 'obstacle')}


def inside(pyramid: Pyramid, polygons: Polygons) -> Mask:
    """Valid windows whose centre lies in one of the polygons (fractions of the image)."""
    size = (pyramid.camera.width, pyramid.camera.height)
    mask = np.zeros(size[::-1], np.uint8)
    for polygon in polygons:
        cv2.fillPoly(mask, [np.rint(np.array(polygon) * size).astype(np.int32)], 1)
    uv = np.rint(pyramid.windows.uv).astype(int)
    seen = pyramid.windows.valid & np.all((uv >= 0) & (uv < size), axis=1)
    u, v = np.clip(uv, 0, np.array(size) - 1).T
    chosen: Mask = seen & (mask[v, u] > 0)
    return chosen


def corridor(pyramid: Pyramid, drive: Drive, number: int) -> Mask:
    """Valid windows whose ground point lies beside the way the car itself took later."""
    assert drive.path_xz is not None
    points = pyramid.windows.ground_optical
    near, far = CORRIDOR_RANGE_M
    known = pyramid.windows.valid & (points[:, 2] >= near) & (points[:, 2] <= far)
    xz = transform(drive.first_from_camera[number], points)[:, [0, 2]]
    ahead = drive.path_xz[number:]
    gap = np.linalg.norm(xz[known, None] - ahead[None], axis=2)
    passed = gap.argmin(1) < len(ahead) - 1  # not beyond the end of the recording
    known[known] = passed & (gap.min(1) <= CORRIDOR_M)
    return known


def measure(row: Row, drive: Drive, result: Result, regions: Regions) -> None:
    """Add one frame to the numbers of its drive."""
    row.frames += 1
    if result.plane is None or result.pyramid is None or result.probabilities is None:
        return
    if result.plane.fresh:
        row.fresh += 1
    row.height_m.append(result.plane.plane.height_m)
    row.pitch_deg.append(float(np.degrees(result.plane.plane.pitch_rad)))
    windows = result.pyramid.windows
    row.valid.add(windows.valid)
    row.near.append(int(np.sum(windows.valid & (windows.depth >= 7) & (windows.depth <= 12))))
    label, _ = predicted_labels(result.pyramid, result.probabilities)
    taught = result.labels.label if result.labels is not None else np.full_like(label, UNLABELED)
    for kind, chosen in regions.items():
        for counts, labels in ((row.network, label), (row.teacher, taught)):
            if kind == 'obstacle' and counts is row.teacher and drive.path_xz is not None:
                continue  # the teacher drew that region
            known = labels[chosen & (labels != UNLABELED)]
            right = known <= GROUND if kind == 'free' else known > GROUND
            counts.setdefault(kind, Counts()).add(right)


def compare_grid(drive: Drive, network: Network) -> dict[str, float]:
    """Depth evidence alone (no window enters the map) against a hand-made 4 x 4 m cost grid."""
    overrides = ('map.window_weight=0.0', 'cost.resolution_m=0.1', 'cost.width_m=20.0')
    costmap = run(drive, network, overrides)[0].costmap
    theirs = drive.cost_grid
    if costmap is None or theirs is None:
        return {}
    row, column = np.indices(theirs.shape) + 0.5
    x, y = COSTGRID_CELL_M * row, COSTGRID_CELL_M * (theirs.shape[1] / 2 - column)
    cell = np.floor((np.stack([x, y], -1) - costmap.origin_m) / costmap.resolution_m).astype(int)
    ours = costmap.data[cell[..., 1], cell[..., 0]].astype(float)
    both = (theirs > 0) & (ours >= 0)
    bush = theirs[both] >= COSTGRID_BUSH
    numbers = {'set': float(np.sum(theirs > 0)), 'both': float(both.sum())}
    if both.any() and np.ptp(theirs[both]) > 0 and np.ptp(ours[both]) > 0:
        numbers['rank'] = float(spearmanr(theirs[both], ours[both]).statistic)
    if both.any():
        numbers['free'] = float(np.mean(ours[both][~bush] < 50)) if (~bush).any() else np.nan
        numbers['bush'] = float(np.mean(ours[both][bush] >= 50)) if bush.any() else np.nan
    return numbers


def save_picture(drive: Drive, result: Result) -> str:
    """Network's and teacher's labels side by side as a small JPEG; its path from docs/."""
    name = f'pictures/real_{drive.region.replace("/", "_")}.jpg'
    (DOCS / 'pictures').mkdir(exist_ok=True)
    panels = overlays(result)
    strip = draw.film_strip(panels, columns=len(panels), width=PICTURE_WIDTH)
    for quality in range(88, 30, -6):
        encoded = jpeg(strip, quality)
        if len(encoded) <= PICTURE_BYTES:
            break
    (DOCS / name).write_bytes(encoded)
    return name


def overlays(result: Result) -> list[Image]:
    """Labels over the image: the network's and, where it gave any, the teacher's."""
    pyramid = result.pyramid
    if pyramid is None or result.probabilities is None:
        return [result.frame.image]
    index = draw.window_index(pyramid, pyramid.windows.valid)
    found = draw.label_images(*predicted_labels(pyramid, result.probabilities), index)
    panels = [paint(result.frame.image, pyramid, found, bands=True, width=PICTURE_WIDTH)]
    if result.labels is not None:
        label = result.labels.label
        taught = draw.label_images(label, np.ones(len(label)), index)
        panels.append(
            paint(result.frame.image, pyramid, taught, bands=False, width=PICTURE_WIDTH))
    return panels


if __name__ == '__main__':
    main()
