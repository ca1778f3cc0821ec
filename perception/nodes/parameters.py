# SPDX-License-Identifier: Apache-2.0
"""The config schema as ROS parameters: description, range and read-only flag of each."""

import sys
from collections.abc import Callable
from typing import Any, get_args

from pydantic.fields import FieldInfo
from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.node import Node
from rclpy.parameter import Parameter

from perception.config import Config, with_values
from perception.errors import ConfigError
from perception.section import Section

READ_ONLY = ('input', 'mount', 'network', 'scene', 'autostart')
"""Sections read when a node is made: topics, frames, the networks. Everything else may change."""

ROS_OWN = ('use_sim_time', 'start_type_description_service')
_INT64 = 2**63 - 1


def declare_config(node: Node, sections: tuple[str, ...]) -> tuple[Config, str]:
    """
    Declare the parameters of some sections and read them all.

    The node must have been made with ``automatically_declare_parameters_from_overrides``.

    Parameters
    ----------
    sections : tuple of str
        Sections of the schema that this node uses; ``autostart`` comes with them.

    Returns
    -------
    Config
        As given, or the defaults where what was given is wrong.
    str
        What is wrong, or nothing: the node refuses to configure then.
    """
    given = _take_overrides(node)
    fault = ''
    try:
        config = with_values(Config(), given)
    except ConfigError as error:
        config, fault = Config(), str(error)
    for name in sections:
        section = getattr(config, name)
        for key, field in type(section).model_fields.items():
            _declare(node, f'{name}.{key}', getattr(section, key), field, name in READ_ONLY)
    _declare(node, 'autostart', config.autostart, Config.model_fields['autostart'], True)
    return config, fault


def on_change(
    node: Node, current: Callable[[], Config], apply: Callable[[Config], None]
) -> None:
    """Check later changes against the schema, refuse them with a reason, or apply them."""

    def changed(parameters: list[Parameter[Any]]) -> Config:
        own = {p.name: p.value for p in parameters if p.name.partition('.')[0] in SECTIONS}
        return with_values(current(), own)

    def check(parameters: list[Parameter[Any]]) -> SetParametersResult:
        try:
            changed(parameters)
        except ConfigError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    node.add_on_set_parameters_callback(check)
    node.add_post_set_parameters_callback(lambda parameters: apply(changed(parameters)))


SECTIONS = tuple(name for name in Config.model_fields
                 if isinstance(getattr(Config(), name), Section))


def described(section: str) -> list[tuple[str, str, Any, str]]:
    """(name, type, default, description) of each parameter of a section, for the docs."""
    defaults = getattr(Config(), section)
    return [(f'{section}.{key}', _type_name(getattr(defaults, key)), getattr(defaults, key),
             _text(field)) for key, field in type(defaults).model_fields.items()]


def _take_overrides(node: Node) -> dict[str, Any]:
    """Values given from outside, undeclared again so that they get their descriptors."""
    given = {}
    for name, parameter in node.get_parameters_by_prefix('').items():
        if name in ROS_OWN or name.startswith('qos_overrides.'):
            continue
        given[name] = parameter.value
        node.undeclare_parameter(name)
    return given


def _declare(node: Node, name: str, value: Any, field: FieldInfo, read_only: bool) -> None:
    descriptor = ParameterDescriptor(
        name=name, description=field.description or '', read_only=read_only,
        additional_constraints=_choices(field),
    )
    low, high = _bounds(field)
    if isinstance(value, float):
        descriptor.floating_point_range = [FloatingPointRange(
            from_value=-sys.float_info.max if low is None else float(low),
            to_value=sys.float_info.max if high is None else float(high), step=0.0)]
    elif isinstance(value, int) and not isinstance(value, bool):
        descriptor.integer_range = [IntegerRange(
            from_value=-_INT64 if low is None else int(low),
            to_value=_INT64 if high is None else int(high), step=1)]
    value = list(value) if isinstance(value, (list, tuple)) else value
    node.declare_parameter(name, value, descriptor, ignore_override=True)


def _bounds(field: FieldInfo) -> tuple[Any, Any]:
    """Lowest and highest value; an open bound is the bound itself, and pydantic refuses it."""
    low = high = None
    for item in field.metadata:
        low = next((v for k in ('ge', 'gt') if (v := getattr(item, k, None)) is not None), low)
        high = next((v for k in ('le', 'lt') if (v := getattr(item, k, None)) is not None), high)
    return low, high


def _choices(field: FieldInfo) -> str:
    choices = [str(choice) for choice in get_args(field.annotation) if isinstance(choice, str)]
    return f'one of: {", ".join(choices)}' if choices else ''


def _text(field: FieldInfo) -> str:
    """Description with range or choices, for the docs."""
    low, high = _bounds(field)
    limits = ' to '.join('' if v is None else f'{v:g}' for v in (low, high)) if (
        low is not None or high is not None) else ''
    extra = limits.strip() or _choices(field)
    return f'{field.description}' + (f' ({extra})' if extra else '')


def _type_name(value: Any) -> str:
    """ROS's name of a parameter type."""
    if isinstance(value, list):
        return f'{_type_name(value[0])} array'
    return {bool: 'bool', int: 'integer', float: 'double', str: 'string'}[type(value)]
