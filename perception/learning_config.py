# SPDX-License-Identifier: Apache-2.0
"""Settings of near-to-far learning."""

from pydantic import Field

from perception.section import Section


class NearToFarConfig(Section):
    """The last layer learns while the robot drives (algorithms.md A5.1, A6)."""

    enabled: bool = Field(True, description='Learn on line; false = default weights for ever')
    frozen: bool = Field(False, description='Use what was learned, learn no more')
    propagation: bool = Field(
        True, description='Train on labels that far views get once the robot is near'
    )
    do_no_harm: bool = Field(
        True, description='Default weights serve where others have not proved better'
    )
    state: str = Field('', description='File of a saved state to begin with; empty = afresh')
    teach_stereo: bool = Field(True, description='Teacher: stereo, depth camera or lidar')
    teach_driven: bool = Field(True, description='Teacher: ground that was driven over')
    teach_bumper: bool = Field(True, description='Teacher: input.bumper_topic')
    stereo_confidence: float = Field(
        0.9, gt=0.5, le=1.0, description='Probability of labels from depth given in hindsight'
    )
    driven_confidence: float = Field(
        0.95, gt=0.5, le=1.0, description='Probability of ground that was driven over'
    )
    bumper_confidence: float = Field(
        0.95, gt=0.5, le=1.0, description='Probability of an obstacle that was bumped into'
    )
    robot_width_m: float = Field(0.6, gt=0.05, le=5.0, description='Width of the track [m]')
    robot_length_m: float = Field(
        0.8, gt=0.05, le=10.0, description='Robot, half of it ahead of the robot frame [m]'
    )
    samples: int = Field(8000, ge=32, le=100000, description='Ring buffer of each family')
    batch: int = Field(512, ge=64, le=20000, description='Samples trained on in a frame')
    rate: float = Field(0.02, gt=0.0, le=1.0, description='Step length near the robot')
    far_rate: float = Field(0.005, gt=0.0, le=1.0, description='Step length of the far weights')
    pull: float = Field(0.3, ge=0.0, le=10.0, description='Pull to the default weights')
    margin: float = Field(
        0.03, ge=0.0, le=0.5, description='Gain in balanced error that makes weights serve'
    )
    min_events: float = Field(
        3.0, ge=1.0, le=30.0, description='Frames with labels of each family before judging'
    )
    views: int = Field(40, ge=1, le=500, description='Frames kept with their features')
    jump_m: float = Field(
        5.0, gt=0.0, le=1000.0, description='A longer step between frames: the pose jumped [m]'
    )
