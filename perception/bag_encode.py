# SPDX-License-Identifier: Apache-2.0
"""Arrays -> ROS 2 messages (the way out of this package), on the Kilted type store."""

from functools import cache
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from rosbags.typesys import Stores, get_typestore
from rosbags.typesys.store import Typestore

from perception.bag_lens import Lens
from perception.rotations import quaternion
from perception.types import Camera, Costmap, Float

ENCODINGS: dict[str, tuple[type[np.generic], int]] = {
    'mono8': (np.uint8, 1),
    '8UC1': (np.uint8, 1),
    'bgr8': (np.uint8, 3),
    'rgb8': (np.uint8, 3),
    'bgra8': (np.uint8, 4),
    'rgba8': (np.uint8, 4),
    'yuv422': (np.uint8, 2),
    'yuv422_yuy2': (np.uint8, 2),
    'mono16': (np.uint16, 1),
    '16UC1': (np.uint16, 1),
    '32FC1': (np.float32, 1),
}


@cache
def typestore() -> Typestore:
    """Message types of ROS 2 Kilted."""
    return get_typestore(Stores.ROS2_KILTED)


def make(kind: str, /, **fields: Any) -> Any:
    """Message of the type ``package/Name``."""
    return typestore().types[kind.replace('/', '/msg/')](**fields)


def header(stamp_ns: int, frame_id: str) -> Any:
    """std_msgs/Header."""
    return make('std_msgs/Header', stamp=stamp(stamp_ns), frame_id=frame_id)


def stamp(stamp_ns: int) -> Any:
    """builtin_interfaces/Time from nanoseconds."""
    sec, nanosec = divmod(int(stamp_ns), 1_000_000_000)
    return make('builtin_interfaces/Time', sec=sec, nanosec=nanosec)


def image_message(header: Any, array: NDArray[Any], encoding: str) -> Any:
    """
    Make a sensor_msgs/Image.

    Parameters
    ----------
    array : (H, W) or (H, W, C)
        Pixels as ``encoding`` lays them out; C = 2 for both yuv422.

    Raises
    ------
    ValueError
        Encoding unknown, or the array's dtype or channels do not fit it.
    """
    dtype, channels = ENCODINGS.get(encoding, (None, 0))
    found = array.shape[2] if array.ndim == 3 else 1
    if dtype is None or array.dtype != dtype or found != channels:
        raise ValueError(f'{array.dtype} array {array.shape} is no {encoding} image')
    pixels = np.ascontiguousarray(array, dtype=np.dtype(dtype).newbyteorder('<'))
    return make(
        'sensor_msgs/Image',
        header=header, height=array.shape[0], width=array.shape[1], encoding=encoding,
        is_bigendian=0, step=pixels.strides[0], data=pixels.reshape(-1).view(np.uint8),
    )


def compressed_message(
    header: Any, array: NDArray[Any], format: Literal['jpeg', 'png'], quality: int = 85
) -> Any:
    """sensor_msgs/CompressedImage of a BGR, grey or (PNG) 16-bit image."""
    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if format == 'jpeg' else []
    _, data = cv2.imencode('.jpg' if format == 'jpeg' else '.png', array, options)
    encoding = 'bgr8' if array.ndim == 3 else '16UC1' if array.itemsize == 2 else 'mono8'
    target = encoding if encoding == 'bgr8' else ''  # image_transport's own wording
    return make(
        'sensor_msgs/CompressedImage',
        header=header, format=f'{encoding}; {format} compressed {target}', data=data.reshape(-1),
    )


def camera_info_message(
    stamp_ns: int, camera: Camera, baseline_m: float = 0.0, lens: Lens | None = None
) -> Any:
    """sensor_msgs/CameraInfo; ``baseline_m`` > 0 for the right camera; no lens = rectified."""
    projection = np.zeros((3, 4))
    projection[:, :3] = camera.K
    projection[0, 3] = -camera.fx * baseline_m
    lens = lens or Lens(camera.K)
    roi = make(
        'sensor_msgs/RegionOfInterest',
        x_offset=0, y_offset=0, height=0, width=0, do_rectify=False,
    )
    return make(
        'sensor_msgs/CameraInfo',
        header=header(stamp_ns, camera.frame_id), height=camera.height, width=camera.width,
        distortion_model=lens.model, d=np.asarray(lens.D, float),
        k=np.asarray(lens.K, float).ravel(), r=np.asarray(lens.R, float).ravel(),
        p=projection.ravel(), binning_x=0, binning_y=0, roi=roi,
    )


def _vector(xyz: Float) -> Any:
    x, y, z = (float(v) for v in xyz)
    return make('geometry_msgs/Vector3', x=x, y=y, z=z)


def _quaternion(rotation: Float) -> Any:
    x, y, z, w = quaternion(rotation)
    return make('geometry_msgs/Quaternion', x=x, y=y, z=z, w=w)


def pose(a_from_b: Float) -> Any:
    """geometry_msgs/Pose of frame b in frame a."""
    x, y, z = (float(v) for v in a_from_b[:3, 3])
    point = make('geometry_msgs/Point', x=x, y=y, z=z)
    return make('geometry_msgs/Pose', position=point, orientation=_quaternion(a_from_b[:3, :3]))


def transform_stamped(stamp_ns: int, parent: str, child: str, parent_from_child: Float) -> Any:
    """geometry_msgs/TransformStamped."""
    transform = make(
        'geometry_msgs/Transform',
        translation=_vector(parent_from_child[:3, 3]),
        rotation=_quaternion(parent_from_child[:3, :3]),
    )
    return make(
        'geometry_msgs/TransformStamped',
        header=header(stamp_ns, parent), child_frame_id=child, transform=transform,
    )


def odometry_message(
    header: Any, child: str, odom_from_base: Float, twist: tuple[float, float]
) -> Any:
    """nav_msgs/Odometry; ``twist`` = forward speed [m/s], yaw rate [rad/s], in ``child``."""
    zero = np.zeros(36)
    velocity = make(
        'geometry_msgs/Twist',
        linear=_vector(np.array([twist[0], 0, 0])), angular=_vector(np.array([0, 0, twist[1]])),
    )
    return make(
        'nav_msgs/Odometry',
        header=header, child_frame_id=child,
        pose=make('geometry_msgs/PoseWithCovariance', pose=pose(odom_from_base), covariance=zero),
        twist=make('geometry_msgs/TwistWithCovariance', twist=velocity, covariance=zero),
    )


def occupancy_grid_message(costmap: Costmap) -> Any:
    """nav_msgs/OccupancyGrid, row-major from the lowest corner as in ``Costmap``."""
    height, width = costmap.data.shape
    x, y = (float(v) for v in costmap.origin_m)
    origin = make('geometry_msgs/Pose', position=make('geometry_msgs/Point', x=x, y=y, z=0.0),
                  orientation=make('geometry_msgs/Quaternion', x=0.0, y=0.0, z=0.0, w=1.0))
    info = make(
        'nav_msgs/MapMetaData',
        map_load_time=stamp(costmap.stamp_ns), resolution=costmap.resolution_m,
        width=width, height=height, origin=origin,
    )
    return make(
        'nav_msgs/OccupancyGrid',
        header=header(costmap.stamp_ns, costmap.frame_id), info=info,
        data=np.ascontiguousarray(costmap.data).ravel(),
    )


def points_message(header: Any, columns: dict[str, Float]) -> Any:
    """sensor_msgs/PointCloud2, one float32 field for each of ``columns`` (N,) or (N, k)."""
    parts = [np.asarray(c, '<f4') for c in columns.values()]
    parts = [part[None] if part.ndim == 1 else part.T for part in parts]
    rows = np.concatenate(parts)
    table = cv2.transpose(rows) if rows.size else rows.T
    starts = np.cumsum([0] + [len(part) for part in parts])
    fields = [
        make('sensor_msgs/PointField', name=name, offset=4 * int(start), datatype=7,  # FLOAT32
             count=len(part))
        for name, start, part in zip(columns, starts, parts)
    ]
    step = 4 * table.shape[1]
    return make(
        'sensor_msgs/PointCloud2',
        header=header, height=1, width=len(table), fields=fields, is_bigendian=False,
        point_step=step, row_step=step * len(table), is_dense=bool(np.isfinite(rows).all()),
        data=np.ascontiguousarray(table).reshape(-1).view(np.uint8),
    )


def imu_message(
    header: Any, angular_velocity: Float, linear_acceleration: Float,
    rotation: Float | None = None,
) -> Any:
    """sensor_msgs/Imu [rad/s, m/s^2]; without ``rotation`` (3, 3) the orientation is void."""
    covariance = np.zeros(9)
    void = np.array([-1.0, *[0.0] * 8])  # -1 first: "no orientation" in sensor_msgs/Imu
    return make(
        'sensor_msgs/Imu',
        header=header,
        orientation=_quaternion(np.eye(3) if rotation is None else rotation),
        orientation_covariance=void if rotation is None else covariance,
        angular_velocity=_vector(angular_velocity), angular_velocity_covariance=covariance,
        linear_acceleration=_vector(linear_acceleration),
        linear_acceleration_covariance=covariance,
    )
