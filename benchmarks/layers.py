# SPDX-License-Identifier: Apache-2.0
"""
Where the network stage spends its time: ``python benchmarks/layers.py`` writes docs/layers.md.

Each shipped band network on the 7 bands of the shipped pair, one thread, layer by layer as its
engine counts them; medians of interleaved rounds.
"""

import json
import math
import os
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

os.environ.setdefault('OPENBLAS_NUM_THREADS', '1')

import numpy as np
import onnx
import onnxruntime as ort
import openvino as ov
import typer
from layers_page import page

from perception.bench import read_pair
from perception.config import Config, NetworkConfig
from perception.contrast import band_strips, pack_strips
from perception.flops import layer_flops, sgemm_flops
from perception.inference import INPUT, NetworkSpec, load_configured, network_path, read_manifest
from perception.inference.onnx_runtime import session_options
from perception.inference.openvino import properties, read_network
from perception.pipeline import Traversability
from perception.pyramid import Pyramid
from perception.types import Float, Precision

TARGET = Path(__file__).resolve().parents[1] / 'docs' / 'layers.md'
NETWORKS = ('default', 'lagr2008')
ENGINES: dict[Precision, tuple[str, ...]] = {
    'f32': ('onnxruntime', 'openvino'), 'int8': ('openvino',)}
WARM_UP = 3
PASSES = 3  # a round; the last counts

Times = dict[str, float]  # microseconds by layer, or by kind of what is no layer
Round = Callable[[], tuple[Times, dict[str, str]]]  # times, and what computes each layer


@dataclass
class Profile:
    """One file on one engine: samples of each layer [us], and what computes it."""

    once: Round
    samples: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    primitive: dict[str, str] = field(default_factory=dict)

    def record(self, keep: bool) -> None:
        """One frame more."""
        times, self.primitive = self.once()
        for name, value in times.items():
            if keep:
                self.samples[name].append(value)


def main(
    rounds: Annotated[int, typer.Option(min=1, help='Rounds that count')] = 40,
    json_: Annotated[Path | None, typer.Option('--json', help='File for the numbers')] = None,
) -> None:
    """Profile every file on its engines and write the page."""
    with TemporaryDirectory() as folder:
        files = {(name, precision): _profiles(name, precision, Path(folder))
                 for name in NETWORKS for precision in ENGINES}
        peak = 0.0
        for index in range(WARM_UP + rounds):
            peak = max(peak, sgemm_flops(3))
            for profiles in files.values():
                for profile in profiles.values():
                    profile.record(index >= WARM_UP)
    result = {'sgemm_gflops': peak / 1e9, 'rounds': rounds, 'files': [
        _summary(*key, profiles) for key, profiles in files.items()]}
    if json_ is not None:
        json_.write_text(json.dumps(result, indent=1) + '\n')
    TARGET.write_text(page(result))
    typer.echo(str(TARGET))


def pyramid_of(name: str) -> Pyramid:
    """The 7 bands of the shipped pair for a network."""
    config = Config(network=NetworkConfig(name=name, engine='onnxruntime', threads=1))
    chain = Traversability(config, load_configured(config.network), teach=False)
    estimate = chain.survey(read_pair()).plane
    assert estimate is not None
    return chain.lay_pyramid(estimate)


def _profiles(name: str, precision: Precision, folder: Path) -> dict[str, Profile]:
    path, pyramid = network_path(name, precision=precision), pyramid_of(name)
    spec = read_manifest(path)
    makers = {'onnxruntime': lambda: _ort_round(path, _strips(spec, pyramid, False), folder),
              'openvino': lambda: _openvino_round(path, spec, _strips(spec, pyramid, True))}
    return {engine: Profile(makers[engine]()) for engine in ENGINES[precision]}


def _strips(spec: NetworkSpec, pyramid: Pyramid, packed: bool) -> list[Float]:
    return band_strips(read_pair().image, pyramid, spec.contrast, spec.receptive, packed)


def _ort_round(path: Path, strips: list[Float], folder: Path) -> Round:
    """ONNX Runtime writes its times when a session ends: one session a round."""
    layer_of = _layers_by_output(path)

    def once() -> tuple[Times, dict[str, str]]:
        options = session_options(1)
        options.enable_profiling = True
        options.profile_file_prefix = str(folder / path.stem)
        session = ort.InferenceSession(path.read_bytes(), options, ['CPUExecutionProvider'])
        for _ in range(PASSES):
            for strip in strips:
                session.run(None, {INPUT: strip})
        events = Path(session.end_profiling())
        told = [one for one in json.loads(events.read_text())
                if one.get('cat') == 'Node' and one['name'].endswith('_kernel_time')]
        events.unlink()
        return _ort_times(told[-len(told) // PASSES:], layer_of)
    return once


def _ort_times(
    told: list[dict[str, Any]], layer_of: dict[str, str]
) -> tuple[Times, dict[str, str]]:
    times: Times = defaultdict(float)
    primitive = {}
    for one in told:
        tensor = one['name'].removesuffix('_kernel_time').removesuffix('_nchwc')
        kind = one['args']['op_name']
        layer = layer_of.get(tensor, kind) if kind == 'Conv' else kind
        times[layer] += one['dur']
        primitive[layer] = 'blocks of 16' if '_nchwc' in one['name'] else kind
    return dict(times), primitive


def _layers_by_output(path: Path) -> dict[str, str]:
    """Convolution by the names ONNX Runtime may give it: its own, or what it is fused with."""
    graph = onnx.load(path).graph
    maker = {name: node for node in graph.node for name in node.output}
    found: dict[str, str] = {}
    for node in graph.node:
        source = node if node.op_type == 'Conv' else maker.get(next(iter(node.input), ''))
        if source is not None and source.op_type == 'Conv':
            found |= {node.output[0]: source.name, source.name: source.name}
    return found


def _openvino_round(path: Path, spec: NetworkSpec, strips: list[Float]) -> Round:
    core = ov.Core()
    asked = {**properties(spec.precision, 1), 'PERF_COUNT': True}
    requests = []
    for strip in strips:
        model, _ = read_network(path, core)
        model.reshape({INPUT: list(strip.shape)})
        requests.append(core.compile_model(model, 'CPU', asked).create_infer_request())
    layers = {node.name for node in onnx.load(path).graph.node if node.op_type == 'Conv'}

    def once() -> tuple[Times, dict[str, str]]:
        times: Times = defaultdict(float)
        primitive = {}
        for _ in range(PASSES):
            for request, strip in zip(requests, strips, strict=True):
                request.infer({INPUT: strip}, share_inputs=True, share_outputs=True)
        for request in requests:
            for node in request.get_profiling_info():
                if node.status != ov.ProfilingInfo.Status.EXECUTED:
                    continue
                name = node.node_name.removesuffix('/WithoutBiases')
                layer = name if name in layers else _kind(node.node_type, node.node_name)
                times[layer] += node.cpu_time.total_seconds() * 1e6
                primitive[layer] = node.exec_type
        return dict(times), primitive
    return once


def _kind(kind: str, name: str) -> str:
    """Type of a node that is no layer; rounding hides behind two of OpenVINO's."""
    return 'Quantize' if 'QuantizeLinear' in name and kind != 'Reorder' else kind


def _summary(name: str, precision: Precision, profiles: dict[str, Profile]) -> dict[str, Any]:
    path, pyramid = network_path(name, precision=precision), pyramid_of(name)
    spec = read_manifest(path)
    apart, packed = (layer_flops(path, [
        {INPUT: (1, 3, strip.height, strip.width)}
        for strip in pack_strips(pyramid.bands, spec.receptive, one)]) for one in (False, True))
    return {
        'network': name, 'precision': precision,
        'gaps': sum(packed.values()) / sum(apart.values()) - 1,
        'layers': {node.name: {'form': _form(node, path), 'mflop': apart[node.name] / 1e6}
                   for node in onnx.load(path).graph.node if node.op_type == 'Conv'},
        'engines': {engine: {
            'us': {layer: float(np.median(values)) for layer, values in profile.samples.items()},
            'primitive': profile.primitive} for engine, profile in profiles.items()}}


def _form(node: Any, path: Path) -> str:
    """What a convolution is, as ``6x9 /2x4, 3 -> 32``, or ``3x5 depthwise, 32``."""
    graph = onnx.load(path).graph
    dims = {one.name: list(one.dims) for one in graph.initializer}
    maker = {name: one for one in graph.node for name in one.output}
    told = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
    name = node.input[1]
    while name not in dims:
        name = maker[name].input[0]
    maps, inputs, rows, columns = dims[name]
    stride = '' if math.prod(told['strides']) == 1 else ' /{}x{}'.format(*told['strides'])
    reads = f'depthwise, {maps}' if told['group'] > 1 else f'{inputs} -> {maps}'
    return f'{rows}x{columns}{stride}{" " if told["group"] > 1 else ", "}{reads}'


if __name__ == '__main__':
    typer.run(main)
