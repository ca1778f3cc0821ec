# SPDX-License-Identifier: Apache-2.0
"""Mounts of cameras from a robot's calibration file, where no transform says them."""

from functools import lru_cache
from pathlib import Path
from typing import Annotated

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from scipy.spatial.transform import Rotation

from perception.bag_poses import StaticTree
from perception.errors import CalibrationError
from perception.share import share_folder
from perception.types import Float

Triple = Annotated[list[float], Field(min_length=3, max_length=3)]


class Transform(BaseModel):
    """
    Child frame in its parent: ``xyz_m``, and either ``rpy_rad`` or ``quaternion_xyzw``.

    ``rpy_rad`` is URDF's: roll about x, then pitch about y, then yaw about the fixed axes.
    """

    model_config = ConfigDict(frozen=True, extra='forbid', allow_inf_nan=False)

    parent: str = Field(min_length=1)
    child: str = Field(min_length=1)
    xyz_m: Triple
    rpy_rad: Triple | None = None
    quaternion_xyzw: Annotated[list[float], Field(min_length=4, max_length=4)] | None = None

    @model_validator(mode='after')
    def _one_rotation(self) -> 'Transform':
        if (self.rpy_rad is None) == (self.quaternion_xyzw is None):
            raise ValueError('give either rpy_rad or quaternion_xyzw')
        if self.quaternion_xyzw and abs(np.linalg.norm(self.quaternion_xyzw) - 1) > 0.01:
            raise ValueError('quaternion_xyzw must have length 1')
        return self

    @property
    def parent_from_child(self) -> Float:
        """(4, 4) float64."""
        matrix = np.eye(4)
        rotation = (Rotation.from_quat(self.quaternion_xyzw) if self.quaternion_xyzw
                    else Rotation.from_euler('xyz', self.rpy_rad or [0, 0, 0]))
        matrix[:3, :3] = rotation.as_matrix()
        matrix[:3, 3] = self.xyz_m
        return matrix


class RobotFile(BaseModel):
    """Contents of ``calibration/<robot>.yaml``."""

    model_config = ConfigDict(frozen=True, extra='forbid')

    transforms: list[Transform] = Field(min_length=1)

    @model_validator(mode='after')
    def _one_parent(self) -> 'RobotFile':
        children = [transform.child for transform in self.transforms]
        for child in children:
            if children.count(child) > 1:
                raise ValueError(f'{child} is the child of two transforms; give it once')
        return self


def mount_file(name: str) -> Path:
    """Path of a robot's file: as given, or the stem of one in the package's ``calibration/``."""
    given = Path(name).expanduser()
    if given.suffix in ('.yaml', '.yml'):
        return given
    return share_folder() / 'calibration' / f'{name}.yaml'


def load_mounts(name: str) -> StaticTree:
    """
    Fixed transforms of a robot's calibration file, as it is on disk now.

    Raises
    ------
    CalibrationError
        The file is missing, is no YAML, or a transform is incomplete; names file, key and remedy.
    """
    path = mount_file(name)
    try:
        return _tree(path, path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise CalibrationError(
            f'mount.calibration: {path} cannot be read ({error}); give the path of a robot file, '
            'see calibration/README.md'
        ) from None


@lru_cache(maxsize=8)
def _tree(path: Path, text: str) -> StaticTree:
    """Transforms of a file's text, which is parsed once: look-ups come with every frame."""
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        fault = ' '.join(str(error).split())
        raise CalibrationError(f'mount.calibration: {path} is no valid YAML: {fault}') from None
    try:
        robot = RobotFile.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        key = '.'.join(str(part) for part in first['loc']) or 'file'
        raise CalibrationError(
            f'mount.calibration: {path}: {key}: {first["msg"]}; see calibration/README.md'
        ) from None
    return StaticTree({t.child: (t.parent, t.parent_from_child) for t in robot.transforms})


def is_optical(base_from_camera: Float) -> bool:
    """False where z of the camera is vertical: x forward was meant, so it is no optical frame."""
    return bool(abs(base_from_camera[2, 2]) <= 0.9)


def calibrated_mount(name: str, base: str, camera_frame: str) -> Float:
    """
    ``base_from_camera`` (4, 4) out of a robot's calibration file.

    Raises
    ------
    CalibrationError
        As ``load_mounts``; also where the file does not join the two frames, or the camera's is
        no optical frame.
    """
    tree = load_mounts(name)
    mount = tree.lookup(base, camera_frame)
    if mount is None or base == camera_frame:
        frames = sorted(set(tree.links) | {parent for parent, _ in tree.links.values()})
        raise CalibrationError(
            f'mount.calibration: {mount_file(name)} does not join {base or "a base frame"} and '
            f'{camera_frame or "a camera without frame_id"} (it has: {", ".join(frames)}); '
            'add the transform'
        )
    if not is_optical(mount):
        raise CalibrationError(
            f'mount.calibration: {mount_file(name)}: {camera_frame} is no optical frame, its z '
            'axis is vertical; z must look forward, x to the right'
        )
    return mount
