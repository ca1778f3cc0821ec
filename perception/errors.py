# SPDX-License-Identifier: Apache-2.0
"""Errors an operator can act on: each message names the thing and the remedy."""


class PerceptionError(Exception):
    """Base of every error that bad input, not a bug, causes."""


class BagError(PerceptionError):
    """A bag cannot be read, or lacks what is needed."""


class ImageError(PerceptionError):
    """An image has the wrong size, encoding or values."""


class MessageError(PerceptionError):
    """A message holds something else than its topic promises."""


class DataSetError(PerceptionError):
    """A labelled data set lacks a file, or holds what its class map does not allow."""


class TransformError(PerceptionError):
    """Where camera or robot are is not known at a stamp."""


class NodeError(PerceptionError):
    """The ROS graph or installation does not allow what was asked."""


class CalibrationError(PerceptionError):
    """A camera or mount calibration is missing, absurd or does not fit the image."""


class ConfigError(PerceptionError):
    """A configuration key, type or value is wrong."""


class GroundPlaneError(PerceptionError):
    """No ground plane can be fitted."""


class NetworkError(PerceptionError):
    """A network file is damaged, or does not keep the contract."""


class StateError(PerceptionError):
    """A saved state cannot be read, written, or belongs to another network."""


class WorldError(PerceptionError):
    """The synthetic world cannot be built or rendered here."""
