# SPDX-License-Identifier: Apache-2.0
import warnings
from pathlib import Path

import numpy as np
import pytest
from sights import SPEC, drive, fooled, seen, sight

from perception.errors import StateError
from perception.inference import network_path, read_manifest
from perception.learning_config import NearToFarConfig
from perception.learning_state import load_state, save_state
from perception.near_to_far import NearToFar

CONFIG = NearToFarConfig(batch=64, samples=300)


def fresh(spec=SPEC, **changes):
    return NearToFar(CONFIG.model_copy(update=changes), spec)


def age(ring):
    """Places of the samples, the oldest first."""
    return [(ring.next_ - k) % len(ring.features) for k in range(ring.count, 0, -1)]


def contents(learner):
    """What is saved without loss."""
    parts = [*learner.tables, learner.judge.weight, learner.judge.error, learner.judge.square]
    parts += [np.array([*learner.taught, learner.near.steps, learner.far.steps])]
    return parts + [ring.target[age(ring)] for head in (learner.near, learner.far)
                    for ring in head.rings]


def assert_same(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a, b)


def features(learner):
    return [ring.features[age(ring)] for head in (learner.near, learner.far)
            for ring in head.rings]


@pytest.fixture(scope='module')
def learned():
    """After 25 frames along a wall: both sets of weights were trained, and serve."""
    learner = fresh()
    drive(learner, fooled, 25)
    assert learner.far.steps > 0
    assert learner.serving()[0] != 0
    return learner


@pytest.fixture(scope='module')
def saved(learned, tmp_path_factory):
    path = tmp_path_factory.mktemp('state') / 'deeper' / 'wall.npz'
    save_state(path, learned)
    return path


def changed(saved, path, **arrays):
    """The saved state with some arrays replaced; None leaves one out."""
    with np.load(saved) as stored:
        all_ = {name: stored[name] for name in stored.files} | arrays
    with path.open('wb') as file:
        np.savez(file, **{name: part for name, part in all_.items() if part is not None})
    return path


def refusal(path, learner=None):
    """Message of the refusal; the learner must be as it was."""
    learner = learner or fresh()
    before = [part.copy() for part in contents(learner)]
    with pytest.raises(StateError) as caught:
        load_state(path, learner)
    assert_same(before, contents(learner))
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_what_was_learned_comes_back_to_the_bit(learned, saved):
    other = fresh()
    load_state(saved, other)
    for ours, theirs in zip(contents(learned), contents(other), strict=True):
        np.testing.assert_array_equal(ours, theirs)
        assert ours.dtype == theirs.dtype
    now = sight(seen(fooled, 4))
    np.testing.assert_array_equal(learned.serving(), other.serving())
    np.testing.assert_array_equal(learned.classify(now), other.classify(now))
    choice = other.serving()
    np.testing.assert_array_equal(learned.judge.confidence(choice), other.judge.confidence(choice))


def test_samples_come_back_as_half_floats(learned, saved):
    other = fresh()
    load_state(saved, other)
    for ours, theirs in zip(features(learned), features(other), strict=True):
        np.testing.assert_array_equal(ours.astype(np.float16), theirs)
        assert theirs.dtype == np.float32
        assert len(ours) > 0


def test_what_came_back_goes_on_learning(saved):
    one, two = fresh(), fresh()
    for learner in (one, two):
        load_state(saved, learner)
    steps = one.near.steps
    drive(one, fooled, 3)
    drive(two, fooled, 3)
    assert one.near.steps == steps + 3
    assert_same(contents(one), contents(two))


def test_saved_again_it_is_the_same_file(saved, tmp_path):
    other = fresh()
    load_state(saved, other)
    again = tmp_path / 'again.npz'
    save_state(again, other)
    with np.load(saved) as first, np.load(again) as second:
        assert first.files == second.files
        assert_same([first[name] for name in first.files], [second[name] for name in second.files])


def test_a_smaller_ring_takes_the_newest(saved, learned):
    other = fresh(samples=32)
    load_state(saved, other)
    assert 0 < learned.near.rings[0].next_ < 300  # it went round
    for ours, theirs in zip(features(learned), features(other), strict=True):
        np.testing.assert_array_equal(ours[-32:].astype(np.float16), theirs)


def test_a_fresh_learner_can_be_saved(tmp_path):
    path, other = tmp_path / 'fresh.npz', fresh()
    save_state(path, fresh())
    load_state(path, other)
    assert_same(contents(other), contents(fresh()))
    assert other.serving().tolist() == [0, 0, 0]


def test_saving_replaces_the_old_file_and_leaves_nothing_beside(saved, learned, tmp_path):
    path = tmp_path / 'state.npz'
    path.write_text('old')
    save_state(path, learned)
    load_state(path, fresh())
    assert [part.name for part in tmp_path.iterdir()] == ['state.npz']
    assert [part.name for part in saved.parent.iterdir()] == ['wall.npz']


def test_a_failed_save_leaves_nothing_beside(learned, tmp_path):
    folder = tmp_path / 'folder'
    folder.mkdir()
    with pytest.raises(StateError, match=r'folder: cannot be written .*name a writable file'):
        save_state(folder, learned)
    assert [part.name for part in tmp_path.iterdir()] == ['folder']
    (tmp_path / 'file').write_text('x')
    with pytest.raises(StateError, match='cannot be written'):
        save_state(tmp_path / 'file' / 'state.npz', learned)


def test_another_network_is_refused(saved):
    other = fresh(read_manifest(network_path('default')))
    message = refusal(saved, other)
    assert 'saved with another network than default' in message
    assert 'choose that network' in message


def test_missing_text_and_foreign_files_are_refused(tmp_path):
    (tmp_path / 'text').write_text('near: 1\n')
    (tmp_path / 'empty').touch()
    np.save(tmp_path / 'array.npy', np.zeros(3))
    np.savez(tmp_path / 'other.npz', near_table=np.zeros((5, 101)))
    np.savez(tmp_path / 'objects.npz', version=np.array([{}], object))
    for name in ('missing', 'text', 'empty', 'array.npy', 'other.npz', 'objects.npz', '.'):
        message = refusal(tmp_path / name)
        assert 'no saved state' in message
        assert 'give a file that a replay or the save service wrote' in message


def test_a_truncated_file_is_refused(saved, tmp_path):
    whole, path = saved.read_bytes(), tmp_path / 'cut.npz'
    for share in (0.001, 0.3, 0.9, 0.999):
        path.write_bytes(whole[:int(share * len(whole))])
        assert 'no saved state' in refusal(path)


@pytest.mark.parametrize(('name', 'part'), [
    ('near_table', np.zeros((5, 65))), ('far_table', np.zeros((4, 101))),
    ('near_table', np.full((5, 101), np.nan)), ('far_table', np.zeros((5, 101), complex)),
    ('near_table', np.full((5, 101), 'x')), ('judge_weight', np.zeros((2, 2))),
    ('judge_error', np.full((3, 2, 3), np.inf)), ('judge_square', np.zeros((3, 2))),
    ('near_features_0', np.zeros((4, 101))), ('near_features_1', np.float64(1)),
    ('far_target_0', np.zeros((300, 1))), ('far_target_1', np.float64(0)),
    ('taught', np.array([True])), ('taught', np.array(True)), ('near_steps', np.array([1, 2])),
    ('version', np.array(2)), ('version', np.array('one')), ('near_table', None),
    ('far_features_1', None), ('sha256', None), ('version', None), ('taught', None),
])
def test_wrong_contents_are_refused(saved, tmp_path, name, part):
    path = changed(saved, tmp_path / 'changed.npz', **{name: part})
    assert 'no saved state' in refusal(path)


def test_samples_that_are_not_finite_are_refused(saved, tmp_path, learned):
    for name in ('near_features_0', 'far_target_1'):
        with np.load(saved) as stored:
            part = stored[name].copy()
        part[1, 2] = np.nan
        assert 'not finite' in refusal(changed(saved, tmp_path / 'nan.npz', **{name: part}))


def test_damage_anywhere_is_refused_or_harmless(saved, tmp_path):
    """One byte of the archive's headers is another: whatever loads is finite and of its shape."""
    whole, path = saved.read_bytes(), tmp_path / 'damaged.npz'
    headers = [k for k in range(len(whole) - 1) if whole[k:k + 2] == b'PK']
    rng, refused = np.random.default_rng(0), 0
    for _ in range(150):
        damaged = bytearray(whole)
        at = min(headers[rng.integers(len(headers))] + int(rng.integers(140)), len(whole) - 1)
        damaged[at] = rng.integers(256)
        path.write_bytes(damaged)
        learner = fresh()
        try:
            load_state(path, learner)
        except StateError:
            refused += 1
        assert all(np.isfinite(part).all() for part in contents(learner))
        assert learner.near.table.shape == (5, SPEC.features + 1)
    assert refused > 30


def test_features_too_large_for_half_floats_are_never_kept(tmp_path):
    """They would be infinite in the file, and nobody could load it."""
    learner, path = fresh(), tmp_path / 'large.npz'
    large = sight([part * np.float32(1e6) for part in seen(fooled)])
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        for _ in range(3):
            learner.learn(large)
        save_state(path, learner)
    assert learner.rejected > 0
    load_state(path, fresh())


def test_paths_may_be_relative(learned, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_state(Path('here.npz'), learned)
    load_state(Path('here.npz'), fresh())
    assert (tmp_path / 'here.npz').is_file()
