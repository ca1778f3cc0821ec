# SPDX-License-Identifier: Apache-2.0
"""
The values that travel between the stages: frozen, with shapes, units and frames stated.

Frames: optical = x right, y down, z forward; base_link and odom = x forward, y left, z up.
Pixels: (u, v) = (column, row), a pixel centre is a whole number. Arrays are (height, width).
"""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.floating[Any]]
Image = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Index = NDArray[np.int32]
Cells = NDArray[np.int64]
Integral = NDArray[np.uint64]

CLASSES = ('super_ground', 'ground', 'footline', 'obstacle', 'super_obstacle')
SUPER_GROUND, GROUND, FOOTLINE, OBSTACLE, SUPER_OBSTACLE = range(5)
UNLABELED = 255

Engine = Literal['onnxruntime', 'openvino', 'tensorrt', 'tensorrt_rtx', 'onnxruntime_cuda',
                 'onnxruntime_tensorrt']
Precision = Literal['f32', 'bf16', 'f16', 'int8']
EngineChoice = Literal['auto', Engine]
PrecisionChoice = Literal['auto', Precision]


@dataclass(frozen=True)
class Camera:
    """Rectified pinhole camera: sizes and intrinsics in pixels."""

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    frame_id: str = ''

    @property
    def K(self) -> Float:
        """Camera matrix, (3, 3) float64."""
        return np.array([[self.fx, 0, self.cx], [0, self.fy, self.cy], [0, 0, 1.0]])


@dataclass(frozen=True)
class Frame:
    """
    Everything one instant brings in, matched by stamp and rectified.

    ``image`` is (H, W, 3) uint8 BGR, or (H, W) uint8 for a grey camera. Stereo has ``right``
    (H, W) uint8 and ``baseline_m``; RGB-D has ``depth`` (H, W) float32 [m], NaN = none, in the
    pixels of ``image``; a single camera has neither. Poses are (4, 4) float64 or None.
    ``bumped``: the bumper was pressed since the frame before.
    """

    stamp_ns: int
    image: Image
    camera: Camera
    right: Image | None = None
    baseline_m: float | None = None
    depth: Float | None = None
    odom_from_base: Float | None = None
    base_from_camera: Float | None = None
    bumped: bool = False


@dataclass(frozen=True)
class DepthGrid:
    """
    What stereo or a depth camera measured, on a grid ``step`` times coarser than the image.

    ``disparity`` (h, w) float32 in pixels of the *full* image, NaN = none; depth [m] =
    ``focal_baseline`` / disparity. Grid pixel j is image pixel ``step * j + (step - 1) / 2``.
    """

    disparity: Float
    camera: Camera
    focal_baseline: float
    step: int

    @cached_property
    def uv(self) -> tuple[Float, Float]:
        """Image columns (w,) and rows (h,) of the grid, float32."""
        h, w = self.disparity.shape
        half = (self.step - 1) / 2
        columns = np.arange(w, dtype=np.float32) * self.step + half
        rows = np.arange(h, dtype=np.float32) * self.step + half
        return columns, rows

    @cached_property
    def depth(self) -> Float:
        """Distance along the optical axis, (h, w) float32 [m], NaN = none."""
        return np.float32(self.focal_baseline) / self.disparity

    @cached_property
    def points_optical(self) -> Float:
        """Points in the optical frame, (h, w, 3) float32 [m], NaN = none."""
        u, v = self.uv
        z, c = self.depth, self.camera
        points = np.empty((*z.shape, 3), np.float32)
        np.multiply(z, ((u - c.cx) / c.fx).astype(np.float32), out=points[..., 0])
        np.multiply(z, ((v - c.cy) / c.fy).astype(np.float32)[:, None], out=points[..., 1])
        points[..., 2] = z
        return points


PlaneSource = Literal['hough', 'tracked', 'held', 'calibration']


@dataclass(frozen=True)
class GroundPlane:
    """
    Ground plane ``p0 row + p1 col + p2 disparity + p3 = 0``, scaled to p2 = -1.

    So disparity [px] = p0 row + p1 col + p3. ``focal_baseline`` [px m] turns disparity to depth.

    Source
        IROS08-DBN (plane in row, column, disparity); algorithms.md A1, A2.1.
    """

    p0: float
    p1: float
    p3: float
    camera: Camera
    focal_baseline: float

    p2: float = field(default=-1.0, init=False)

    def disparity(self, u: Float | float, v: Float | float) -> Any:
        """Disparity [px] of the plane at pixel (u, v); <= 0 at and above the horizon."""
        return self.p0 * v + self.p1 * u + self.p3

    def row(self, u: Float | float, disparity: Float | float = 0.0) -> Any:
        """Row of the footline with that disparity at column u; disparity 0 = the horizon."""
        return -(self.p1 * u + self.p2 * disparity + self.p3) / self.p0

    @property
    def roll_rad(self) -> float:
        """Slope of the horizon and of every footline, positive = it falls to the right."""
        return float(np.arctan(-self.p1 / self.p0))

    @cached_property
    def normal_offset(self) -> tuple[Float, float]:
        """Unit normal (3,), pointing up, and offset [m] in the optical frame: n.P + d = 0."""
        c = self.camera
        # 1/Z = disparity / fB is linear in the ray (x/z, y/z, 1): its coefficients are -n/d
        inverse_depth = np.array(
            [self.p1 * c.fx, self.p0 * c.fy, self.p0 * c.cy + self.p1 * c.cx + self.p3]
        ) / self.focal_baseline
        offset = 1.0 / np.linalg.norm(inverse_depth)
        return -inverse_depth * offset, float(offset)

    @property
    def height_m(self) -> float:
        """Distance of the optical centre from the plane [m]."""
        return self.normal_offset[1]

    @property
    def pitch_rad(self) -> float:
        """Tilt of the optical axis towards the plane, positive = looking down."""
        return float(np.arcsin(np.clip(-self.normal_offset[0][2], -1, 1)))

    @classmethod
    def from_normal(
        cls, normal: Float, offset: float, camera: Camera, focal_baseline: float
    ) -> 'GroundPlane':
        """Plane n.P + d = 0 (optical frame, n up, d > 0 [m]) as p0..p3."""
        n = -np.asarray(normal, float) / offset * focal_baseline
        p1, p0 = n[0] / camera.fx, n[1] / camera.fy
        return cls(float(p0), float(p1), float(n[2] - p0 * camera.cy - p1 * camera.cx),
                   camera, focal_baseline)


@dataclass(frozen=True)
class PlaneEstimate:
    """The plane in use for one frame, and where it came from."""

    plane: GroundPlane
    source: PlaneSource
    inlier_share: float = 0.0
    scale_height_m: float = 0.0  # smoothed camera height that the pyramid is scaled by [m]

    @property
    def fresh(self) -> bool:
        """True where the plane was fitted to this frame; labels are made only then."""
        return self.source in ('hough', 'tracked')


@dataclass(frozen=True)
class Evidence:
    """Points for the map: ``points_odom`` (N, 3) float [m], ``histogram`` (N, 5) float32 >= 0."""

    points_odom: Float
    histogram: Float


@dataclass(frozen=True)
class Observation:
    """
    What one frame says of the ground ahead, seen from its camera: ``traversability/points``.

    ``points_optical`` (N, 3) float32 [m]; ``histogram`` (N, 5) float32, rows sum to 1;
    ``weight`` (N,) float32 > 0, what a point counts in the map.
    """

    points_optical: Float
    histogram: Float
    weight: Float


@dataclass(frozen=True)
class Costmap:
    """
    A rolling grid in odom: ``data`` (H, W) int8, row 0 at the lowest y, column 0 at lowest x.

    Values: -1 unknown, 0 free, 1-98 graded, 100 lethal, never 99 (Nav2 reads it as inscribed).
    ``origin_m`` (x, y) is the outer corner of cell (0, 0), a multiple of the resolution.
    """

    data: NDArray[np.int8]
    resolution_m: float
    origin_m: tuple[float, float]
    stamp_ns: int
    frame_id: str = 'odom'
