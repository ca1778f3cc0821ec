# SPDX-License-Identifier: Apache-2.0
"""The page docs/layers.md from what ``benchmarks/layers.py`` measured."""

import platform
from pathlib import Path
from typing import Any

TEXT = """\
# The network stage, layer by layer

    python benchmarks/layers.py

{machine}, one thread; the 7 bands of the pair that `lagr bench` uses, and the files that are
shipped. Times are what each engine says of itself, summed over a frame, median of {rounds} rounds,
every one with all files. *MFLOP* are useful ones: bands without the gaps of strips, and no
multiplication by a stored zero. *Of peak*: rate over the best matrix product in f32 of the same
run, {peak:.0f} GFLOP/s; int8 may exceed 1.

Each file runs three times in a row and the last counts, with everything in the cache. In a frame
other stages have used that since, Python takes some 20 µs a call, and classes are made of the
features: the rows `network` of [speed.md](speed.md) are a quarter to a half longer. ONNX Runtime
is called once a band, OpenVINO once a strip, in whose gaps it computes beyond what is of use:
{gaps}.

## Why which layer is slow

- **Convolutions 1 x 1** and the first layer of `default`, nine tenths of its operations, run at
  0.8 to 1.0 of the peak in f32: nothing to gain but by fewer operations.
- **Depthwise convolutions** multiply each value that they load 9 to 30 times by one weight each,
  where a matrix product uses it for dozens of maps: they wait for the cache, at 0.3 to 0.7 of the
  peak. Bytes do not help, as their kernels multiply them one by one as well.
- **The first layer of `lagr2008`** reads one channel, or two of which each map uses one, for 10
  maps of a block of 16: ten lanes in sixteen do work, and with two channels half of that.
- **Picks** copy maps side by side, as a multiplication by ones and zeros. They are the price of
  computing connections only. Dense, C2 has 6.7 times the multiplications; OpenVINO then computes
  it at 0.94 of the peak and the network takes as long as now, with ONNX Runtime twice as long.
- **Add, Reshape, Reorder, Transpose** move memory: sums of the three parts of C2, and channels
  that are first in the file, last inside OpenVINO, and in blocks of 16 inside ONNX Runtime.
- **int8**: quantising and turning the input takes an eighth of `default`; its depthwise layers
  take a third and are no faster than in f32. C2 of `lagr2008` is dense again, at over twice the
  f32 peak with its zeros counted; what remains there are tanh and the first layer.
- **tanh** of `lagr2008` comes after pooling, so it is computed for one value in four. The file
  joins both halves of C1 before it: else OpenVINO moves it to where the values are four times as
  many.

## Tables

{tables}
"""


def page(result: dict[str, Any]) -> str:
    """Whole page as Markdown."""
    peak = result['sgemm_gflops']
    gaps = ' and '.join(f"{one['gaps']:.0%} (`{one['network']}`)" for one in result['files']
                        if one['precision'] == 'f32')
    return TEXT.format(machine=machine(), rounds=result['rounds'], peak=peak, gaps=gaps,
                       tables='\n\n'.join(_file(one, peak) for one in result['files']))


def _file(one: dict[str, Any], peak: float) -> str:
    """Heading and table of one network file."""
    engines = list(one['engines'])
    head = ['layer', 'computes', 'MFLOP'] + [
        title for engine in engines for title in (f'{engine} µs', 'of peak', 'by')]
    rows = [head, ['---'] * len(head)]
    rows += [_layer(name, told, one['engines'], peak) for name, told in one['layers'].items()]
    rows += _others(one)
    rows.append(_total(one, peak))
    lines = '\n'.join(f'| {" | ".join(row)} |' for row in rows)
    return f"### `{one['network']}` {one['precision']}\n\n{lines}"


def _layer(
    name: str, told: dict[str, Any], engines: dict[str, Any], peak: float
) -> list[str]:
    row = [f'`{short(name)}`', told['form'], f"{told['mflop']:.1f}"]
    for engine in engines.values():
        us = engine['us'].get(name, 0.0)
        row += [f'{us:.0f}', _share(told['mflop'], us, peak), engine['primitive'].get(name, '')]
    return row


def _others(one: dict[str, Any]) -> list[list[str]]:
    """What is no layer: kinds of steps between them."""
    kinds = sorted({kind for engine in one['engines'].values() for kind in engine['us']}
                   - one['layers'].keys())
    rows = []
    for kind in kinds:
        row = ['', kind, '']
        for engine in one['engines'].values():
            us = engine['us'].get(kind)
            row += ['' if us is None else f'{us:.0f}', '', '']
        rows.append(row)
    return rows


def _total(one: dict[str, Any], peak: float) -> list[str]:
    mflop = sum(told['mflop'] for told in one['layers'].values())
    row = ['all', '', f'{mflop:.1f}']
    for engine in one['engines'].values():
        us = sum(engine['us'].values())
        row += [f'{us:.0f}', _share(mflop, us, peak), '']
    return row


def _share(mflop: float, us: float, peak: float) -> str:
    """Rate as a share of the peak, GFLOP/s."""
    return f'{mflop / us * 1e3 / peak:.2f}' if us else ''


def short(name: str) -> str:
    """Name of a layer without what torch repeats in it."""
    parts = name.strip('/').removesuffix('/Conv').split('/')
    return parts[-1]


def machine() -> str:
    """Model of the processor."""
    info = Path('/proc/cpuinfo')
    names = [line.partition(':')[2].strip() for line in info.read_text().splitlines()
             if line.startswith('model name')] if info.exists() else []
    return names[0] if names else platform.processor() or platform.machine()
