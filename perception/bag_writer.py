# SPDX-License-Identifier: Apache-2.0
"""Write a rosbag2 (mcap) that ROS 2, RViz and Foxglove read; no ROS needed."""

from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from numpy.typing import NDArray
from rosbags.interfaces import (
    Connection,
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import StoragePlugin, Writer, WriterError

from perception import bag_encode as encode
from perception.bag_lens import Lens
from perception.errors import BagError
from perception.types import Camera, Costmap, Float

_FOREVER = QosTime(9223372036, 854775807)  # how rosbag2 writes an infinite duration


class BagWriter:
    """
    Bag folder being written: a context manager whose end always leaves a readable bag.

    ``stamp_ns`` [ns] is both header stamp and log time. What has no stamp (static transforms,
    strings) is logged at the time of the last stamped message, or of the first one to come.

    Raises
    ------
    BagError
        The folder exists and may not be replaced, or cannot be written.
    """

    def __init__(self, path: Path, *, overwrite: bool = False) -> None:
        """Create the folder; ``overwrite`` replaces an earlier mcap bag, nothing else."""
        self.path = Path(path)
        _make_room(self.path, overwrite)
        self._writer = Writer(self.path, version=9, storage_plugin=StoragePlugin.MCAP)
        self._connections: dict[str, Connection] = {}
        self._static: list[Any] = []
        self._static_written = 0
        self._unstamped: list[tuple[str, Any, bool]] = []
        self._now_ns: int | None = None
        try:
            self._writer.open()
        except (OSError, WriterError) as error:
            raise BagError(
                f'{self.path}: bag cannot be created ({error}); choose another folder'
            ) from None

    def __enter__(self) -> Self:
        """Give the writer itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close, after an error too: what was written until then is readable."""
        self.close()

    def close(self) -> None:
        """Write what waits, then the index and metadata.yaml; a second call does nothing."""
        if self._writer.storage is None:
            return
        self._flush(self._now_ns or 0)
        try:
            self._writer.close()
        except OSError as error:
            raise BagError(f'{self.path}: bag cannot be closed ({error}); free the disk') from None

    def image(
        self, topic: str, stamp_ns: int, frame_id: str, array: NDArray[Any], encoding: str
    ) -> None:
        """Raw sensor_msgs/Image; ``array`` (H, W[, C]) as ``encoding`` lays it out."""
        header = encode.header(stamp_ns, frame_id)
        self.write(topic, stamp_ns, encode.image_message(header, array, encoding))

    def compressed(
        self, topic: str, stamp_ns: int, frame_id: str, array: NDArray[Any],
        format: Literal['jpeg', 'png'] = 'jpeg', quality: int = 85,
    ) -> None:
        """sensor_msgs/CompressedImage; ``array`` BGR or grey uint8, or uint16 as PNG."""
        header = encode.header(stamp_ns, frame_id)
        message = encode.compressed_message(header, array, format, quality)
        self.write(topic, stamp_ns, message)

    def camera_info(
        self, topic: str, stamp_ns: int, camera: Camera, *,
        baseline_m: float = 0.0, lens: Lens | None = None,
    ) -> None:
        """sensor_msgs/CameraInfo; ``baseline_m`` > 0 marks the right camera of a pair."""
        message = encode.camera_info_message(stamp_ns, camera, baseline_m, lens)
        self.write(topic, stamp_ns, message)

    def odometry(
        self, topic: str, stamp_ns: int, odom_from_base: Float, frame: str = 'odom',
        child: str = 'base_link', twist: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        """nav_msgs/Odometry; ``twist`` = forward speed [m/s] and yaw rate [rad/s] of ``child``."""
        header = encode.header(stamp_ns, frame)
        message = encode.odometry_message(header, child, odom_from_base, twist)
        self.write(topic, stamp_ns, message)

    def transform(
        self, stamp_ns: int, parent: str, child: str, parent_from_child: Float
    ) -> None:
        """One moving transform, (4, 4), on /tf."""
        transform = encode.transform_stamped(stamp_ns, parent, child, parent_from_child)
        self.write('/tf', stamp_ns, encode.make('tf2_msgs/TFMessage', transforms=[transform]))

    def static_transform(self, parent: str, child: str, parent_from_child: Float) -> None:
        """One fixed transform, (4, 4), on /tf_static (latched; every message carries all)."""
        self._static.append(encode.transform_stamped(0, parent, child, parent_from_child))

    def string(self, topic: str, text: str, latched: bool = False) -> None:
        """std_msgs/String."""
        self._unstamped.append((topic, encode.make('std_msgs/String', data=text), latched))
        if self._now_ns is not None:
            self._flush(self._now_ns)

    def occupancy_grid(self, topic: str, costmap: Costmap, *, latched: bool = True) -> None:
        """nav_msgs/OccupancyGrid at the stamp of ``costmap``."""
        message = encode.occupancy_grid_message(costmap)
        self.write(topic, costmap.stamp_ns, message, latched=latched)

    def pose(self, topic: str, stamp_ns: int, frame_id: str, frame_from_pose: Float) -> None:
        """geometry_msgs/PoseStamped from a (4, 4) transform."""
        header = encode.header(stamp_ns, frame_id)
        pose = encode.pose(frame_from_pose)
        message = encode.make('geometry_msgs/PoseStamped', header=header, pose=pose)
        self.write(topic, stamp_ns, message)

    def points(
        self, topic: str, stamp_ns: int, frame_id: str, columns: dict[str, Float]
    ) -> None:
        """sensor_msgs/PointCloud2; ``columns`` name -> (N,), written as float32."""
        header = encode.header(stamp_ns, frame_id)
        self.write(topic, stamp_ns, encode.points_message(header, columns))

    def imu(
        self, topic: str, stamp_ns: int, frame_id: str, angular_velocity: Float,
        linear_acceleration: Float, rotation: Float | None = None,
    ) -> None:
        """sensor_msgs/Imu: (3,) [rad/s], (3,) [m/s^2], optional orientation (3, 3)."""
        header = encode.header(stamp_ns, frame_id)
        message = encode.imu_message(header, angular_velocity, linear_acceleration, rotation)
        self.write(topic, stamp_ns, message)

    def write(self, topic: str, stamp_ns: int, message: Any, *, latched: bool = False) -> None:
        """Any message of the type store, logged at ``stamp_ns``."""
        stamp_ns = int(stamp_ns)
        if self._now_ns is None or self._static_written < len(self._static):
            self._flush(stamp_ns)
        self._now_ns = stamp_ns
        self._log(topic, stamp_ns, message, latched)

    def _flush(self, stamp_ns: int) -> None:
        """Log static transforms and strings that waited for a time."""
        if self._static_written < len(self._static):
            self._static_written = len(self._static)
            message = encode.make('tf2_msgs/TFMessage', transforms=list(self._static))
            self._log('/tf_static', stamp_ns, message, latched=True)
        waiting, self._unstamped = self._unstamped, []
        for topic, message, latched in waiting:
            self._log(topic, stamp_ns, message, latched)

    def _log(self, topic: str, stamp_ns: int, message: Any, latched: bool) -> None:
        store, kind = encode.typestore(), message.__msgtype__
        connection = self._connections.get(topic)
        if connection is None:
            connection = self._writer.add_connection(
                topic, kind, typestore=store, offered_qos_profiles=[_qos(latched)]
            )
            self._connections[topic] = connection
        try:
            self._writer.write(connection, stamp_ns, store.serialize_cdr(message, kind))
        except OSError as error:
            raise BagError(f'{self.path}: cannot be written ({error}); free the disk') from None


def _qos(latched: bool) -> Qos:
    """Reliable; latched topics are kept for late subscribers."""
    return Qos(
        QosHistory.KEEP_LAST, 1 if latched else 10, QosReliability.RELIABLE,
        QosDurability.TRANSIENT_LOCAL if latched else QosDurability.VOLATILE,
        _FOREVER, _FOREVER, QosLiveliness.AUTOMATIC, _FOREVER,
        avoid_ros_namespace_conventions=False,
    )


def _make_room(path: Path, overwrite: bool) -> None:
    """Remove an empty folder or an earlier bag of ours, file by file; refuse anything else."""
    if not path.exists():
        return
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    names = [file.name for file in files]
    # a recording that was killed has its own mcap but no metadata.yaml: it may be replaced too
    known = 'metadata.yaml' in names or names == [f'{path.name}.mcap']
    is_bag = known and all(name == 'metadata.yaml' or name.endswith('.mcap') for name in names)
    if not path.is_dir() or (files and not is_bag):
        raise BagError(f'{path}: exists and is no mcap bag; choose another folder or remove it')
    if files and not overwrite:
        raise BagError(f'{path}: a bag is there already; choose another folder or remove it')
    for file in files:
        file.unlink()
    path.rmdir()


