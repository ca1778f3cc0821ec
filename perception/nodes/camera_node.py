# SPDX-License-Identifier: Apache-2.0
"""What the nodes that look at a camera share: loading, inputs, dropped frames, class names."""

from collections.abc import Callable, Mapping
from threading import Thread
from time import monotonic
from typing import TypeVar

from perception.errors import NetworkError, PerceptionError
from perception.nodes.inputs import CameraInputs, Shot
from perception.nodes.lifecycle import PerceptionNode
from perception.nodes.reports import Tally
from perception.nodes.worker import NewestWorker

LOAD_PATIENCE_S = 2.0  # below the 4 s after which Nav2's lifecycle manager gives a node up
JUMP_APART_S = 1.0  # bags begin again more rarely

Loaded = TypeVar('Loaded')


class CameraNode(PerceptionNode):
    """A node that works on the newest frame of a camera, in a thread of its own."""

    def __init__(self, name: str) -> None:
        self.inputs: CameraInputs | None = None
        self.loading_s: float | None = None
        self.tally = Tally()
        self._worker: NewestWorker[Shot] | None = None
        self._load_error = ''
        self._jumped_s = -JUMP_APART_S
        super().__init__(name)

    @property
    def dropped(self) -> int:
        """Frames that a newer one replaced before they were worked on."""
        return self.tally.dropped + (self._worker.dropped if self._worker else 0)

    def load_in_thread(
        self, name: str, load: Callable[[], Loaded], use: Callable[[Loaded], str]
    ) -> None:
        """
        Load a network while the node goes on answering.

        ``load`` does it; ``use`` takes over what it gave, unless a clean-up made that useless
        meanwhile, and says what it is.

        Raises
        ------
        NetworkError
            It failed at once; what fails later makes the node give up at its next report.
        """
        self._load_error, started = '', monotonic()
        self.loading_s = started
        self.get_logger().info(f'loading network {name}')

        def work() -> None:
            try:
                loaded = load()
            except PerceptionError as error:
                if self.loading_s == started:
                    self._load_error = str(error)
                return
            if self.loading_s == started:
                text, took_s = use(loaded), monotonic() - started
                self.get_logger().info(f'network {name} loaded in {took_s:.1f} s: {text}')

        loader = Thread(target=work, name='load', daemon=True)
        loader.start()
        loader.join(LOAD_PATIENCE_S)
        if self._load_error:
            raise NetworkError(self._load_error)

    def mind_loading(self) -> None:
        """Go back to unconfigured where the network turned out bad after configuring."""
        if self._load_error and self.state != 'unconfigured':
            self.give_up(self._load_error)

    def tell_jump(self, forgotten: str) -> None:
        """Say that stamps began again and what is reset, or that they do so all the time."""
        if monotonic() - self._jumped_s > JUMP_APART_S:
            self.get_logger().warning(f'stamps jumped backwards: {forgotten} reset')
        else:
            self.fault('jump', 'stamps keep jumping backwards: do two publishers with different '
                       'clocks share an image topic?')
        self._jumped_s = monotonic()

    def announce_labels(self, topic: str, names: Mapping[int, str]) -> bool:
        """Publish class names; False where vision_msgs is not installed."""
        if topic not in self._outputs:
            return False
        from vision_msgs.msg import LabelInfo, VisionClass

        info = LabelInfo(class_map=[VisionClass(class_id=number, class_name=name)
                                    for number, name in names.items()])
        info.header.stamp = self.get_clock().now().to_msg()
        self.send_typed(topic, info)
        return True
