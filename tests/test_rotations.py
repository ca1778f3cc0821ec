# SPDX-License-Identifier: Apache-2.0
"""Rotations in plain numbers, against SciPy's."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation, Slerp

from perception.rotations import between, quaternion, rotation_matrix

QUATERNIONS = st.tuples(*[st.floats(-1, 1)] * 4).filter(lambda q: np.linalg.norm(q) > 1e-3)
HALF_TURNS = [(1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0.6, 0.8, 0, 0), (0, -0.6, 0.8, 0)]


def pose(q, xyz):
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_quat(q).as_matrix()
    matrix[:3, 3] = xyz
    return matrix


@given(QUATERNIONS)
def test_matrix_is_scipys(q):
    np.testing.assert_allclose(rotation_matrix(q), Rotation.from_quat(q).as_matrix(), atol=1e-14)


@given(QUATERNIONS)
def test_there_and_back(q):
    matrix = Rotation.from_quat(q).as_matrix()
    found = quaternion(matrix)
    assert found[3] >= 0
    assert np.linalg.norm(found) == pytest.approx(1, abs=1e-15)
    np.testing.assert_allclose(rotation_matrix(found), matrix, atol=2e-15)


@pytest.mark.parametrize('q', HALF_TURNS)
def test_half_turns_have_no_w(q):
    found = quaternion(Rotation.from_quat(q).as_matrix())
    assert abs(found[3]) < 1e-15
    assert abs(np.dot(found, q)) == pytest.approx(1, abs=1e-15)


def test_quarter_turn_by_hand():
    """A quarter turn to the left takes x to y."""
    matrix = rotation_matrix((0, 0, 3.0, 3.0))
    np.testing.assert_allclose(matrix, [[0, -1, 0], [1, 0, 0], [0, 0, 1]], atol=1e-15)
    half = np.sqrt(0.5)
    np.testing.assert_allclose(quaternion(matrix), [0, 0, half, half], atol=1e-15)


@given(QUATERNIONS, QUATERNIONS, st.floats(0, 1))
def test_between_is_scipys(p, q, share):
    one, two = pose(p, (1, -2, 3)), pose(q, (5, 0, 1))
    turns = Rotation.from_matrix([one[:3, :3], two[:3, :3]])
    if abs(np.dot(*turns.as_quat())) < 1e-6:
        return  # half a turn apart: either way round is the shortest
    found = between(one, two, share)
    expected = Slerp([0, 1], turns)([share]).as_matrix()[0]
    np.testing.assert_allclose(found[:3, :3], expected, atol=1e-9)
    np.testing.assert_allclose(found[:3, 3], [1 + 4 * share, -2 + 2 * share, 3 - 2 * share])


@pytest.mark.parametrize('angle', [1e-3, 1e-6, 1e-10, 1e-14, 0.0])
def test_between_two_that_are_nearly_equal(angle):
    one, two = pose((0, 0, 0, 1), (0, 0, 0)), pose((0, 0, np.sin(angle / 2), 1), (0, 0, 0))
    found = between(one, two, 0.25)
    assert found[1, 0] == pytest.approx(angle / 4, rel=1e-6, abs=1e-16)


def test_the_shortest_arc_is_taken():
    """From 170 degrees to -170 it is 20 degrees over the back, not 340 over the front."""
    turns = [pose(Rotation.from_euler('z', angle, degrees=True).as_quat(), (0, 0, 0))
             for angle in (170, -170)]
    np.testing.assert_allclose(between(*turns, 0.5)[:2, 0], [-1, 0], atol=1e-12)
