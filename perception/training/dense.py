# SPDX-License-Identifier: Apache-2.0
"""
The same network with few dense convolutions in place of many thin ones.

CPU engines multiply dense matrices of bytes four times as fast as those of floats, but compute
depthwise convolutions no faster: what is sparse in float32 had better be dense in int8.
"""

from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from perception.types import Float

THROUGH = ('MaxPool', 'Tanh', 'Relu')
"""Operations on each channel by itself."""


def densified(model: Any) -> Any:
    """
    Copy of an ONNX model, rewritten where that leaves its function as it is.

    A pick (1 x 1 convolution that copies channels) and the depthwise convolution that alone reads
    it become one; so do two convolutions of one input whose sum alone is read; and channels
    that a convolution multiplies by zero are dropped where they are made.

    Parameters
    ----------
    model : onnx.ModelProto

    Returns
    -------
    onnx.ModelProto
        Equal outputs up to rounding.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph = Graph(copy.graph)
    for node in list(copy.graph.node):
        if node.op_type == 'Conv':
            graph.join_pick(node)
    for node in list(copy.graph.node):
        if node.op_type == 'Add':
            graph.join_sum(node)
    for node in list(copy.graph.node):
        if node.op_type == 'Conv':
            graph.drop_unread(node)
    graph.clean()
    return copy


class Graph:
    """An ONNX graph that is being rewritten."""

    def __init__(self, graph: Any) -> None:
        self._graph = graph
        self._weights = {one.name: one for one in graph.initializer}

    def join_pick(self, node: Any) -> None:
        """Depthwise ``node`` that reads a pick -> one dense convolution."""
        pick, own = self._sole_maker(node.input[0]), self._array(node.input[1])
        if own is None or pick is None or pick.op_type != 'Conv' or not _is_plain(pick):
            return
        chosen = self._array(pick.input[1])
        if chosen is None or not _copies(chosen) or own.shape[1] != 1 or len(own) != len(chosen):
            return
        self._set(node.input[1], own * chosen)
        node.input[0] = pick.input[0]
        _set_groups(node, 1)
        self._graph.node.remove(pick)

    def join_sum(self, node: Any) -> None:
        """Sum of two convolutions of one input -> one convolution."""
        first, second = (self._sole_maker(name) for name in node.input)
        if first is None or second is None or not _alike(first, second):
            return
        weights = [self._array(one.input[1]) for one in (first, second)]
        biases = [self._array(name) for one in (first, second) for name in one.input[2:]]
        known = [one for one in (*weights, *biases) if one is not None]
        if len(known) < 2 + len(biases) or known[0].shape != known[1].shape:
            return
        self._set(first.input[1], known[0] + known[1])
        del first.input[2:]
        if biases:
            first.input.append(f'{first.input[1]}_bias')
            self._set(first.input[2], np.sum(known[2:], axis=0))
        first.output[0] = node.output[0]
        for gone in (second, node):
            self._graph.node.remove(gone)
        self._graph.node.remove(first)  # to the end of what it reads
        self._graph.node.insert(self._after(first), first)

    def drop_unread(self, node: Any) -> None:
        """Input channels that ``node`` multiplies by zero are not made at all."""
        weight = self._array(node.input[1])
        if weight is None or _groups(node) != 1:
            return
        read = np.abs(weight).sum((0, *range(2, weight.ndim))) > 0
        if read.all() or not self._can_drop(node.input[0]):
            return
        self._drop(node.input[0], read)
        self._set(node.input[1], weight[:, read])

    def _can_drop(self, name: str) -> bool:
        """Whether channels can be dropped on the whole way up to the convolutions."""
        maker = self._sole_maker(name)
        if maker is None:
            return False
        if maker.op_type == 'Conv':
            return _groups(maker) == 1 and self._array(maker.input[1]) is not None
        channels = maker.op_type == 'Concat' and maker.attribute[0].i == 1
        return (channels or maker.op_type in THROUGH) and all(map(self._can_drop, maker.input))

    def _drop(self, name: str, read: Any) -> int:
        """Keep these channels of a tensor; how many of ``read`` it has taken up."""
        maker = self._sole_maker(name)
        if maker.op_type != 'Conv':
            taken = 0
            for one in maker.input:
                taken += self._drop(one, read[taken:])
            return taken
        count = len(self._array(maker.input[1]))  # type: ignore[arg-type]
        for one in maker.input[1:]:
            self._set(one, self._array(one)[read[:count]])  # type: ignore[index]
        return count

    def _sole_maker(self, name: str) -> Any:
        """Node that makes a tensor which one node alone reads; None where there is none."""
        readers = sum(list(node.input).count(name) for node in self._graph.node)
        shown = name in {one.name for one in self._graph.output}
        makers = [node for node in self._graph.node if name in node.output]
        return makers[0] if makers and readers == 1 and not shown else None

    def _after(self, node: Any) -> int:
        """First place where everything that ``node`` reads is made."""
        return 1 + max((k for k, one in enumerate(self._graph.node)
                        if set(one.output) & set(node.input)), default=-1)

    def _array(self, name: str) -> Float | None:
        """Weights that one node alone reads."""
        held = self._weights.get(name)
        if held is None or sum(list(node.input).count(name) for node in self._graph.node) != 1:
            return None
        return np.asarray(numpy_helper.to_array(held))

    def _set(self, name: str, array: Float) -> None:
        made = numpy_helper.from_array(np.ascontiguousarray(array, np.float32), name)
        if name in self._weights:
            self._weights[name].CopyFrom(made)
        else:
            self._graph.initializer.append(made)
            self._weights[name] = self._graph.initializer[-1]

    def clean(self) -> None:
        """Remove weights that nothing reads any more."""
        read = {name for node in self._graph.node for name in node.input}
        for one in list(self._graph.initializer):
            if one.name not in read:
                self._graph.initializer.remove(one)


def _is_plain(node: Any) -> bool:
    """A convolution without bias, stride, padding or groups."""
    told = _settings(node)
    return (len(node.input) == 2 and set(told.get('strides', [1])) == {1}
            and not any(told.get('pads', [])) and told.get('auto_pad', b'NOTSET') == b'NOTSET'
            and told.get('group', 1) == 1)


def _copies(weight: Float) -> bool:
    """Each map of a 1 x 1 convolution copies one channel."""
    return (weight.shape[2:] == (1, 1) and bool(np.isin(weight, (0, 1)).all())
            and bool((weight.sum((1, 2, 3)) == 1).all()))


def _alike(first: Any, second: Any) -> bool:
    """Two convolutions of the same input that differ in their weights alone."""
    return (first.op_type == second.op_type == 'Conv' and first.input[0] == second.input[0]
            and _settings(first) == _settings(second))


def _settings(node: Any) -> dict[str, Any]:
    return {one.name: helper.get_attribute_value(one) for one in node.attribute}


def _groups(node: Any) -> int:
    return int(_settings(node).get('group', 1))


def _set_groups(node: Any, groups: int) -> None:
    kept = [one for one in node.attribute if one.name != 'group']
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute('group', groups)])
