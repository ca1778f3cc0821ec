# SPDX-License-Identifier: Apache-2.0
import base64
import re
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perception.draw_map import TrueMap
from perception.pipeline import Result
from perception.pyramid import build_pyramid
from perception.report import (
    SNAPSHOTS_KEPT,
    SNAPSHOTS_SHOWN,
    ReportData,
    Thinned,
    predicted_labels,
    write_report,
)
from perception.report_plots import PlaneSample, plane_plot, share_plot, stage_plot
from perception.supervisor import WindowLabels
from perception.types import UNLABELED, Camera, Costmap, Frame, GroundPlane, PlaneEstimate

CAMERA = Camera(200, 150, 180.0, 170.0, 95.0, 70.0)
SUMMARY = {
    'frames': 0, 'frames_with_plane': 0, 'stage_ms': {}, 'total_ms': None,
    'plane': {'height_m': None, 'pitch_rad': None, 'roll_rad': None}, 'labels': {},
    'config_hash': 'c0ffee', 'engine': 'onnxruntime', 'network': 'net-of-test',
    'versions': {'python': '3.11'},
}


def make_result(number=0, source='tracked'):
    normal = np.array([0.03, -np.cos(0.1), -np.sin(0.1)])
    plane = GroundPlane.from_normal(normal / np.linalg.norm(normal), 1.8, CAMERA, 20.0)
    pyramid = build_pyramid(plane)
    count = len(pyramid.grid.band)
    rng = np.random.default_rng(number)
    probabilities = rng.dirichlet(np.ones(5), count).astype(np.float32)
    label = rng.choice([0, 2, 4, UNLABELED], count).astype(np.uint8)
    pose = np.eye(4)
    pose[:2, 3] = [0.5 * number, -0.1 * number]
    frame = Frame(10**18 + number * 100_000_000, rng.integers(0, 255, (150, 200, 3), np.uint8),
                  CAMERA, odom_from_base=pose)
    grid = Costmap(rng.integers(-1, 99, (30, 40)).astype(np.int8), 0.5, (-7.0, -10.0),
                   frame.stamp_ns)
    return Result(
        frame, {'stereo': 3.0, 'plane': 1.0}, None, PlaneEstimate(plane, source, 0.4), pyramid,
        None, WindowLabels(label, np.zeros((count, 5), np.float32)), probabilities, grid,
    )


def summary(**changes):
    return SUMMARY | {
        'stage_ms': {'stereo': {'p50': 3.0, 'p99': 4.5}, 'plane': {'p50': 1.0, 'p99': 2.0}},
        'total_ms': {'p50': 4.0, 'p99': 6.0},
        'plane': {'height_m': 1.801, 'pitch_rad': 0.1, 'roll_rad': 0.0},
    } | changes


def embedded(page, kind):
    return [base64.b64decode(text)
            for text in re.findall(rf'data:image/{re.escape(kind)};base64,([^"]+)"', page)]


@given(st.integers(1, 40), st.integers(0, 500))
def test_thinned_is_bounded_and_even(limit, count):
    sample = Thinned(limit)
    for number in range(count):
        sample.offer(lambda number=number: number)
    assert len(sample.items) <= limit
    assert sample.offered == count
    assert sample.items[:1] == list(range(count))[:1]
    assert len(set(np.diff(sample.items))) <= 1
    if count >= limit:
        assert len(sample.items) >= limit // 2


def test_thinned_makes_only_what_it_keeps():
    made = []
    sample = Thinned(4)
    for number in range(64):
        sample.offer(lambda number=number: made.append(number))
    assert len(made) <= 4 + 2 * 5
    assert Thinned(3).spread(8) == []


def test_spread_holds_first_and_last():
    sample = Thinned(10)
    for number in range(10):
        sample.offer(lambda number=number: number)
    assert sample.spread(4) == [0, 3, 6, 9]
    assert sample.spread(99) == list(range(10))


def test_report_holds_everything_and_links_nothing(tmp_path):
    data = ReportData('bags/<b>drive</b>', ['stereo pair: /left & /right'])
    for number in range(30):
        data.add(make_result(number, 'held' if number == 7 else 'tracked'))
    path = tmp_path / 'report.html'
    true_map = TrueMap(Costmap(np.full((9, 11), 100, np.int8), 1.0, (0.0, 0.0), 0, 'world'),
                       np.eye(4))
    write_report(path, data, summary(), true_map=true_map)
    page = path.read_text()
    assert 'http' not in re.sub(r'base64,[^"]+', '', page)
    assert '&lt;b&gt;drive' in page
    assert '/left &amp; /right' in page
    assert {'c0ffee', 'net-of-test', '1.80 m', '5.7&deg;'} <= set(
        re.findall(r'c0ffee|net-of-test|1\.80 m|5\.7&deg;', page))
    assert data.frames == 30
    assert data.fresh == 29
    pictures = embedded(page, 'jpeg')
    assert len(pictures) == 2 * SNAPSHOTS_SHOWN
    for picture in pictures:
        assert cv2.imdecode(np.frombuffer(picture, np.uint8), 1).shape == (540, 720, 3)
    assert len(embedded(page, 'png')) == SNAPSHOTS_SHOWN + 1
    plots = embedded(page, 'svg+xml')
    assert len(plots) == 3
    for plot in plots:
        assert ElementTree.fromstring(plot).tag.endswith('svg')
    assert 'did not reach the end' not in page


def test_true_map_changes_only_the_final_map(tmp_path):
    data = ReportData('x')
    data.add(make_result())
    truth = np.zeros((30, 40), np.int8)
    truth[10:14, 20:26] = 100
    true_map = TrueMap(Costmap(truth, 0.5, (-7.0, -10.0), 0, 'world'), np.eye(4))
    write_report(tmp_path / 'a.html', data, summary())
    write_report(tmp_path / 'b.html', data, summary(), true_map=true_map)
    a, b = (embedded((tmp_path / name).read_text(), 'png') for name in ('a.html', 'b.html'))
    assert a[0] == b[0]
    assert a[1] != b[1]


def test_report_without_frames(tmp_path):
    write_report(tmp_path / 'r.html', ReportData('empty.mcap'), SUMMARY, interrupted='stopped')
    page = (tmp_path / 'r.html').read_text()
    assert 'No frame was processed' in page
    assert 'did not reach the end' in page
    assert '<img' not in page


def test_frames_without_plane_are_shown_plain(tmp_path):
    data = ReportData('x')
    frame = make_result().frame
    for _ in range(3):
        data.add(Result(frame, {'stereo': 2.0}))
    write_report(tmp_path / 'r.html', data, SUMMARY)
    page = (tmp_path / 'r.html').read_text()
    assert data.fresh == 0
    assert page.count('no ground plane: nothing is guessed') == 3
    assert len(embedded(page, 'jpeg')) == 3
    assert not embedded(page, 'svg+xml')


def test_memory_is_bounded():
    data = ReportData('long')
    result = make_result()
    for _ in range(5 * SNAPSHOTS_KEPT):
        data.add(result)
    assert len(data.snapshots.items) <= SNAPSHOTS_KEPT
    assert data.taught.sum() == 5 * SNAPSHOTS_KEPT * np.sum(result.labels.label != UNLABELED)
    assert data.path_xy.shape[1] == 2


def test_predicted_labels_skip_void_and_broken_windows():
    result = make_result(3)
    probabilities = result.probabilities.copy()
    valid = result.pyramid.windows.valid
    assert valid.any()
    broken = np.flatnonzero(valid)[:2]
    probabilities[broken] = np.nan
    label, confidence = predicted_labels(result.pyramid, probabilities)
    assert (label[broken] == UNLABELED).all()
    assert (label[~valid] == UNLABELED).all()
    fine = valid.copy()
    fine[broken] = False
    np.testing.assert_array_equal(label[fine], result.probabilities[fine].argmax(1))
    np.testing.assert_allclose(confidence[fine], result.probabilities[fine].max(1))


def test_plane_plot_needs_a_plane():
    none = PlaneSample(0.0, *[float('nan')] * 4, 'none')
    assert plane_plot([]) is None
    assert plane_plot([none, none]) is None
    one = PlaneSample(0.1, 0.02, -0.01, 1.5, 0.3, 'held')
    assert b'<svg' in plane_plot([none, one])


@pytest.mark.parametrize('counts', [[0, 0, 0, 0, 3], [1, 2, 3, 4, 5]])
def test_small_plots_are_svg(counts):
    assert b'<svg' in share_plot({'network': np.array(counts)})
    assert b'<svg' in stage_plot({'plane': {'p50': 0.0, 'p99': 0.0}})
