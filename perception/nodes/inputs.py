# SPDX-License-Identifier: Apache-2.0
"""The camera inputs of a node: found, matched by stamp, with every CameraInfo honoured."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from rclpy.node import Node

from perception.bag_inputs import Inputs, choose_inputs, measured_baseline
from perception.bag_lens import calibration_from_info
from perception.bag_poses import StaticTree
from perception.bag_topics import CameraTopic
from perception.bumper import BUMPER_TYPE, Bumper
from perception.config import InputConfig
from perception.errors import CalibrationError, PerceptionError
from perception.frames import FrameBuilder
from perception.live_match import LiveMatcher, Match
from perception.monitor import RateMeter
from perception.nodes.lifecycle import PerceptionNode
from perception.nodes.live_topics import INFO_TYPE, LiveTopics
from perception.nodes.wire import (
    best_effort,
    frame_of,
    from_bytes,
    resolved,
    stamp_of,
    steady_timer,
    subscribe_bytes,
    without_stamp,
)
from perception.types import Float, Frame

LOOK_PERIOD_S = 0.2
CHOOSE_EVERY = 5  # looks between two tries, where no new topic spoke
GONE_S = 10.0
"""A camera without publishers for so long is gone: others are looked for."""


@dataclass(frozen=True)
class Shot:
    """Undecoded messages of one instant, and what turns them into a frame."""

    match: Match
    builder: FrameBuilder
    kinds: tuple[str, str]
    bumper: Bumper = field(default_factory=Bumper)

    @property
    def lidar_frame(self) -> str | None:
        """Frame of the cloud; None where the partner is none."""
        if self.builder.inputs.lidar is None or self.match.second is None:
            return None
        return frame_of(self.match.second)

    def frame(
        self, odom_from_base: Float | None, base_from_camera: Float | None,
        camera_from_lidar: Float | None = None,
    ) -> Frame:
        """Decode and rectify; errors as of ``FrameBuilder.build``."""
        chosen, match = self.builder.inputs, self.match
        partner = chosen.partner
        image = from_bytes(match.first, self.kinds[0], chosen.image.topic)
        second = None if match.second is None or partner is None else from_bytes(
            match.second, self.kinds[1], partner.topic)
        frame = self.builder.build(
            match.stamp_ns, image, second, odom_from_base=odom_from_base,
            base_from_camera=base_from_camera, camera_from_lidar=camera_from_lidar)
        return replace(frame, bumped=self.bumper.take(match.stamp_ns))


class CameraInputs:
    """
    Stereo pair, RGB-D pair, camera and lidar, or camera of a running graph; and its bumper.

    ``on_shot`` gets every matched instant, ``on_jump`` is told when stamps jump backwards.
    ``alone`` takes the left or only camera by itself, chosen as for a pair.
    """

    def __init__(
        self, node: PerceptionNode, config: InputConfig, *, on_shot: Callable[[Shot], None],
        on_jump: Callable[[], None], alone: bool = False,
    ) -> None:
        self._node, self._alone = node, alone
        self._config = replace_names(node, config.model_copy(
            update={'lidar_topic': '', 'bumper_topic': ''} if alone else {}))
        self._on_shot, self._on_jump = on_shot, on_jump
        self.topics = LiveTopics(node, self._config, self._receive)
        self.rate, self.partners, self.matches = RateMeter(), RateMeter(), RateMeter()
        self.chosen: Inputs | None = None
        self.matcher: LiveMatcher | None = None
        self.searching = ''
        self._builder: FrameBuilder | None = None
        self._infos: dict[str, bytes] = {}
        self._broken = ''
        self._jumps = self._looks = self._spoken = self._lost_before = 0
        self.bumper = Bumper()
        self._bumper = subscribe_bytes(
            node, BUMPER_TYPE, self._config.bumper_topic, best_effort(20), self._bump
        ) if config.bumper_topic else None
        self._timer = steady_timer(node, LOOK_PERIOD_S, self._search)

    def close(self) -> None:
        """Unsubscribe from everything."""
        self._node.destroy_timer(self._timer)
        if self._bumper is not None:
            self._node.destroy_subscription(self._bumper)
        self.topics.close()

    @property
    def received(self) -> int:
        """Frames whose image came."""
        return self.rate.count

    @property
    def lost(self) -> int:
        """Images that the transport lost."""
        if self.chosen is None:
            return self._lost_before
        return self._lost_before + self.topics.watched[self.chosen.image.topic].losses.lost

    def _search(self) -> None:
        """Look for inputs, until they are chosen; mend what the transport loses."""
        self._looks += 1
        if self.chosen is not None and self._is_gone(self.chosen.image.topic):
            self._node.get_logger().warning(f'{self.chosen.image.topic} is gone: looking again')
            self._lost_before, self.chosen = self.lost, None
            self.topics.close()
        if self.chosen is None or (self.chosen.kind == 'mono' and not self._alone):
            self.topics.look()  # the other half of a pair may come later
            if self._looks % CHOOSE_EVERY == 0:
                self._choose()
        self.topics.mend()

    def _is_gone(self, topic: str) -> bool:
        age = self.rate.age_s()
        return age is not None and age > GONE_S and not self._node.count_publishers(topic)

    def _receive(self, topic: str, data: bytes) -> None:
        chosen = self.chosen
        if chosen is None:
            if self.topics.spoken != self._spoken:
                self._spoken = self.topics.spoken
                self._choose()
        elif topic in chosen.matched:
            self._match(topic, data)
        elif topic in self._infos:
            self._take_info(topic, data)

    def _bump(self, data: bytes) -> None:
        self.bumper.tell(from_bytes(data, BUMPER_TYPE, self._config.bumper_topic).data)

    def _choose(self) -> None:
        """Choose once every topic has spoken; wait a little for those that have not."""
        topics = self.topics
        if not topics.watched:
            self.searching = self._nothing()
            return
        if self.chosen is not None and len(topics.watched) == 1 + len(self._infos):
            return  # nothing new beside the one camera
        self.searching = topics.silent()
        if not (topics.complete or topics.settled):
            return
        try:
            chosen = choose_inputs(topics, StaticTree({}), self._config)
        except PerceptionError as error:
            self.searching = self.searching or str(error)
            return
        if chosen.kind == 'mono' and (not topics.settled or self.searching):
            return  # the other half of a pair may still come
        if self._alone:
            chosen = chosen.alone
        if self.chosen is None or chosen.kind != 'mono':
            self._take(chosen)
        elif topics.settled:
            topics.pass_over([self.chosen.image.topic, *self._infos])

    def _take(self, chosen: Inputs) -> None:
        self.searching = ''
        self.chosen = chosen
        images = chosen.matched
        infos = [camera.info_topic for camera in chosen.cameras if camera.info_topic]
        waiting = {t: p.newest for t, p in self.topics.watched.items() if p.newest is not None}
        self.topics.keep([*images, *infos])
        self.matcher = LiveMatcher(getattr(self._config, chosen.tolerance),
                                   paired=len(images) > 1, before=self.matcher)
        self._infos = {topic: waiting[topic] for topic in infos}
        self._builder = FrameBuilder.of(chosen)
        self._node.get_logger().info(f'inputs: {describe(chosen)}')
        for topic in images:
            self._match(topic, waiting[topic])

    def _match(self, topic: str, data: bytes) -> None:
        chosen, matcher = self.chosen, self.matcher
        assert chosen is not None
        assert matcher is not None
        second = topic != chosen.image.topic
        (self.partners if second else self.rate).tick()
        if not second and frame_of(data) != chosen.image.frame_id:
            self._rename(chosen, frame_of(data))
        if not second:
            self.bumper.image(stamp_of(data))
        match = matcher.add(stamp_of(data), data, second=second)
        if matcher.jumps > self._jumps:
            self._jumps = matcher.jumps
            self.bumper.clear()
            self._on_jump()
        if match is None:
            return
        if self._builder is not None and not self._builder.camera.frame_id:
            self._broken = (f'{chosen.image.topic}: no frame_id in image nor CameraInfo: nothing '
                            'says which camera it is; set it in the driver')
        elif self._builder is not None:
            self._broken = ''
        if self._broken or self._builder is None:
            self._node.fault('input', self._broken)
            return
        self.matches.tick()
        watched = self.topics.watched
        kinds = (watched[chosen.matched[0]].kind, watched[chosen.matched[-1]].kind)
        self._on_shot(Shot(match, self._builder, kinds, self.bumper))

    def _rename(self, chosen: Inputs, frame_id: str) -> None:
        """The driver changed the frame of its images: their mount is another one."""
        self.chosen = replace(chosen, image=replace(chosen.image, frame_id=frame_id))
        if self._builder is not None:
            self._builder = FrameBuilder.of(self.chosen)
        self._node.get_logger().warning(
            f'{chosen.image.topic}: frame changed from {chosen.image.frame_id} to {frame_id}')

    def _take_info(self, topic: str, data: bytes) -> None:
        """Honour a CameraInfo that differs from the last one in anything but its stamp."""
        chosen, before = self.chosen, self._infos.get(topic)
        assert chosen is not None
        if before is not None and without_stamp(before) == without_stamp(data):
            return
        self._infos[topic] = data
        try:
            self.chosen = with_infos(chosen, self._infos)
            self._builder = FrameBuilder.of(self.chosen)
            self._node.get_logger().info(f'{topic} changed: {describe(self.chosen)}')
        except PerceptionError as error:
            self._builder, self._broken = None, str(error)

    def _nothing(self) -> str:
        """Say that there is no camera to find."""
        outside = self.topics.outside()
        where = self._node.get_namespace()
        if outside:
            return (f'no camera topic under {where}; there is {", ".join(outside[:3])}: name it '
                    'in input.image_topic, or start the node in that namespace')
        return ('no topic of type sensor_msgs/Image or CompressedImage is published'
                f'{"" if where == "/" else " under " + where}; start the camera driver')


def replace_names(node: Node, config: InputConfig) -> InputConfig:
    """Config whose topic names are absolute: namespace and remappings applied."""
    names = ('image_topic', 'right_image_topic', 'depth_topic', 'lidar_topic', 'bumper_topic')
    return config.model_copy(update={
        name: resolved(node, getattr(config, name)) for name in names if getattr(config, name)})


def with_infos(chosen: Inputs, infos: dict[str, bytes]) -> Inputs:
    """
    Inputs with the calibrations of the newest CameraInfo of each topic.

    Raises
    ------
    CalibrationError
        One is absurd, or the two cameras are no stereo pair any more: also for the moment
        between the change of one and that of the other.
    MessageError
        The bytes are no CameraInfo.
    """
    def renewed(camera: CameraTopic) -> CameraTopic:
        topic = camera.info_topic
        if topic not in infos:
            return camera
        calibration = calibration_from_info(from_bytes(infos[topic], INFO_TYPE, topic), topic)
        return replace(camera, calibration=calibration, width=calibration.camera.width,
                       height=calibration.camera.height)

    image = renewed(chosen.image)
    if chosen.right is None:
        return replace(chosen, image=image, depth=chosen.depth and renewed(chosen.depth))
    right = renewed(chosen.right)
    baseline = measured_baseline(image, right, StaticTree({}))
    if baseline <= 0:
        raise CalibrationError(
            f'{image.info_topic} and {right.info_topic} are no stereo pair any more (size, focal '
            'length, row of the principal point, or P[3] of the right one); calibrate the pair'
        )
    return replace(chosen, image=image, right=right, baseline_m=baseline)


def describe(chosen: Inputs) -> str:
    """One line on what was taken."""
    camera = chosen.image.calibration.camera if chosen.image.calibration else None
    names = {'stereo': 'stereo pair', 'rgbd': 'RGB-D pair', 'mono': 'one camera',
             'lidar': 'camera and lidar'}
    size = f', {camera.width} x {camera.height}, fx {camera.fx:.1f} px' if camera else ''
    base = f', baseline {chosen.baseline_m:.3f} m' if chosen.baseline_m else ''
    notes = ''.join(f'; {note}' for note in chosen.notes)
    return f'{names[chosen.kind]} {" + ".join(chosen.matched)}{size}{base}{notes}'
