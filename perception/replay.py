# SPDX-License-Identifier: Apache-2.0
"""Run a recorded bag through the pipeline: output bag, metrics and report; no ROS needed."""

import json
import platform
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perception.bag import BagSource, open_bag
from perception.bag_writer import BagWriter
from perception.camera import plane_pose
from perception.cloud import cloud_columns
from perception.config import Config, config_hash
from perception.draw import overlay, predicted_images
from perception.draw_scene import confidence_image, scene_overlay, with_legend
from perception.errors import BagError, PerceptionError
from perception.evaluation.true_map import read_true_map
from perception.inference import Network, Opened, load_configured
from perception.learning_state import save_state
from perception.near_to_far import NearToFar
from perception.online_metrics import OnlineMetrics
from perception.pipeline import Pipeline, Result, percentiles
from perception.pipelined import run, runs_ahead
from perception.report import ReportData, write_report
from perception.scene import SceneNetwork, SceneSpec
from perception.types import CLASSES, Frame

Progress = Callable[[int, int], None]
SCENE_STRIDE = 4  # every fourth pixel each way is enough to count classes


@dataclass
class Metrics:
    """What metrics.json will say; fed frame by frame, right at every moment."""

    config: Config
    network: Network
    online: OnlineMetrics | None = None
    scene: SceneNetwork | None = None
    frames: int = 0
    frames_with_plane: int = 0
    stage_ms: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    total_ms: list[float] = field(default_factory=list)
    planes: list[tuple[float, float, float]] = field(default_factory=list)
    classes: NDArray[np.int64] = field(
        default_factory=lambda: np.zeros(len(CLASSES), np.int64))
    scene_pixels: NDArray[np.int64] = field(default_factory=lambda: np.zeros(256, np.int64))
    last: Frame | None = None

    def add(self, result: Result) -> None:
        """Count one frame."""
        self.frames += 1
        self.last = result.frame
        for stage, ms in result.stage_ms.items():
            self.stage_ms[stage].append(ms)
        self.total_ms.append(sum(result.stage_ms.values()))
        if self.online is not None:
            self.online.add(result.lesson)
        if result.scene is not None:
            thin = result.scene.label[::SCENE_STRIDE, ::SCENE_STRIDE]
            self.scene_pixels += np.bincount(thin.ravel(), minlength=256)
        if result.plane is None:
            return
        if result.plane.fresh:
            self.frames_with_plane += 1
            plane = result.plane.plane
            self.planes.append((plane.height_m, plane.pitch_rad, plane.roll_rad))
        if result.probabilities is not None and result.pyramid is not None:
            chosen = result.probabilities[result.pyramid.windows.valid].argmax(1)
            self.classes += np.bincount(chosen, minlength=len(CLASSES))

    def summary(self) -> dict[str, Any]:
        """The contract of metrics.json; medians are null without a fresh plane."""
        plane = np.median(self.planes, axis=0).tolist() if self.planes else [None] * 3
        share = self.classes / max(int(self.classes.sum()), 1)
        return {
            'frames': self.frames,
            'frames_with_plane': self.frames_with_plane,
            'stage_ms': {stage: percentiles(ms) for stage, ms in self.stage_ms.items()},
            'total_ms': percentiles(self.total_ms) if self.total_ms else None,
            'plane': dict(zip(('height_m', 'pitch_rad', 'roll_rad'), plane, strict=True)),
            'labels': dict(zip(CLASSES, share.tolist(), strict=True)),
            'scene': self._scene_summary(),
            'online': self.online.summary() if self.online else None,
            'config_hash': config_hash(self.config),
            'pipelined': runs_ahead(self.config.runtime.pipelining),
            **_engine(self.network.opened),
            'network': self.network.spec.name,
            'versions': versions(),
        }

    def _scene_summary(self) -> dict[str, Any] | None:
        """Scene network, and the share of each class among the pixels; None without one."""
        if self.scene is None:
            return None
        share, spec = self.scene_pixels / max(int(self.scene_pixels.sum()), 1), self.scene.spec
        return {'network': spec.name, 'sha256': spec.sha256, **_engine(self.scene.opened),
                'labels': dict(zip(spec.classes, share.tolist(), strict=False))}


def _engine(opened: Opened) -> dict[str, str]:
    """What runs a network, what it computes in, and why that engine."""
    session = opened.session
    return {'engine': session.engine, 'precision': session.precision, 'engine_why': opened.reason}


def versions() -> dict[str, str]:
    """Versions of this package and of what its numbers depend on."""
    packages = ('lagr_perception', 'numpy', 'opencv-python-headless', 'onnxruntime', 'openvino',
                'rosbags')
    found = {'python': platform.python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = 'not installed'
    return found


@dataclass(frozen=True)
class Outputs:
    """Where a replay writes."""

    folder: Path

    @property
    def bag(self) -> Path:
        """Bag of labels and cost maps."""
        return self.folder / 'replay'

    @property
    def metrics(self) -> Path:
        """metrics.json."""
        return self.folder / 'metrics.json'

    @property
    def report(self) -> Path:
        """report.html."""
        return self.folder / 'report.html'

    @property
    def state(self) -> Path:
        """What near-to-far learning knows at the end."""
        return self.folder / 'near_to_far.npz'


def replay(
    bag: Path, out: Path, config: Config, *, max_frames: int | None = None,
    on_found: Callable[[list[str]], None] = lambda lines: None,
    on_progress: Progress = lambda done, total: None,
) -> dict[str, Any]:
    """
    Run a bag through the pipeline.

    Parameters
    ----------
    bag : Path
        rosbag2 folder, or a bare mcap or sqlite3 file.
    out : Path
        Folder for ``replay/``, ``metrics.json``, ``report.html`` and, where something learns,
        ``near_to_far.npz``; made if missing.
    config : Config
        All stages.
    on_found, on_progress : callable
        Told what the bag holds, and (frames done, frames expected).

    Returns
    -------
    dict
        What metrics.json holds.

    Raises
    ------
    PerceptionError
        Bad bag, calibration, network or configuration. What was done until an error or an
        interruption is written all the same.
    """
    outputs = Outputs(out)
    if bag.resolve() in (outputs.bag.resolve(), *outputs.bag.resolve().glob('*')):
        raise BagError(f'{bag}: is where the output bag goes; choose another folder with --out')
    network = load_configured(config.network)
    pipeline = Pipeline(config, network)
    learner, scene = pipeline.learner, pipeline.scene.network.spec if pipeline.scene else None
    with ExitStack() as stack:
        source = stack.enter_context(open_bag(bag, config))
        on_found(source.found.lines())
        out.mkdir(parents=True, exist_ok=True)
        writer = BagWriter(outputs.bag, overwrite=True)  # refused: what lies there stays
        metrics = Metrics(config, network, OnlineMetrics(learner) if learner else None,
                          pipeline.scene.network if pipeline.scene else None)
        stack.enter_context(_keeping(outputs.state, learner))
        report = ReportData(str(bag), source.found.lines(), scene)
        stack.enter_context(_concluding(outputs, metrics, report, source))
        stack.enter_context(writer)
        total = len(source) if max_frames is None else min(max_frames, len(source))
        frames = islice(source.frames(), max_frames)
        ahead = runs_ahead(config.runtime.pipelining)
        for result in stack.enter_context(closing(run(pipeline, frames, ahead=ahead))):
            write_result(writer, result)
            if scene is not None:
                write_scene(writer, result, scene)
            metrics.add(result)
            report.add(result)
            on_progress(metrics.frames, total)
    return metrics.summary()


@contextmanager
def _keeping(path: Path, learner: NearToFar | None) -> Iterator[None]:
    """Write what was learned, however the body ends; nothing where nothing learns."""
    try:
        yield
    finally:
        if learner is not None and not learner.config.frozen:
            save_state(path, learner)


@contextmanager
def _concluding(
    outputs: Outputs, metrics: Metrics, report: ReportData, source: BagSource
) -> Iterator[None]:
    """Write metrics and report of what was done, however the body ends."""
    interrupted = ''
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        interrupted = 'stopped by the user'
        raise
    except PerceptionError as error:
        interrupted = str(error)
        raise
    finally:
        summary = metrics.summary()
        outputs.metrics.write_text(json.dumps(summary, indent=2) + '\n')
        write_report(outputs.report, report, summary, interrupted=interrupted,
                     true_map=read_true_map(source, metrics.last))


def write_result(writer: BagWriter, result: Result) -> None:
    """Write one frame's labels, plane, points and cost map on the topics of the nodes."""
    if result.plane is None or result.pyramid is None or (
            result.probabilities is None or result.observation is None):
        return
    stamp, frame_id = result.frame.stamp_ns, result.frame.camera.frame_id
    labels, confidence = predicted_images(result.pyramid, result.probabilities)
    writer.image('/traversability/image', stamp, frame_id, labels, 'mono8')
    writer.image('/traversability/confidence', stamp, frame_id, confidence, 'mono8')
    picture = overlay(result.frame.image, labels, confidence)
    writer.compressed('/traversability/overlay/compressed', stamp, frame_id, picture, 'jpeg')
    writer.pose('/ground_plane', stamp, frame_id, plane_pose(result.plane.plane))
    writer.points('/traversability/points', stamp, frame_id, cloud_columns(result.observation))
    if result.costmap is not None:
        writer.occupancy_grid('/costmap', result.costmap)


def write_scene(writer: BagWriter, result: Result, spec: SceneSpec) -> None:
    """Write one frame's scene labels on the topics of the nodes; they need no plane."""
    if result.scene is None:
        return
    stamp, frame_id = result.frame.stamp_ns, result.frame.camera.frame_id
    writer.image('/scene/image', stamp, frame_id, result.scene.label, 'mono8')
    writer.image('/scene/confidence', stamp, frame_id, confidence_image(result.scene), 'mono8')
    painted = scene_overlay(result.frame.image, result.scene, spec.palette)
    picture = with_legend(painted, spec.classes, spec.palette)
    writer.compressed('/scene/overlay/compressed', stamp, frame_id, picture, 'jpeg')
