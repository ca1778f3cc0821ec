# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import numpy as np
import pytest
from scenes import BASELINE_M, CAMERA, plane, stereo_pair

from perception.camera import levelled_base_from_camera
from perception.config import Config, MountConfig
from perception.contrast import band_strips, gather
from perception.errors import GroundPlaneError
from perception.inference import classify, load_network
from perception.pipeline import Pipeline, percentiles, window_probabilities
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
