# SPDX-License-Identifier: Apache-2.0
"""A lidar in place of stereo: its point cloud as a depth image of the camera."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from perception.errors import MessageError
from perception.types import Camera, Float

POINT_TYPES = {7: 'f4', 8: 'f8'}  # sensor_msgs/PointField FLOAT32, FLOAT64
CELL_RAD = 0.015  # rings lie up to 0.72 degrees apart (64 over 45), more off the axis
MIN_CELL_PX = 4
MOST_TILT = 2.0  # depth within a cell differs from its point's by no more than this factor
NEAREST_M = 0.3  # before the camera; what is closer is the robot itself


def points_from_message(message: Any, topic: str = 'lidar') -> Float:
    """
    Points of a sensor_msgs/PointCloud2 in its own frame.

    Any offsets, padded points and rows, float32 or float64, both byte orders.

    Returns
    -------
    (N, 3) float64 [m]
        Without points that hold NaN or infinity, or lie at the origin: they are no return.

    Raises
    ------
    MessageError
        A cloud without points or without x, y, z; sizes that contradict one another.
    """
    height, width, step = message.height, message.width, message.point_step
    if not height * width:
        raise MessageError(f'{topic}: a cloud of zero points; check the lidar and its driver')
    offsets = _offsets(message, topic)
    row = message.row_step if height > 1 else width * step
    if width * step > row or len(message.data) < height * row:
        raise MessageError(
            f'{topic}: {len(message.data)} bytes with point_step {step} and row_step '
            f'{message.row_step} are no {height} rows of {width} points; fix the publisher')
    rows = np.frombuffer(message.data, np.uint8, height * row).reshape(height, row)
    table = rows[:, :width * step].reshape(-1, step)
    order = '>' if message.is_bigendian else '<'
    columns = [_column(table, start, order + kind) for start, kind in offsets]
    points = np.stack(columns, -1)
    return np.asarray(points[np.isfinite(points).all(1) & points.any(1)])


def _column(table: NDArray[np.uint8], start: int, kind: str) -> Float:
    """One number of each point, float64."""
    part = np.ascontiguousarray(table[:, start:start + int(kind[-1])])
    return part.view(kind)[:, 0].astype(np.float64)


def _offsets(message: Any, topic: str) -> list[tuple[int, str]]:
    """Byte offset and type of x, y and z."""
    found = {field.name: field for field in message.fields}
    offsets = []
    for name in 'xyz':
        field = found.get(name)
        kind = POINT_TYPES.get(field.datatype) if field else None
        if field is None or kind is None or field.offset + int(kind[1]) > message.point_step:
            raise MessageError(
                f'{topic}: no field {name} of float32 or float64 within point_step '
                f'{message.point_step} (it has: {", ".join(found) or "none"}); connect the point '
                'cloud of a lidar')
        offsets.append((field.offset, kind))
    return offsets


def moved(points: Float, target_from_source: Float) -> Float:
    """Points (N, 3) [m] in another frame, by a transform (4, 4)."""
    return np.asarray(points @ target_from_source[:3, :3].T + target_from_source[:3, 3])


def depth_from_points(points_optical: Float, camera: Camera) -> Float:
    """
    Depth image of a point cloud.

    The nearest point of each cell of a coarse raster fills its cell, so it hides what lies behind.
    A cell whose neighbours above and below agree on a slope is tilted by it: flat ground stays
    flat.

    Parameters
    ----------
    points_optical : (N, 3) float [m]
        In the optical frame of the camera.
    camera : Camera
        Rectified.

    Returns
    -------
    (H, W) float32 [m]
        NaN = none.

    Convention
        A cell is as large as the gap between the rings of a 64-ring lidar, 8 px at fy = 530 px.
    """
    cell = max(MIN_CELL_PX, int(np.ceil(camera.fy * CELL_RAD)))
    rows, columns = -(-camera.height // cell), -(-camera.width // cell)
    u, v, depth = _in_view(points_optical, camera)
    place = (np.rint(v).astype(np.intp) // cell) * columns + np.rint(u).astype(np.intp) // cell
    far_first = np.argsort(-depth, kind='stable')
    raster = np.full((2, rows * columns), np.nan)
    raster[0, place[far_first]] = 1 / depth[far_first]  # the last one written, the nearest, stays
    raster[1, place[far_first]] = v[far_first]
    inverse, row = raster.reshape(2, rows, columns)
    slope = _slopes(inverse, row)
    lines = np.arange(rows * cell).reshape(rows, cell, 1)
    spread = inverse[:, None] + slope[:, None] * (lines - row[:, None])  # (rows, cell, columns)
    spread = np.clip(spread, inverse[:, None] / MOST_TILT, inverse[:, None] * MOST_TILT)
    image = spread.reshape(rows * cell, columns).repeat(cell, 1)[:camera.height, :camera.width]
    return np.asarray(1 / image).astype(np.float32)


def _in_view(points: Float, camera: Camera) -> tuple[Float, Float, Float]:
    """Columns, rows and depth of the points that the image shows."""
    x, y, z = points[points[:, 2] > NEAREST_M].T
    u, v = camera.fx * x / z + camera.cx, camera.fy * y / z + camera.cy
    inside = (u > -0.5) & (v > -0.5) & (u < camera.width - 0.5) & (v < camera.height - 0.5)
    return u[inside], v[inside], z[inside]


def _slopes(inverse: Float, row: Float) -> Float:
    """
    Change of inverse depth from row to row in each cell; 0 where the neighbours disagree.

    Inverse depth is linear in the image on every plane; of the slopes to the cells above and
    below the smaller one is taken, so nothing is tilted across an edge.
    """
    between = np.diff(inverse, axis=0) / np.maximum(np.diff(row, axis=0), 1)
    edge = np.full((1, inverse.shape[1]), np.nan)
    above, below = np.concatenate([edge, between]), np.concatenate([between, edge])
    agree = above * below > 0
    return np.where(agree, np.where(np.abs(above) < np.abs(below), above, below), 0)
