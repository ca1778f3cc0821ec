# SPDX-License-Identifier: Apache-2.0
"""YAML as parameter files and ``--set`` hold it, read the way ROS reads it."""

import re
from pathlib import Path
from typing import Any

import yaml

from perception.errors import ConfigError

# what PyYAML raises: its own errors, and those of dates and digits that make no value
UNREADABLE = (yaml.YAMLError, ValueError, RecursionError)


class _Loader(yaml.SafeLoader):
    """PyYAML's, with numbers as YAML 1.2 and ROS have them: 1e-3 and 1.0e3 are some too."""


_Loader.add_implicit_resolver(
    'tag:yaml.org,2002:float', re.compile(r'[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+$'),
    list('-+.0123456789'))


def read_value(text: str) -> Any:
    """
    What a YAML text says.

    Raises
    ------
    ConfigError
        It is no YAML.
    """
    try:
        return yaml.load(text, _Loader)
    except UNREADABLE as error:
        raise ConfigError(f'not valid YAML: {" ".join(str(error).split())}') from None


def read_parameters(path: Path) -> dict[str, Any]:
    """
    Parameters under ``/**: ros__parameters:`` of a YAML file.

    Raises
    ------
    ConfigError
        The file cannot be read, is no YAML, or is laid out in another way.
    """
    try:
        document = read_value(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f'{path}: cannot be read ({error}); give an existing file') from None
    except ConfigError as error:
        raise ConfigError(f'{path}: {error}') from None
    try:
        tree = document['/**']['ros__parameters']
    except (TypeError, KeyError):
        raise ConfigError(
            f"{path}: expected the ROS layout '/**: ros__parameters: ...' at the top"
        ) from None
    if not isinstance(tree, dict):
        raise ConfigError(f'{path}: ros__parameters must hold sections such as stereo: ...')
    return {key: value for key, value in tree.items() if key != 'qos_overrides'}  # ROS's own
