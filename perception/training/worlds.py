# SPDX-License-Identifier: Apache-2.0
"""Rendered training worlds on disk: pictures, truth, and the plane that stereo gave."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perception.config import Config
from perception.errors import WorldError
from perception.evaluation.truth import TruthFrame
from perception.plane_tracker import PlaneTracker
from perception.stereo import depth_grid
from perception.types import Camera, Float, GroundPlane, Image
from perception.world.drive import WorldFrame, drive
from perception.world.spec import WorldSpec

TRAINING_SEASONS = ('clear', 'autumn')  # the other four are for tests and never seen here
FRAME_RATE_HZ = 1.0  # a picture every 1.5-2 m
RELIEF_M = (0.1, 0.6)
ARRAYS = ('image', 'class_ids', 'obstacle', 'depth', 'plane', 'world_from_camera', 'robot_xy')


@dataclass(frozen=True)
class WorldSplit:
    """Which worlds: half of each training season, seeds counted up from ``first_seed``."""

    worlds: int
    frames: int
    first_seed: int

    def specs(self) -> list[WorldSpec]:
        """Worlds with a relief drawn from the seed."""
        return [self._spec(self.first_seed + k) for k in range(self.worlds)]

    def _spec(self, seed: int) -> WorldSpec:
        relief = float(np.random.default_rng([seed, 77]).uniform(*RELIEF_M))
        return WorldSpec(seed, TRAINING_SEASONS[seed % 2], round(relief, 3))


@dataclass(frozen=True)
class WorldFrames:
    """
    The n frames of one world.

    ``image`` (n, H, W, 3) uint8 BGR; ``class_ids`` and ``obstacle`` (n, H, W) uint8; ``depth``
    (n, H, W) float16 [m], NaN = sky; ``plane`` (n, 3) float64 p0, p1, p3 of the fitted plane;
    ``world_from_camera`` (n, 4, 4); ``robot_xy`` (n, 2) [m].
    """

    camera: Camera
    focal_baseline: float
    image: Image
    class_ids: Image
    obstacle: Image
    depth: NDArray[np.float16]
    plane: Float
    world_from_camera: Float
    robot_xy: Float

    def __len__(self) -> int:
        """Frames of the world."""
        return len(self.image)

    def ground_plane(self, index: int) -> GroundPlane:
        """Plane that the tracker gave at one frame."""
        p0, p1, p3 = (float(p) for p in self.plane[index])
        return GroundPlane(p0, p1, p3, self.camera, self.focal_baseline)

    def truth(self, index: int) -> TruthFrame:
        """Truth of one frame, as the evaluation has it."""
        return TruthFrame(
            0, self.camera, self.obstacle[index], self.depth[index].astype(np.float32),
            self.world_from_camera[index], self.robot_xy[index])


def render_worlds(
    specs: list[WorldSpec], frames: int, folder: Path,
    advance: Callable[[int], object] = lambda frames: None,
) -> list[Path]:
    """
    Render the worlds that the folder does not hold yet.

    Parameters
    ----------
    frames : int
        Frames a world, 1 s apart.
    advance : callable
        Told the number of frames that became ready, for a progress bar.

    Returns
    -------
    list of Path
        One file a world.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for spec in specs:
        path = folder / f'{spec.season}_{spec.seed}_{spec.relief:g}_{frames}.npz'
        if path.is_file():
            advance(frames)
        else:
            _render(spec, frames, path, advance)
        paths.append(path)
    return paths


def _render(
    spec: WorldSpec, frames: int, path: Path, advance: Callable[[int], object]
) -> None:
    """Render one world; the file is whole or absent."""
    tracker = PlaneTracker(Config().plane, Config().mount)
    kept: list[dict[str, object]] = []
    camera, focal_baseline = None, 0.0
    for taken in drive(spec, frames / FRAME_RATE_HZ, FRAME_RATE_HZ):
        grid = depth_grid(taken.frame, Config().stereo)
        estimate = tracker.update(grid, taken.frame)
        if estimate is not None and estimate.fresh:
            kept.append(_kept(taken, estimate.plane))
            camera, focal_baseline = taken.frame.camera, estimate.plane.focal_baseline
        advance(1)
    if camera is None:
        raise WorldError(
            f'world {spec.season} {spec.seed}: no frame has a ground plane; lower its relief')
    partial = path.with_suffix('.partial.npz')
    arrays: dict[str, Any] = {
        name: np.stack([np.asarray(one[name]) for one in kept]) for name in ARRAYS}
    np.savez(
        partial, focal_baseline=focal_baseline,
        camera=[camera.width, camera.height, camera.fx, camera.fy, camera.cx, camera.cy], **arrays)
    partial.replace(path)


def _kept(taken: WorldFrame, plane: GroundPlane) -> dict[str, object]:
    """What training needs of a frame, by the names of ``WorldFrames``."""
    assert taken.frame.base_from_camera is not None
    return {
        'image': taken.frame.image, 'class_ids': taken.class_ids, 'obstacle': taken.obstacle,
        'depth': taken.depth.astype(np.float16), 'plane': [plane.p0, plane.p1, plane.p3],
        'world_from_camera': taken.world_from_base @ taken.frame.base_from_camera,
        'robot_xy': taken.world_from_base[:2, 3],
    }


def read_worlds(paths: list[Path]) -> Iterator[WorldFrames]:
    """Rendered worlds, one after the other."""
    for path in paths:
        with np.load(path) as stored:
            width, height, fx, fy, cx, cy = (float(value) for value in stored['camera'])
            yield WorldFrames(
                Camera(int(width), int(height), fx, fy, cx, cy), float(stored['focal_baseline']),
                *(stored[name] for name in ARRAYS))
