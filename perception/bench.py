# SPDX-License-Identifier: Apache-2.0
"""
Stage times as ratios to a yardstick that runs between them.

Milliseconds of two machines, or of two runs on a busy one, do not compare; ratios within one
run do. Every round times the yardstick and each subject once, in an order that turns around. Times
are the processor's, of one thread: wall time where nothing else runs, and steady where it does.
Of two threads only the clock on the wall tells; so a frame of theirs is timed by it in yardsticks
so timed, and means what it says only where two cores have nothing else to do.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, Literal

import cv2
import numpy as np

from perception.bag_lens import Lens, Maps, rectify, rectify_maps
from perception.bench_engines import Rival, rivals, roofline, rows_of, useful_flops
from perception.config import Config, NetworkConfig, PyramidConfig, with_values
from perception.contrast import band_strips
from perception.errors import GroundPlaneError, ImageError
from perception.flops import sgemm_flops
from perception.ground_plane import fit_planes
from perception.inference import load_configured
from perception.lesson import Sight
from perception.near_to_far import NearToFar
from perception.pipeline import Pipeline, window_probabilities
from perception.pipelined import run
from perception.projection import observe, odom_from_camera
from perception.pyramid import Pyramid
from perception.stereo import depth_grid, to_grey
from perception.supervisor import label_points, supervise
from perception.types import Camera, Frame, Image

PAIR = Path(__file__).parent / 'commands' / 'bench_pair'
LEFT, RIGHT = PAIR / 'left.jpg', PAIR / 'right.jpg'
CAMERA = Camera(640, 480, 457.0, 457.0, 319.5, 239.5, 'left_optical')
BASELINE_M = 0.12
STEP_M, STEP_NS = 0.15, 100_000_000  # the robot moves on between frames: 1.5 m/s at 10 Hz
WARM_UP = 3

Preset = Literal['bands7', 'bands24']
PRESETS: tuple[Preset, ...] = ('bands7', 'bands24')
NETWORKS = ('default', 'lagr2008')
SHARED = ('rectify', 'stereo', 'plane')
PER_SUBJECT = ('preprocess', 'network', 'supervisor', 'learning', 'map', 'frame',
               'frame_learning')
IN_FRAME = ('stereo', 'plane', 'preprocess', 'network', 'map')
RUNS_NETWORK = ('network', 'frame', 'frame_learning')
ON_LINE = ('supervisor', 'learning')  # with rectification, what frame_learning adds to frame
PIPELINED: tuple[Preset, ...] = ('bands7',)
BURST = 5  # frames in a row on two threads; the first has no frame before it, the last none after
DRIVEN_BEFORE_M = 30.0  # so that old views are labelled in hindsight while the clock runs
Samples = dict[str, list[float]]


@dataclass
class Subject:
    """One preset with one network, fed frame after frame as a drive would."""

    preset: Preset
    network: str
    pipeline: Pipeline
    rivals: list[Rival] = field(default_factory=list)
    ms: Samples = field(default_factory=lambda: defaultdict(list))
    pyramid: Pyramid | None = None  # of the last frame

    def run(self, frame: Frame) -> dict[str, float]:
        """
        One frame, stage by stage; milliseconds of each.

        ``supervisor`` and ``learning`` are what only learning needs; ``frame`` is without them.
        """
        ms: dict[str, float] = {}
        sight = self.see(frame, ms)
        assert sight.points is not None
        assert sight.grid is not None
        with timed(ms, 'supervisor'):
            labels = supervise(sight.points, sight.grid, sight.pyramid,
                               self.pipeline.config.supervisor)
        sight = replace(sight, labels=labels)
        self._drive_on(sight)
        with timed(ms, 'learning'):
            self._learner.learn(sight)
        return ms

    def see(self, frame: Frame, ms: dict[str, float]) -> Sight:
        """Run the stages of ``frame``, timed into ``ms``; ``map`` is all that evidence costs."""
        pipeline, config = self.pipeline, self.pipeline.config
        with timed(ms, 'stereo'):
            grid = depth_grid(frame, config.stereo)
        with timed(ms, 'plane'):
            estimate = pipeline.tracker.update(grid, frame)
        if grid is None or estimate is None or not estimate.fresh:
            raise GroundPlaneError(f'{PAIR}: no ground plane in the shipped pair; reinstall')
        with timed(ms, 'preprocess'):
            self.pyramid = pyramid = pipeline.lay_pyramid(estimate)
            strips = band_strips(frame.image, pyramid, pipeline.contrast,
                                 pipeline.network.spec.receptive, pipeline.network.packed)
        with timed(ms, 'network'):
            outputs = pipeline.network.features(strips)
            probabilities = window_probabilities(outputs, pyramid, pipeline.network)
        with timed(ms, 'map'):
            planes = fit_planes(grid, estimate.plane, config.plane)
            points = label_points(grid, planes, config.supervisor)
            pose = odom_from_camera(frame, estimate.plane, config.mount)
            observation = observe(pyramid, probabilities, config.map, (points, grid))
            pipeline.mapper.fuse(observation, pose, (pose[0, 3], pose[1, 3]), frame.stamp_ns)
        return Sight(pyramid, outputs, estimate, None, points, grid, pose, frame.odom_from_base)

    @property
    def _learner(self) -> NearToFar:
        assert self.pipeline.learner is not None
        return self.pipeline.learner

    def _drive_on(self, sight: Sight) -> None:
        """Before the first frame, give the learner a stretch of road to remember."""
        if self._learner.memory.views:
            return
        assert sight.odom_from_camera is not None
        assert sight.odom_from_base is not None
        for behind in np.arange(DRIVEN_BEFORE_M, 0, -STEP_M):
            back = np.eye(4)
            back[0, 3] = -behind
            self._learner.learn(replace(sight, odom_from_camera=back @ sight.odom_from_camera,
                                        odom_from_base=back @ sight.odom_from_base))

    def record(self, frame: Frame) -> None:
        """Keep the times of one frame; rectification, the same for all, comes in at the end."""
        ms = self.run(frame)
        for stage, value in ms.items():
            self.ms[stage].append(value)
        whole = sum(ms[stage] for stage in IN_FRAME)
        self.ms['frame'].append(whole)
        self.ms['frame_learning'].append(whole + sum(ms[stage] for stage in ON_LINE))
        for rival in self.rivals:
            assert self.pyramid is not None
            rival.record(frame, self.pyramid)

    def forget(self) -> None:
        """Begin anew, as after warming up."""
        for samples in (self.ms, *(rival.ms for rival in self.rivals)):
            samples.clear()


class Duo(Subject):
    """The same without learning, on two threads."""

    def record(self, frame: Frame) -> None:
        """Keep the time between results of frames in a row, by the clock on the wall."""
        done = len(self.ms['frame'])
        frames = [moved(frame, done + k) for k in range(BURST)]
        ends = [perf_counter() for _ in run(self.pipeline, frames, ahead=True)]
        self.ms['frame'] += (1e3 * np.diff(ends[:-1])).tolist()


@contextmanager
def timed(ms: dict[str, float], stage: str) -> Iterator[None]:
    """Processor time of the body [ms], under this name."""
    start = process_time()
    yield
    ms[stage] = (process_time() - start) * 1e3


def run_bench(
    rounds: int, on_round: Callable[[int], None] = lambda done: None,
    tell: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """
    Time every stage on the shipped pair, on one thread, and whole frames on two.

    The network runs on every engine and precision that works here, too.

    Parameters
    ----------
    rounds : int
        Rounds that count; three more warm up.
    on_round : callable
        Told how many rounds are done.
    tell : callable
        Told which engines are left out, and why.

    Returns
    -------
    dict
        ``yardstick_ms``, ``sgemm_gflops`` and ``rows``, each with name, preset, network, engine,
        precision, threads, p50_ms, p95_ms, ratio = p50 / yardstick, roofline = achieved rate /
        that of the best matrix product in f32, and clock; null where a key does not apply.
        The yardstick is one three-way SGBM call: 640x480, 96 disparities, block 5, one thread.
    """
    cv2.setNumThreads(1)
    frame, maps = read_pair(), _raw_maps()
    subjects = [_subject(preset, network) for preset in PRESETS for network in NETWORKS]
    for subject in subjects:
        subject.rivals = rivals(
            subject.network, tell if subject.preset == PRESETS[0] else lambda text: None)
    duos = [_duo(preset, network) for preset in PIPELINED for network in NETWORKS]
    shared: Samples = defaultdict(list)
    for index in range(WARM_UP + rounds):
        if index == WARM_UP:
            shared.clear()
            for subject in (*subjects, *duos):
                subject.forget()
        _one_round(index, moved(frame, index), maps, [*subjects, *duos], shared)
        on_round(index + 1)
    return _summary(shared, subjects, duos)


def read_pair() -> Frame:
    """
    Return the shipped stereo pair, rectified.

    Raises
    ------
    ImageError
        The pictures are missing or damaged.
    """
    left = cv2.imread(str(LEFT), cv2.IMREAD_COLOR)
    right = cv2.imread(str(RIGHT), cv2.IMREAD_GRAYSCALE)
    for path, image in ((LEFT, left), (RIGHT, right)):
        if image is None or image.shape[:2] != (CAMERA.height, CAMERA.width):
            raise ImageError(f'{path}: missing or damaged; reinstall lagr_perception')
    return Frame(0, np.asarray(left, np.uint8), CAMERA, right=np.asarray(right, np.uint8),
                 baseline_m=BASELINE_M)


def _subject(preset: Preset, network: str) -> Subject:
    config = Config(pyramid=PyramidConfig(preset=preset),
                    network=NetworkConfig(name=network, engine='onnxruntime', threads=1))
    loaded = load_configured(config.network)
    return Subject(preset, network, Pipeline(config, loaded))


def _duo(preset: Preset, network: str) -> Duo:
    alone = _subject(preset, network).pipeline
    pipeline = Pipeline(with_values(alone.config, {'near_to_far.enabled': False}), alone.network)
    pipeline.teach = False
    return Duo(preset, network, pipeline)


def _raw_maps() -> tuple[Maps, Maps]:
    """Maps from raw pictures with a usual lens to the rectified ones."""
    maps = [rectify_maps(Lens(CAMERA.K, np.array([k1, 0.02, 0, 0, 0])), CAMERA)
            for k1 in (-0.06, -0.05)]
    return maps[0], maps[1]


def moved(frame: Frame, index: int) -> Frame:
    """The same view some steps further on."""
    pose = np.eye(4)
    pose[0, 3] = STEP_M * index
    return replace(frame, stamp_ns=STEP_NS * index, odom_from_base=pose)


def _one_round(
    index: int, frame: Frame, maps: tuple[Maps, Maps], subjects: list[Subject], shared: Samples
) -> None:
    """Everything once, every second round backwards."""
    tasks: list[Callable[[], None]] = [
        lambda: time_yardstick(frame, shared), lambda: _time_rectify(frame, maps, shared),
        *((lambda subject=subject: subject.record(frame)) for subject in subjects),
    ]
    for task in tasks if index % 2 == 0 else reversed(tasks):
        task()


def time_yardstick(frame: Frame, shared: Samples) -> None:
    """One yardstick, by the processor and by the clock on the wall."""
    left, right = to_grey(frame.image), _right(frame)
    matcher = cv2.StereoSGBM.create(0, 96, 5, 8 * 25, 32 * 25, 1, 31, 10, 50, 1,
                                    cv2.STEREO_SGBM_MODE_SGBM_3WAY)
    ms: dict[str, float] = {}
    start = perf_counter()
    with timed(ms, 'yardstick'):
        matcher.compute(left, right)
    shared['yardstick_wall'].append((perf_counter() - start) * 1e3)
    shared['yardstick'].append(ms['yardstick'])


def _time_rectify(frame: Frame, maps: tuple[Maps, Maps], shared: Samples) -> None:
    right = _right(frame)
    ms: dict[str, float] = {}
    with timed(ms, 'rectify'):
        rectify(frame.image, maps[0])
        rectify(right, maps[1])
    shared['rectify'].append(ms['rectify'])


def _right(frame: Frame) -> Image:
    assert frame.right is not None
    return frame.right


def _summary(shared: Samples, subjects: list[Subject], duos: list[Duo]) -> dict[str, Any]:
    yardstick = float(np.median(shared['yardstick']))
    samples: list[tuple[str, Subject | None, list[float]]] = [('rectify', None, shared['rectify'])]
    for stage in ('stereo', 'plane'):  # the same for every subject
        samples.append((stage, None, [ms for subject in subjects for ms in subject.ms[stage]]))
    rectify_ms = float(np.median(shared['rectify']))
    for subject in subjects:
        subject.ms['frame_learning'] = [ms + rectify_ms for ms in subject.ms['frame_learning']]
        samples += [(stage, subject, subject.ms[stage]) for stage in PER_SUBJECT]
    rows = [_row(name, subject, values, yardstick) for name, subject, values in samples]
    peak = sgemm_flops()
    for subject in subjects:
        for rival in subject.rivals:
            rows += rows_of(rival, subject.ms,
                            partial(_row, subject=subject, yardstick=yardstick))
        _add_rooflines(rows, subject, peak)
    pace = yardstick / float(np.median(shared['yardstick_wall']))
    rows += [_row('frame', duo, [ms * pace for ms in duo.ms['frame']], yardstick)
             | {'threads': 2, 'clock': 'wall'} for duo in duos]
    return {'yardstick_ms': yardstick, 'sgemm_gflops': peak / 1e9, 'rows': rows}


def _add_rooflines(rows: list[dict[str, Any]], subject: Subject, peak: float) -> None:
    assert subject.pyramid is not None
    flops = useful_flops(subject.pipeline, subject.pyramid, subject.network)
    for row in rows:
        if (row['name'], row['preset'], row['network']) == (
                'network', subject.preset, subject.network):
            row['roofline'] = roofline(flops, row['p50_ms'], peak)


def _row(
    name: str, subject: Subject | None, values: list[float], yardstick: float
) -> dict[str, Any]:
    p50, p95 = (float(value) for value in np.percentile(values, (50, 95)))
    runs = subject is not None and name in RUNS_NETWORK
    return {
        'name': name,
        'preset': subject.preset if subject else None,
        'network': subject.network if subject else None,
        'engine': 'onnxruntime' if runs else None,
        'precision': 'f32' if runs else None,
        'threads': 1,
        'p50_ms': p50,
        'p95_ms': p95,
        'ratio': p50 / yardstick,
        'roofline': None,
        'clock': 'processor',
    }
