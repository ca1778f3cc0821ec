# SPDX-License-Identifier: Apache-2.0
"""Training samples: labels by the evaluation's rules, and each label over its own window."""

import numpy as np
import pytest

torch = pytest.importorskip('torch')

from perception.contrast import Receptive, band_strips, gather  # noqa: E402
from perception.evaluation.truth import TruthFrame, window_truth  # noqa: E402
from perception.pyramid import build_pyramid  # noqa: E402
from perception.training.augment import augment, haze, recolour  # noqa: E402
from perception.training.dataset import (  # noqa: E402
    OTHER,
    LabeledPyramid,
    LabeledWorlds,
    balance,
    draw_sample,
    label_pyramid,
    label_worlds,
    perturbed,
)
from perception.training.networks import Lagr2008, ModernTwin  # noqa: E402
from perception.training.worlds import TRAINING_SEASONS, WorldFrames, WorldSplit  # noqa: E402
from perception.types import (  # noqa: E402
    FOOTLINE,
    OBSTACLE,
    SUPER_GROUND,
    SUPER_OBSTACLE,
    UNLABELED,
    Camera,
    GroundPlane,
)
from perception.world.spec import GRASS, PATH, SKY, TRUNK  # noqa: E402

torch.set_num_threads(1)

CAMERA = Camera(256, 192, 180.0, 190.0, 131.0, 90.0)
HEIGHT_M = 1.9
BOX_DEPTH_M, BOX_COLUMNS, BOX_TOP_M = 9.0, (60, 120), 1.5


def plane() -> GroundPlane:
    normal = np.array([0.01, -1.0, -0.05])
    return GroundPlane.from_normal(normal / np.linalg.norm(normal), HEIGHT_M, CAMERA, 20.0)


def truth() -> TruthFrame:
    """Flat ground to the horizon, one box across some columns, sky above."""
    v, u = np.mgrid[0:CAMERA.height, 0:CAMERA.width].astype(float)
    disparity = plane().disparity(u, v)
    depth = np.where(disparity > 0.02, 20.0 / np.maximum(disparity, 0.02), np.nan)
    foot = plane().row(u, 20.0 / BOX_DEPTH_M)
    box = (u >= BOX_COLUMNS[0]) & (u < BOX_COLUMNS[1]) & (v <= foot)
    box &= v >= foot - CAMERA.fy * BOX_TOP_M / BOX_DEPTH_M
    obstacle = np.where(np.isnan(depth), 255, 0).astype(np.uint8)
    obstacle[box], depth[box] = 1, BOX_DEPTH_M
    pose = np.eye(4)
    pose[:3, :3] = [[0, 0, 1], [-1, 0, 0], [0, -1, 0]]
    pose[2, 3] = HEIGHT_M
    return TruthFrame(0, CAMERA, obstacle, depth.astype(np.float32), pose, np.zeros(2))


def world(frames: int = 2) -> WorldFrames:
    one, rng = truth(), np.random.default_rng(0)
    classes = np.select([one.obstacle == 1, one.obstacle == 255], [TRUNK, SKY], GRASS)
    classes[:, 150:] = np.where(classes[:, 150:] == GRASS, PATH, classes[:, 150:])
    image = rng.integers(0, 256, (frames, 192, 256, 3), dtype=np.uint8)
    p = plane()

    def all_frames(values):
        return np.repeat(np.asarray(values)[None], frames, 0)

    return WorldFrames(
        CAMERA, 20.0, image, all_frames(classes.astype(np.uint8)), all_frames(one.obstacle),
        all_frames(one.depth.astype(np.float16)), all_frames([p.p0, p.p1, p.p3]),
        all_frames(one.world_from_camera), all_frames(one.robot_xy))


def test_labels_agree_with_the_evaluation() -> None:
    labeled = label_pyramid(truth(), plane())
    judged = window_truth(truth(), labeled.pyramid)
    known = judged.decided & (labeled.label != UNLABELED) & (labeled.pyramid.windows.outside == 0)
    assert known.sum() > 200
    said = labeled.label[known] >= FOOTLINE
    # a share of exactly one half may fall to either side
    assert np.mean(said != judged.obstacle[known]) < 0.01


def test_labels_and_bins_by_hand() -> None:
    labeled = label_pyramid(truth(), plane())
    windows = labeled.pyramid.windows
    middle = (windows.uv[:, 0] > 70) & (windows.uv[:, 0] < 110)
    foot = np.abs(windows.uv[:, 1] - plane().row(windows.uv[:, 0], 20.0 / BOX_DEPTH_M)) < 1
    assert set(labeled.label[middle & foot]) == {FOOTLINE}
    assert set(labeled.bin[middle & foot]) == {0}
    right = (windows.uv[:, 0] > 180) & (windows.outside == 0)
    far = right & (windows.distance > 14) & (windows.distance < 28)
    near = right & (windows.distance > 6) & (windows.distance < 11)
    assert set(labeled.label[near]) == {SUPER_GROUND}
    assert set(labeled.bin[near]) == {0}
    assert set(labeled.bin[far]) == {1}
    sky = windows.uv[:, 1] < plane().row(windows.uv[:, 0]) - 20
    sky &= (windows.uv[:, 0] > 150) & (windows.outside == 0)
    assert set(labeled.label[sky]) == {SUPER_OBSTACLE}
    assert set(labeled.bin[sky]) == {OTHER}


@pytest.mark.parametrize('kind', [Lagr2008, ModernTwin])
@pytest.mark.parametrize('seed', [0, 1, 2, 3])
def test_every_label_stands_over_its_window(kind, seed: int) -> None:
    """Features read from the canvas at a label equal those that inference gives the window."""
    torch.manual_seed(1)
    network = kind().eval()
    receptive = network.receptive
    pyramid = build_pyramid(plane())
    grid = pyramid.grid
    coded = LabeledPyramid(pyramid, (grid.row + 30 * (grid.band % 2)).astype(np.uint8),
                           grid.column.astype(np.uint8))
    image = world().image[0]
    sample = draw_sample(image, coded, receptive, network.contrast, np.random.default_rng(seed))
    flipped = np.random.default_rng(seed).random() < 0.5
    with torch.no_grad():
        canvas = network(torch.from_numpy(sample.bands[None]))[0].numpy()
    rows, columns = np.nonzero(sample.label != UNLABELED)
    assert len(rows) > 100
    if flipped:
        assert columns.max() < canvas.shape[2]
        return
    strips = band_strips(image, pyramid, network.contrast, receptive)
    strided = build_pyramid(plane(), row_stride=receptive.row_stride)
    with torch.no_grad():
        outputs = [network(torch.from_numpy(strip))[0].numpy() for strip in strips]
    expected = gather(outputs, strided, receptive)
    first = np.cumsum([0] + [-(-(b.width + 2 * receptive.margin[1]) // 4)
                             for b in pyramid.bands])
    for r, c in zip(rows[::7], columns[::7]):
        band = int(np.searchsorted(first, c, side='right') - 1)
        row = int(sample.label[r, c]) - 30 * (band % 2)
        want = ((strided.grid.band == band) & (strided.grid.row == row)
                & (strided.grid.column == sample.bin[r, c]))
        np.testing.assert_allclose(canvas[:, r, c], expected[want][0], atol=1e-4)


def test_flip_mirrors_windows_and_labels_together() -> None:
    pyramid = build_pyramid(plane())
    grid = pyramid.grid
    coded = LabeledPyramid(pyramid, grid.row.astype(np.uint8), grid.column.astype(np.uint8))
    image = world().image[0]
    receptive = Receptive()
    by_flip = {}
    for seed in range(40):
        rng = np.random.default_rng(seed)
        flip = np.random.default_rng(seed).random() < 0.5
        by_flip[flip] = draw_sample(image, coded, receptive, 'divisive_mean_16', rng)
    plain, mirror = by_flip[False], by_flip[True]
    # the second band starts where the first, padded to the stride, ends
    first, second = pyramid.bands[:2]
    x = -(-first.width // 4)
    n = second.columns
    for j in (0, 3, n - 1):
        window = plain.bands[:, 2:14, 4 * (x + j):4 * (x + j) + 25]
        k = n - 1 - j
        twin = mirror.bands[:, 2:14, 4 * (x + k):4 * (x + k) + 25]
        np.testing.assert_array_equal(window, twin[:, :, ::-1])
        assert plain.bin[2, x + j] == mirror.bin[2, x + k] == j


def test_perturbed_planes_stay_near() -> None:
    planes = [perturbed(plane(), np.random.default_rng(k)) for k in range(60)]
    pitch = np.array([p.pitch_rad for p in planes]) - plane().pitch_rad
    assert 0.004 < pitch.std() < 0.016
    assert abs(np.mean([p.height_m for p in planes]) - HEIGHT_M) < 0.05


def test_balance_gives_both_classes_the_same_weight() -> None:
    labeled = label_worlds([world()], variants=1, seed=0)
    weights = balance(labeled)
    assert weights[UNLABELED].sum() == 0
    total = {True: 0.0, False: 0.0}
    for choices in labeled.pyramids:
        for one in choices:
            near = one.bin == 0
            for obstacle in (True, False):
                chosen = near & ((one.label >= FOOTLINE) & (one.label <= SUPER_OBSTACLE)
                                 if obstacle else one.label == SUPER_GROUND)
                total[obstacle] += weights[one.label[chosen], one.bin[chosen]].sum()
    assert total[True] == pytest.approx(total[False], rel=1e-4)
    assert weights[OBSTACLE, 0] == weights[FOOTLINE, 0] == weights[SUPER_OBSTACLE, 0]


def test_samples_repeat_by_generator() -> None:
    labeled = label_worlds([world()], variants=1, seed=0)
    assert isinstance(labeled, LabeledWorlds)
    assert len(labeled) == 2
    a, b, c = (labeled.sample(1, Receptive(), 'divisive_mean_16', np.random.default_rng(s))
               for s in (5, 5, 6))
    np.testing.assert_array_equal(a.bands, b.bands)
    assert a.bands.shape != c.bands.shape or not np.array_equal(a.bands, c.bands)


def test_augment_keeps_type_and_shape_and_input() -> None:
    one = world()
    before = one.image[0].copy()
    for seed in range(12):
        out = augment(one.image[0], one.class_ids[0], one.depth[0], np.random.default_rng(seed))
        assert out.dtype == np.uint8
        assert out.shape == before.shape
    np.testing.assert_array_equal(one.image[0], before)


def test_haze_swallows_the_far_and_leaves_the_near() -> None:
    image = np.full((3, 5, 3), 20, np.uint8)
    depth = np.zeros((3, 5), np.float32)
    depth[0] = np.nan
    out = haze(image, depth, np.random.default_rng(1))
    np.testing.assert_array_equal(out[1:], image[1:])
    assert (out[0] > 60).all()


def test_recolour_changes_a_material_as_one() -> None:
    image = np.full((4, 6, 3), (60, 90, 120), np.uint8)
    classes = np.full((4, 6), PATH, np.uint8)
    classes[:2] = GRASS
    out = recolour(image, classes, np.random.default_rng(3))
    assert len(np.unique(out[:2].reshape(-1, 3), axis=0)) == 1
    assert len(np.unique(out[2:].reshape(-1, 3), axis=0)) == 1
    assert (out[0, 0] != out[3, 0]).any()


def test_training_worlds_are_of_the_training_seasons_only() -> None:
    specs = WorldSplit(10, 4, 1000).specs()
    assert TRAINING_SEASONS == ('clear', 'autumn')
    assert {spec.season for spec in specs} == set(TRAINING_SEASONS)
    assert len({spec.seed for spec in specs}) == 10
    assert WorldSplit(10, 4, 1000).specs() == specs
