# SPDX-License-Identifier: Apache-2.0
"""Networks made dense for int8: fewer layers, the same function."""

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from perception.inference import WEIGHTS
from perception.training.dense import densified

RNG = np.random.default_rng(3)


def convolution(name: str, x: str, weight: np.ndarray, *bias: str, **told: Any) -> Any:
    return helper.make_node('Conv', [x, f'{name}_w', *bias], [name], name,
                            kernel_shape=list(weight.shape[2:]), **told)


def model(nodes: list[Any], weights: dict[str, np.ndarray]) -> Any:
    nodes[-1].output[0] = 'out'
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
              for name in ('x', 'out')]
    graph = helper.make_graph(nodes, 'graph', values[:1], values[1:], [
        numpy_helper.from_array(array.astype(np.float32), name)
        for name, array in weights.items()])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8)


def thin(ones: np.ndarray, **told: Any) -> Any:
    """A pick of three of four channels, and a depthwise convolution with a bias."""
    weights = {'pick_w': ones[:, :, None, None], 'deep_w': RNG.normal(size=(3, 1, 2, 3)),
               'b': RNG.normal(size=3)}
    return model([convolution('pick', 'x', weights['pick_w'], **told),
                  convolution('deep', 'pick', weights['deep_w'], 'b', group=3)], weights)


def answer(one: Any, x: np.ndarray) -> np.ndarray:
    return np.asarray(ort.InferenceSession(one.SerializeToString()).run(None, {'x': x})[0])


def kinds(one: Any) -> list[str]:
    return [node.op_type for node in one.graph.node]


def test_a_pick_and_its_depthwise_reader_become_one() -> None:
    before = thin(np.eye(4)[[2, 0, 2]])
    after = densified(before)
    assert kinds(after) == ['Conv']
    assert kinds(before) == ['Conv', 'Conv']  # a copy was changed
    assert {tuple(one.dims) for one in after.graph.initializer} == {(3, 4, 2, 3), (3,)}
    x = RNG.normal(size=(1, 4, 5, 7)).astype(np.float32)
    np.testing.assert_allclose(answer(after, x), answer(before, x), atol=1e-6)


@pytest.mark.parametrize(('ones', 'told'), [
    (np.full((3, 4), 0.5), {}), (np.eye(4)[:3] + np.eye(4)[1:], {}),
    (np.eye(4)[:3], {'strides': [2, 1]}), (np.eye(4)[:3], {'pads': [0, 1, 0, 1]})])
def test_what_is_no_mere_pick_stays(ones: np.ndarray, told: dict[str, Any]) -> None:
    before = thin(ones, **told)
    assert densified(before) == before


def test_sums_join_and_channels_that_nobody_reads_are_not_made() -> None:
    """Two first layers, joined; of their 2 + 3 maps the second layers leave number 1 and 3."""
    weights = {'a_w': RNG.normal(size=(2, 4, 2, 2)), 'b_w': RNG.normal(size=(3, 4, 2, 2)),
               'a_b': RNG.normal(size=2), 'c_w': RNG.normal(size=(2, 5, 1, 3)),
               'd_w': RNG.normal(size=(2, 5, 1, 3)), 'c_b': RNG.normal(size=2)}
    for name in ('c_w', 'd_w'):
        weights[name][:, [1, 3]] = 0
    before = model([
        convolution('a', 'x', weights['a_w'], 'a_b'), convolution('b', 'x', weights['b_w']),
        helper.make_node('Concat', ['a', 'b'], ['both'], axis=1),
        helper.make_node('Tanh', ['both'], ['bent']),
        convolution('c', 'bent', weights['c_w'], 'c_b'), convolution('d', 'bent', weights['d_w']),
        helper.make_node('Add', ['c', 'd'], ['sum'])], weights)
    after = densified(before)
    assert kinds(after) == ['Conv', 'Conv', 'Concat', 'Tanh', 'Conv']
    sizes = {one.name: tuple(one.dims) for one in after.graph.initializer}
    assert (sizes['a_w'], sizes['b_w'], sizes['c_w']) == (
        (1, 4, 2, 2), (2, 4, 2, 2), (2, 3, 1, 3))
    x = RNG.normal(size=(1, 4, 5, 7)).astype(np.float32)
    np.testing.assert_allclose(answer(after, x), answer(before, x), atol=1e-5)


@pytest.mark.parametrize('name', ['default', 'scene'])
def test_networks_without_picks_stay_as_they_are(name: str) -> None:
    before = onnx.load(WEIGHTS / f'{name}.onnx')
    assert densified(before) == before


def test_the_int8_file_of_lagr2008_is_its_dense_form() -> None:
    dense = densified(onnx.load(WEIGHTS / 'lagr2008.onnx'))
    convolutions = [node.name for node in dense.graph.node if node.op_type == 'Conv']
    assert convolutions == ['/first.0/Conv', '/first.1/Conv', '/second.0/Conv']
    shipped = onnx.load(WEIGHTS / 'lagr2008_int8.onnx').graph
    assert [node.name for node in shipped.node if node.op_type == 'Conv'] == convolutions
