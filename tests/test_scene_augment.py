# SPDX-License-Identifier: Apache-2.0
"""Views of labelled pictures: labels stay on what they name, and nothing is invented."""

import numpy as np
import pytest
from pydantic import ValidationError
from scene_trees import POLE, ROAD, SHAPE, SKY, STILL, VIEW, painted

from perception.training.scene_augment import (
    VOID,
    Jitter,
    _affine,
    class_shares,
    draw_view,
    recolour_classes,
)

STEADY = Jitter.model_validate(STILL)
MOVING = Jitter.model_validate(STILL | {'scale': [0.5, 2], 'rotation_deg': 20, 'focus': 0.5})


def views(picture, count=30, size=VIEW, jitter=MOVING, rare=(), others=()):
    return [draw_view([picture, *others], 0, size, jitter, np.random.default_rng(seed), rare)
            for seed in range(count)]


def ramp():
    """Picture whose channels tell column and row: B = 2 u, G = 2 v."""
    v, u = np.mgrid[:SHAPE[0], :SHAPE[1]]
    return np.stack([2 * u, 2 * v, 0 * u], 2).astype(np.uint8), u, v


def test_without_jitter_a_view_of_full_size_is_the_picture_or_its_mirror_image() -> None:
    image, label = painted()
    seen = set()
    for view, names in views((image, label), 8, SHAPE, STEADY):
        mirrored = not np.array_equal(view, image)
        seen.add(mirrored)
        step = -1 if mirrored else 1
        np.testing.assert_array_equal(view, image[:, ::step])
        np.testing.assert_array_equal(names, label[:, ::step])
    assert seen == {False, True}


def test_without_jitter_a_view_is_a_crop() -> None:
    _, u, v = ramp()
    for column, row in zip(views((ramp()[0], u.astype(np.uint8)), 12, jitter=STEADY),
                           views((ramp()[0], v.astype(np.uint8)), 12, jitter=STEADY)):
        assert column[1].shape == VIEW
        steps = np.diff(column[1].astype(int), axis=1)
        assert (steps == steps[0, 0]).all() and abs(steps[0, 0]) == 1
        assert (np.diff(row[1].astype(int), axis=0) == 1).all()
        assert (column[1] != VOID).all()


@pytest.mark.parametrize('axis', [0, 1])
def test_labels_lie_on_what_they_name(axis: int) -> None:
    """Each pixel tells where it comes from, and so does its label."""
    image, u, v = ramp()
    for view, label in views((image, (u, v)[axis].astype(np.uint8))):
        inside = label != VOID
        assert inside.mean() > 0.2
        told = view[..., axis][inside] / 2
        assert np.abs(told - label[inside]).max() < 1.1


def test_labels_are_never_invented() -> None:
    image, label = painted()
    for view, names in views((image, label)):
        assert view.dtype == names.dtype == np.uint8
        assert set(np.unique(names)) <= {SKY, POLE, ROAD, VOID}
        assert view.shape == (*VIEW, 3)


def test_colours_say_what_labels_say() -> None:
    image, label = painted()
    colours = np.array([image[label == k][0] for k in (SKY, POLE, ROAD)], int)
    for view, names in views((image, label)):
        distance = np.abs(view[..., None, :].astype(int) - colours).sum(-1)
        nearest = np.array([SKY, POLE, ROAD])[distance.argmin(-1)]
        assert (nearest == names)[names != VOID].mean() > 0.95


def test_the_warp_by_hand() -> None:
    """Turned by 90 degrees right becomes down; mirrored, right becomes left."""
    centre, size = np.array([20.0, 10.0]), (32, 48)
    quarter = _affine(centre, size, 2.0, np.pi / 2, False)
    here, right, below = (quarter @ (*point, 1) for point in ((19.5, 9.5), (20.5, 9.5),
                                                              (19.5, 10.5)))
    np.testing.assert_allclose(here, (23.5, 15.5))
    np.testing.assert_allclose(right - here, (0, 2), atol=1e-12)
    np.testing.assert_allclose(below - here, (-2, 0), atol=1e-12)
    mirrored = _affine(centre, size, 1.0, 0.0, True)
    np.testing.assert_allclose(mirrored[:, 0], (-1, 0), atol=1e-12)
    np.testing.assert_allclose(mirrored[:, 1], (0, 1), atol=1e-12)


def test_focus_looks_at_the_rare() -> None:
    image, label = np.zeros((96, 160, 3), np.uint8), np.zeros((96, 160), np.uint8)
    label[80:82, 20:22] = POLE
    found = {}
    for focus in (0.0, 1.0):
        jitter = Jitter.model_validate(STILL | {'focus': focus})
        found[focus] = sum((names == POLE).any() for _, names in views(
            (image, label), 60, jitter=jitter))
    assert found[1.0] > 24  # one of two classes is drawn by lot
    assert found[0.0] < 16


def test_only_rare_classes_are_pasted() -> None:
    image, label = np.full((*SHAPE, 3), 50, np.uint8), np.full(SHAPE, SKY, np.uint8)
    other, names = np.full((*SHAPE, 3), 200, np.uint8), painted()[1]
    jitter = Jitter.model_validate(STILL | {'paste': 1})
    pasted = 0
    for view, found in views((image, label), rare=(POLE,), others=[(other, names)], jitter=jitter):
        assert set(np.unique(found)) <= {SKY, POLE}
        assert (view[found == POLE] == 200).all()
        assert (view[found == SKY] == 50).all()
        pasted += (found == POLE).any()
    assert pasted > 5
    assert all((found == SKY).all() for _, found in views(
        (image, label), rare=(POLE,), others=[(other, names)], jitter=STEADY))


def test_light_changes_pictures_only_and_leaves_the_source_alone() -> None:
    image, label = painted()
    before = image.copy()
    jitter = Jitter.model_validate(STILL | {'light': 1, 'shadow': 1, 'sensor': 1})
    for (plain, names), (lit, same) in zip(views((image, label), 6, SHAPE, STEADY),
                                           views((image, label), 6, SHAPE, jitter)):
        np.testing.assert_array_equal(names, same)
        assert (plain != lit).mean() > 0.3
    np.testing.assert_array_equal(image, before)


def test_a_view_repeats_by_its_generator() -> None:
    one, again = views(painted(), 3, jitter=Jitter()), views(painted(), 3, jitter=Jitter())
    for (a, b), (c, d) in zip(one, again):
        np.testing.assert_array_equal(a, c)
        np.testing.assert_array_equal(b, d)
    assert not np.array_equal(one[0][0], one[1][0])


def test_a_picture_smaller_than_the_view_is_surrounded_by_void() -> None:
    for _, names in views(painted(), 4, (64, 96), STEADY):
        assert (names[8:56, 16:80] != VOID).all()
        names[8:56, 16:80] = VOID
        assert (names == VOID).all()


def test_shares_by_hand() -> None:
    first, second = np.array([[0, 0, 2], [VOID, 0, 1]], np.uint8), np.array([[2, VOID]], np.uint8)
    image = np.zeros((1, 1, 3), np.uint8)
    np.testing.assert_allclose(class_shares([(image, first), (image, second)], 4),
                               [0.5, 1 / 6, 1 / 3, 0])


@pytest.mark.parametrize('scale', [[2, 1], [0, 1], [-1, 1]])
def test_absurd_scales_are_refused(scale: list[float]) -> None:
    with pytest.raises(ValidationError, match='scale'):
        Jitter.model_validate({'scale': scale})


def test_recoloured_classes_keep_their_places_and_void_its_colour() -> None:
    """Each class changes as a whole: one colour goes to one colour."""
    label = np.repeat(np.array([0, 3, 255], np.uint8), [5, 9, 4])[None].repeat(7, 0)
    image = np.zeros((*label.shape, 3), np.uint8)
    image[label == 0], image[label == 3], image[label == 255] = (60, 90, 120), (30, 160, 70), 9
    changed = [recolour_classes(image, label, np.random.default_rng(seed)) for seed in range(6)]
    for one in changed:
        assert all(len(np.unique(one[label == k], axis=0)) == 1 for k in (0, 3))
        assert (one[label == 255] == 9).all()
    assert any((one[0, 0] != image[0, 0]).any() for one in changed)
    assert (image[label == 3] == (30, 160, 70)).all()
