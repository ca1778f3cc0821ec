# SPDX-License-Identifier: Apache-2.0
"""What the nodes say of themselves in /diagnostics: one function a status."""

from __future__ import annotations

from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Any

from perception.bumper import BUMPER_TYPE
from perception.live_match import LiveMatcher
from perception.monitor import RateMeter, StageTimes
from perception.nodes.diagnostics import ERROR, WARN, Status, time_values
from perception.nodes.inputs import CameraInputs, describe

if TYPE_CHECKING:
    from perception.nodes.camera_node import CameraNode
    from perception.nodes.costmap_node import CostmapNode
    from perception.nodes.traversability_node import TraversabilityNode


@dataclass
class Tally:
    """What became of the frames of a node that looks at a camera."""

    answers: RateMeter = field(default_factory=RateMeter)
    times: StageTimes = field(default_factory=StageTimes)
    plane: dict[str, Any] = field(default_factory=dict)
    refused: int = 0
    without_plane: int = 0
    dropped: int = 0


def input_status(node: CameraNode) -> Status:
    """Cameras: what was taken, rates, and what became of every frame."""
    status, inputs = Status('input'), node.inputs
    status.report(ERROR, node.faults.recent('input', 'frame'))
    if inputs is None:
        status.report(WARN, f'{node.state}: nothing is subscribed')
        return status
    if inputs.matcher is not None:
        status.values = _input_values(node, inputs, inputs.matcher)
    if node.config.input.bumper_topic:
        status.values['bumper_presses'] = inputs.bumper.presses
    if inputs.chosen is None:
        status.report(ERROR, f'looking for inputs: {inputs.searching or "no message yet"}')
        return status
    stale_s, age, used = (node.config.input.stale_after_s, inputs.rate.age_s(),
                          inputs.matches.age_s())
    if age is None or age > stale_s:
        status.report(ERROR, _dead(node, inputs, inputs.chosen.image.topic))
    status.report(ERROR, inputs.topics.lossy())
    if used is None or used > stale_s:
        status.report(ERROR, f'images come, but none can be used: {_unused(node, inputs)}')
    status.report(WARN, node.faults.recent('jump'))
    status.report(WARN, _bumperless(node))
    used_hz, came_hz = inputs.matches.rate_hz(), inputs.rate.rate_hz()
    if used_hz < came_hz / 2:
        status.report(WARN, f'{used_hz:.1f} of {came_hz:.1f} images a second are used: '
                      f'{_unused(node, inputs)}')
    return status


def _input_values(
    node: CameraNode, inputs: CameraInputs, matcher: LiveMatcher
) -> dict[str, Any]:
    """Every frame that came is answered, dropped, refused, without a plane, or unmatched."""
    return {
        'inputs': describe(inputs.chosen) if inputs.chosen else 'none',
        'rate_hz': inputs.rate.rate_hz(), 'age_s': inputs.rate.age_s(),
        'received': inputs.received, 'answered': node.tally.answers.count,
        'dropped': node.dropped, 'refused': node.tally.refused,
        'without_plane': node.tally.without_plane, 'unmatched': matcher.unmatched,
        'late': matcher.late, 'lost_in_transport': inputs.lost, 'time_jumps': matcher.jumps,
    }


def _dead(node: CameraNode, inputs: CameraInputs, topic: str) -> str:
    age = inputs.rate.age_s()
    since = 'never' if age is None else f'{age:.1f} s ago'
    return (f'no image on {topic}: last one {since}, {node.count_publishers(topic)} publisher(s); '
            + (inputs.topics.silent() or 'check the camera driver'))


def _bumperless(node: CameraNode) -> str:
    """Say that nobody publishes the named bumper, or something else."""
    name = node.config.input.bumper_topic
    if not name:
        return ''
    topic = node.resolve_topic_name(name)
    kinds = dict(node.get_topic_names_and_types()).get(topic, [])
    wrong = [kind for kind in kinds if kind != BUMPER_TYPE.replace('/', '/msg/')]
    if wrong:
        return f'input.bumper_topic = {topic} is a {wrong[0]}, not a {BUMPER_TYPE}; name another'
    return '' if node.count_publishers(topic) else (
        f'input.bumper_topic = {topic}: nobody publishes it; start the driver of the bumper')


def _unused(node: CameraNode, inputs: CameraInputs) -> str:
    """Why images of the first camera are not used: stamps, or the other half of the pair."""
    matcher, chosen = inputs.matcher, inputs.chosen
    assert matcher is not None
    assert chosen is not None
    partner, age = chosen.partner, inputs.partners.age_s()
    if matcher.late > inputs.matches.count:
        return f'{matcher.late} stamps did not rise; correct the driver, or publish /clock'
    if partner is None:
        return 'see the faults above'
    if age is None or age > node.config.input.stale_after_s:
        return f'{partner.topic} is silent; check its driver'
    nearest = 'none' if matcher.nearest_ns is None else f'{matcher.nearest_ns / 1e9:g} s'
    return (f'no {"cloud" if chosen.lidar else "image"} of {partner.topic} within '
            f'input.{chosen.tolerance} = {getattr(node.config.input, chosen.tolerance):g} s '
            f'(nearest: {nearest}); synchronise the sensors, or raise the tolerance')


def output_status(tally: Tally) -> Status:
    """Rate of answers and the times of the stages."""
    values = {'rate_hz': tally.answers.rate_hz(), 'age_s': tally.answers.age_s()}
    return Status('output', values=values | time_values(tally.times))


def plane_status(node: TraversabilityNode) -> Status:
    """The ground plane in use."""
    status = Status('plane', values=dict(node.tally.plane))
    status.report(ERROR, node.faults.recent('plane'))
    source, chosen = node.tally.plane.get('source'), node.inputs.chosen if node.inputs else None
    alone = chosen is not None and chosen.kind == 'mono'  # it never has a fresh plane
    if source == 'held' or (source == 'calibration' and not alone):
        status.report(WARN, f'no fresh plane: {source}')
    return status


def engine_text(node: TraversabilityNode) -> str:
    """The engine in use and why."""
    return 'none' if node.network is None else node.network.opened.text


def engine_status(node: TraversabilityNode) -> Status:
    """The network, its hash, and what runs it."""
    status, name = Status('engine'), node.config.network.name
    if node.network is not None:
        spec = node.network.spec
        status.values = {'engine': engine_text(node), 'network': spec.name,
                         'sha256': spec.sha256, 'threads': node.config.network.threads}
    else:
        status.report(WARN, loading_text(node, name))
    status.values['pipelining'] = 'on' if node.pipelined else 'off'
    return status


def loading_text(node: CameraNode, name: str) -> str:
    """Say that a network is not there, or not yet."""
    if node.loading_s is None:
        return 'no network loaded'
    return f'loading {name} for {monotonic() - node.loading_s:.0f} s'


def transform_status(node: TraversabilityNode | CostmapNode) -> Status:
    """Where poses and mounts are from, and how often they were missing."""
    status = Status('transforms', values={'failures': node.faults.counts['transform'],
                                          'bad_poses': node.faults.counts['odometry']})
    status.report(ERROR, node.faults.recent('odometry'))
    status.report(ERROR, node.faults.recent('transform'))
    status.report(WARN, node.faults.recent('pose'))
    if node.poses is not None:
        status.values |= {'source': node.poses.source, 'poses_held': node.poses.held,
                          'odometry_lost': node.poses.losses.lost}
        status.values['odometry_age_s'] = node.poses.rate.age_s()
    return status


def map_input_status(node: CostmapNode) -> Status:
    """Cameras that feed the map."""
    status = Status('input', values={'cameras': node.active() if node.sources else 0,
                                     'dropped': node.dropped, 'time_jumps': node.jumps})
    status.report(ERROR, node.faults.recent('points', 'input'))
    if node.poses is None:
        status.report(WARN, f'{node.state}: nothing is subscribed')
    elif not node.sources:
        status.report(ERROR, 'no topic traversability/points is published under '
                      f'{node.get_namespace()}; start a traversability_node')
    for source in node.sources.values():
        age = source.rate.age_s()
        status.values[source.topic] = (
            f'{source.rate.rate_hz():.1f} Hz, {"never" if age is None else f"{age:.1f} s ago"}, '
            f'{source.rate.count} received, {source.losses.lost} lost in transport')
        if age is None or age > node.config.input.stale_after_s:
            status.report(ERROR, f'no points on {source.topic}: '
                          f'{"none yet" if age is None else f"last {age:.1f} s ago"}')
    return status


def map_output_status(node: CostmapNode) -> Status:
    """Whether the map is known, and why not."""
    status = Status('output', values={
        'rate_hz': node.maps.rate_hz(), 'age_s': node.maps.age_s(), 'published': node.maps.count,
        'waiting': len(node.waiting),
        'map': 'unknown' if node.unknown or node.last is None else 'known'})
    status.values |= time_values(node.times)
    if node.unknown:
        status.report(ERROR, f'the cost map is unknown: {map_cause(node)}')
    elif node.last is None and node.state == 'active':
        status.report(WARN, f'no cost map yet: {map_cause(node)}')
    return status


def map_cause(node: CostmapNode) -> str:
    """Why no new map comes."""
    limit = node.config.input.stale_after_s
    dead = [s.topic for s in node.sources.values()
            if (age := s.rate.age_s()) is None or age > limit]
    if dead:
        return f'no points on {", ".join(dead)}'
    return node.faults.recent('transform') or 'points come, but no pose'
