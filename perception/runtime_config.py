# SPDX-License-Identifier: Apache-2.0
"""Settings of how the work is spread over processor cores."""

from typing import Any, Literal

from pydantic import Field, field_validator

from perception.section import Section

Pipelining = Literal['off', 'on', 'auto']


class RuntimeConfig(Section):
    """How the work is spread over processor cores; results do not depend on it."""

    pipelining: Pipelining = Field(
        'auto', description='Depth and plane of the next frame on a second thread, beside the '
        'rest of this one; auto = in a replay that has two cores; a node would answer more frames '
        'of a fast camera with it, but later'
    )

    @field_validator('pipelining', mode='before')
    @classmethod
    def _as_yaml_reads_it(cls, value: Any) -> Any:
        """To YAML, on and off without quotes are booleans."""
        return {True: 'on', False: 'off'}[value] if isinstance(value, bool) else value
