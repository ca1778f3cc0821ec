# SPDX-License-Identifier: Apache-2.0
"""``traversability/points``: an observation as a PointCloud2, and back without loss."""

from typing import Any

import cv2
import numpy as np

from perception.cloud_loops import likeliest
from perception.draw import CLASS_COLOURS
from perception.errors import MessageError
from perception.types import CLASSES, Float, Image, Observation

FLOAT32 = 7  # sensor_msgs/PointField
FIELDS = {'x': 1, 'y': 1, 'z': 1, 'histogram': len(CLASSES), 'weight': 1}


def cloud_columns(observation: Observation) -> dict[str, Float]:
    """
    Columns of the cloud: x, y, z [m], histogram (five), weight, and rgb for RViz.

    Convention
        ``rgb`` is the colour of the likeliest class, packed as PCL does: RViz shows it without
        any setting by hand.
    """
    x, y, z = observation.points_optical.T
    blue, green, red = CLASS_COLOURS.astype(np.uint32).T
    packed = (red << 16 | green << 8 | blue).view(np.float32)
    shares = np.ascontiguousarray(observation.histogram.T)
    return {'x': x, 'y': y, 'z': z, 'histogram': observation.histogram,
            'weight': observation.weight, 'rgb': likeliest(shares, packed)}


def observation_from_cloud(message: Any, topic: str = 'traversability/points') -> Observation:
    """
    Read an observation out of a sensor_msgs/PointCloud2.

    Points with NaN or infinite numbers, or with a negative share or weight, are left out.

    Raises
    ------
    MessageError
        A field is missing or of another type, or the data are shorter than the header says.
    """
    count, step = message.width * message.height, message.point_step
    offsets = _offsets(message, topic)
    padded = message.height > 1 and message.row_step != message.width * step
    if len(message.data) < count * step or padded or message.is_bigendian:
        raise MessageError(
            f'{topic}: {len(message.data)} bytes for {count} points of {step}, or padded rows, or '
            'big-endian; fix its publisher'
        )
    planes = _planes(np.frombuffer(message.data, np.uint8, count * step), step, offsets)
    if planes.size and not (np.isfinite(planes).all() and planes[3:].min() >= 0):
        good = np.isfinite(planes).all(0) & (planes[3:] >= 0).all(0)
        planes = np.ascontiguousarray(planes[:, good])
    return Observation(planes[:3].T, planes[3:-1].T, planes[-1])


def _planes(data: Image, step: int, offsets: dict[str, int]) -> Float:
    """Numbers of a cloud field by field: x, y, z, histogram, weight; (9, N) float32."""
    starts = [offsets[name] + 4 * k for name, count in FIELDS.items() for k in range(count)]
    if step % 4 == 0 and not any(start % 4 for start in starts):
        table = data.view('<f4').reshape(-1, step // 4)
        columns = cv2.transpose(table) if len(table) else table.T
        return np.asarray(columns[[start // 4 for start in starts]], np.float32)
    rows = data.reshape(-1, step)
    return np.stack([np.ascontiguousarray(rows[:, s:s + 4]).view('<f4')[:, 0] for s in starts])


def _offsets(message: Any, topic: str) -> dict[str, int]:
    """Byte offset of each field, all of them checked."""
    found = {field.name: field for field in message.fields}
    for name, count in FIELDS.items():
        field = found.get(name)
        if field is None or field.datatype != FLOAT32 or field.count != count or (
                field.offset + 4 * count > message.point_step):
            raise MessageError(
                f'{topic}: no field {name} of {count} float32 (it has: '
                f'{", ".join(found) or "none"}); connect the points of a traversability_node'
            )
    return {name: found[name].offset for name in FIELDS}
