# SPDX-License-Identifier: Apache-2.0
"""Point clouds as they come, and as depth images."""

import numpy as np
import pytest
from drives import stamp
from hypothesis import given
from hypothesis import strategies as st

from perception import bag_encode as encode
from perception.bag_inputs import Inputs
from perception.errors import MessageError
from perception.lidar import CELL_RAD, MIN_CELL_PX, depth_from_points, moved, points_from_message
from perception.types import Camera, GroundPlane

CAMERA = Camera(120, 90, 610.0, 530.0, 55.5, 31.25)
CELL = 8
POINTS = np.array([[1.5, -2.0, 3.25], [0.5, 0.25, -8.0], [4.0, 5.0, 6.0]])


def field(name: str, offset: int, datatype: int = 7, count: int = 1):
    return encode.make('sensor_msgs/PointField', name=name, offset=offset, datatype=datatype,
                       count=count)


def cloud(points=POINTS, *, wide=False, big=False, before=0, after=0, rows=1, gap=0):
    """Cloud whose points have other bytes ``before`` and ``after`` x, y, z; rows end in a gap."""
    kind, size = ('f8', 8) if wide else ('f4', 4)
    step = before + 3 * size + after
    table = np.full((len(points), step), 0xA5, np.uint8)
    numbers = np.asarray(points).astype(('>' if big else '<') + kind)
    table[:, before:before + 3 * size] = numbers.view(np.uint8).reshape(len(points), 3 * size)
    lines = np.pad(table.reshape(rows, -1), ((0, 0), (0, gap)))
    fields = [field(n, before + k * size, 8 if wide else 7) for k, n in enumerate('xyz')]
    return encode.make(
        'sensor_msgs/PointCloud2', header=encode.header(stamp(0), 'lidar'), height=rows,
        width=len(points) // rows, fields=[field('intensity', 0), *fields[::-1]],
        is_bigendian=big, point_step=step, row_step=lines.shape[1], data=lines.ravel(),
        is_dense=False)


@given(wide=st.booleans(), big=st.booleans(), before=st.integers(0, 9), after=st.integers(0, 9),
       rows=st.sampled_from([1, 3]), gap=st.integers(0, 5))
def test_every_layout_gives_the_same_points(wide, big, before, after, rows, gap):
    message = cloud(wide=wide, big=big, before=before, after=after, rows=rows, gap=gap)
    np.testing.assert_array_equal(points_from_message(message), POINTS)


def test_points_that_are_no_return_are_left_out():
    points = [[0, 0, 0], [1, 2, np.nan], [np.inf, 0, 1], [0, 0, 2]]
    np.testing.assert_array_equal(points_from_message(cloud(points)), [[0, 0, 2]])
    assert points_from_message(cloud([[0, 0, 0]])).shape == (0, 3)


@pytest.mark.parametrize(('changes', 'text'), [
    ({'width': 0}, '/points: a cloud of zero points; check the lidar'),
    ({'point_step': 2_000_000}, 'with point_step 2000000 and row_step'),
    ({'point_step': 0}, 'no field x of float32 or float64 within point_step 0'),
    ({'point_step': 7}, 'within point_step 7'),
    ({'data': np.zeros(11, np.uint8)}, '/points: 11 bytes with point_step 12'),
    ({'height': 2, 'row_step': 3}, 'are no 2 rows of 3 points; fix the publisher'),
    ({'fields': [field('x', 0), field('y', 4)]}, r'no field z .* \(it has: x, y\)'),
    ({'fields': []}, 'it has: none'),
    ({'fields': [field(n, 4 * k, 5) for k, n in enumerate('xyz')]}, 'no field x of float32'),
])
def test_clouds_that_are_none_are_named(changes, text):
    message = cloud()
    for name, value in changes.items():
        setattr(message, name, value)
    with pytest.raises(MessageError, match=text):
        points_from_message(message, '/points')


def test_a_point_by_hand():
    """(0.1, -0.06, 2) -> u 86, v 15.35: the cell of columns 80 to 87 and rows 8 to 15."""
    depth = depth_from_points(np.array([[0.1, -0.06, 2.0]]), CAMERA)
    assert depth.dtype == np.float32
    rows, columns = np.nonzero(np.isfinite(depth))
    assert (columns.min(), columns.max()) == (80, 87)
    assert (rows.min(), rows.max()) == (8, 15)
    assert (depth[8:16, 80:88] == 2).all()


def naive(points, camera, cell):
    image = np.full((camera.height, camera.width), np.inf)
    for x, y, z in points:
        u, v = camera.fx * x / z + camera.cx, camera.fy * y / z + camera.cy
        column, row = int(np.rint(u)) // cell * cell, int(np.rint(v)) // cell * cell
        part = image[row:row + cell, column:column + cell]
        part[:] = np.minimum(part, z)
    return np.where(np.isfinite(image), image, np.nan)


@given(st.integers(0, 2**31))
def test_the_nearest_point_of_a_cell_hides_the_others(seed):
    """Every other row of cells, so that none has a neighbour to be tilted by."""
    rng = np.random.default_rng(seed)
    u = rng.uniform(0, CAMERA.width - 1, 200)
    v = rng.integers(0, 5, 200) * 2 * CELL + rng.uniform(0, CELL - 0.6, 200)
    z = rng.uniform(1, 50, 200)
    points = np.stack([(u - CAMERA.cx) / CAMERA.fx * z, (v - CAMERA.cy) / CAMERA.fy * z, z], -1)
    np.testing.assert_allclose(depth_from_points(points, CAMERA), naive(points, CAMERA, CELL),
                               rtol=1e-6)


def rings(plane: GroundPlane, camera: Camera, spacing_rad: float) -> np.ndarray:
    """Where the rays of a lidar at the camera meet the ground."""
    down = np.arange(0.05, 0.4, spacing_rad)
    aside = np.arange(-0.3, 0.3, 0.002)
    down, aside = (part.ravel() for part in np.meshgrid(down, aside))
    rays = np.stack([np.sin(aside) * np.cos(down), np.sin(down), np.cos(aside) * np.cos(down)],
                    -1)
    normal, offset = plane.normal_offset
    return rays * (-offset / (rays @ normal))[:, None]


def test_flat_ground_stays_flat_between_the_rings():
    camera = Camera(320, 240, 610.0, 630.0, 150.5, 61.25)
    normal = np.array([0.05, -0.99, -0.1]) / np.linalg.norm([0.05, -0.99, -0.1])
    plane = GroundPlane.from_normal(normal, 1.3, camera, camera.fx * 0.12)
    depth = depth_from_points(rings(plane, camera, CELL_RAD), camera)[120:220, 10:310]
    v, u = np.mgrid[120:220, 10:310]
    assert np.isfinite(depth).mean() > 0.95
    error = camera.fx * 0.12 / depth - plane.disparity(u, v)
    assert np.nanpercentile(np.abs(error), 90) < 0.12  # a whole cell of ground spans 1 px
    assert abs(np.nanmean(error)) < 0.02


def test_nothing_is_tilted_across_an_edge():
    """A pole 3 m away before a wall 9 m away: no depth in between."""
    u, v = (part.ravel() for part in np.meshgrid(np.arange(2.0, 118, 2), np.arange(3.0, 88, 6)))
    z = np.where(v < 40, 9.0, 3.0)
    points = np.stack([(u - CAMERA.cx) / CAMERA.fx * z, (v - CAMERA.cy) / CAMERA.fy * z, z], -1)
    depth = depth_from_points(points, CAMERA)
    assert set(np.unique(depth[np.isfinite(depth)])) == {np.float32(3), np.float32(9)}


def test_what_is_out_of_view_leaves_nothing():
    points = np.array([[0, 0, -2.0], [0, 0, 0.2], [50, 0, 1], [0, 50, 1]])
    assert np.isnan(depth_from_points(points, CAMERA)).all()
    assert np.isnan(depth_from_points(np.empty((0, 3)), CAMERA)).all()


def test_the_cell_follows_the_focal_length():
    wide = Camera(64, 48, 40.0, 38.0, 30.0, 20.0)
    depth = depth_from_points(np.array([[0.0, 0.0, 1.0]]), wide)
    assert np.isfinite(depth).sum() == MIN_CELL_PX**2


def test_moved_by_hand():
    """A quarter turn about z, then 1 m along x."""
    turn = np.array([[0.0, -1, 0, 1], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    np.testing.assert_allclose(moved(np.array([[2.0, 3, 4]]), turn), [[-2, 2, 4]])


def test_inputs_say_what_matches_what():
    from test_frames import topic

    from perception.bag_inputs import LidarTopic

    image = topic('/cam/image')
    lidar = Inputs('lidar', image, lidar=LidarTopic('/points', 'os'))
    assert lidar.matched == ['/cam/image', '/points']
    assert lidar.tolerance == 'lidar_tolerance_s'
    assert Inputs('mono', image).matched == ['/cam/image']
    assert Inputs('rgbd', image, depth=image).tolerance == 'sync_tolerance_s'
