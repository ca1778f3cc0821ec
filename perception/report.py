# SPDX-License-Identifier: Apache-2.0
"""
The HTML report of a replay: what was run, what it saw, what it decided, how long it took.

``ReportData`` is fed one frame at a time and keeps a bounded sample of them, so that it can stay
on for hours; ``write_report`` may be called at any moment, also before the first frame.
"""

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import cv2
import jinja2
import numpy as np
from numpy.typing import NDArray

from perception import draw, report_plots
from perception.draw_map import TrueMap, costmap_image, known_part
from perception.draw_scene import scene_overlay, with_legend
from perception.online_metrics import Course, CourseSample
from perception.pipeline import Result
from perception.pyramid import Pyramid
from perception.report_plots import PlaneSample
from perception.scene import SceneSpec
from perception.types import CLASSES, UNLABELED, Costmap, Float, Image, PlaneEstimate

SNAPSHOTS_SHOWN, PICTURE_WIDTH, MAP_WIDTH = 8, 720, 420
SNAPSHOTS_KEPT, SAMPLES_KEPT = 2 * SNAPSHOTS_SHOWN, 4096
JPEG_QUALITY = 82
WIDE = 2.0  # wider pictures than this are stacked

CLASS_WORDS = {
    'super_ground': 'nothing but ground: drive here',
    'ground': 'mostly ground, something small may stand in it',
    'footline': 'the foot of an obstacle, where it meets the ground',
    'obstacle': 'an obstacle that does not fill the window',
    'super_obstacle': 'obstacle all over',
}

T = TypeVar('T')


class Thinned(Generic[T]):
    """Evenly spread sample of a stream of unknown length: every k-th item, at most ``limit``."""

    def __init__(self, limit: int) -> None:
        self.items: list[T] = []
        self.offered = 0
        self._limit, self._stride = limit, 1

    def offer(self, make: Callable[[], T]) -> None:
        """Count one item and, where it belongs to the sample, make and keep it."""
        if self.offered % self._stride == 0:
            if len(self.items) == self._limit:
                self.items = self.items[::2]
                self._stride *= 2
            if self.offered % self._stride == 0:
                self.items.append(make())
        self.offered += 1

    def spread(self, count: int) -> list[T]:
        """Up to ``count`` of the kept items, first and last among them."""
        chosen = np.linspace(0, len(self.items) - 1, min(count, len(self.items)))
        return [self.items[i] for i in np.unique(np.rint(chosen).astype(int))]


@dataclass(frozen=True)
class Snapshot:
    """Pictures of one frame: encoded files."""

    time_s: float
    overlay_jpeg: bytes
    labels_jpeg: bytes | None
    map_png: bytes | None
    note: str
    scene_jpeg: bytes | None = None


class ReportData:
    """
    Bounded memory of a run: a few pictures, thinned series, counts, and the last cost map.

    Parameters
    ----------
    bag : str
        Name of the bag, for the title.
    found : sequence of str
        What was found in it, a line each.
    scene : SceneSpec, optional
        The scene network, where one labels the frames.
    """

    def __init__(
        self, bag: str, found: Sequence[str] = (), scene: SceneSpec | None = None
    ) -> None:
        self.bag, self.found, self.scene = bag, tuple(found), scene
        self.frames = self.fresh = 0
        self.taught = np.zeros(len(CLASSES), np.int64)
        self.predicted = np.zeros(len(CLASSES), np.int64)
        self.planes: Thinned[PlaneSample] = Thinned(SAMPLES_KEPT)
        self.path: Thinned[tuple[float, float]] = Thinned(SAMPLES_KEPT)
        self.course: Thinned[CourseSample] = Thinned(SAMPLES_KEPT)
        self.snapshots: Thinned[Snapshot] = Thinned(SNAPSHOTS_KEPT)
        self.costmap: Costmap | None = None
        self.wide = False
        self._course = Course()
        self._start_ns: int | None = None
        self._last_position: tuple[float, float] | None = None

    def add(self, result: Result) -> None:
        """Take note of one frame, also of one without a plane."""
        stamp = result.frame.stamp_ns
        self._start_ns = stamp if self._start_ns is None else self._start_ns
        time_s = (stamp - self._start_ns) * 1e-9
        self.frames += 1
        self.wide = result.frame.image.shape[1] > WIDE * result.frame.image.shape[0]
        self.fresh += result.plane is not None and result.plane.fresh
        self.planes.offer(lambda: _plane_sample(time_s, result.plane))
        self._count(result)
        if result.lesson is not None:
            sample = self._course.add(time_s, result.lesson)
            self.course.offer(lambda: sample)
        if result.frame.odom_from_base is not None:
            x, y = result.frame.odom_from_base[:2, 3]
            position = (float(x), float(y))
            self._last_position = position
            self.path.offer(lambda: position)
        self.costmap = result.costmap or self.costmap
        self.snapshots.offer(lambda: self._snapshot(time_s, result))

    @property
    def path_xy(self) -> Float:
        """Way of the robot so far, (M, 2) [m] in odom; the last row is where it is."""
        last = [] if self._last_position is None else [self._last_position]
        return np.array([*self.path.items, *last], float).reshape(-1, 2)

    def _count(self, result: Result) -> None:
        """Add the classes of this frame's windows to the totals."""
        if result.labels is not None:
            self.taught += _class_counts(result.labels.label)
        if result.pyramid is not None and result.probabilities is not None:
            labels, _ = predicted_labels(result.pyramid, result.probabilities)
            self.predicted += _class_counts(labels)

    def _snapshot(self, time_s: float, result: Result) -> Snapshot:
        """Draw and encode one frame."""
        note, pyramid, scene = _plane_note(result.plane), result.pyramid, self._scene(result)
        if pyramid is None or result.probabilities is None:
            plain = draw.resize_to_width(result.frame.image, PICTURE_WIDTH)
            return Snapshot(time_s, jpeg(plain), None, None, note, scene)
        index = draw.window_index(pyramid, pyramid.windows.valid)
        found = predicted_labels(pyramid, result.probabilities)
        image = result.frame.image
        shown = jpeg(paint(image, pyramid, draw.label_images(*found, index), bands=True))
        taught = None
        if result.labels is not None:
            sure = np.ones(len(result.labels.label))
            labels = draw.label_images(result.labels.label, sure, index)
            taught = jpeg(paint(image, pyramid, labels, bands=False))
        grid = None
        if result.costmap is not None:
            grid = png(map_picture(result.costmap, self.path_xy, MAP_WIDTH))
        return Snapshot(time_s, shown, taught, grid, note, scene)

    def _scene(self, result: Result) -> bytes | None:
        """Scene labels of one frame, with their legend."""
        if self.scene is None or result.scene is None:
            return None
        painted = scene_overlay(result.frame.image, result.scene, self.scene.palette)
        shown = draw.resize_to_width(painted, PICTURE_WIDTH)
        return jpeg(with_legend(shown, self.scene.classes, self.scene.palette))


def predicted_labels(
    pyramid: Pyramid, probabilities: Float
) -> tuple[NDArray[np.uint8], Float]:
    """
    Class with the highest probability, and that probability, of the windows in the image.

    Parameters
    ----------
    probabilities : (N, 5) float
        In the order of ``pyramid.windows``.

    Returns
    -------
    label : (N,) uint8
        0-4; 255 where the window is not valid or a probability not finite.
    confidence : (N,) float
        In [0, 1].
    """
    known = np.isfinite(probabilities).all(axis=1) & pyramid.windows.valid
    filled = np.where(known[:, None], probabilities, 0)
    label = np.where(known, filled.argmax(axis=1), UNLABELED).astype(np.uint8)
    return label, filled.max(axis=1, initial=0)


def paint(
    image: Image, pyramid: Pyramid, label_images: tuple[Image, Image], *,
    bands: bool, width: int = PICTURE_WIDTH,
) -> Image:
    """Overlay of one frame at a readable width: labels, horizon, distances, perhaps bands."""
    picture = draw.resize_to_width(draw.overlay(image, *label_images), width)
    return draw.draw_geometry(picture, pyramid, bands=bands)


def map_picture(
    costmap: Costmap, path_xy: Float, width: int, truth: TrueMap | None = None
) -> Image:
    """Cost map drawn about ``width`` pixels wide with whole pixels a cell."""
    cell_px = max(1, round(width / costmap.data.shape[1]))
    return costmap_image(costmap, cell_px=cell_px, truth=truth, path_xy=path_xy)


def write_report(
    path: Path, data: ReportData, summary: Mapping[str, Any], *,
    true_map: TrueMap | None = None, interrupted: str = '',
) -> None:
    """
    Write the report as one HTML file that needs nothing else.

    Parameters
    ----------
    path : Path
        Written over where it exists.
    summary : mapping
        What metrics.json says: network, engine, config_hash, versions, stage_ms, plane ...
    true_map : TrueMap, optional
        True obstacles, outlined in the final cost map and used for nothing else.
    interrupted : str
        Why the run ended early, shown on top; empty = it ran to the end.
    """
    folder = Path(__file__).parent / 'templates'
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder), autoescape=True,
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )
    environment.filters['uri'] = _data_uri
    page = environment.get_template('report.html').render(
        data=data, run=summary, interrupted=interrupted, has_truth=true_map is not None,
        snapshots=data.snapshots.spread(SNAPSHOTS_SHOWN), stacked=data.wide,
        classes=_class_legend(), **_final_map(data, true_map), **_plots(data, summary),
    )
    path.write_text(page, encoding='utf-8')


def _plots(data: ReportData, summary: Mapping[str, Any]) -> dict[str, Any]:
    """Plots as SVG; None where there is nothing to plot."""
    stages = dict(summary['stage_ms'])
    if summary['total_ms']:
        stages['total'] = summary['total_ms']
    shares = {'network': data.predicted, 'teacher': data.taught}
    seen = {name: counts for name, counts in shares.items() if counts.sum()}
    return {
        'stages': stages,
        'times_svg': report_plots.stage_plot(stages) if stages else None,
        'plane_svg': report_plots.plane_plot(data.planes.items),
        'shares_svg': report_plots.share_plot(seen) if seen else None,
        'course_svg': report_plots.course_plot(data.course.items),
    }


def _final_map(data: ReportData, truth: TrueMap | None) -> dict[str, Any]:
    """Picture and size of the last cost map."""
    if data.costmap is None:
        return {'map_png': None, 'map_side': '', 'map_known': 0.0}
    part = known_part(data.costmap)
    height, width = (n * part.resolution_m for n in part.data.shape)
    return {
        'map_png': png(map_picture(part, data.path_xy, 2 * MAP_WIDTH, truth)),
        'map_side': f'{width:.0f} x {height:.0f} m, cells of {part.resolution_m:g} m',
        'map_known': float(np.mean(data.costmap.data >= 0)),
    }


def _class_legend() -> list[dict[str, str]]:
    """Name, colour and meaning of each class."""
    return [
        {'name': name.replace('_', '-'), 'words': CLASS_WORDS[name],
         'colour': report_plots.web_colour(draw.CLASS_COLOURS[k])}
        for k, name in enumerate(CLASSES)
    ]


def _class_counts(labels: NDArray[np.uint8]) -> NDArray[np.int64]:
    """How many windows carry each class, (5,)."""
    return np.bincount(labels[labels != UNLABELED], minlength=len(CLASSES))


def _plane_sample(time_s: float, estimate: PlaneEstimate | None) -> PlaneSample:
    """Numbers of the plane in use; NaN where there is none."""
    if estimate is None:
        return PlaneSample(time_s, np.nan, np.nan, np.nan, np.nan, 'none')
    plane = estimate.plane
    return PlaneSample(time_s, plane.pitch_rad, plane.roll_rad, plane.height_m,
                       estimate.inlier_share, estimate.source)


def _plane_note(estimate: PlaneEstimate | None) -> str:
    """Say in a few words where the plane came from."""
    if estimate is None:
        return 'no ground plane: nothing is guessed'
    words = {'hough': 'plane found anew', 'tracked': 'plane tracked',
             'held': 'no plane now: the last one is held', 'calibration': 'plane from calibration'}
    share = f' ({estimate.inlier_share:.0%} of the points)' if estimate.fresh else ''
    return words[estimate.source] + share


def jpeg(image: Image, quality: int = JPEG_QUALITY) -> bytes:
    """Encode as JPEG."""
    _, data = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return data.tobytes()


def png(image: Image) -> bytes:
    """Encode as PNG."""
    _, data = cv2.imencode('.png', image)
    return data.tobytes()


def _data_uri(data: bytes, kind: str) -> str:
    """Embed a file in the page."""
    return f'data:image/{kind};base64,{base64.b64encode(data).decode()}'
