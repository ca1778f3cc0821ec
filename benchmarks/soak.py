# SPDX-License-Identifier: Apache-2.0
"""
Loop a bag through one pipeline and watch its memory: ``python benchmarks/soak.py BAG``.

Exit code 1 where the resident set grows more than the bound after a warm-up.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic
from typing import Annotated, Any

import numpy as np
import typer

from perception.bag import open_bag
from perception.config import load_config
from perception.errors import BagError, PerceptionError
from perception.inference import load_configured
from perception.pipeline import Pipeline
from perception.types import Frame

PAGE_BYTES = 4096
SAMPLE_S = 1.0
WARM_UP_SHARE = 0.1


@dataclass
class Soak:
    """Resident set [MB] over time [s], and how many frames made it."""

    seconds: list[float] = field(default_factory=list)
    resident_mb: list[float] = field(default_factory=list)
    frames: int = 0

    def summary(self, bound_mb: float) -> dict[str, Any]:
        """Growth = median of the last tenth minus median of the first tenth after the warm-up."""
        samples = np.array(self.resident_mb)
        kept = samples[round(WARM_UP_SHARE * len(samples)):]
        tenth = max(len(kept) // 10, 1)
        growth = float(np.median(kept[-tenth:]) - np.median(kept[:tenth]))
        return {
            'seconds': self.seconds[-1], 'frames': self.frames, 'samples': len(samples),
            'start_mb': float(kept[0]), 'end_mb': float(kept[-1]), 'peak_mb': float(samples.max()),
            'growth_mb': growth, 'bound_mb': bound_mb, 'flat': growth <= bound_mb,
        }


def main(
    bag: Annotated[Path, typer.Argument(help='rosbag2 folder or file')] = Path('bags', 'demo'),
    json_: Annotated[Path, typer.Option('--json', help='File to write')] = Path('out/soak.json'),
    seconds: Annotated[float, typer.Option(min=5.0, help='How long [s]')] = 600.0,
    bound_mb: Annotated[float, typer.Option(min=0.0, help='Largest growth [MB]')] = 10.0,
) -> None:
    """Loop the frames of a bag through one pipeline for a while; is its memory flat?"""
    try:
        result = soak(bag, seconds).summary(bound_mb)
    except PerceptionError as error:
        typer.echo(f'soak: error: {error}', err=True)
        raise typer.Exit(1) from None
    json_.parent.mkdir(parents=True, exist_ok=True)
    json_.write_text(json.dumps(result, indent=1) + '\n')
    typer.echo(f"{result['frames']} frames in {result['seconds']:.0f} s: resident set "
               f"{result['start_mb']:.1f} -> {result['end_mb']:.1f} MB, growth "
               f"{result['growth_mb']:+.2f} MB (bound {bound_mb:g} MB)")
    raise typer.Exit(0 if result['flat'] else 1)


def soak(bag: Path, seconds: float) -> Soak:
    """Process frames for that long, sampling memory every second."""
    config = load_config()
    network = load_configured(config.network)
    pipeline, watched, start = Pipeline(config, network), Soak(), monotonic()
    frames, elapsed = endless_frames(bag), 0.0
    while elapsed < seconds:
        pipeline.process(next(frames))
        watched.frames += 1
        elapsed = monotonic() - start
        if not watched.seconds or elapsed - watched.seconds[-1] >= SAMPLE_S:
            watched.seconds.append(elapsed)
            watched.resident_mb.append(resident_mb())
    return watched


def endless_frames(bag: Path) -> Iterator[Frame]:
    """Frames of the bag again and again, read anew each time, stamps running on."""
    config = load_config()
    shift_ns = 0
    while True:
        frames, first, last = 0, 0, 0
        with open_bag(bag, config) as source:
            for frame in source.frames():
                first, last = first or frame.stamp_ns, frame.stamp_ns
                frames += 1
                yield replace(frame, stamp_ns=frame.stamp_ns + shift_ns)
        if not frames:
            raise BagError(f'{bag}: holds no frames; give a bag with camera images')
        shift_ns += last - first + 100_000_000


def resident_mb() -> float:
    """Resident set of this process, from Linux's /proc."""
    pages = int(Path('/proc/self/statm').read_text().split()[1])
    return pages * PAGE_BYTES / 1e6


if __name__ == '__main__':
    typer.run(main)
