# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from scenes import plane, plane_grid, with_wall

from perception.config import PlaneConfig
from perception.ground_plane import refit, sample_points
from perception.plane_loops import below, sampled

CONFIG = PlaneConfig()


def naive_refit(samples, start, bands):
    """Refit by NumPy alone, as IROS08-DBN has it: p0, p1, p3, flatness, inliers."""
    p, height = np.array([start.p0, start.p1, start.p3]), start.height_m
    data = np.stack([samples.v, samples.u, samples.d])

    def spread(height):
        bump = CONFIG.roughness_m / height / CONFIG.inlier_px
        return np.sqrt(1 + np.square(bump * samples.d))

    for k, band in enumerate(bands):
        wide = spread(height) if k < len(bands) - 1 else np.ones(len(samples.d))
        near = np.abs(data[2] - p @ [data[0], data[1], np.ones(data.shape[1])]) < band * wide
        weights = 1 / wide[near] ** 2
        mean = np.average(data[:, near], axis=1, weights=weights)
        covariance = np.cov(data[:, near], aweights=weights, ddof=0)
        size = np.sqrt(np.diag(covariance))
        values, vectors = np.linalg.eigh(covariance / np.outer(size, size))
        normal = vectors[:, 0] / size
        p[:2] = -normal[:2] / normal[2]
        p[2] = mean[2] - p[:2] @ mean[:2]
        height = type(start)(*p, start.camera, start.focal_baseline).height_m
    rest = np.abs(data[2] - p @ [data[0], data[1], np.ones(data.shape[1])])
    return *p, values[0] / values[1], np.count_nonzero(rest < bands[-1] * spread(height))


@pytest.mark.parametrize('seed', range(3))
def test_a_refit_is_its_naive_twin(seed):
    grid = with_wall(plane_grid(plane(roll=0.02 * seed), noise_px=0.3, seed=seed), 5.0,
                     slice(60, 140), 20, 140)
    samples, start = sample_points(grid, CONFIG), plane(1.1, 0.1, 0.05)
    fit = refit(samples, start, (2.0, 1.0, 0.5, 0.5), CONFIG)
    p0, p1, p3, flatness, inliers = naive_refit(samples, start, (2.0, 1.0, 0.5, 0.5))
    np.testing.assert_allclose([fit.plane.p0, fit.plane.p1, fit.plane.p3], [p0, p1, p3], rtol=1e-8)
    assert fit.flatness == pytest.approx(flatness, rel=1e-6)
    assert fit.inliers == inliers > 500


def test_points_that_give_no_plane_give_no_fit():
    grid = plane_grid(plane())
    samples = sample_points(grid, CONFIG)
    assert refit(samples.take(np.arange(9)), plane(), (2.0, 0.5), CONFIG) is None  # too few
    one_row = samples.take(samples.v == samples.v.max())
    assert refit(one_row, plane(), (2.0, 0.5), CONFIG) is None  # no spread
    assert refit(samples, plane(2.5), (0.5,), CONFIG) is None  # none near


def test_samples_by_hand():
    disparity = np.array([[5, np.nan, 7, 8, 9], [1, 2, 3, 4, 5], [2, 6, 6.5, 6, np.inf]],
                         np.float32)
    u, v, d = sampled(disparity, 2, 1, 6.25)
    assert (u.tolist(), v.tolist()) == ([2, 4, 2, 4], [0, 0, 2, 2])
    assert d.tolist() == [7, 9, 6.5, np.inf]


def test_samples_below_a_plane_by_hand():
    """The plane is d = 2 v + u - 1; unevenness doubles the band at a disparity of sqrt(3)."""
    samples = np.array([1.0, 1, 1]), np.array([0.5, 1.2, 1.3]), np.array([1.0, 3**0.5, 3**0.5])
    assert below(samples, (2.0, 1.0, -1.0), (0.3, 1.0)).tolist() == [False, True, True]
    assert below(samples, (2.0, 1.0, -1.0), (0.4, 1.0)).tolist() == [False, False, True]


def test_samples_count_in_pixels_of_the_image():
    u, v, _ = sampled(np.ones((3, 3), np.float32), 2, 4, 1.0)
    assert (u.tolist(), v.tolist()) == ([1.5, 9.5, 1.5, 9.5], [1.5, 1.5, 9.5, 9.5])
