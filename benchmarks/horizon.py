# SPDX-License-Identifier: Apache-2.0
"""
How well stereo finds the horizon: against rendered depth, and against gravity on flat worlds.

Run ``python benchmarks/horizon.py --json docs/results/horizon.json`` (about two minutes).
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from rich.progress import track

from perception.config import Config, MountConfig
from perception.plane_tracker import PlaneTracker
from perception.stereo import depth_grid
from perception.types import DepthGrid, Float, GroundPlane, PlaneEstimate
from perception.world.drive import WorldFrame, drive
from perception.world.spec import WorldSpec

WORLDS = (WorldSpec(9101, 'haze'), WorldSpec(9102, 'straw'), WorldSpec(9103, 'clear'),
          WorldSpec(9104, 'autumn'), WorldSpec(9105, 'clear', flat=True),
          WorldSpec(9106, 'frost', flat=True))


def rendered_grid(frame: WorldFrame, stereo: DepthGrid) -> DepthGrid:
    """The rendered depth on the pixels that stereo measured."""
    h, w = stereo.disparity.shape
    step = stereo.step
    disparity = (stereo.focal_baseline / frame.depth)[:h * step, :w * step]
    mean = disparity.reshape(h, step, w, step).mean((1, 3))
    mean = np.where(np.isfinite(stereo.disparity), mean, np.nan).astype(np.float32)
    return DepthGrid(mean, stereo.camera, stereo.focal_baseline, step)


def fitted(frame: WorldFrame, grid: DepthGrid, config: Config) -> PlaneEstimate | None:
    """The plane of one frame alone."""
    return PlaneTracker(config.plane, MountConfig()).update(grid, frame.frame)


def gravity_plane(frame: WorldFrame) -> GroundPlane:
    """The plane z = 0 of the world, as a flat world has it, seen by the left camera."""
    mount = frame.frame.base_from_camera
    assert mount is not None
    assert frame.frame.baseline_m is not None
    pose = frame.world_from_base @ mount
    camera = frame.frame.camera
    return GroundPlane.from_normal(pose[2, :3], pose[2, 3], camera,
                                   camera.fx * frame.frame.baseline_m)


def row_errors(found: GroundPlane, truth: GroundPlane) -> tuple[float, float]:
    """Row error of the horizon at the middle column, and the larger one at the borders [px]."""
    u = np.array([0.0, (found.camera.width - 1) / 2, found.camera.width - 1])
    error = np.abs(found.row(u) - truth.row(u))
    return float(error[1]), float(max(error[0], error[2]))


def errors(spec: WorldSpec, config: Config) -> Iterator[tuple[float, float, float, float]]:
    """Middle and border, against rendered depth and against gravity; NaN where not known."""
    for frame in drive(spec, 20.0, 0.5):
        grid = depth_grid(frame.frame, config.stereo)
        assert grid is not None
        found, truth = fitted(frame, grid, config), fitted(
            frame, rendered_grid(frame, grid), config)
        if found is None or found.source == 'calibration' or truth is None:
            yield np.nan, np.nan, np.nan, np.nan
            continue
        gravity = row_errors(found.plane, gravity_plane(frame)) if spec.flat else (np.nan, np.nan)
        yield *row_errors(found.plane, truth.plane), *gravity


def spread(values: Float) -> dict[str, float] | None:
    """Median and 90th percentile, or None."""
    known = values[np.isfinite(values)]
    return {'p50': float(np.median(known)), 'p90': float(np.percentile(known, 90)),
            'frames': len(known)} if len(known) else None


def main() -> None:
    """Measure all worlds and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--json', type=Path, required=True)
    path = parser.parse_args().json
    rows, config = [], Config()
    for spec in track(WORLDS, description='worlds'):
        table = np.array(list(errors(spec, config)))
        places = dict(zip(('rendered_middle_px', 'rendered_borders_px', 'gravity_middle_px',
                           'gravity_borders_px'), map(spread, table.T), strict=True))
        rows.append({'seed': spec.seed, 'season': spec.season, 'relief_m': spec.amplitude_m,
                     **places})
        print(rows[-1])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({'worlds': rows}, indent=1) + '\n')


if __name__ == '__main__':
    main()
