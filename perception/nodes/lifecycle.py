# SPDX-License-Identifier: Apache-2.0
"""What all nodes share: parameters, autostart, publishers, faults and diagnostics."""

import os
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.event_handler import PublisherEventCallbacks
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.qos import QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions

from perception.config import Config
from perception.errors import NodeError, PerceptionError
from perception.monitor import Faults
from perception.nodes.diagnostics import ERROR, WARN, Status, diagnostic_array, mismatch_text
from perception.nodes.fastdds import VARIABLE
from perception.nodes.parameters import declare_config, on_change
from perception.nodes.wire import QOS, message_class, resolved, ros_errors, steady_timer, to_bytes

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE
START_PERIOD_S = 0.1
DISCOVERY_S = 0.5
"""How long a node looks for another one of its name before it starts by itself."""

YOUNG_S = 5.0
"""A node that started so lately gives way to another one of its name: discovery can be slow."""


@dataclass(frozen=True)
class Topic:
    """One topic of a node, for the code and for the docs."""

    name: str
    kind: str
    qos: str
    meaning: str
    when: str = ''


@dataclass(frozen=True)
class Service:
    """One service of a node, for the code and for the docs; private names begin with ~/."""

    name: str
    kind: str
    meaning: str


class PerceptionNode(LifecycleNode):
    """
    A lifecycle node of this package; subclasses say what to prepare, start, stop and report.

    Bad parameters, a missing model or a second node of the same name make ``configure`` fail;
    the node stays alive, says why in its log and in /diagnostics, and may be configured again.
    """

    published: tuple[Topic, ...] = ()
    subscribed: tuple[tuple[str, str, str], ...] = ()
    offered: tuple[Service, ...] = ()
    sections: tuple[str, ...] = ()
    reports = ''

    def __init__(self, name: str) -> None:
        super().__init__(name, automatically_declare_parameters_from_overrides=True)
        self.config, self._bad_parameters = declare_config(self, self.sections)
        self.faults = Faults()
        self.on_refused: Callable[[str], None] = lambda reason: None
        self._refusal = ''
        self._mismatches: dict[tuple[str, str], QoSProfile] = {}
        self._outputs: dict[str, Any] = {}
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', 10)
        steady_timer(self, 1.0, self._report)
        on_change(self, lambda: self.config, self._take_config)
        self._looked_s, self._started_s = 0.0, 0.0
        if self.config.autostart:
            self._starter = steady_timer(self, START_PERIOD_S, self._start)

    def prepare(self) -> None:
        """Load what the node needs; a PerceptionError refuses to configure."""

    def start(self) -> None:
        """Subscribe and begin to work."""

    def stop(self) -> None:
        """Stop work and subscriptions; called also where nothing runs."""

    def release(self) -> None:
        """Free what ``prepare`` loaded."""

    def reconfigured(self) -> None:
        """Parameters changed: ``self.config`` is new."""

    def statuses(self) -> list[Status]:
        """Diagnostics of this node's own work."""
        return []

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Check the parameters, load, and advertise."""
        with self._bugs_shown():
            try:
                self._check_alone()
                if self._bad_parameters:
                    raise NodeError(f'{self._bad_parameters}; mend it and start the node again')
                self._check_names()
                self.prepare()
                for topic in self.published:
                    self._advertise(topic)
            except PerceptionError as error:
                self._refuse(str(error))
                self._withdraw()
                return FAILURE
            self._refusal = ''
            return SUCCESS

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Enable the publishers, then subscribe."""
        with self._bugs_shown():
            super().on_activate(state)
            try:
                self.start()
            except PerceptionError as error:
                self.stop()
                super().on_deactivate(state)
                self._refuse(str(error))
                return FAILURE
            self._started_s = monotonic()
            return SUCCESS

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe and end the load."""
        with self._bugs_shown():
            self.stop()
            return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free memory and publishers."""
        with self._bugs_shown():
            self.stop()
            self.release()
            self._withdraw()
            return SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """End as cleanup does, from any state."""
        return self.on_cleanup(state)

    def send(self, topic: str, message: Any) -> None:
        """Publish a message of the core's type store on one of the node's topics."""
        self._outputs[topic].publish(to_bytes(message))

    def send_typed(self, topic: str, message: Any) -> None:
        """Publish a message of a type that only this installation has."""
        self._outputs[topic].publish(message)

    def wanted(self, topic: str) -> bool:
        """Tell whether anybody subscribes to one of the node's topics."""
        return topic in self._outputs and self._outputs[topic].get_subscription_count() > 0

    def fault(self, kind: str, text: str) -> None:
        """Count a trouble, log it now and then, and show it in the diagnostics."""
        if self.faults.add(kind, text):
            self.get_logger().warning(text)

    def give_up(self, reason: str) -> None:
        """Go back to unconfigured, as where the model turned out bad after configuring."""
        self.trigger_deactivate()
        self.trigger_cleanup()
        self._refuse(reason)

    def mismatch(self, topic: str, own: QoSProfile, peers: str) -> None:
        """Report peers whose QoS does not fit ours, for as long as they are there."""
        self._mismatches[topic, peers] = own
        self.fault('qos', mismatch_text(self, topic, own, peers=peers))

    @property
    def state(self) -> str:
        """Label of the lifecycle state."""
        return str(self._state_machine.current_state[1])

    def twins(self) -> int:
        """Count other nodes of this name in this namespace."""
        own = (self.get_name(), self.get_namespace())
        return max(self.get_node_names_and_namespaces().count(own) - 1, 0)

    def _check_names(self) -> None:
        """Refuse topic names that are none."""
        for key, value in self.config.input.model_dump().items():
            if key.endswith(('_topic', '_topics')):
                for name in filter(None, (part.strip() for part in value.split(','))):
                    resolved(self, name)

    def _withdraw(self) -> None:
        for publisher in self._outputs.values():
            self.destroy_lifecycle_publisher(publisher)
        self._outputs.clear()

    def _advertise(self, topic: Topic) -> None:
        qos = QOS[topic.qos]()
        events = PublisherEventCallbacks(
            incompatible_qos=lambda _: self.mismatch(topic.name, qos, 'subscribers'))
        try:
            kind = message_class(topic.kind)
        except ModuleNotFoundError as error:
            self.get_logger().info(f'{topic.name} left out: {error.name} is not installed')
            return
        with ros_errors(topic.name):
            self._outputs[topic.name] = self.create_lifecycle_publisher(
                kind, topic.name, qos, event_callbacks=events,
                qos_overriding_options=QoSOverridingOptions.with_default_policies())

    def _start(self) -> None:
        """Configure and activate, once it is clear that no other node has this name."""
        self._looked_s += START_PERIOD_S
        if self.state != 'unconfigured':  # a manager was quicker: it leads
            self._starter.cancel()
            return
        if self._looked_s < DISCOVERY_S:
            return
        if self.twins():
            self._refuse(self._twin_text())
            return
        self._starter.cancel()
        if self.trigger_configure() == SUCCESS:
            self.trigger_activate()

    def _check_alone(self) -> None:
        if self.twins():
            raise NodeError(self._twin_text())

    def _twin_text(self) -> str:
        name = self.get_fully_qualified_name()
        return (f'another node is named {name}: stop it, or give this one a namespace '
                '(--namespace) or a name (-r __node:=NAME); one that was killed is forgotten '
                'within 20 s')

    def _refuse(self, reason: str) -> None:
        if reason != self._refusal:
            self.get_logger().error(f'cannot configure: {reason}')
        self._refusal = reason
        if self.twins() == 0:
            self.on_refused(reason)

    def _take_config(self, config: Config) -> None:
        self.config = config
        self.reconfigured()

    def _give_way(self) -> None:
        """Stop where another node of this name is found only now, and try again later."""
        if self.state != 'active' or not self.twins() or monotonic() - self._started_s > YOUNG_S:
            return
        self.give_up(self._twin_text())
        if self.config.autostart:
            self._starter.reset()

    def _report(self) -> None:
        self._give_way()
        node = Status('node', values={'state': self.state})
        node.report(ERROR, self._refusal)
        node.report(ERROR, self._twin_text() if self.twins() else '')
        node.report(WARN, '' if self.state == 'active' else f'{self.state}: not working')
        for (topic, peers), own in list(self._mismatches.items()):
            text = mismatch_text(self, topic, own, peers=peers)
            node.report(WARN, text)
            if not text:
                del self._mismatches[topic, peers]
        node.values['fastdds_profile'] = os.environ.get(VARIABLE, 'none')
        node.values |= {f'faults_{kind}': n for kind, n in dict(self.faults.counts).items()}
        self._diagnostics.publish(diagnostic_array(self, [node, *self.statuses()]))

    @contextmanager
    def _bugs_shown(self) -> Iterator[None]:
        """Log the trace of an unexpected error, which rclpy's state machine would swallow."""
        done = False
        try:
            yield
            done = True
        finally:
            if not done:
                self.get_logger().fatal(traceback.format_exc())
