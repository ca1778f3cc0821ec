# SPDX-License-Identifier: Apache-2.0
"""Tiny networks as real ONNX files, without the onnx package: one convolution, known by heart."""

import hashlib
import json
from pathlib import Path

import numpy as np

from perception.scene import SceneNetwork, load_scene_network

FLOAT, INTS = 1, 7  # TensorProto.DataType, AttributeProto.AttributeType
CLASSES = ('smooth_ground', 'grass', 'obstacle', 'sky')
COLOURS = ((128, 64, 32), (0, 200, 0), (200, 0, 0), (0, 128, 255))
STRIDE = 4
SHARPNESS = 1 / 500


def varint(number: int) -> bytes:
    """Base 128, low groups first."""
    groups = []
    while number > 127:
        groups.append(number & 127 | 128)
        number >>= 7
    return bytes([*groups, number])


def field(number: int, value: int | str | bytes) -> bytes:
    """One protobuf field: a number, or something with a length."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def tensor(name: str, array: np.ndarray) -> bytes:
    """TensorProto."""
    dims = b''.join(field(1, side) for side in array.shape)
    return dims + field(2, FLOAT) + field(8, name) + field(9, array.astype('<f4').tobytes())


def value(name: str, *dims: int | str) -> bytes:
    """ValueInfoProto of float32; a name stands for a free size."""
    shape = b''.join(field(1, field(1 + isinstance(dim, str), dim)) for dim in dims)
    return field(1, name) + field(2, field(1, field(1, FLOAT) + field(2, shape)))


def node(kind: str, inputs: list[str], output: str, **ints: list[int]) -> bytes:
    """NodeProto whose attributes are lists of integers."""
    attributes = b''.join(
        field(5, field(1, name) + b''.join(field(8, n) for n in numbers) + field(20, INTS))
        for name, numbers in ints.items())
    return (b''.join(field(1, name) for name in inputs) + field(2, output) + field(4, kind)
            + attributes)


def convolution(weight: np.ndarray, bias: np.ndarray, inputs: tuple[str, ...]) -> bytes:
    """
    ModelProto: the first input convolved by ``weight`` (C, 3, s, s) with stride s.

    Further inputs are declared and not used.
    """
    stride = weight.shape[-1]
    parts = [field(1, node('Conv', [inputs[0], 'w', 'b'], 'logits', strides=[stride, stride])),
             field(2, 'tiny'), field(5, tensor('w', weight)), field(5, tensor('b', bias))]
    parts += [field(11, value(name, 1, 3, f'H{k}', f'W{k}')) for k, name in enumerate(inputs)]
    parts.append(field(12, value('logits', 1, len(weight), 'h', 'w')))
    return field(1, 8) + field(7, b''.join(parts)) + field(8, field(2, 17))


def nearest_colour(colours=COLOURS, stride: int = STRIDE) -> tuple[np.ndarray, np.ndarray]:
    """Weight and bias: logit k = -|mean colour - colour k|^2 / 500, but for a common term."""
    bgr = np.array(colours, float)[:, ::-1]
    weight = 2 * SHARPNESS * bgr[:, :, None, None] / stride**2
    weight = np.broadcast_to(weight, (*bgr.shape, stride, stride))
    return weight, -SHARPNESS * (bgr**2).sum(1)


def manifest(path: Path, **changes: object) -> dict[str, object]:
    """Manifest of the file at ``path``."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return {'task': 'scene', 'name': path.stem, 'sha256': digest, 'preprocess': 'bgr',
            'architecture': 'nearest colour', 'stride': STRIDE, 'multiple': STRIDE,
            'classes': CLASSES, 'colours': COLOURS, 'trained': False, 'licence': 'Apache-2.0',
            **changes}


def write_scene_network(path: Path, **changes: object) -> Path:
    """Network that takes each 4 x 4 block for the class whose colour is nearest."""
    colours, stride = changes.get('colours', COLOURS), changes.get('stride', STRIDE)
    weight, bias = nearest_colour(colours, stride)
    scales = changes.get('scales', 1)
    inputs = tuple(f'scale{k}' for k in range(scales)) if (
        changes.get('preprocess') == 'laplacian_yuv') else ('image',)
    path.write_bytes(convolution(weight, bias, inputs))
    path.with_suffix('.json').write_text(json.dumps(manifest(path, **changes)))
    return path


def quick_scene_network(path: Path) -> SceneNetwork:
    """Load it for ONNX Runtime, which compiles nothing for each size of image."""
    return load_scene_network(path, engine='onnxruntime')
