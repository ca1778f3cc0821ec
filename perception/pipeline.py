# SPDX-License-Identifier: Apache-2.0
"""
One frame through the whole chain; reads like the diagram of the architecture.

State lives in three named places: the plane tracker, the classifier that learns, and the map.
Each can be saved, restored and reset.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter

import numpy as np

from perception.config import Config
from perception.contrast import ContrastMode, band_strips, gather
from perception.errors import GroundPlaneError
from perception.ground_plane import fit_planes
from perception.inference import Network, checked, linear_maps, softmax
from perception.learning_state import load_state
from perception.lesson import Lesson, Sight
from perception.mapping import Mapper
from perception.near_to_far import NearToFar
from perception.plane_tracker import PlaneTracker
from perception.projection import observe, odom_from_camera
from perception.pyramid import Pyramid, build_pyramid, scale_factor
from perception.scene import SceneLabels
from perception.scene_stage import make_scene
from perception.scene_view import joined
from perception.stereo import depth_grid
from perception.supervisor import PointLabels, WindowLabels, label_points, supervise
from perception.types import Costmap, DepthGrid, Float, Frame, Observation, PlaneEstimate


@dataclass(frozen=True)
class Result:
    """
    All that one frame gave.

    Without a plane, everything after it is None: nothing is guessed. ``labels`` are the teacher's
    and exist only on a fresh plane. ``probabilities`` (N, 5) float32 in the order of
    ``pyramid.windows``. ``sight`` and ``lesson`` are what near-to-far learning took in and what
    came of it, where it is on. ``scene`` needs no plane: it is there wherever scenes are labelled.
    ``stage_ms`` holds the wall time of each stage that ran.
    """

    frame: Frame
    stage_ms: dict[str, float]
    grid: DepthGrid | None = None
    plane: PlaneEstimate | None = None
    pyramid: Pyramid | None = None
    points: PointLabels | None = None
    labels: WindowLabels | None = None
    probabilities: Float | None = None
    costmap: Costmap | None = None
    observation: Observation | None = None
    sight: Sight | None = None
    lesson: Lesson | None = None
    scene: SceneLabels | None = None


@dataclass(frozen=True)
class Survey:
    """
    What one frame shows by itself: depth, the ground plane, and scene labels where wanted.

    The first half of the chain; ``clock`` holds the times of its stages.
    """

    frame: Frame
    clock: 'StageClock'
    grid: DepthGrid | None
    plane: PlaneEstimate | None
    scene: SceneLabels | None


class Traversability:
    """
    Frames in, labels out: the chain up to what ``traversability_node`` publishes.

    It has two halves, ``survey`` and ``conclude``; the plane tracker belongs to the first alone,
    learner and map to the second, so that the first may run ahead on a thread of its own.

    ``teach`` False leaves the teacher's window labels out where nobody learns from them.
    ``learner`` is None where ``near_to_far.enabled`` is off, ``scene`` where ``scene.enabled`` is.

    Raises
    ------
    StateError
        ``near_to_far.state`` names no state of this network.
    NetworkError, ConfigError
        ``scene.network`` names no scene network, or ``scene.costs`` does not fit its classes.
    """

    def __init__(self, config: Config, network: Network, *, teach: bool = True) -> None:
        self.config = config
        self.network = network
        self.teach = teach
        self.tracker = PlaneTracker(config.plane, config.mount)
        self.learner = make_learner(config, network)
        self.scene = make_scene(config.scene)

    def reset(self) -> None:
        """Forget plane and places, as after a jump backwards in time; what was learned stays."""
        self.tracker.reset()
        self.forget()

    def forget(self) -> None:
        """Forget what the second half remembers of the way."""
        if self.learner is not None:
            self.learner.lose_track()

    def reconfigured(self, config: Config) -> 'Traversability':
        """The same network with other settings; the plane and what was learned are kept."""
        lean = {'near_to_far': config.near_to_far.model_copy(update={'state': ''}),
                'scene': config.scene.model_copy(update={'enabled': False})}
        other = Traversability(config.model_copy(update=lean), self.network, teach=self.teach)
        other.config, other.scene = config, self.scene
        other.tracker.restore(self.tracker.save())
        if self.learner is not None and other.learner is not None:
            other.learner = self.learner.reconfigured(config.near_to_far)
            other.learner.obstacle_m = config.supervisor.obstacle_m
        return other

    def process(self, frame: Frame) -> Result:
        """Run one frame through both halves; errors as of these."""
        return self.conclude(self.survey(frame))

    def survey(self, frame: Frame) -> Survey:
        """
        Run the first half.

        Raises
        ------
        GroundPlaneError
            A camera alone whose height nothing states.
        ImageError, CalibrationError
            The frame contradicts its calibration.
        """
        clock = StageClock()
        grid, estimate = self._ground(frame, clock)
        return Survey(frame, clock, grid, estimate, self._look(frame, clock))

    def conclude(self, survey: Survey) -> Result:
        """
        Run the second half: what the frame teaches, and what it says of the ground.

        Raises
        ------
        ImageError, CalibrationError
            The frame contradicts its calibration.
        """
        config, clock, frame = self.config, survey.clock, survey.frame
        grid, estimate, scene = survey.grid, survey.plane, survey.scene
        if estimate is None:
            return Result(frame, clock.ms, grid, scene=scene)
        with clock('preprocess'):
            pyramid = self.lay_pyramid(estimate)
            strips = band_strips(frame.image, pyramid, self.contrast,
                                 self.network.spec.receptive, self.network.packed)
        with clock('network'):
            maps = self.network.features(strips)
        with clock('supervisor'):
            points, labels = self._teach(grid, estimate, pyramid)
        sight = Sight(pyramid, maps, estimate, labels, points, grid,
                      *_learning_poses(frame, estimate, config), frame.bumped)
        with clock('learning'):
            lesson = self.learner.learn(sight) if self.learner else None
        with clock('network'):
            probabilities = self.learner.classify(sight) if self.learner else (
                window_probabilities(maps, pyramid, self.network))
        with clock('map'):
            depth = (points, grid) if points and grid else None
            observation = observe(pyramid, probabilities, config.map, depth,
                                  lesson.confidence if lesson else None)
            if self.scene and scene and config.scene.weight:
                observation = joined(observation, self.scene.observe(
                    scene, estimate.plane, config.map, depth))
        return Result(frame, clock.ms, grid, estimate, pyramid, points, labels, probabilities,
                      observation=observation, sight=sight, lesson=lesson, scene=scene)

    def _ground(
        self, frame: Frame, clock: 'StageClock'
    ) -> tuple[DepthGrid | None, PlaneEstimate | None]:
        """Depth and ground plane; no plane is an error for a camera that cannot find one."""
        with clock('stereo'):
            grid = depth_grid(frame, self.config.stereo)
        with clock('plane'):
            estimate = self.tracker.update(grid, frame)
        if estimate is None and grid is None:
            raise GroundPlaneError(
                'one camera alone shows no ground plane: give its mount on /tf_static or in '
                'mount.calibration, or set mount.height_m and mount.pitch_rad'
            )
        return grid, estimate

    def _look(self, frame: Frame, clock: 'StageClock') -> SceneLabels | None:
        """Scene labels of the image, where they are wanted."""
        if self.scene is None:
            return None
        with clock('scene'):
            return self.scene.label(frame.image)

    def _teach(
        self, grid: DepthGrid | None, estimate: PlaneEstimate, pyramid: Pyramid
    ) -> tuple[PointLabels | None, WindowLabels | None]:
        """Points told apart, and windows labelled where somebody learns from it."""
        if grid is None:
            return None, None
        config = self.config
        planes = fit_planes(grid, estimate.plane, config.plane)
        points = label_points(grid, planes, config.supervisor)
        if not (self.taught and estimate.fresh):
            return points, None
        return points, supervise(points, grid, pyramid, config.supervisor)

    @property
    def taught(self) -> bool:
        """Somebody wants the teacher's labels of the windows."""
        learns = self.learner is not None and not self.learner.config.frozen
        return self.teach or learns

    @property
    def contrast(self) -> ContrastMode:
        """How Y is normalised: as configured, or as the network was trained."""
        mode = self.config.contrast.mode
        return self.network.spec.contrast if mode == 'network' else mode

    def lay_pyramid(self, estimate: PlaneEstimate) -> Pyramid:
        """The bands over this frame, scaled by the smoothed camera height."""
        g = scale_factor(estimate.plane.camera, estimate.scale_height_m)
        return build_pyramid(estimate.plane, self.config.pyramid.preset, g=g,
                             row_stride=self.network.spec.receptive.row_stride)


class Pipeline(Traversability):
    """Frames in, labels and cost maps out: the whole chain, with one camera."""

    def __init__(self, config: Config, network: Network) -> None:
        super().__init__(config, network)
        self.mapper = Mapper(config.map, config.cost)

    def forget(self) -> None:
        """Forget places and map."""
        super().forget()
        self.mapper.reset()

    def conclude(self, survey: Survey) -> Result:
        """Run the second half, through to the cost map."""
        result, frame = super().conclude(survey), survey.frame
        if result.observation is None or result.plane is None:
            return result
        clock = StageClock(result.stage_ms)
        with clock('map'):
            pose = odom_from_camera(frame, result.plane.plane, self.config.mount)
            base = np.eye(4) if frame.odom_from_base is None else frame.odom_from_base
            costmap = self.mapper.fuse(result.observation, pose, (base[0, 3], base[1, 3]),
                                       frame.stamp_ns)
        return replace(result, stage_ms=clock.ms, costmap=costmap)


def make_learner(config: Config, network: Network) -> NearToFar | None:
    """
    The classifier that learns, with the state that the settings name; None where it is off.

    Raises
    ------
    StateError
        ``near_to_far.state`` names no state of this network.
    """
    if not config.near_to_far.enabled:
        return None
    learner = NearToFar(config.near_to_far, network.spec, config.supervisor.obstacle_m)
    if config.near_to_far.state:
        load_state(Path(config.near_to_far.state), learner)
    return learner


def _learning_poses(
    frame: Frame, estimate: PlaneEstimate, config: Config
) -> tuple[Float | None, Float | None]:
    """Camera and robot in odom, (4, 4); None without odometry or mount: nothing is remembered."""
    lacks_mount = frame.base_from_camera is None and config.mount.source == 'tf'
    if frame.odom_from_base is None or lacks_mount:
        return None, None
    return odom_from_camera(frame, estimate.plane, config.mount), frame.odom_from_base


def window_probabilities(outputs: list[Float], pyramid: Pyramid, network: Network) -> Float:
    """
    Feature maps of the strips -> class histogram of every window, (N, 5) float32.

    Raises
    ------
    NetworkError
        Features, or weights of W0, are not finite.
    """
    spec = network.spec
    logits = linear_maps(outputs, spec.weight)
    return softmax(checked(gather(logits, pyramid, spec.receptive) + spec.bias, spec.name))


class StageClock:
    """Wall time of named stages, in ``ms``; times of one name add up."""

    def __init__(self, ms: dict[str, float] | None = None) -> None:
        self.ms = dict(ms or {})

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Time the body under this name."""
        start = perf_counter()
        yield
        self.ms[stage] = self.ms.get(stage, 0.0) + (perf_counter() - start) * 1e3


def percentiles(samples: list[float]) -> dict[str, float]:
    """Median and 99th percentile."""
    return {'p50': float(np.percentile(samples, 50)), 'p99': float(np.percentile(samples, 99))}
