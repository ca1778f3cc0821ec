# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scenes import CAMERA, FOCAL_BASELINE, plane

from perception.camera import project
from perception.horizon import (
    apply_affine,
    horizon_row,
    image_from_levelled,
    invert_affine,
    left_y_offset,
)
from perception.types import Camera, GroundPlane

tilts = st.floats(-0.3, 0.3)


@given(st.floats(0.2, 3), tilts, tilts)
def test_plane_parameters_round_trip(height, pitch, roll):
    ground = plane(height, pitch, roll)
    normal, offset = ground.normal_offset
    again = GroundPlane.from_normal(normal, offset, CAMERA, FOCAL_BASELINE)
    np.testing.assert_allclose([again.p0, again.p1, again.p3], [ground.p0, ground.p1, ground.p3],
                               atol=1e-9)
    assert ground.height_m == pytest.approx(height)
    assert np.linalg.norm(normal) == pytest.approx(1)


@given(st.floats(0.3, 2), tilts, tilts)
def test_horizon_is_where_far_ground_points_project(height, pitch, roll):
    ground = plane(height, pitch, roll)
    normal, offset = ground.normal_offset
    ahead = np.array([0.05, 0.0, 1.0])
    along = ahead - normal * (ahead @ normal)  # a direction in the plane
    far = project(along * 1e7 - offset * normal, CAMERA)
    assert horizon_row(ground, far[0]) == pytest.approx(far[1], abs=1e-3)


def test_row_and_disparity_by_hand():
    ground = GroundPlane(0.05, 0.01, -10.0, Camera(600, 400, 300, 310, 290, 190), 36.0)
    assert ground.disparity(100.0, 300.0) == pytest.approx(0.05 * 300 + 0.01 * 100 - 10)
    assert ground.row(100.0, 6.0) == pytest.approx(300)
    assert ground.row(100.0) == pytest.approx(180)
    assert ground.roll_rad == pytest.approx(np.arctan(-0.2))  # it rises to the right


def test_left_y_offset_is_the_row_of_disparity_one_at_the_border():
    ground = plane(roll=np.radians(4.8))
    assert left_y_offset(ground) == pytest.approx(float(ground.row(0.0, 1.0)), abs=0.08)
    level = plane(roll=0.0)
    assert left_y_offset(level) == pytest.approx(float(level.row(0.0, 1.0)), abs=1e-9)


def test_levelled_rows_are_parallel_to_the_horizon():
    ground = plane(roll=-0.12)
    uv = apply_affine(image_from_levelled(ground), np.array([[-200.0, 0], [0, 0], [180.0, 0]]))
    np.testing.assert_allclose(horizon_row(ground, uv[:, 0]), uv[:, 1], atol=1e-9)
    assert uv[1, 0] == CAMERA.width / 2


@given(tilts, st.floats(-300, 300), st.floats(-300, 300))
def test_unlevel_inverts_level(roll, x, y):
    affine = image_from_levelled(plane(roll=roll))
    xy = apply_affine(invert_affine(affine), apply_affine(affine, np.array([x, y])))
    np.testing.assert_allclose(xy, [x, y], atol=1e-8)
