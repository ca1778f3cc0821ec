# SPDX-License-Identifier: Apache-2.0
"""The network stage of ``lagr bench`` with every engine and precision that works here."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from time import process_time
from typing import Any, Literal

from perception.config import NetworkConfig
from perception.contrast import band_strips, pack_strips
from perception.errors import NetworkError
from perception.flops import count_flops
from perception.inference import Network, cuda, load_configured, network_path
from perception.inference.network import INPUT
from perception.inference.relay import Relay
from perception.pipeline import Pipeline, window_probabilities
from perception.pyramid import Pyramid
from perception.types import Engine, Float, Frame, Precision

RIVALS: tuple[tuple[Engine, Precision], ...] = (
    ('onnxruntime', 'int8'), ('openvino', 'f32'), ('openvino', 'bf16'), ('openvino', 'int8'))
"""What runs beside ONNX Runtime in f32, on one thread."""
ON_GPU: tuple[tuple[Engine, Precision], ...] = (
    ('tensorrt', 'f32'), ('tensorrt', 'int8'), ('tensorrt_rtx', 'f32'), ('tensorrt_rtx', 'int8'),
    ('onnxruntime_cuda', 'f32'), ('onnxruntime_tensorrt', 'f32'))
"""What runs besides where there is a GPU."""


@dataclass
class Rival:
    """
    One network on another engine, or in another precision, on the pyramid of a frame.

    ``clock`` is whose time the network takes: the processor's, or the GPU's by its own clock.
    """

    network: Network
    engine: Engine
    precision: Precision
    ms: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    clock: Literal['processor', 'device'] = 'processor'

    def record(self, frame: Frame, pyramid: Pyramid) -> None:
        """Time its own preprocessing, as it may like other strips, and the network."""
        start = process_time()
        strips = band_strips(frame.image, pyramid, self.network.spec.contrast,
                             self.network.spec.receptive, self.network.packed)
        self.ms['preprocess'].append((process_time() - start) * 1e3)
        maps, features_ms = self._features(strips)
        start = process_time()
        window_probabilities(maps, pyramid, self.network)
        self.ms['network'].append(features_ms + (process_time() - start) * 1e3)

    def _features(self, strips: list[Float]) -> tuple[list[Float], float]:
        """Feature maps, and how long they took by ``clock`` [ms]."""
        maps: list[Float] = []
        by_device: list[float] = []
        start = process_time()
        for strip in strips:
            maps += self.network.features([strip])
            device_ms = self.network.device_ms
            by_device += [] if device_ms is None else [device_ms]
        took = (process_time() - start) * 1e3
        self.clock = 'device' if len(by_device) == len(strips) else 'processor'
        return maps, sum(by_device) if self.clock == 'device' else took


def rivals(name: str, tell: Callable[[str], None]) -> list[Rival]:
    """All that work here; ``tell`` hears why the others do not."""
    found = []
    for engine, precision in RIVALS if cuda.absence() else (*RIVALS, *ON_GPU):
        try:
            network = load_configured(
                NetworkConfig(name=name, engine=engine, precision=precision, threads=1))
            _await(network, engine)
        except NetworkError as error:
            tell(f'left out: {name} on {engine} {precision}: {error}')
            continue
        found.append(Rival(network, engine, precision))
    return found


def _await(network: Network, engine: Engine) -> None:
    """Until the engine that is asked for serves; one that stays in its place is an error."""
    session = network.opened.session
    if isinstance(session, Relay):
        session.wait()
        if session.engine != engine:
            raise NetworkError(session.note)


def useful_flops(pipeline: Pipeline, pyramid: Pyramid, name: str) -> float | None:
    """Operations of the network on the bands of a pyramid, without padding; None without onnx."""
    shapes: list[dict[str, tuple[int, ...]]] = [
        {INPUT: (1, 3, strip.height, strip.width)}
        for strip in pack_strips(pyramid.bands, pipeline.network.spec.receptive, packed=False)]
    try:
        return count_flops(network_path(name), shapes)
    except NetworkError:
        return None


def roofline(flops: float | None, p50_ms: float, peak: float) -> float | None:
    """Achieved rate over that of the best matrix product in f32."""
    return None if flops is None else flops / (p50_ms * 1e-3) / peak


def frame_ms(base: dict[str, list[float]], rival: Rival) -> list[float]:
    """Whole frames, with the rival in place of what ran: stages of the same rounds."""
    return [whole - old - before + new + own for whole, old, before, new, own in zip(
        base['frame'], base['network'], base['preprocess'], rival.ms['network'],
        rival.ms['preprocess'], strict=True)]


def rows_of(
    rival: Rival, base: dict[str, list[float]], row: Callable[..., dict[str, Any]]
) -> list[dict[str, Any]]:
    """Rows ``network`` and ``frame`` of a rival; ``row`` makes one of a name and ``values``."""
    own = {'engine': rival.engine, 'precision': rival.precision, 'clock': rival.clock}
    return [row('network', values=rival.ms['network']) | own,
            row('frame', values=frame_ms(base, rival)) | own]
