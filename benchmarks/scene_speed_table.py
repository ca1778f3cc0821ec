# SPDX-License-Identifier: Apache-2.0
"""The page docs/scene_speed.md from what ``benchmarks/scene_speed.py`` measured."""

from typing import Any

AIM = 0.15  # of the time of farabet2013
OLD, NEW = 'farabet2013', 'modern'

TEXT = """\
# Speed of scene labelling

    {command}

One thread of {machine}, ONNX Runtime {onnxruntime}, {classes} classes. Networks see
{width} x {height}, one row excepted. Median of {rounds} rounds, each of which runs everything
once, every second one backwards; times are processor times. A ratio is over the yardstick of the
same run: one three-way SGBM call (640x480, 96 disparities, block 5), {yardstick_ms:.1f} ms here.

*Inputs*: resizing, and for `farabet2013` the normalised Laplacian pyramid. *Network*: the engine
alone (ONNX Runtime unless named), tensors in, logits out. *Labels*: `label_scene`, a picture
in, label and confidence of every pixel out: inputs, network, up-sampling, arg-max, softmax.
`fast_scnn` is the published layout of Fast-SCNN (arXiv 1902.04502), a yardstick, not trained here.
Parameters are those in use at inference; multiply-adds (GMAC) are counted while a picture passes.
The connection tables of `farabet2013` leave {absent:.0%} of its multiply-adds at zero, which the
engine computes all the same. {weights}

| network | parameters | GMAC | inputs ms | network ms | labels ms | network ratio | labels ratio \
| labels, of {old} |
|---|---|---|---|---|---|---|---|---|
{rows}

`{new}` takes **{network:.3f}** of the time of `{old}` for the network alone, **{label:.3f}** for
labels (aim: at most {aim}, {verdict}). How right they are: [scene.md](scene.md).

## Superpixels

Apart, at the same size, in the same run; more of them in `benchmarks/superpixels.py`.

| step | p50 ms | p95 ms | ratio |
|---|---|---|---|
{superpixels}
"""


def page(result: dict[str, Any]) -> str:
    """Whole page as Markdown."""
    network, label = (_compared(result, part) for part in ('network', 'label'))
    old = result['networks'][OLD]
    return TEXT.format(
        **result | {'rows': '\n'.join(_row(result, name) for name in result['networks'])},
        absent=1 - old['gmac_connected'] / old['gmac'], weights=_weights(result['networks']),
        old=OLD, new=NEW, network=network, label=label, aim=AIM,
        verdict='met' if max(network, label) <= AIM else 'missed',
        superpixels='\n'.join(
            f"| {row['name']} | {row['p50_ms']:.1f} | {row['p95_ms']:.1f} | {row['ratio']:.3f} |"
            for row in result['rows'] if row['part'] == 'superpixels'))


def _found(result: dict[str, Any], name: str, part: str) -> dict[str, Any]:
    return next(row for row in result['rows'] if (row['name'], row['part']) == (name, part))


def _compared(result: dict[str, Any], part: str, name: str = NEW) -> float:
    """Time as a share of that of the old network."""
    return float(_found(result, name, part)['p50_ms'] / _found(result, OLD, part)['p50_ms'])


def _row(result: dict[str, Any], name: str) -> str:
    about = result['networks'][name]
    inputs, network, label = (_found(result, name, part)
                              for part in ('prepare', 'network', 'label'))
    cells = [name, f"{about['parameters'] / 1e6:.2f} M", f"{about['gmac']:.2f}",
             *(f"{one['p50_ms']:.1f}" for one in (inputs, network, label)),
             *(f"{one['ratio']:.2f}" for one in (network, label)),
             f"{_compared(result, 'label', name):.3f}"]
    return '| ' + ' | '.join(cells) + ' |'


def _weights(networks: dict[str, Any]) -> str:
    """Whose weights were random: time does not depend on them."""
    known = [f'`{name}` {about["sha256"][:12]}' for name, about in networks.items()
             if about['sha256']]
    return f'Trained weights: {", ".join(known)}; the others are random.' if known else (
        'All weights are random.')
