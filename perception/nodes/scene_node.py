# SPDX-License-Identifier: Apache-2.0
"""Label every pixel of a camera's images with what it shows."""

from typing import Any

from perception import bag_encode as encode
from perception.draw_scene import confidence_image, scene_overlay, with_legend
from perception.errors import PerceptionError
from perception.nodes.camera_node import CameraNode
from perception.nodes.diagnostics import WARN, Status
from perception.nodes.inputs import CameraInputs, Shot
from perception.nodes.lifecycle import Topic
from perception.nodes.live_topics import CAMERA_TYPES
from perception.nodes.reports import input_status, loading_text, output_status
from perception.nodes.run import main as run_main
from perception.nodes.wire import prepare_codecs
from perception.nodes.worker import NewestWorker
from perception.pipeline import StageClock
from perception.scene import SceneLabels
from perception.scene_config import SceneConfig
from perception.scene_stage import SceneStage, check_scene, make_scene
from perception.types import UNLABELED, Frame

LABEL_INFO = 'scene/label_info'


class SceneNode(CameraNode):
    """Camera images in; what each pixel shows, and how sure that is, out."""

    published = (
        Topic('scene/image', 'sensor_msgs/Image', 'reliable, 1',
              "mono8: class, in the order of the network's manifest; 255 void"),
        Topic('scene/confidence', 'sensor_msgs/Image', 'reliable, 1',
              'mono8: 0-255, 255 = sure', 'somebody subscribes'),
        Topic('scene/overlay', 'sensor_msgs/Image', 'reliable, 1',
              'rgb8: labels over the rectified image, above a legend', 'somebody subscribes'),
        Topic(LABEL_INFO, 'vision_msgs/LabelInfo', 'latched', 'class names of scene/image',
              'vision_msgs is installed'),
    )
    subscribed = (
        ('input.image_topic', 'sensor_msgs/Image or CompressedImage', 'left or only camera; '
         'nothing else is needed'),
        ('camera_info beside it', 'sensor_msgs/CameraInfo', 'honoured at every change'),
    )
    sections = ('input', 'scene')
    reports = ('statuses `node`, `input`, `output`, `engine`: rates, ages, dropped frames, stage '
               'p50 and p99, network, its hash and classes, failures')

    def __init__(self) -> None:
        self.stage: SceneStage | None = None
        self._announced = False
        super().__init__('scene_node')

    @property
    def scene(self) -> SceneConfig:
        """Settings; a node that runs labels, whatever ``scene.enabled`` says."""
        return self.config.scene.model_copy(update={'enabled': True})

    def prepare(self) -> None:
        """Check the network's files and the costs of its classes, then load in a thread."""
        check_scene(self.scene)
        prepare_codecs(*CAMERA_TYPES, self.published[0].kind)
        self.load_in_thread(self.scene.network, lambda: make_scene(self.scene), self._use)

    def start(self) -> None:
        """Subscribe to one camera, and label its newest frame, always."""
        self._worker = NewestWorker('frames', self._process)
        self.inputs = CameraInputs(self, self.config.input, on_shot=self._worker.put,
                                   on_jump=self._jump, alone=True)
        self._announce()

    def stop(self) -> None:
        """Unsubscribe, finish the frame in work."""
        if self.inputs is not None:
            self.inputs.close()
        if self._worker is not None:
            self._worker.stop()
            self.tally.dropped += self._worker.dropped
        self.inputs = self._worker = None

    def release(self) -> None:
        """Free the network."""
        self.stage = self.loading_s = None
        self._announced = False

    def _use(self, stage: SceneStage | None) -> str:
        self.stage = stage
        return '' if stage is None else (
            f'{len(stage.network.spec.classes)} classes, {stage.network.opened.text}')

    def _jump(self) -> None:
        """Stamps began again: what waits is of before."""
        self.tell_jump('queues are')
        if self._worker is not None:
            self._worker.clear()

    def _process(self, shot: Shot) -> None:
        """One frame, in the worker's thread."""
        stage, clock = self.stage, StageClock()
        if stage is None:
            self.tally.refused += 1
            return
        try:
            with clock('decode'):
                frame = shot.frame(None, None)
            with clock('scene'):
                labels = stage.label(frame.image)
        except PerceptionError as error:
            self.tally.refused += 1
            self.fault('frame', str(error))
            return
        self.tally.times.add(clock.ms)
        self.tally.answers.tick()
        self._answer(frame, labels, stage)

    def _answer(self, frame: Frame, labels: SceneLabels, stage: SceneStage) -> None:
        """Publish labels, and pictures for whoever looks at them."""
        header = encode.header(frame.stamp_ns, frame.camera.frame_id)

        def send(name: str, picture: Any, encoding: str) -> None:
            self.send(f'scene/{name}', encode.image_message(header, picture, encoding))

        send('image', labels.label, 'mono8')
        if self.wanted('scene/confidence'):
            send('confidence', confidence_image(labels), 'mono8')
        if self.wanted('scene/overlay'):
            spec = stage.network.spec
            painted = scene_overlay(frame.image, labels, spec.palette)
            send('overlay', with_legend(painted, spec.classes, spec.palette)[..., ::-1], 'rgb8')

    def _announce(self) -> None:
        """Class names, once the network is there."""
        if self.stage is not None and self._worker is not None and not self._announced:
            names = {**dict(enumerate(self.stage.network.spec.classes)), UNLABELED: 'void'}
            self._announced = self.announce_labels(LABEL_INFO, names)

    def statuses(self) -> list[Status]:
        """Report input, output and engine."""
        self.mind_loading()
        self._announce()
        return [input_status(self), output_status(self.tally), self._engine()]

    def _engine(self) -> Status:
        """The network, its hash and classes."""
        status = Status('engine')
        if self.stage is None:
            status.report(WARN, loading_text(self, self.scene.network))
            return status
        spec = self.stage.network.spec
        status.values = {
            'engine': self.stage.network.opened.text, 'network': spec.name, 'sha256': spec.sha256,
            'classes': ', '.join(spec.classes), 'threads': self.scene.threads,
            'label_info': 'published' if LABEL_INFO in self._outputs else (
                'not published: vision_msgs is not installed')}
        status.report(WARN, '' if spec.trained else f'{spec.name} was never trained')
        return status


def main() -> None:
    """Run the node: ``scene_node --ros-args ...``."""
    run_main(SceneNode)


if __name__ == '__main__':
    main()
