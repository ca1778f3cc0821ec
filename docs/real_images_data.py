# SPDX-License-Identifier: Apache-2.0
"""The folders of recorded images that docs/real_images.py runs, and what is assumed of each."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from perception.types import Camera, Float, Image

START_NS = 1_700_000_000_000_000_000
SID_FOCAL, SID_BASELINE_M = 0.55, 0.12  # share of the width; ZED
WVN_FOCAL, WVN_HEIGHT_M = 0.5, 0.6  # 90 degrees across; a dog-sized robot
FOREST_HEIGHT_M = 1.0
HUSKY_CAMERA = (1067.0, 1067.0, 943.0, 521.0)  # fx, fy, cx, cy at 1920 x 1080
HUSKY_MOUNT = ('mount.source=plane', 'mount.x_m=0.084', 'mount.y_m=0.06')
HUSKY_DEPTH_M = (0.7, 6.3)  # metres = 0.7 + value / 255 * 6.3
ORFD_DEPTH = 256.0  # value / 256 = metres
# camera: x right, y down, z forward; base: x forward, y left, z up
BASE_FROM_OPTICAL = np.array([[0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1.0]])


@dataclass(frozen=True)
class Shot:
    """One instant; depth in millimetres, 0 = none."""

    stamp_ns: int
    image: Image
    right: Image | None = None
    depth_mm: np.ndarray | None = None
    odom_from_base: Float | None = None


@dataclass(frozen=True)
class Drive:
    """
    Shots of one camera in one place.

    ``region`` is its key in real_images_regions.yaml and names its picture. Instead of polygons,
    KITTI has the way the car took: ``path_xz`` (M, 2) in the frame of the first camera, and
    ``first_from_camera`` (4, 4) for each shot.
    """

    name: str
    region: str
    camera: Camera
    shots: Callable[[], Iterator[Shot]]
    baseline_m: float = 0.0
    overrides: tuple[str, ...] = ()
    picture: bool = True
    cost_grid: Float | None = None
    path_xz: Float | None = None
    first_from_camera: tuple[Float, ...] = ()


def drives(root: Path, horizons: dict[str, float]) -> Iterator[Drive]:
    """All drives, one after the other; ``horizons`` by region for the single cameras."""
    for image in sorted((root / 'husky_zed').glob('*_rgb.jpg')):
        yield husky(image)
    for image in sorted((root / 'orfd_y0613_1242/image_data').glob('*.jpg')):
        yield orfd(image)
    yield sid(root / 'stereo/sid_Campus_CCW_Clear_Day_002')
    for region, horizon in horizons.items():
        yield wvn(next((root / 'wvn_demo').glob(region.split('/')[1] + '.*')), region, horizon)
    yield kitti(root / 'stereo/kitti_odom06_0-50', 'KITTI odometry 06, frames 0-50')
    yield kitti(root / 'stereo/kitti_odom00_0-10', 'KITTI odometry 00, frames 0-10')


def husky(path: Path) -> Drive:
    """Husky and ZED: colour and 8-bit depth."""
    name = path.name.split('_')[0]
    grid = path.with_name(f'{name}_costmap.npy')

    def shots() -> Iterator[Shot]:
        coded = read(path.with_name(f'{name}_depth.png'), cv2.IMREAD_UNCHANGED).astype(float)
        nearest, span = HUSKY_DEPTH_M
        depth_mm = np.where(coded > 0, 1000 * (nearest + span * coded / 255), 0)
        yield Shot(START_NS, read(path), depth_mm=depth_mm.astype(np.uint16))

    return Drive(f'husky_zed {name}', f'husky_zed/{name}', Camera(1920, 1080, *HUSKY_CAMERA),
                 shots, overrides=HUSKY_MOUNT, picture=name in ('01', '02', '10', 'obst3'),
                 cost_grid=np.load(grid) if grid.exists() else None)


def orfd(path: Path) -> Drive:
    """ORFD: colour and dense depth (made from lidar by the data set)."""
    calibration = (path.parents[1] / 'calib' / f'{path.stem}.txt').read_text().splitlines()
    fx, _, cx, _, fy, cy = (float(v) for v in calibration[0].split()[1:7])

    def shots() -> Iterator[Shot]:
        coded = read(path.parents[1] / 'dense_depth' / f'{path.stem}.png', cv2.IMREAD_UNCHANGED)
        metres = np.minimum(coded / ORFD_DEPTH, 65.0)
        yield Shot(START_NS, read(path), depth_mm=(1000 * metres).astype(np.uint16))

    return Drive(f'ORFD {path.stem}', f'orfd/{path.stem}',
                 Camera(1280, 720, fx, fy, cx, cy), shots, picture=path.stem.endswith('1895'))


def sid(folder: Path) -> Drive:
    """SID: a rectified stereo pair without calibration."""
    def shots() -> Iterator[Shot]:
        yield Shot(START_NS, read(folder / 'left.png'), right=read(folder / 'right.png'))

    focal = SID_FOCAL * 1280
    return Drive('SID Campus Clear Day', 'sid/Campus_CCW_Clear_Day_002',
                 Camera(1280, 720, focal, focal, 639.5, 359.5), shots, SID_BASELINE_M)


def wvn(path: Path, region: str, horizon: float) -> Drive:
    """One camera without calibration: focal length and height assumed, pitch from the horizon."""
    height, width = read(path).shape[:2]
    focal = WVN_FOCAL * width
    camera = Camera(width, height, focal, focal, (width - 1) / 2, (height - 1) / 2)
    pitch = float(np.arctan((camera.cy - horizon * height) / focal))
    above = FOREST_HEIGHT_M if 'forest' in region else WVN_HEIGHT_M

    def shots() -> Iterator[Shot]:
        yield Shot(START_NS, read(path))

    # no picture of passers-by
    return Drive(f'wvn {path.stem}', region, camera, shots, picture='strasse' not in region,
                 overrides=(f'mount.height_m={above}', f'mount.pitch_rad={pitch:.4f}'))


def kitti(folder: Path, name: str) -> Drive:
    """KITTI odometry: grey stereo; poses where the folder has them, else straight ahead."""
    rows = [line.split(':')[-1].split() for line in
            (folder / 'calib.txt').read_text().splitlines() if line.strip()]
    left, right = (np.array(row, float).reshape(3, 4) for row in rows[:2])
    images = sorted((folder / 'image_left').glob('*.png'))
    height, width = read(images[0], cv2.IMREAD_GRAYSCALE).shape
    camera = Camera(width, height, left[0, 0], left[1, 1], left[0, 2], left[1, 2])
    known = folder / 'poses.txt'
    poses = read_poses(known) if known.exists() else [np.eye(4)] * len(images)
    path = np.array([pose[[0, 2], 3] for pose in poses])
    if not known.exists():
        path = np.array([[0.0, z] for z in np.arange(0, 31, 0.5)])

    def shots() -> Iterator[Shot]:
        for number, image in enumerate(images):
            pose = BASE_FROM_OPTICAL @ poses[number] @ np.linalg.inv(BASE_FROM_OPTICAL)
            yield Shot(START_NS + number * 103_600_000, read(image, cv2.IMREAD_GRAYSCALE),
                       right=read(folder / 'image_right' / image.name, cv2.IMREAD_GRAYSCALE),
                       odom_from_base=pose if known.exists() else None)

    return Drive(name, '', camera, shots, -right[0, 3] / right[0, 0], picture=False,
                 path_xz=path, first_from_camera=tuple(poses))


def read_poses(path: Path) -> list[Float]:
    """Camera poses in the frame of the first, (4, 4) each."""
    return [np.vstack([row.reshape(3, 4), [0, 0, 0, 1]]) for row in np.loadtxt(path)]


def read(path: Path, how: int = cv2.IMREAD_COLOR) -> Image:
    """Image file that must be there."""
    image: Image | None = cv2.imread(str(path), how)
    if image is None:
        raise FileNotFoundError(f'{path}: not an image; is PERCEPTION_DATA complete?')
    return image
