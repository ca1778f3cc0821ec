# SPDX-License-Identifier: Apache-2.0
"""
Frames of rendered worlds -> training samples: bands side by side, labels for every window.

All bands of a frame stand on one canvas of the height of the small bands, the tall first band
cut to that height at random; straddling windows are unlabelled. So one batch holds all ranges,
and batch statistics are those of the strips that inference sees.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from perception.config import SupervisorConfig
from perception.contrast import ContrastMode, Receptive, band_strips, pack_strips
from perception.evaluation.truth import (
    DECIDED_SHARE,
    FREE,
    STANDING,
    TruthFrame,
    centre_range,
    feet_uv,
)
from perception.pyramid import (
    COLUMN_STRIDE,
    HEIGHT,
    MAX_OUTSIDE,
    WINDOW_ROWS,
    Band,
    Pyramid,
    build_pyramid,
    scale_factor,
)
from perception.supervisor import labels_from_masks
from perception.training.augment import Rng, augment
from perception.training.worlds import WorldFrames
from perception.types import (
    GROUND,
    SUPER_GROUND,
    SUPER_OBSTACLE,
    UNLABELED,
    Float,
    GroundPlane,
    Image,
)

Bytes = NDArray[np.uint8]

RANGES_M = (5.0, 12.0, 30.0, 60.0)
OTHER = len(RANGES_M) - 1  # bin of nearer, farther and skyward windows
TRUTH_RULES = SupervisorConfig(min_feet=1, min_valid=DECIDED_SHARE)
PITCH_RAD, ROLL_RAD, HEIGHT_SHARE = 0.008, 0.008, 0.04  # how far a fitted plane may be off
BIN_SHARES = (1.0, 1.2, 1.0, 0.4)  # of the loss, 5-12, 12-30, 30-60 m and other
MIXED_SHARE = 0.2
FEWEST = 3.0  # windows a frame; rarer ones would make single windows rule the loss


@dataclass(frozen=True)
class LabeledPyramid:
    """Pyramid over one frame with ``label`` (N,) class or 255 and ``bin`` (N,) range bin."""

    pyramid: Pyramid
    label: Bytes
    bin: Bytes


@dataclass(frozen=True)
class Sample:
    """``bands`` (3, h, w) float32, and ``label``, ``bin`` (h', w') uint8 of its windows."""

    bands: Float
    label: Bytes
    bin: Bytes


def perturbed(plane: GroundPlane, rng: Rng) -> GroundPlane:
    """Plane with the errors that a fit has: pitch, roll, height."""
    normal, offset = plane.normal_offset
    pitch, roll = rng.normal(0, PITCH_RAD), rng.normal(0, ROLL_RAD)
    moved = normal + np.array([roll, 0.0, pitch])
    return GroundPlane.from_normal(
        moved / np.linalg.norm(moved), offset * np.exp(rng.normal(0, HEIGHT_SHARE)),
        plane.camera, plane.focal_baseline)


def label_pyramid(truth: TruthFrame, plane: GroundPlane) -> LabeledPyramid:
    """
    Lay a pyramid by the plane and label all its windows from rendered truth, at all ranges.

    Windows that show sky or crowns at their centre, and little else, count as super-obstacle:
    the map must never take them for ground.
    """
    pyramid = build_pyramid(plane, g=scale_factor(plane.camera, plane.height_m))
    standing = truth.obstacle == STANDING
    labels = labels_from_masks(
        truth.obstacle == FREE, standing, feet_uv(standing), 1, pyramid, TRUTH_RULES)
    label, uv = labels.label.copy(), pyramid.windows.uv
    overhead = (label == UNLABELED) & (pyramid.windows.outside <= MAX_OUTSIDE)
    overhead &= _centre(truth.obstacle, uv, FREE) > STANDING
    label[overhead] = SUPER_OBSTACLE
    distance = np.nan_to_num(centre_range(truth, uv), nan=np.inf)
    bins = np.searchsorted(RANGES_M, distance, side='right') - 1
    bins = np.where((bins < 0) | (bins > OTHER) | overhead, OTHER, bins)
    # a fresh pyramid: the one used here holds large arrays of its windows
    return LabeledPyramid(replace(pyramid), label, bins.astype(np.uint8))


def _centre(values: Image, uv: Float, missing: int) -> Image:
    """Value of the pixel at each window centre (N,)."""
    u, v = np.rint(uv).astype(int).T
    inside = (u >= 0) & (u < values.shape[1]) & (v >= 0) & (v < values.shape[0])
    picked = np.full(len(uv), missing, np.uint8)
    picked[inside] = values[v[inside], u[inside]]
    return picked


def draw_sample(
    image: Image, labeled: LabeledPyramid, receptive: Receptive, contrast: ContrastMode, rng: Rng
) -> Sample:
    """Canvas of all bands of one picture, flipped left to right in half of the cases."""
    pyramid, flip = labeled.pyramid, rng.random() < 0.5
    strips = band_strips(image, pyramid, contrast, receptive)
    rows, columns = (2 * margin for margin in receptive.margin)
    parts = []
    for strip, tensor in zip(pack_strips(pyramid.bands, receptive), strips, strict=True):
        for position, x in strip.places:
            band, part = pyramid.bands[position], pyramid.grid.slices[position]
            patch = tensor[0, :, :band.height + rows, x:x + band.width + columns]
            grid = (band.rows, band.columns)
            one = Sample(patch, labeled.label[part].reshape(grid),
                         labeled.bin[part].reshape(grid))
            parts.append(_place(_flipped(one) if flip else one, band, receptive, rng))
    return Sample(*(np.concatenate([getattr(one, name) for one in parts], -1)
                    for name in ('bands', 'label', 'bin')))


def _flipped(sample: Sample) -> Sample:
    """Left-right mirror: window 4j becomes window 4 (n - 1 - j)."""
    return Sample(sample.bands[..., ::-1], sample.label[:, ::-1], sample.bin[:, ::-1])


def _place(sample: Sample, band: Band, receptive: Receptive, rng: Rng) -> Sample:
    """One band as it stands on the canvas: cut to the common height, padded to the stride."""
    stride, rows = receptive.row_stride, HEIGHT - WINDOW_ROWS + 1
    top = 0
    if band.height > HEIGHT:
        # the lower end holds the far ground, the rest mostly sky
        top = (band.height - HEIGHT) if rng.random() < 0.6 else int(
            rng.integers(0, band.height - HEIGHT + 1))
        top -= top % stride
    height = HEIGHT + 2 * receptive.margin[0]
    bands = sample.bands[:, top:top + height]
    columns = -(-bands.shape[2] // COLUMN_STRIDE)
    wide = np.zeros((3, height, COLUMN_STRIDE * columns), np.float32)
    wide[:, :, :bands.shape[2]] = bands
    placed = []
    for values in (sample.label, sample.bin):
        grid = np.full((-(-rows // stride), columns), UNLABELED, np.uint8)
        grid[:, :band.columns] = values[top:top + rows:stride]
        placed.append(grid)
    return Sample(wide, *placed)


@dataclass(frozen=True)
class LabeledWorlds:
    """Frames of several worlds, ``index`` (world, frame), each with its labelled pyramids."""

    worlds: list[WorldFrames]
    index: list[tuple[int, int]]
    pyramids: list[list[LabeledPyramid]]

    def __len__(self) -> int:
        """Frames of all worlds."""
        return len(self.index)

    def every(self, step: int) -> 'LabeledWorlds':
        """Every ``step``-th frame only."""
        return LabeledWorlds(self.worlds, self.index[::step], self.pyramids[::step])

    def image(self, item: int) -> Image:
        """Picture of one frame, (H, W, 3) uint8 BGR."""
        world, frame = self.index[item]
        return np.asarray(self.worlds[world].image[frame], np.uint8)

    def sample(
        self, item: int, receptive: Receptive, contrast: ContrastMode, rng: Rng
    ) -> Sample:
        """One frame, augmented, through one of its pyramids."""
        world, frame = self.index[item]
        frames, choices = self.worlds[world], self.pyramids[item]
        image = augment(self.image(item), frames.class_ids[frame], frames.depth[frame], rng)
        labeled = choices[rng.integers(len(choices))]
        return draw_sample(image, labeled, receptive, contrast, rng)


def label_worlds(
    worlds: list[WorldFrames], variants: int, seed: int,
    advance: Callable[[int], object] = lambda frames: None,
) -> LabeledWorlds:
    """
    Label every frame, through the plane as fitted and through ``variants`` perturbed ones.

    Frames whose plane leaves no band are left out.
    """
    index, pyramids = [], []
    for number, world in enumerate(worlds):
        for frame in range(len(world)):
            rng = np.random.default_rng([seed, number, frame])
            fitted, truth = world.ground_plane(frame), world.truth(frame)
            planes = [fitted] + [perturbed(fitted, rng) for _ in range(variants)]
            pyramids.append([label_pyramid(truth, plane) for plane in planes])
            index.append((number, frame))
            advance(1)
    return LabeledWorlds(worlds, index, pyramids)


def balance(labeled: LabeledWorlds) -> Float:
    """
    Loss weight of each label in each range bin, (256, 256) float32, indexed [label, bin].

    Ground and obstacles weigh the same within a bin, as the balanced error counts them; windows
    the evaluation leaves out (other ranges, ``ground`` with an obstacle in it) weigh little.
    """
    counts = np.zeros((256, 256))
    for choices in labeled.pyramids:
        for one in choices:
            np.add.at(counts, (one.label, one.bin), 1 / len(choices))
    counts /= max(len(labeled), 1)
    weights = np.zeros((256, 256), np.float32)
    for number, share in enumerate(BIN_SHARES):
        obstacle = counts[GROUND + 1:SUPER_OBSTACLE + 1, number].sum()
        weights[SUPER_GROUND, number] = share / max(counts[SUPER_GROUND, number], FEWEST)
        weights[GROUND + 1:SUPER_OBSTACLE + 1, number] = share / max(obstacle, FEWEST)
        weights[GROUND, number] = MIXED_SHARE * share / max(counts[GROUND, number], FEWEST)
    return weights
