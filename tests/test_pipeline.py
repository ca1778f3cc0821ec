# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import numpy as np
import pytest
from scenes import BASELINE_M, CAMERA, plane, stereo_pair

from perception.camera import levelled_base_from_camera
from perception.config import Config, MountConfig, SupervisorConfig
from perception.contrast import band_strips, gather
from perception.errors import GroundPlaneError, NetworkError, StateError
from perception.inference import classify, load_network
from perception.learning_config import NearToFarConfig
from perception.learning_state import save_state
from perception.pipeline import Pipeline, Traversability, percentiles, window_probabilities
from perception.types import Frame

GROUND = plane(roll=-0.04)


@pytest.fixture(scope='module')
def network():
    return load_network('default')


@pytest.fixture(scope='module')
def shot():
    left, right = stereo_pair(GROUND)
    return Frame(5_000_000_000, left, CAMERA, right, BASELINE_M, odom_from_base=np.eye(4),
                 base_from_camera=levelled_base_from_camera(GROUND))


def test_a_frame_goes_all_the_way(network, shot):
    result = Pipeline(Config(), network).process(shot)
    assert list(result.stage_ms) == ['stereo', 'plane', 'preprocess', 'network', 'supervisor',
                                     'learning', 'map']
    assert result.plane.fresh
    assert result.plane.plane.height_m == pytest.approx(GROUND.height_m, rel=0.03)
    assert result.probabilities.shape == (len(result.pyramid.windows.band), 5)
    np.testing.assert_allclose(result.probabilities.sum(1), 1, atol=1e-5)
    assert result.costmap.stamp_ns == shot.stamp_ns
    assert result.costmap.data.shape == (300, 300)
    assert 99 not in result.costmap.data
    assert (result.labels.label < 2).sum() > 50  # flat ground is taught as ground
    assert not (result.labels.label == 4).any()


def test_the_near_ground_is_free_in_front_and_unknown_behind(network, shot):
    costmap = Pipeline(Config(), network).process(shot).costmap

    def cell(x, y):
        column, row = (int(np.floor((value - origin) / costmap.resolution_m))
                       for value, origin in zip((x, y), costmap.origin_m, strict=True))
        return costmap.data[row, column]

    assert 0 <= cell(4.0, 0.5) < 50
    assert cell(-4.0, 0.5) == -1


def test_frames_are_repeatable_and_reset_forgets(network, shot):
    pipeline = Pipeline(Config(), network)
    first = pipeline.process(shot)
    pipeline.process(shot)
    pipeline.reset()
    again = pipeline.process(shot)
    np.testing.assert_array_equal(first.probabilities, again.probabilities)
    np.testing.assert_array_equal(first.costmap.data, again.costmap.data)
    assert again.plane.source == 'hough'


def test_without_a_plane_nothing_is_guessed(network, shot):
    blank = np.full_like(shot.image, 90)
    result = Pipeline(Config(), network).process(
        replace(shot, image=blank, right=blank, base_from_camera=None))
    assert result.plane is None
    assert result.costmap is None
    assert result.probabilities is None


def test_a_fallen_back_plane_makes_no_labels(network, shot):
    blank = np.full_like(shot.image, 90)
    result = Pipeline(Config(), network).process(replace(shot, image=blank, right=blank))
    assert result.plane.source == 'calibration'
    assert result.labels is None
    assert result.costmap is not None


def test_one_camera_needs_a_mount(network, shot):
    mono = replace(shot, right=None, baseline_m=None, base_from_camera=None)
    with pytest.raises(GroundPlaneError, match=r'set mount\.height_m'):
        Pipeline(Config(), network).process(mono)
    config = Config(mount=MountConfig(height_m=1.05, pitch_rad=0.09))
    result = Pipeline(config, network).process(mono)
    assert result.grid is None
    assert result.plane.source == 'calibration'
    assert result.costmap.stamp_ns == mono.stamp_ns


def test_classifying_maps_equals_classifying_windows(network, shot):
    pipeline = Pipeline(Config(), network)
    result = pipeline.process(shot)
    receptive = network.spec.receptive
    outputs = network.features(
        band_strips(shot.image, result.pyramid, network.spec.contrast, receptive))
    features = gather(outputs, result.pyramid, receptive)
    expected = classify(features, network.spec.weight, network.spec.bias)
    np.testing.assert_allclose(window_probabilities(outputs, result.pyramid, network), expected,
                               atol=1e-4)


def test_percentiles_by_hand():
    assert percentiles([1.0, 2.0, 3.0, 4.0, 100.0])['p50'] == 3.0


OFF = Config(near_to_far=NearToFarConfig(enabled=False))


def at(shot, x):
    """The same view, from x [m] on."""
    pose = np.eye(4)
    pose[0, 3] = x
    return replace(shot, odom_from_base=pose)


def test_without_learning_there_is_no_lesson(network, shot):
    pipeline = Pipeline(OFF, network)
    result = pipeline.process(shot)
    assert pipeline.learner is None
    assert result.lesson is None
    assert result.sight is not None
    np.testing.assert_array_equal(
        result.probabilities, window_probabilities(result.sight.maps, result.pyramid, network))


def test_features_that_are_not_finite_are_refused_without_learning_too(network, shot):
    result = Pipeline(OFF, network).process(shot)
    maps = [part.copy() for part in result.sight.maps]
    maps[-1][3, 0, 0] = np.nan
    with pytest.raises(NetworkError, match='features are not finite; restore its file'):
        window_probabilities(maps, result.pyramid, network)


def test_a_frame_teaches_and_is_answered_by_w0_at_first(network, shot):
    result = Pipeline(Config(), network).process(shot)
    assert 100 < result.lesson.new[0] <= 150  # flat ground
    assert result.lesson.in_use == ('w0', 'w0', 'w0')
    np.testing.assert_array_equal(result.probabilities,
                                  Pipeline(OFF, network).process(shot).probabilities)


def test_windows_are_labelled_only_where_somebody_learns(network, shot):
    frozen = Config(near_to_far=NearToFarConfig(frozen=True))
    for config, teach, labelled in ((Config(), False, True), (OFF, False, False),
                                    (OFF, True, True), (frozen, False, False)):
        result = Traversability(config, network, teach=teach).process(shot)
        assert (result.labels is not None) == labelled, (config.near_to_far, teach)
        assert result.points is not None


def test_without_odometry_nothing_is_remembered(network, shot):
    chain = Traversability(Config(), network)
    result = chain.process(replace(shot, odom_from_base=None))
    assert result.sight.odom_from_camera is None
    assert result.lesson.new[0] > 0
    assert not chain.learner.memory.views
    chain.process(shot)
    assert len(chain.learner.memory.views) == 1


def test_it_begins_with_the_state_that_the_settings_name(network, shot, tmp_path):
    teacher, path = Traversability(Config(), network), tmp_path / 'state.npz'
    for k in range(3):
        teacher.process(at(shot, 0.5 * k))
    save_state(path, teacher.learner)
    begun = Traversability(Config(near_to_far=NearToFarConfig(state=str(path))), network)
    assert begun.learner.near.steps == 3
    np.testing.assert_array_equal(begun.learner.near.table, teacher.learner.near.table)
    assert not begun.learner.memory.views
    with pytest.raises(StateError, match=r'missing\.npz: no saved state'):
        Pipeline(Config(near_to_far=NearToFarConfig(state=str(tmp_path / 'missing.npz'))), network)


def test_other_settings_keep_what_was_learned(network, shot):
    """Even where they name a state: it is what to begin with."""
    chain = Traversability(Config(), network, teach=False)
    for k in range(2):
        chain.process(at(shot, 2.0 * k))
    table, views = chain.learner.near.table, len(chain.learner.memory.views)
    other = chain.reconfigured(Config(
        near_to_far=NearToFarConfig(state='/nowhere.npz', rate=0.5),
        supervisor=SupervisorConfig(obstacle_m=0.4)))
    assert other.config.near_to_far.state == '/nowhere.npz'
    assert not other.teach
    assert other.learner.config.rate == 0.5
    assert other.learner.obstacle_m == 0.4
    np.testing.assert_array_equal(other.learner.near.table, table)
    assert len(other.learner.memory.views) == views == 2
    assert other.process(at(shot, 4.0)).plane.source == 'tracked'
    assert other.learner.near.steps == 3


def test_learning_can_be_switched_off_and_on(network, shot):
    chain = Traversability(Config(), network)
    chain.process(shot)
    off = chain.reconfigured(OFF)
    assert off.process(shot).lesson is None
    assert off.reconfigured(Config()).process(shot).lesson.in_use[0] == 'w0'


def test_reset_forgets_places_and_keeps_what_was_learned(network, shot):
    pipeline = Pipeline(Config(), network)
    for k in range(3):
        pipeline.process(at(shot, 2.0 * k))
    learner = pipeline.learner
    table, steps = learner.near.table, learner.near.steps
    assert learner.memory.views
    pipeline.reset()
    assert pipeline.learner is learner
    assert not learner.memory.views
    assert not learner.memory.places
    assert learner.near.steps == steps == 3
    np.testing.assert_array_equal(learner.near.table, table)
    assert np.any(table != learner.default)
