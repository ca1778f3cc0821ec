# SPDX-License-Identifier: Apache-2.0
"""Exported networks and the engines that run them."""

from perception.inference.linear import checked, classify, linear_maps, softmax
from perception.inference.network import (
    INPUT,
    OUTPUT,
    WEIGHTS,
    Network,
    NetworkSpec,
    check_digest,
    computed_precision,
    load_configured,
    load_network,
    network_path,
    read_manifest,
    read_spec,
)
from perception.inference.session import (
    Opened,
    Session,
    check_engine,
    one_line,
    open_session,
)

__all__ = [
    'INPUT', 'OUTPUT', 'WEIGHTS', 'Network', 'NetworkSpec', 'Opened', 'Session', 'check_digest',
    'check_engine', 'checked', 'classify', 'computed_precision', 'linear_maps',
    'load_configured', 'load_network', 'network_path', 'one_line', 'open_session',
    'read_manifest', 'read_spec', 'softmax',
]
