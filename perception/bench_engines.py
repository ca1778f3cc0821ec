# SPDX-License-Identifier: Apache-2.0
"""The network stage of ``lagr bench`` with every engine and precision that works here."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from time import process_time
from typing import Any

from perception.config import NetworkConfig
from perception.contrast import band_strips, pack_strips
from perception.errors import NetworkError
from perception.flops import count_flops
from perception.inference import Network, load_configured, network_path
from perception.inference.network import INPUT
from perception.pipeline import Pipeline, window_probabilities
from perception.pyramid import Pyramid
from perception.types import Engine, Frame, Precision

RIVALS: tuple[tuple[Engine, Precision], ...] = (
    ('onnxruntime', 'int8'), ('openvino', 'f32'), ('openvino', 'bf16'), ('openvino', 'int8'))
"""What runs beside ONNX Runtime in f32, on one thread."""


@dataclass
class Rival:
    """One network on another engine, or in another precision, on the pyramid of a frame."""

    network: Network
    engine: Engine
    precision: Precision
    ms: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def record(self, frame: Frame, pyramid: Pyramid) -> None:
        """Time its own preprocessing, as it may like other strips, and the network."""
        start = process_time()
        strips = band_strips(frame.image, pyramid, self.network.spec.contrast,
                             self.network.spec.receptive, self.network.packed)
        middle = process_time()
        window_probabilities(self.network.features(strips), pyramid, self.network)
        self.ms['preprocess'].append((middle - start) * 1e3)
        self.ms['network'].append((process_time() - middle) * 1e3)


def rivals(name: str, tell: Callable[[str], None]) -> list[Rival]:
    """All that work here; ``tell`` hears why the others do not."""
    found = []
    for engine, precision in RIVALS:
        try:
            network = load_configured(
                NetworkConfig(name=name, engine=engine, precision=precision, threads=1))
        except NetworkError as error:
            tell(f'left out: {name} on {engine} {precision}: {error}')
            continue
        found.append(Rival(network, engine, precision))
    return found


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
    own = {'engine': rival.engine, 'precision': rival.precision}
    return [row('network', values=rival.ms['network']) | own,
            row('frame', values=frame_ms(base, rival)) | own]
