# SPDX-License-Identifier: Apache-2.0
"""
One schema for YAML files, ``--set`` and ROS parameters: unit, range and meaning of each field.

A YAML file is ROS's own layout, ``/**: ros__parameters: {section: {key: value}}``, and says only
what differs from the defaults here. Unknown keys and wrong types are errors that name themselves.
"""

import hashlib
import json
import math
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from perception.errors import ConfigError
from perception.learning_config import NearToFarConfig
from perception.parameter_file import read_parameters, read_value
from perception.runtime_config import RuntimeConfig
from perception.scene_config import SceneConfig
from perception.section import Section
from perception.types import EngineChoice, PrecisionChoice


class InputConfig(Section):
    """Which topics to read; empty names are found by type."""

    image_topic: str = Field('', description='Image topic of the left or only camera')
    right_image_topic: str = Field('', description='Image topic of the right camera')
    depth_topic: str = Field('', description='Depth image topic (16UC1 mm or 32FC1 m)')
    lidar_topic: str = Field(
        '', description='sensor_msgs/PointCloud2 topic, in place of stereo and depth; empty = none'
    )
    bumper_topic: str = Field('', description='std_msgs/Bool topic; empty = none')
    odometry_topic: str = Field('', description='nav_msgs/Odometry topic')
    odom_frame: str = Field('odom', description='Fixed frame of poses and of the cost map')
    base_frame: str = Field('', description='Robot frame; empty = child frame of the odometry')
    sync_tolerance_s: float = Field(
        0.02, ge=0.0, le=1.0, description='Largest stamp difference within one frame [s]'
    )
    lidar_tolerance_s: float = Field(
        0.06, ge=0.0, le=1.0, description='Largest stamp difference of image and lidar [s]'
    )
    pose_tolerance_s: float = Field(
        0.2, ge=0.0, le=5.0, description='Largest distance of an image stamp from a pose [s]'
    )
    points_topics: str = Field(
        '', description='Nodes only: traversability/points topics to fuse, separated by commas'
    )
    stale_after_s: float = Field(
        2.0, ge=0.1, le=60.0, description='Nodes only: silence that makes the map unknown [s]'
    )


class StereoConfig(Section):
    """Stereo matching (semi-global, along three paths)."""

    scale: int = Field(2, ge=1, le=4, description='Matching runs at 1/scale of the image size')
    disparities_px: int = Field(
        96, ge=16, le=512, description='Disparity search range in full-image pixels'
    )
    block_px: int = Field(5, ge=1, le=15, description='Block size at matching resolution, odd')
    uniqueness_percent: int = Field(10, ge=0, le=50, description='Margin of the best match [%]')
    left_right_px: int = Field(1, ge=-1, le=8, description='Left-right check; -1 = off')
    speckle_px: int = Field(50, ge=0, le=1000, description='Largest speckle removed [pixels]')
    refine_px: int = Field(
        13, ge=0, le=31, description='Window of the sub-pixel refinement, odd; 0 = off'
    )
    prefilter_cap: int = Field(
        31, ge=1, le=63, description='Pre-filter cap: clips the gradient before matching'
    )


class PlaneConfig(Section):
    """Ground plane: Hough, PCA refit, acceptance, tracking (algorithms.md A1)."""

    max_range_m: float = Field(12.0, ge=2.0, le=60.0, description='Points used up to here [m]')
    max_pitch_rad: float = Field(0.35, ge=0.02, le=1.0, description='Hough: largest pitch [rad]')
    max_roll_rad: float = Field(0.21, ge=0.02, le=0.8, description='Hough: largest roll [rad]')
    min_height_m: float = Field(0.2, ge=0.02, le=5.0, description='Hough: lowest camera [m]')
    max_height_m: float = Field(3.0, ge=0.1, le=10.0, description='Hough: highest camera [m]')
    first_inlier_px: float = Field(1.0, gt=0.0, le=8.0, description='Disparity band, first fit')
    inlier_px: float = Field(0.5, gt=0.0, le=8.0, description='Disparity band of the refits')
    roughness_m: float = Field(
        0.03, ge=0.0, le=0.5, description='Unevenness of good ground; widens the bands nearby [m]'
    )
    min_inlier_share: float = Field(
        0.15, ge=0.01, le=1.0, description='Accept: share of valid points on the plane'
    )
    min_inliers_per_mpx: float = Field(
        10000.0, ge=0.0, description='Accept: inliers for each million full-image pixels'
    )
    max_flatness: float = Field(
        0.02, gt=0.0, le=1.0, description='Accept: smallest / middle eigenvalue of the inliers'
    )
    max_planes: int = Field(4, ge=1, le=4, description='Planes offered to the supervisor')
    hold_s: float = Field(1.0, ge=0.0, le=10.0, description='Keep a lost plane this long [s]')
    smoothing: float = Field(
        0.3, gt=0.0, le=1.0, description='Weight of a new camera height in the pyramid scale'
    )
    rebuild_change: float = Field(
        0.05, ge=0.0, le=0.5, description='Relative change of height that rebuilds the pyramid'
    )


class MountConfig(Section):
    """Where the camera sits, when no transform says it."""

    source: Literal['auto', 'tf', 'calibration', 'plane'] = Field(
        'auto', description='Where it is from; auto = transforms, else file, else ground plane'
    )
    calibration: str = Field(
        '', description='Robot file with transforms: a path, or a stem in calibration/'
    )
    yaw_rad: float = Field(0.0, ge=-3.2, le=3.2, description='Heading in the robot frame [rad]')
    x_m: float = Field(0.0, ge=-10.0, le=10.0, description='Forward of the robot frame [m]')
    y_m: float = Field(0.0, ge=-10.0, le=10.0, description='Left of the robot frame [m]')
    height_m: float = Field(
        0.0, ge=0.0, le=10.0, description='Camera height without stereo or tf; 0 = unknown [m]'
    )
    pitch_rad: float = Field(0.0, ge=-1.5, le=1.5, description='Looking down, positive [rad]')
    roll_rad: float = Field(0.0, ge=-1.5, le=1.5, description='Right side down, positive [rad]')

    @model_validator(mode='after')
    def _file_is_named(self) -> 'MountConfig':
        if self.source == 'calibration' and not self.calibration:
            raise ValueError('source = calibration needs mount.calibration, the robot file')
        return self


class PyramidConfig(Section):
    """Distance-normalised pyramid (algorithms.md A2.2)."""

    preset: Literal['bands7', 'bands24'] = Field('bands7', description='Seven bands, or dense 24')


class ContrastConfig(Section):
    """Local contrast normalisation of Y (algorithms.md A3)."""

    mode: Literal['network', 'divisive_mean_16', 'lcn'] = Field(
        'network', description='network = what the network manifest names'
    )


class NetworkConfig(Section):
    """The exported network and what runs it."""

    name: str = Field('default', description='Stem in perception/weights, or a path to .onnx')
    engine: EngineChoice = Field(
        'auto', description='What runs the network; auto = the fastest that works here'
    )
    precision: PrecisionChoice = Field(
        'auto', description='What it computes in; auto = what the file is made for, f32 for those '
        'shipped; int8 and f16 take NAME_int8.onnx and NAME_f16.onnx beside it, bf16 OpenVINO'
    )
    threads: int = Field(1, ge=1, le=64, description='Threads of the engine')


class SupervisorConfig(Section):
    """Window labels from stereo or depth (algorithms.md A5)."""

    max_range_m: float = Field(12.0, ge=2.0, le=60.0, description='Labels up to here [m]')
    obstacle_m: float = Field(0.25, gt=0.0, le=2.0, description='Height that makes an obstacle')
    max_obstacle_m: float = Field(2.0, gt=0.1, le=10.0, description='Points above are ignored')
    cell_m: float = Field(0.5, gt=0.05, le=5.0, description='Local-ground grid cell [m]')
    ground_percentile: float = Field(15.0, ge=0.0, le=50.0, description='Height taken as ground')
    max_slope: float = Field(
        0.1, ge=0.0, le=1.0, description='How fast the ground may leave the plane [m/m]'
    )
    min_points: int = Field(4, ge=1, le=1000, description='Points that make a cell')
    min_valid: float = Field(0.6, ge=0.0, le=1.0, description='Share of a window with a point')
    min_purity: float = Field(0.95, ge=0.5, le=1.0, description='Share that makes a label pure')
    min_feet: int = Field(5, ge=1, le=1000, description='Feet points that make a footline')
    soft_target: float = Field(0.9, gt=0.5, le=1.0, description='Probability of the label itself')


class MapConfig(Section):
    """Hyperbolic-polar map (algorithms.md A7); defaults are the January 2008 constants."""

    cell_m: float = Field(0.2, gt=0.01, le=2.0, description='Constant radial cell [m]')
    constant_cells: int = Field(75, ge=5, le=1000, description='Constant cells, R_dim')
    hyperbolic_cells: int = Field(75, ge=5, le=1000, description='Hyperbolic cells, hR_dim')
    angular_cells: int = Field(400, ge=16, le=4000, description='Cells around, T_dim')
    camera_height_m: float = Field(1.0, gt=0.1, le=10.0, description='Pseudo camera height [m]')
    image_height_m: float = Field(0.97, gt=0.01, le=10.0, description='hR_min [m]')
    max_radius_m: float = Field(200.0, ge=5.0, le=350.0, description='Points beyond are dropped')
    decay: float = Field(0.98, gt=0.0, le=1.0, description='Map weight kept at each frame')
    distance_decay_m: float = Field(
        12.0, gt=0.0, le=200.0, description='Weight of a window = min(1, this / distance)'
    )
    point_weight: float = Field(
        0.2, gt=0.0, le=100.0, description='Weight of one stereo or depth point'
    )
    window_weight: float = Field(
        2.0, ge=0.0, le=100.0, description='Weight of one bin (bearing, distance) of windows'
    )

    @model_validator(mode='after')
    def _rings_grow(self) -> 'MapConfig':
        if self.image_height_m >= self.camera_height_m:
            raise ValueError('image_height_m must be below camera_height_m')
        rows = self.camera_height_m * self.hyperbolic_cells / self.image_height_m
        if not rows - 3 <= self.constant_cells <= rows - 1:
            low, high = math.ceil(rows - 3), math.floor(rows - 1)
            raise ValueError(f'constant_cells must be {low} to {high} to meet the hyperbolic ones')
        return self


class CostConfig(Section):
    """Histogram to cost, and the grid for planners (algorithms.md A7)."""

    class_weights: list[Annotated[float, Field(ge=-1e3, le=1e3)]] = Field(
        [-1.0, -0.5, 1.0, 0.7, 1.0], min_length=5, max_length=5,
        description='w_k: super-ground, ground, footline, obstacle, super-obstacle'
    )
    gain: float = Field(1.2, gt=0.0, le=10.0, description='gamma')
    doubt: float = Field(1.0, ge=0.0, le=100.0, description='c, pulls weak evidence to unknown')
    min_evidence: float = Field(0.2, ge=0.0, le=100.0, description='Below: cell is unknown')
    resolution_m: float = Field(0.2, ge=0.02, le=2.0, description='Cell of the grid [m]')
    width_m: float = Field(60.0, ge=2.0, le=400.0, description='Side of the square grid [m]')

    @model_validator(mode='after')
    def _has_cells(self) -> 'CostConfig':
        if self.width_m < 2 * self.resolution_m:
            raise ValueError('width_m must be two cells of resolution_m or more')
        return self


class Config(Section):
    """All stages; ``autostart`` and ``use_sim_time`` matter to nodes only."""

    input: InputConfig = InputConfig()
    stereo: StereoConfig = StereoConfig()
    plane: PlaneConfig = PlaneConfig()
    mount: MountConfig = MountConfig()
    pyramid: PyramidConfig = PyramidConfig()
    contrast: ContrastConfig = ContrastConfig()
    network: NetworkConfig = NetworkConfig()
    supervisor: SupervisorConfig = SupervisorConfig()
    near_to_far: NearToFarConfig = NearToFarConfig()
    scene: SceneConfig = SceneConfig()
    map: MapConfig = MapConfig()
    cost: CostConfig = CostConfig()
    runtime: RuntimeConfig = RuntimeConfig()
    autostart: bool = Field(True, description='Nodes only: configure and activate at start')
    use_sim_time: bool = Field(False, description='Nodes only: follow /clock')


def load_config(path: Path | None = None, overrides: list[str] | None = None) -> Config:
    """
    Defaults, then the YAML file, then ``section.key=value`` overrides.

    Raises
    ------
    ConfigError
        Missing or malformed file, unknown key, wrong type, value out of range; the text names
        the key and what is allowed.
    """
    tree = read_parameters(path) if path else {}
    for override in overrides or []:
        _apply_override(tree, override)
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(_explain(error, str(path) if path else '--set')) from None


def with_values(config: Config, values: dict[str, Any]) -> Config:
    """
    Config with some values replaced, by names such as ``cost.gain``.

    Raises
    ------
    ConfigError
        Unknown name, wrong type, value out of range.
    """
    tree = config.model_dump()
    for name, value in values.items():
        section, dot, key = name.partition('.')
        branch = tree.setdefault(section, {}) if dot else tree
        if not isinstance(branch, dict):
            raise ConfigError(f'parameter: {name}: {section} has no keys of its own')
        branch[key or section] = value
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(_explain(error, 'parameter')) from None


def config_hash(config: Config) -> str:
    """Short fingerprint of every value, for metrics and reports."""
    text = json.dumps(config.model_dump(), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _apply_override(tree: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition('=')
    section, dot, name = key.strip().partition('.')
    if not (equals and dot):
        raise ConfigError(f'--set {override!r}: write section.key=value')
    try:
        value = read_value(text)
    except ConfigError as error:
        raise ConfigError(f'--set {override!r}: the value is {error}') from None
    stage = getattr(Config.model_fields.get(section), 'annotation', Section)
    fields = getattr(stage, 'model_fields', {})
    is_float = name in fields and fields[name].annotation is float
    if is_float and type(value) is int and value.bit_length() < 1024:
        value = float(value)  # on the command line 12 means 12.0; more digits are no float
    branch = tree.setdefault(section, {})
    if not isinstance(branch, dict):
        raise ConfigError(f'--set {override!r}: {section} has no keys of its own')
    branch[name] = value


def _explain(error: ValidationError, source: str) -> str:
    first = error.errors()[0]
    key = '.'.join(str(part) for part in first['loc'])
    if first['type'] == 'extra_forbidden':
        section = Config.model_fields.get(str(first['loc'][0]))
        fields = getattr(section.annotation, 'model_fields', None) if section else None
        known = ', '.join(fields or Config.model_fields)
        return f'{source}: unknown key {key!r}; known here: {known}'
    return f"{source}: {key} = {first['input']!r}: {first['msg']}"
