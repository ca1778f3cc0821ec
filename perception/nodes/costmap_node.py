# SPDX-License-Identifier: Apache-2.0
"""Fuse the points of one or more traversability nodes over poses into a cost map for Nav2."""

from dataclasses import dataclass, replace
from time import monotonic, perf_counter
from typing import Any

from rclpy.subscription import Subscription

from perception import bag_encode as encode
from perception.bag_poses import pose_matrix
from perception.camera import normal_offset_from_pose
from perception.cloud import observation_from_cloud
from perception.errors import CalibrationError, MessageError, TransformError
from perception.live_match import BACKWARD_NS
from perception.mapping import Mapper, unknown_like
from perception.monitor import RateMeter, StageTimes
from perception.nodes.diagnostics import Status
from perception.nodes.lifecycle import PerceptionNode, Topic
from perception.nodes.line import Line
from perception.nodes.poses import ODOMETRY, Poses, check_mount
from perception.nodes.reports import (
    map_cause,
    map_input_status,
    map_output_status,
    transform_status,
)
from perception.nodes.run import main as run_main
from perception.nodes.wire import (
    LossCounter,
    from_bytes,
    prepare_codecs,
    reliable,
    resolved,
    stamp_of,
    steady_timer,
    subscribe_bytes,
)
from perception.projection import mount_on_plane
from perception.types import Costmap, Float

POINTS, PLANE = 'sensor_msgs/PointCloud2', 'geometry_msgs/PoseStamped'
POINTS_NAME, PLANE_NAME = 'traversability/points', 'ground_plane'
CHECK_PERIOD_S = 0.05
LOOK_EVERY = 10  # checks between two looks for new cameras
MOST_WAITING = 20
FOLLOW_S = 2.0  # two cameras of one bag jump back within this
VERTICAL = 0.999  # a plane seen square on leaves no direction ahead


@dataclass
class Source:
    """One camera that feeds the map."""

    topic: str
    subscriptions: list[Subscription[Any]]
    rate: RateMeter
    losses: LossCounter
    planes: dict[int, Float]
    newest_ns: int | None = None
    mount: str = ''
    follows_until_s: float = 0.0  # another camera jumped back: this one is about to


@dataclass(frozen=True)
class Waiting:
    """Points that wait for the pose at their stamp."""

    source: Source
    stamp_ns: int
    data: bytes


class CostmapNode(PerceptionNode):
    """Points and poses in; one occupancy grid for each message of points out, same stamp."""

    published = (
        Topic('costmap', 'nav_msgs/OccupancyGrid', 'latched',
              'in the odom frame: -1 unknown, 0 free, 1-98 graded, 100 lethal, never 99'),
    )
    subscribed = (
        ('input.points_topics', 'sensor_msgs/PointCloud2', 'traversability/points of one or more '
         'traversability nodes; reliable'),
        ('ground_plane beside each', 'geometry_msgs/PoseStamped', 'gives the mount where neither '
         'tf nor calibration does; reliable'),
        ('input.odometry_topic', 'nav_msgs/Odometry', 'motion of the robot'),
        ('/tf, /tf_static', 'tf2_msgs/TFMessage', 'mount and poses, where tf2_ros is installed'),
    )
    sections = ('input', 'mount', 'map', 'cost')
    reports = ('statuses `node`, `input`, `output`, `transforms`: cameras, rates, ages, whether '
               'the map is known, failures')

    def __init__(self) -> None:
        self.sources: dict[str, Source] = {}
        self.waiting: Line[Waiting] = Line(MOST_WAITING)
        self.poses: Poses | None = None
        self._mapper: Mapper | None = None
        self._timer: Any = None
        self.last: Costmap | None = None
        self.unknown = self._silent = False
        self._checks = self.dropped = self.jumps = 0
        self.maps, self.times = RateMeter(), StageTimes()
        super().__init__('costmap_node')

    def prepare(self) -> None:
        """Lay out the map's cells."""
        check_mount(self.config.mount)
        prepare_codecs(POINTS, PLANE, ODOMETRY, 'nav_msgs/OccupancyGrid')
        self._mapper = Mapper(self.config.map, self.config.cost)

    def start(self) -> None:
        """Subscribe to odometry, and to cameras as they come."""
        self.poses = Poses(self, self.config, on_pose=self._drain)
        self._timer = steady_timer(self, CHECK_PERIOD_S, self._check)
        self._look()

    def stop(self) -> None:
        """Unsubscribe and forget; the latched map must not outlive this node's knowledge."""
        self._forget()
        if self._timer is not None:
            self.destroy_timer(self._timer)
        if self.poses is not None:
            self.poses.close()
        for source in self.sources.values():
            for subscription in source.subscriptions:
                self.destroy_subscription(subscription)
        self.sources = {}
        self.waiting.clear()
        self.poses = self._timer = self.last = None

    def release(self) -> None:
        """Free the map."""
        self._mapper = None

    def reconfigured(self) -> None:
        """Take new settings over; the map is kept unless its cells changed."""
        if self._mapper is not None:
            self._mapper = self._mapper.reconfigured(self.config.map, self.config.cost)

    def _check(self) -> None:
        """Look for new cameras now and then, for poses that came late, and for silence."""
        self._checks += 1
        if self._checks % LOOK_EVERY == 0:
            self._look()
        self.waiting.check(self.config.input.pose_tolerance_s)
        self._drain()
        self._mind_silence()

    def _look(self) -> None:
        named = [resolved(self, name.strip())
                 for name in self.config.input.points_topics.split(',') if name.strip()]
        inside, own = self.get_namespace().rstrip('/') + '/', resolved(self, POINTS_NAME)
        found = named or [
            topic for topic, kinds in self.get_topic_names_and_types()
            if 'sensor_msgs/msg/PointCloud2' in kinds and self.count_publishers(topic)
            and (topic == own or (topic.startswith(inside) and topic.endswith('/' + POINTS_NAME)))]
        for topic in found:
            if topic not in self.sources:
                self._subscribe(topic)

    def _subscribe(self, topic: str) -> None:
        source = self.sources[topic] = Source(topic, [], RateMeter(), LossCounter(), {})
        plane = plane_topic(topic, resolved(self, POINTS_NAME), resolved(self, PLANE_NAME))
        for kind, name, receive in (
                (PLANE, plane, lambda data: self._take_plane(source, plane, data)),
                (POINTS, topic, lambda data: self._take_points(source, data))):
            source.subscriptions.append(subscribe_bytes(
                self, kind, name, reliable(5), receive,
                source.losses if kind == POINTS else None))
        self.get_logger().info(f'camera {len(self.sources)}: {topic}')

    def _take_plane(self, source: Source, topic: str, data: bytes) -> None:
        pose = from_bytes(data, PLANE, topic).pose
        matrix = pose_matrix(pose.position, pose.orientation)
        if matrix is not None:
            source.planes[stamp_of(data)] = matrix
        while len(source.planes) > MOST_WAITING:
            source.planes.pop(next(iter(source.planes)))
        self._drain()

    def _take_points(self, source: Source, data: bytes) -> None:
        source.rate.tick()
        stamp_ns, newest = stamp_of(data), source.newest_ns
        jumped = newest is not None and stamp_ns < newest - BACKWARD_NS
        follows = monotonic() < source.follows_until_s
        if jumped and not follows:
            self._begin_again(source)
        if jumped:
            source.follows_until_s = 0.0
        source.newest_ns = stamp_ns
        if follows and not jumped:  # the rest of the round that ended
            self.dropped += 1
            return
        self.dropped += self.waiting.add(Waiting(source, stamp_ns, data))
        self._drain()

    def _begin_again(self, leader: Source) -> None:
        """Stamps of a camera jumped backwards: forget the map; the others' jumps are the same."""
        self.get_logger().warning('stamps jumped backwards: map and queues are reset')
        self.jumps += 1
        self.dropped += self.waiting.clear()
        for source in self.sources.values():
            if source is not leader and source.newest_ns is not None:
                source.follows_until_s = monotonic() + FOLLOW_S
        if self._mapper is not None and self.poses is not None:
            self._mapper.reset()
            self.poses.begin_again()

    def _drain(self) -> None:
        """Fuse what has its pose, in the order of arrival."""
        while self.waiting:
            first, final = self.waiting.first, self.waiting.final
            try:
                if not self._try(first, final=final):
                    return
            except (TransformError, CalibrationError) as error:
                if not final:
                    return
                self.dropped += 1
                self.fault('transform', f'{first.source.topic}: {error}')
            except MessageError as error:
                self.dropped += 1
                self.fault('points', str(error))
            self.waiting.pop()

    def _try(self, item: Waiting, *, final: bool) -> bool:
        """Fuse and publish one message; False where its pose may still come."""
        poses, mapper = self.poses, self._mapper
        assert poses is not None
        assert mapper is not None
        message = from_bytes(item.data, POINTS, item.source.topic)
        camera = message.header.frame_id
        base_from_camera = self._mount(item, camera)
        if not final and not poses.ready(item.stamp_ns):
            return False
        odom_from_base = poses.at(item.stamp_ns)
        started = perf_counter()
        observation = observation_from_cloud(message, item.source.topic)
        robot_xy = (float(odom_from_base[0, 3]), float(odom_from_base[1, 3]))
        costmap = mapper.fuse(observation, odom_from_base @ base_from_camera, robot_xy,
                              item.stamp_ns, cameras=self.active())
        self._publish(replace(costmap, frame_id=poses.frame), unknown=False)
        self.times.add({'map': (perf_counter() - started) * 1e3})
        return True

    def _mount(self, item: Waiting, camera: str) -> Float:
        """base_from_camera; from the frame's own ground plane where nothing else has it."""
        assert self.poses is not None
        mount = self.poses.mount(camera, item.stamp_ns)
        if item.source.mount not in ('', mount.source) and self._mapper is not None:
            self._mapper.reset()  # what was entered through another mount lies elsewhere
        item.source.mount = mount.source
        if mount.base_from_camera is not None:
            return mount.base_from_camera
        plane = item.source.planes.get(item.stamp_ns)
        if plane is None:
            raise TransformError(f'no {PLANE_NAME} of the same stamp beside the points')
        normal, offset = normal_offset_from_pose(plane)
        if not (offset > 0 and abs(normal[2]) < VERTICAL):
            raise TransformError(f'{PLANE_NAME}: no plane that a camera can look along')
        return mount_on_plane(normal, offset, self.config.mount)

    def active(self) -> int:
        """Cameras that gave points lately."""
        limit = self.config.input.stale_after_s
        ages = [source.rate.age_s() for source in self.sources.values()]
        return max(1, sum(age is not None and age < limit for age in ages))

    def _publish(self, costmap: Costmap, *, unknown: bool) -> None:
        self.last, self.unknown = costmap, unknown
        if not unknown:
            self.maps.tick()
        self.send('costmap', encode.occupancy_grid_message(costmap))

    def _mind_silence(self) -> None:
        """
        Publish an all-unknown grid, once, where no new map came for ``stale_after_s``.

        Two checks must find that: between them a node that stood still takes what has come.
        """
        age, before = self.maps.age_s(), self._silent
        self._silent = self.last is not None and not self.unknown and age is not None and (
            age >= self.config.input.stale_after_s)
        if age is None or not (before and self._silent):
            return
        self._forget()
        self.fault('stale', f'no new cost map for {age:.1f} s: all cells are unknown until input '
                   f'returns ({map_cause(self)})')

    def _forget(self) -> None:
        """Empty the map, and publish that, stamped by the time since its last image came."""
        if self._mapper is not None:
            self._mapper.reset()
        if self.last is not None and not self.unknown:
            age_ns = round((self.maps.age_s() or 0.0) * 1e9)
            self._publish(unknown_like(self.last, self.last.stamp_ns + age_ns), unknown=True)

    def statuses(self) -> list[Status]:
        """Report input, output and transforms."""
        return [map_input_status(self), map_output_status(self), transform_status(self)]


def plane_topic(points: str, own_points: str, own_plane: str) -> str:
    """The ground_plane beside a topic of points; remapped as the points of this namespace are."""
    if points == own_points:
        return own_plane
    if points.endswith('/' + POINTS_NAME):
        return points.removesuffix(POINTS_NAME) + PLANE_NAME
    return points.rsplit('/', 1)[0] + '/' + PLANE_NAME


def main() -> None:
    """Run the node: ``costmap_node --ros-args ...``."""
    run_main(CostmapNode)


if __name__ == '__main__':
    main()
