# SPDX-License-Identifier: Apache-2.0
"""What a replay says of learning: errors by range, and their course."""

import json
from dataclasses import replace

import numpy as np
import pytest

from perception.inference import network_path, read_manifest
from perception.learning_config import NearToFarConfig
from perception.lesson import Lesson
from perception.near_to_far import NearToFar
from perception.online_metrics import Course, OnlineMetrics, with_served
from perception.report_plots import course_plot

# wrong answers of w0, near, far by range and family, among (40, 50), (20, 20) and (60, 19)
COUNT = np.array([[40.0, 50], [20, 20], [60, 19]])
BEFORE = np.array([[[4.0, 5], [10, 2], [6, 19]], [[2, 10], [1, 1], [3, 3]],
                   [[8, 0], [5, 5], [0, 0]]])
LESSON = Lesson((100, 60), (20, 29), COUNT, BEFORE, BEFORE / 2, ('w0', 'near', 'far'),
                (1.0, 0.75, 0.75))


@pytest.fixture
def metrics():
    spec = read_manifest(network_path('default'))
    return OnlineMetrics(NearToFar(NearToFarConfig(), spec))


def test_errors_by_hand(metrics):
    metrics.add(LESSON)
    found = metrics.summary()
    assert found == json.loads(json.dumps(found))
    assert found['ranges_m'] == [[0.0, 12.0], [12.0, 30.0], [30.0, None]]
    assert found['labels'] == {'near': [100, 60], 'hindsight': [20, 29]}
    before = found['error_before']
    assert list(before) == ['w0', 'near', 'far', 'in_use']
    assert before['w0'] == [pytest.approx(0.1), pytest.approx(0.3), None]  # 19 labels are too few
    assert before['near'] == [pytest.approx(0.125), pytest.approx(0.05), None]
    assert before['in_use'] == before['w0']  # before the first lesson
    assert found['error_after']['in_use'] == [pytest.approx(0.05), pytest.approx(0.025), None]
    assert found['error_after']['far'] == [pytest.approx(0.05), pytest.approx(0.125), None]
    assert found['in_use'] == ['w0', 'near', 'far']
    assert found['confidence'] == [1.0, 0.75, 0.75]
    assert (found['rejected'], found['jumps']) == (0, 0)


def test_in_use_is_what_served_in_each_frame(metrics):
    metrics.add(LESSON)
    metrics.add(replace(LESSON, in_use=('far', 'w0', 'w0'), confidence=(0.5, 0.5, 0.5)))
    metrics.add(None)  # a frame without a plane
    found = metrics.summary()
    assert found['in_use'] == ['far', 'w0', 'w0']
    # the second frame was answered by what the first one left in use
    wrong = (BEFORE[0, 1] + BEFORE[1, 1]) / (2 * COUNT[1])
    assert found['error_before']['in_use'][1] == pytest.approx(wrong.mean())
    assert found['error_before']['in_use'][2] == pytest.approx((6 / 120 + 19 / 38) / 2)
    assert found['error_after']['in_use'][0] == pytest.approx((6 / 80 + 2.5 / 100) / 2)
    assert found['error_before']['w0'][0] == pytest.approx(0.1)


def test_what_served_is_picked_range_by_range():
    picked = with_served(BEFORE, LESSON.in_use)
    np.testing.assert_array_equal(picked[:3], BEFORE)
    np.testing.assert_array_equal(picked[3], [BEFORE[0, 0], BEFORE[1, 1], BEFORE[2, 2]])


def test_nothing_learned_yet(metrics):
    found = metrics.summary()
    assert found['in_use'] is found['confidence'] is None
    assert found['error_before']['in_use'] == [None] * 3


def test_the_course_forgets():
    course = Course()
    worse = replace(LESSON, wrong_before=np.broadcast_to(COUNT, BEFORE.shape))
    first = course.add(0.0, worse)
    assert first.default.tolist() == first.served.tolist() == [1, 1, 1]
    for frame in range(200):
        last = course.add(frame * 0.1, LESSON)
    np.testing.assert_allclose(last.default, [0.1, 0.3, 0.55], atol=1e-4)
    np.testing.assert_allclose(last.served, [0.1, 0.05, 0], atol=1e-4)
    assert last.in_use == ('w0', 'near', 'far')


def test_the_course_is_drawn_where_it_is_known():
    assert course_plot([]) is None
    nothing = replace(LESSON, count=0 * COUNT, wrong_before=0 * BEFORE)
    course = Course()
    samples = [course.add(0.0, nothing)]
    assert np.isnan(samples[0].served).all()
    assert course_plot(samples) is None
    samples += [course.add(0.1 * frame, LESSON) for frame in range(5)]
    plot = course_plot(samples)
    assert plot is not None
    assert b'<svg' in plot
