# SPDX-License-Identifier: Apache-2.0
"""The base of all settings."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A stage's settings: frozen, closed, finite and strict (``100`` is no float, as in ROS)."""

    model_config = ConfigDict(frozen=True, extra='forbid', strict=True, allow_inf_nan=False)
