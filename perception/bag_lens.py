# SPDX-License-Identifier: Apache-2.0
"""Lens and rectification of a raw camera, as sensor_msgs/CameraInfo describes them."""

from dataclasses import dataclass, field

import numpy as np

from perception.types import Float


@dataclass(frozen=True)
class Lens:
    """Raw camera: ``K`` (3, 3) [px], distortion ``D`` of ``model``, rotation ``R`` to rectified."""

    K: Float
    D: Float = field(default_factory=lambda: np.zeros(5))
    R: Float = field(default_factory=lambda: np.eye(3))
    model: str = 'plumb_bob'
