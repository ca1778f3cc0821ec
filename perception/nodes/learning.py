# SPDX-License-Identifier: Apache-2.0
"""Near-to-far learning in a node: its services, and what it says of itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from std_srvs.srv import Trigger

from perception.errors import NodeError, PerceptionError
from perception.inference import NetworkSpec
from perception.judge import RANGES_M
from perception.learning_config import NearToFarConfig
from perception.learning_state import load_state, save_state
from perception.lesson import Lesson
from perception.near_to_far import NearToFar
from perception.nodes.diagnostics import WARN, Status
from perception.pipeline import Result

if TYPE_CHECKING:
    from perception.nodes.traversability_node import TraversabilityNode

QUIET_S = 5.0
"""A learner that got no label for so long says so."""

FAMILIES = ('ground', 'obstacle')
RANGES = tuple(f'{near:.0f}_to_{far:.0f}_m' for near, far in zip(RANGES_M, RANGES_M[1:])) + (
    f'from_{RANGES_M[-1]:.0f}_m',)


def check_state(config: NearToFarConfig, spec: NetworkSpec) -> None:
    """
    Refuse a state that this network cannot begin with.

    Raises
    ------
    StateError
        ``near_to_far.state`` is missing, damaged, or of another network.
    """
    if config.enabled and config.state:
        load_state(Path(config.state), NearToFar(config, spec))


@dataclass
class Watch:
    """
    What the diagnostics know of the learner; fed after every frame, in the worker's thread.

    ``first_s`` and ``last_s`` [s]: when labels first and last came, on a steady clock. ``why``
    says what kept the last frame from teaching.
    """

    lesson: Lesson | None = None
    first_s: float | None = None
    last_s: float = field(default_factory=monotonic)
    why: str = 'no frame came'
    rejected: int = 0
    jumps: int = 0

    def begin(self) -> None:
        """Start to wait for labels."""
        self.lesson, self.first_s, self.last_s = None, None, monotonic()
        self.why = 'no frame came'

    def take(self, node: TraversabilityNode, learner: NearToFar, result: Result | None) -> None:
        """Note what a frame taught, or why it did not; report what is wrong with it."""
        rejected, self.rejected = learner.rejected - self.rejected, learner.rejected
        jumps, self.jumps = learner.memory.jumps - self.jumps, learner.memory.jumps
        if rejected > 0:
            node.fault('samples', f'{rejected} samples of a frame were rejected, their features '
                       'are not finite or beyond 6e4; check the image, its calibration and the '
                       'network file')
        if jumps > 0:
            node.fault('pose_jump', 'the pose jumped by more than near_to_far.jump_m = '
                       f'{learner.config.jump_m:g} m between frames: kept views are forgotten; '
                       'check the odometry')
        lesson = self.lesson = result.lesson if result else None
        if lesson is not None and sum(lesson.new) + sum(lesson.hindsight):
            self.last_s = monotonic()
            self.first_s = self.first_s or self.last_s
        self.why = _obstacle_to_learning(result, learner.config)


def _obstacle_to_learning(result: Result | None, config: NearToFarConfig) -> str:
    """Why a frame gave no label; a general remark where nothing stands in the way."""
    if result is None:
        return 'frames are refused, see input'
    if result.plane is None:
        return 'no ground plane'
    if result.grid is None:
        return ('one camera alone: no stereo, depth or lidar; give input.right_image_topic, '
                'input.depth_topic or input.lidar_topic')
    if not result.plane.fresh:
        return f'no fresh ground plane ({result.plane.source})'
    if not config.teach_stereo:
        return 'near_to_far.teach_stereo is false, and nothing was felt'
    return 'depth shows nothing clear within supervisor.max_range_m'


def learning_status(node: TraversabilityNode) -> Status:
    """What was learned, which weights serve where, and what hinders learning."""
    config, watch, learner = node.config.near_to_far, node.learning, node.learner
    status = Status('learning', values={'enabled': config.enabled, 'frozen': config.frozen})
    if learner is None:
        return status
    if watch.lesson is not None:
        status.values |= _lesson_values(watch.lesson)
    status.values |= {'rejected': learner.rejected, 'pose_jumps': learner.memory.jumps,
                      'travelled_m': learner.memory.travelled_m,
                      'views': len(learner.memory.views)}
    status.report(WARN, node.faults.recent('samples'))
    status.report(WARN, node.faults.recent('pose_jump'))
    if node.state == 'active' and not config.frozen:
        status.report(WARN, _untaught(watch, learner))
    return status


def _lesson_values(lesson: Lesson) -> dict[str, Any]:
    """Weights in use and confidence by range, and the labels of the last frame by family."""
    values: dict[str, Any] = {}
    for name, used, sure in zip(RANGES, lesson.in_use, lesson.confidence, strict=True):
        values |= {f'in_use_{name}': used, f'confidence_{name}': sure}
    for source, counts in (('new', lesson.new), ('hindsight', lesson.hindsight)):
        values |= {f'{source}_{family}': n for family, n in zip(FAMILIES, counts, strict=True)}
    return values


def _untaught(watch: Watch, learner: NearToFar) -> str:
    """Say that no labels come, or those of one family only."""
    now = monotonic()
    if now - watch.last_s > QUIET_S:
        return f'nothing was taught for {now - watch.last_s:.0f} s: {watch.why}'
    known = [family for family, taught in zip(FAMILIES, learner.taught) if taught]
    if len(known) == 1 and watch.first_s is not None and now - watch.first_s > QUIET_S:
        return (f'labels of {known[0]} only for {now - watch.first_s:.0f} s: the default weights '
                'speak for the other family until it is seen')
    return ''


def offer_services(node: TraversabilityNode) -> None:
    """Advertise the services that ``TraversabilityNode.offered`` lists."""
    work = {'reset_learning': _reset, 'save_learning': _save}
    for service in node.offered:
        node.create_service(Trigger, service.name, _answering(node, work[service.name[2:]]))


def _answering(node: TraversabilityNode, work: Any) -> Any:
    """Service callback that works between two frames; what hinders it is the answer."""
    def answer(_: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        try:
            with node.between_frames:
                response.message = work(node, _learner(node))
            response.success = True
            node.get_logger().info(response.message)
        except PerceptionError as error:
            response.success, response.message = False, str(error)
        return response

    return answer


def _learner(node: TraversabilityNode) -> NearToFar:
    if node.learner is not None:
        return node.learner
    raise NodeError('nothing learns: ' + (
        'no network is loaded, configure the node first' if node.config.near_to_far.enabled
        else 'near_to_far.enabled is false; set it to true'))


def _reset(node: TraversabilityNode, learner: NearToFar) -> str:
    """Forget all that was learned."""
    learner.reset()
    node.learning.begin()
    return 'learning begins afresh with the default weights'


def _save(node: TraversabilityNode, learner: NearToFar) -> str:
    """Write the file of ``near_to_far.state``."""
    name = node.config.near_to_far.state
    if not name:
        raise NodeError(
            'near_to_far.state names no file: set it first, for example with `ros2 param set '
            f'{node.get_fully_qualified_name()} near_to_far.state FILE`')
    save_state(Path(name), learner)
    return f'what was learned is in {name}'
