# SPDX-License-Identifier: Apache-2.0
"""The page docs/precision.md from what ``benchmarks/precision.py`` measured."""

from typing import Any

Scores = dict[str, Any]
RANGES = ('5-12 m', '12-30 m', '30-60 m')
REFERENCE = 'onnxruntime f32'
AIM_POINTS, AIM_AUC = 0.5, 0.005
NATIVE_BF16 = ('avx512_bf16', 'amx_bf16')

TEXT = """\
# Accuracy by engine and precision

    {command}

{machine} ({cpu}),
ONNX Runtime {onnxruntime}, OpenVINO {openvino}; all numbers in
[results/precision.json](results/precision.json). {count} worlds of unseen seasons, {frames}
frames, no learning: {worlds}. Every row sees the same frames,
planes and strips; the network alone is computed otherwise. Definitions of window error and cost
AUC: the docstrings of `perception/evaluation`.

* Files: `NAME.onnx` for f32 and bf16, `NAME_int8.onnx` for int8 ("int8 files", below).
* *Window error* (balanced, per cent) and *cost AUC* are means of the worlds. *Loss* is against
  `{reference}`; negative = better than f32, by chance.
* *Windows changed*: share of windows that turn from ground to obstacle or back, of all windows in
  the picture, those above the horizon and without a decided truth included.

## Aims

Loss of at most {aim_points} points of window error and {aim_auc} of cost AUC in every range, as
mean of the worlds; the worst single world is given beside it.

{aims}

{networks}

## Network `scene`

Mean IoU and pixels right on the {images} labelled pictures of the same worlds, at label size.

{scene}

## What OpenVINO really computes in

Convolutions by the precision they run in, asked of the compiled model (u8, i8: 8 bits).
{bf16}

{layers}

Without a hint OpenVINO takes bf16 in silence on processors that have it, and f32 on others, so the
engine always sets the hint.

## int8 files

    lagr quantize --network default --calibrate BAG --calibrate BAG --out default_int8.onnx

Pairs of QuantizeLinear and DequantizeLinear before every convolution: weights with a scale for
each channel, activations with one for each tensor, all symmetric, biases and outputs float32, so
that OpenVINO, TensorRT, TensorRT-RTX (which refuses int32 biases) and ONNX Runtime take the same
file.

* **Layers are dense.** What the float32 file thins out, as `lagr2008` does by its connection
  tables, is joined into dense convolutions first: in int8 engines are faster with these.
* **How ranges are found** is chosen by `lagr quantize` for each file: the one of minimum-maximum,
  99.99 % of the values, and entropy that changes class probabilities least on pictures held out
  (last quarter of each recording).

{methods}

* **No layer alone costs the accuracy.** Mean change of a class probability on other worlds of the
  training seasons, all layers in int8, and with one of them left in float32 (`--keep LAYER`; the
  three that help most). The aims are met without that, so all are quantised.

{losses}

* **ONNX Runtime** gives the same answers from the file, but not fast: it needs a rounding right
  after a convolution to compute that in int8, and runs float32 layers between roundings here
  (`lagr bench` has the times). Take int8 with OpenVINO or TensorRT, and f32 with ONNX Runtime.
* **Processors without VNNI** multiply unsigned by signed bytes and add two products in 16 bits,
  which can overflow. With OpenVINO nothing need be done: its library halves weights there where
  activations are signed, as they are here, and keeps results right to 7 bits; a run with
  `ONEDNN_MAX_CPU_ISA=AVX512_CORE` or `AVX2` shows what such a processor gives. For another runtime
  that overflows, make the file with weights of 7 bits (`reduce_range=True` of
  `onnxruntime.quantization.quantize_static`).
"""


def page(result: dict[str, Any]) -> str:
    """Whole page as Markdown."""
    networks = result['networks']
    worlds = next(iter(networks.values()))
    return TEXT.format(
        **{key: result[key] for key in ('command', 'machine', 'onnxruntime')},
        openvino=result['openvino'].partition('-')[0],
        cpu=', '.join(result['cpu']), count=len(worlds), worlds=', '.join(worlds),
        frames=sum(world['frames'] for world in worlds.values()), reference=REFERENCE,
        aim_points=AIM_POINTS, aim_auc=AIM_AUC, aims=aims_table(networks),
        networks='\n\n'.join(_network(name, scores) for name, scores in networks.items()),
        images=result['scene'][REFERENCE]['images'], scene=scene_table(result['scene']),
        bf16=_native(result['cpu']), layers=layers_table(result['layers']),
        methods=methods_table(result['calibration']), losses=losses_table(result['layer_losses']))


def aims_table(networks: dict[str, Scores]) -> str:
    """Largest loss of any range, in the mean of the worlds and in the worst of them."""
    rows = []
    for name, worlds in networks.items():
        for label in _labels(worlds):
            if label == REFERENCE:
                continue
            errors, aucs = losses(worlds, 'window_error', label), losses(worlds, 'cost_auc', label)
            mean = [max(map(_mean, each)) for each in (errors, aucs)]
            worst = [max(v for part in each for v in part) for each in (errors, aucs)]
            met = mean[0] * 100 <= AIM_POINTS and mean[1] <= AIM_AUC
            rows.append([f'`{name}`', label, f'{mean[0] * 100:+.2f} ({worst[0] * 100:+.2f})',
                         f'{mean[1]:+.4f} ({worst[1]:+.4f})', 'met' if met else 'missed'])
    return _table(['network', 'computed by', 'loss of window error [points], worst range (world)',
                   'loss of cost AUC, worst range (world)', 'aim'], rows)


def losses(worlds: dict[str, Scores], kind: str, label: str) -> list[list[float]]:
    """Loss against the reference by range, then by world; ranges without numbers are left out."""
    sign = -1 if kind == 'cost_auc' else 1
    by_range = []
    for k in range(len(RANGES)):
        pairs = [(s[kind][label][k], s[kind][REFERENCE][k]) for s in worlds.values()]
        by_range.append([sign * (a - b) for a, b in pairs if a is not None and b is not None])
    return [part for part in by_range if part]


def _network(name: str, worlds: dict[str, Scores]) -> str:
    """Section of one network."""
    rows = []
    for label in _labels(worlds):
        parts = [[s[kind][label][k] for s in worlds.values()] for kind in (
            'window_error', 'cost_auc') for k in range(len(RANGES))]
        means = [_mean([v for v in part if v is not None]) for part in parts]
        changed = _mean([s['changes'][label]['windows_changed'] for s in worlds.values()])
        moved = _mean([s['changes'][label]['probability_changed'] for s in worlds.values()])
        rows.append([label, *(f'{100 * v:.2f}' for v in means[:3]),
                     *(f'{v:.4f}' for v in means[3:]), f'{100 * changed:.2f}', f'{moved:.4f}'])
    head = ['computed by', *(f'error {name} [%]' for name in RANGES),
            *(f'AUC {name}' for name in RANGES), 'windows changed [%]',
            'mean change of a probability']
    return f'## Network `{name}`\n\n{_table(head, rows)}'


def scene_table(scene: dict[str, Scores]) -> str:
    """Scene scores, and the loss of mean IoU."""
    before = scene[REFERENCE]['miou']
    return _table(['computed by', 'mean IoU', 'loss', 'pixels right'], [
        [label, f'{s["miou"]:.4f}', f'{before - s["miou"]:+.4f}', f'{s["pixel_accuracy"]:.4f}']
        for label, s in scene.items()])


def layers_table(layers: dict[str, dict[str, dict[str, int]]]) -> str:
    """Convolutions of each network by what they run in."""
    rows = [[f'`{name}`', asked, ', '.join(f'{n} {p}' for p, n in sorted(found.items()))]
            for name, by_precision in layers.items() for asked, found in by_precision.items()]
    return _table(['network', 'asked for', 'convolutions run in'], rows)


def methods_table(calibration: dict[str, Scores]) -> str:
    """What each way to find ranges cost, as the manifests of the shipped files tell."""
    methods = list(next(iter(calibration.values()))['difference'])
    rows = [[f'`{name}_int8`', *(f'{told["difference"][m]:.5f}' for m in methods), told['method']]
            for name, told in calibration.items()]
    return _table(['file', *methods, 'taken'], rows)


def losses_table(by_network: dict[str, dict[str, float]]) -> str:
    """All layers in int8, and the three layers without which the change is smallest."""
    rows = []
    for name, found in by_network.items():
        best = sorted((value, layer) for layer, value in found.items() if layer)[:3]
        rows.append([f'`{name}`', f'{found[""]:.5f}',
                     *(f'{value:.5f} ({layer})' for value, layer in best)])
    return _table(['network', 'all in int8', 'without', 'without', 'without'], rows)


def _native(cpu: list[str]) -> str:
    has = [flag for flag in NATIVE_BF16 if flag in cpu]
    if has:
        return f'This processor has instructions for bf16 ({", ".join(has)}).'
    return ('This processor has no instructions for bf16. Asked for it, OpenVINO rounds to bf16 '
            'all the same, in several steps:\nthe accuracy is that of bf16, the time is not (some '
            'four times that of f32), so the engine of this\npackage refuses it here.')


def _labels(worlds: dict[str, Scores]) -> list[str]:
    return list(next(iter(worlds.values()))['window_error'])


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ['---'] * len(head), *rows]
    return '\n'.join('| ' + ' | '.join(line) + ' |' for line in lines)
