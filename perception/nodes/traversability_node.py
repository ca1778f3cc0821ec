# SPDX-License-Identifier: Apache-2.0
"""Label every camera frame: traversability images and points, and the ground plane."""

from threading import Lock
from time import monotonic
from typing import Any

from perception import bag_encode as encode
from perception.bench import read_pair
from perception.camera import plane_pose
from perception.cloud import cloud_columns
from perception.config import Config, NetworkConfig, with_values
from perception.draw import overlay, predicted_images
from perception.errors import CalibrationError, PerceptionError, TransformError
from perception.inference import (
    Network,
    check_engine,
    load_configured,
    network_path,
    read_manifest,
)
from perception.near_to_far import NearToFar
from perception.nodes.camera_node import CameraNode
from perception.nodes.diagnostics import Status
from perception.nodes.inputs import CameraInputs, Shot
from perception.nodes.learning import Watch, check_state, learning_status, offer_services
from perception.nodes.lifecycle import Service, Topic
from perception.nodes.line import Line
from perception.nodes.live_topics import CAMERA_TYPES
from perception.nodes.poses import ODOMETRY, Poses, check_mount
from perception.nodes.reports import (
    engine_status,
    engine_text,
    input_status,
    output_status,
    plane_status,
    transform_status,
)
from perception.nodes.run import main as run_main
from perception.nodes.wire import prepare_codecs, steady_timer
from perception.nodes.worker import NewestWorker
from perception.pipeline import Result, Traversability
from perception.pipelined import Step, first_step
from perception.scene_stage import check_scene
from perception.types import CLASSES, UNLABELED, Float, Frame

CHECK_PERIOD_S = 0.01  # while frames wait for their pose
MOST_WAITING = 20


class TraversabilityNode(CameraNode):
    """Camera images in; class labels, their confidence, points for the map, the plane out."""

    published = (
        Topic('traversability/image', 'sensor_msgs/Image', 'reliable, 1',
              'mono8: 0 super-ground, 1 ground, 2 footline, 3 obstacle, 4 super-obstacle, 255 '
              'unlabelled', 'somebody subscribes'),
        Topic('traversability/confidence', 'sensor_msgs/Image', 'reliable, 1',
              'mono8: 0-255, 0 where unlabelled', 'somebody subscribes'),
        Topic('traversability/overlay', 'sensor_msgs/Image', 'reliable, 1',
              'rgb8: labels over the rectified image', 'somebody subscribes'),
        Topic('traversability/points', 'sensor_msgs/PointCloud2', 'reliable, 5',
              'in the optical frame: x y z, histogram (5 float32), weight, rgb of the class'),
        Topic('ground_plane', 'geometry_msgs/PoseStamped', 'reliable, 1',
              'foot of the camera on the plane, z = normal, in the optical frame'),
        Topic('traversability/label_info', 'vision_msgs/LabelInfo', 'latched',
              'class names of traversability/image', 'vision_msgs is installed'),
    )
    subscribed = (
        ('input.image_topic', 'sensor_msgs/Image or CompressedImage', 'left or only camera'),
        ('input.right_image_topic', 'sensor_msgs/Image or CompressedImage', 'right camera'),
        ('input.depth_topic', 'sensor_msgs/Image or CompressedImage', "depth in the image's "
         'pixels: 16UC1 mm or 32FC1 m'),
        ('input.lidar_topic', 'sensor_msgs/PointCloud2', 'in place of stereo and depth; its '
         'transform to the camera comes from tf or mount.calibration'),
        ('input.bumper_topic', 'std_msgs/Bool', 'true = it runs into something: teaches'),
        ('camera_info beside each', 'sensor_msgs/CameraInfo', 'honoured at every change'),
        ('input.odometry_topic', 'nav_msgs/Odometry', 'carries a lost plane on'),
        ('/tf, /tf_static', 'tf2_msgs/TFMessage', 'mount and poses, where tf2_ros is installed'),
    )
    offered = (
        Service('~/reset_learning', 'std_srvs/Trigger', 'forget all that was learned'),
        Service('~/save_learning', 'std_srvs/Trigger', 'write what was learned to the file of '
                '`near_to_far.state`; fails where that names none'),
    )
    sections = ('input', 'stereo', 'plane', 'mount', 'pyramid', 'contrast', 'network',
                'supervisor', 'near_to_far', 'scene', 'map', 'runtime')
    reports = ('statuses `node`, `input`, `output`, `plane`, `learning`, `transforms`, `engine`: '
               'rates, ages, dropped frames, stage p50 and p99, labels and weights in use by '
               'range, network and its hash, failures')

    def __init__(self) -> None:
        self.network: Network | None = None
        self.poses: Poses | None = None
        self.learning = Watch()
        self.between_frames = Lock()  # held while the second half of a frame is worked on
        self._between_surveys = Lock()  # and this one during the first half
        self._second: NewestWorker[Step] | None = None
        self._second_s = 0.0  # what the last second half took
        self._chain: Traversability | None = None
        self._line: Line[Shot] = Line(MOST_WAITING)
        self._timer: Any = None
        self._jumped = False
        super().__init__('traversability_node')
        offer_services(self)

    def prepare(self) -> None:
        """Check files, engines and a saved state, then load the network in a thread."""
        check_mount(self.config.mount)
        network = self.config.network
        check_engine(network.engine)
        check_state(self.config.near_to_far, read_manifest(
            network_path(network.name, precision=network.precision)))
        check_scene(self.config.scene)
        self.load_in_thread(network.name, lambda: self._load(network), self._use)

    def start(self) -> None:
        """Subscribe, and process the newest frame that has its pose, always."""
        self._jumped = True  # a plane of before is none of now
        self.learning.begin()
        self._second = NewestWorker('results', self._conclude)
        self._worker = NewestWorker('frames', self._survey)
        self.poses = Poses(self, self.config, on_pose=self._admit)
        self._timer = steady_timer(self, CHECK_PERIOD_S, self._check)
        self.inputs = CameraInputs(self, self.config.input, on_shot=self._take,
                                   on_jump=self._jump)
        self._announce_labels()

    def stop(self) -> None:
        """Unsubscribe, finish the frame in work."""
        for part in (self.inputs, self.poses):
            if part is not None:
                part.close()
        if self._timer is not None:
            self.destroy_timer(self._timer)
        self.tally.dropped += self._line.clear()
        if self._worker is not None and self._second is not None:
            self._worker.stop()
            self.tally.dropped += self._worker.dropped
            self._second.wait()
            self._second.stop()
        self.inputs = self.poses = self._worker = self._second = self._timer = None

    @property
    def pipelined(self) -> bool:
        """Tell whether two threads work at once: more answers, but later ones; only if asked."""
        return self.config.runtime.pipelining == 'on'

    @property
    def learner(self) -> NearToFar | None:
        """What learns, once the network is loaded and where learning is on."""
        chain = self._chain
        return None if chain is None else chain.learner

    def release(self) -> None:
        """Free the network."""
        self.network = self._chain = self.loading_s = None

    def reconfigured(self) -> None:
        """Take new settings over between two frames; plane and what was learned are kept."""
        with self._between_surveys, self.between_frames:
            if self._chain is not None:
                self._chain = self._chain.reconfigured(self.config)

    def _load(self, config: NetworkConfig) -> Traversability:
        """In a thread: the chain, after everything ran once."""
        network = load_configured(config)
        self._warm_up(network)
        return Traversability(self._chain_config(), network, teach=False)

    def _use(self, chain: Traversability) -> str:
        self.network, self._chain = chain.network, chain
        return engine_text(self)

    def _chain_config(self) -> Config:
        """Settings of the chain: scenes are labelled only for what the map takes of them."""
        scene = self.config.scene
        return with_values(self.config, {'scene.enabled': scene.enabled and scene.weight > 0})

    def _warm_up(self, network: Network) -> None:
        """Run everything once: the first frame of a drive would be lost to imports and tables."""
        prepare_codecs(*CAMERA_TYPES, ODOMETRY, *(t.kind for t in self.published[:-1]))
        afresh = with_values(self._chain_config(), {'near_to_far.state': ''})
        result = Traversability(afresh, network, teach=False).process(read_pair())
        if result.pyramid is not None and result.probabilities is not None:
            predicted_images(result.pyramid, result.probabilities)

    def _take(self, shot: Shot) -> None:
        if self._timer is None:
            return
        self.tally.dropped += self._line.add(shot)
        self._admit()
        if self._line and self._timer.is_canceled():  # it would hold up the worker for 1 ms
            self._timer.reset()

    def _check(self) -> None:
        """Look after frames whose pose is late, for as long as there are any."""
        self._line.check(self.config.input.pose_tolerance_s)
        self._admit()
        if not self._line and self._timer is not None:
            self._timer.cancel()

    def _admit(self) -> None:
        """
        Hand on the frames whose pose has come, or is waited for no longer, in their order.

        The learner keeps views by pose: with another pose than a replay has, or none, it would
        learn other things.
        """
        worker, poses = self._worker, self.poses
        while worker is not None and poses is not None and self._line and (
                self._line.final or not poses.awaited(self._line.first.match.stamp_ns)):
            worker.put(self._line.pop())

    def _jump(self) -> None:
        """Stamps began again: the worker forgets before the next frame."""
        self.tell_jump('plane and queues are')
        if self._worker is not None and self.poses is not None:
            self.tally.dropped += self._line.clear()
            self._worker.clear()
            self.poses.begin_again()
        self._jumped = True

    def _survey(self, shot: Shot) -> None:
        """
        First half of a frame, in the first thread; the second thread has the frame before.

        The next frame is taken up so late that its first half ends when this frame is done.
        Without pipelining the first thread does the second half too, with its caches still warm.
        """
        second, begun_s = self._second, monotonic()
        with self._between_surveys:
            if self._chain is None or second is None:
                self.tally.refused += 1
                return
            afresh = self._jumped
            if afresh:
                self._jumped = False
            step = first_step(self._chain, lambda: self._frame(shot), afresh=afresh)
        first_s = monotonic() - begun_s
        second.wait()
        if self.pipelined:
            second.put(step)
            second.wait(max(0.0, self._second_s - first_s))
        else:
            self._conclude(step)

    def _conclude(self, step: Step) -> None:
        """Second half of a frame; nobody else learns meanwhile."""
        result, begun_s = None, monotonic()
        try:
            with self.between_frames:
                result = step.conclude()
        except PerceptionError as error:
            self.tally.refused += 1
            self.fault('frame', str(error))
        learner = self.learner
        if learner is not None:
            self.learning.take(self, learner, result)
        if result is not None:
            self._answer(result)
        self._second_s = monotonic() - begun_s

    def _frame(self, shot: Shot) -> Frame:
        """The shot, decoded and rectified, with pose and mount."""
        camera = shot.builder.camera.frame_id
        return shot.frame(*self._where(shot.match.stamp_ns, camera), self._lidar(shot))

    def _where(self, stamp_ns: int, camera: str) -> tuple[Float | None, Float | None]:
        """Pose and mount where they are known; labels are made without them too."""
        poses = self.poses
        if poses is None:
            return None, None
        pose = mount = None
        try:
            mount = poses.mount(camera, stamp_ns).base_from_camera
            pose = poses.at(stamp_ns)
        except (TransformError, CalibrationError) as error:
            self.fault('transform', str(error))
        return pose, mount

    def _lidar(self, shot: Shot) -> Float | None:
        """Where the lidar sits in the camera's frame; None without one."""
        frame, poses = shot.lidar_frame, self.poses
        if frame is None or poses is None:
            return None
        return poses.between(shot.builder.camera.frame_id, frame)

    def _answer(self, result: Result) -> None:
        """Publish what a frame gave; the map's part first."""
        self.tally.times.add(result.stage_ms)
        if result.plane is None or result.observation is None:
            self.tally.without_plane += 1
            self.fault('plane', 'no ground plane: nothing is published; is the ground in view, '
                       'and does the calibration fit?')
            return
        self.faults.clear('plane')
        plane = result.plane.plane
        self.tally.plane = {'source': result.plane.source, 'height_m': plane.height_m,
                            'pitch_rad': plane.pitch_rad, 'roll_rad': plane.roll_rad,
                            'inlier_share': result.plane.inlier_share}
        header = encode.header(result.frame.stamp_ns, result.frame.camera.frame_id)
        pose = encode.make('geometry_msgs/PoseStamped', header=header,
                           pose=encode.pose(plane_pose(plane)))
        points = encode.points_message(header, cloud_columns(result.observation))
        self.send('ground_plane', pose)  # only now: whoever takes it in here slows this thread
        self.send('traversability/points', points)
        self.tally.answers.tick()
        self._answer_images(result, header)

    def _answer_images(self, result: Result, header: Any) -> None:
        """Label pictures for whoever looks at them."""
        names = ('image', 'confidence', 'overlay')
        wanted = [name for name in names if self.wanted(f'traversability/{name}')]
        if not wanted or result.pyramid is None or result.probabilities is None:
            return
        labels, confidence = predicted_images(result.pyramid, result.probabilities)
        pictures = {'image': (labels, 'mono8'), 'confidence': (confidence, 'mono8')}
        if 'overlay' in wanted:
            painted = overlay(result.frame.image, labels, confidence)
            pictures['overlay'] = (painted[..., ::-1], 'rgb8')
        for name in wanted:
            self.send(f'traversability/{name}', encode.image_message(header, *pictures[name]))

    def _announce_labels(self) -> None:
        """Class names, where vision_msgs is installed."""
        names = {**dict(enumerate(CLASSES)), UNLABELED: 'unlabeled'}
        self.announce_labels('traversability/label_info', names)

    def statuses(self) -> list[Status]:
        """Report input, output, plane, learning, transforms and engine."""
        self.mind_loading()
        return [input_status(self), output_status(self.tally), plane_status(self),
                learning_status(self), transform_status(self), engine_status(self)]


def main() -> None:
    """Run the node: ``traversability_node --ros-args ...``."""
    run_main(TraversabilityNode)


if __name__ == '__main__':
    main()
