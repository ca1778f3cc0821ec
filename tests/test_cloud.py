# SPDX-License-Identifier: Apache-2.0
"""traversability/points: there and back without loss, foreign layouts, and what is refused."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from perception import bag_encode as encode
from perception.cloud import cloud_columns, observation_from_cloud
from perception.cloud_loops import likeliest
from perception.draw import CLASS_COLOURS
from perception.errors import MessageError
from perception.types import CLASSES, OBSTACLE, SUPER_GROUND, Observation

HEADER = encode.header(1, 'left_optical')
SHARES = st.floats(0, 1, width=32)


def message_of(observation: Observation) -> Any:
    """The cloud as another process gets it: through CDR bytes."""
    store, kind = encode.typestore(), 'sensor_msgs/msg/PointCloud2'
    message = encode.points_message(HEADER, cloud_columns(observation))
    return store.deserialize_cdr(store.serialize_cdr(message, kind), kind)


def example(count: int = 7, seed: int = 0) -> Observation:
    rng = np.random.default_rng(seed)
    histogram = rng.dirichlet(np.ones(5), count).astype(np.float32)
    return Observation(rng.normal(0, 30, (count, 3)).astype(np.float32), histogram,
                       rng.uniform(0.01, 2, count).astype(np.float32))


def assert_same_bits(found: Observation, expected: Observation) -> None:
    for name in ('points_optical', 'histogram', 'weight'):
        one, other = getattr(found, name), getattr(expected, name)
        assert one.dtype == np.float32
        assert one.shape == other.shape
        assert one.tobytes() == other.astype(np.float32).tobytes(), name


@st.composite
def observations(draw: st.DrawFn) -> Observation:
    count = draw(st.integers(0, 12))
    finite = st.floats(allow_nan=False, allow_infinity=False, width=32)
    return Observation(draw(arrays(np.float32, (count, 3), elements=finite)),
                       draw(arrays(np.float32, (count, 5), elements=SHARES)),
                       draw(arrays(np.float32, (count,), elements=SHARES)))


@settings(deadline=None)
@given(observations())
def test_there_and_back_keeps_every_bit(observation: Observation) -> None:
    assert_same_bits(observation_from_cloud(message_of(observation)), observation)


def test_nothing_seen_is_an_empty_cloud() -> None:
    empty = Observation(np.empty((0, 3), np.float32), np.empty((0, 5), np.float32),
                        np.empty(0, np.float32))
    message = message_of(empty)
    assert (message.width, message.height, message.point_step) == (0, 1, 40)
    assert_same_bits(observation_from_cloud(message), empty)


def test_layout_by_hand() -> None:
    """x y z, five shares, weight, rgb: ten floats a point."""
    observation = Observation(np.array([[1, 2, 3], [4, 5, 6]], np.float32),
                              np.array([[0, 0, 0, 1, 0], [0.5, 0.25, 0.25, 0, 0]], np.float32),
                              np.array([0.125, 2], np.float32))
    message = encode.points_message(HEADER, cloud_columns(observation))
    assert [(f.name, f.offset, f.datatype, f.count) for f in message.fields] == [
        ('x', 0, 7, 1), ('y', 4, 7, 1), ('z', 8, 7, 1), ('histogram', 12, 7, 5),
        ('weight', 32, 7, 1), ('rgb', 36, 7, 1)]
    assert (message.point_step, message.row_step, message.width) == (40, 80, 2)
    table = message.data.view('<f4').reshape(2, 10)
    assert table[:, :9].tolist() == [[1, 2, 3, 0, 0, 0, 1, 0, 0.125],
                                     [4, 5, 6, 0.5, 0.25, 0.25, 0, 0, 2]]


def test_colour_is_that_of_the_likeliest_class() -> None:
    """PCL packs 0x00RRGGBB into the bits of a float; CLASS_COLOURS are B, G, R."""
    histogram = np.full((len(CLASSES), 5), 0.1, np.float32)
    np.fill_diagonal(histogram, 0.6)
    observation = Observation(np.zeros((5, 3), np.float32), histogram, np.ones(5, np.float32))
    data = encode.points_message(HEADER, cloud_columns(observation)).data.reshape(5, 40)
    for row, (blue, green, red) in zip(data, CLASS_COLOURS, strict=True):
        assert row[36:].tolist() == [blue, green, red, 0]
    packed = cloud_columns(observation)['rgb'].view(np.uint32)
    assert packed[OBSTACLE] == 0x82 << 16 | 0x14 << 8 | 0x19  # dark red
    assert packed[SUPER_GROUND] == 0x3C << 16 | 0xE6 << 8


def foreign(observation: Observation, step: int, offsets: dict[str, int], **header: Any) -> Any:
    """Cloud laid out by somebody else: other order and padding, with an intensity field."""
    count = len(observation.weight)
    data = np.full((count, step), 0xEE, np.uint8)
    fields = [encode.make('sensor_msgs/PointField', name='intensity', offset=0, datatype=2,
                          count=1)]
    columns = cloud_columns(observation)
    for name, offset in offsets.items():
        part = np.ascontiguousarray(columns[name], '<f4').reshape(count, -1).view(np.uint8)
        data[:, offset:offset + part.shape[1]] = part
        fields.append(encode.make('sensor_msgs/PointField', name=name, offset=offset, datatype=7,
                                  count=part.shape[1] // 4))
    given = {'height': 1, 'width': count, 'row_step': step * count, 'is_bigendian': False}
    return encode.make('sensor_msgs/PointCloud2', header=HEADER, fields=fields, point_step=step,
                       is_dense=True, data=data.ravel(), **(given | header))


OFFSETS = {'weight': 3, 'histogram': 9, 'z': 30, 'y': 41, 'x': 53}


def test_foreign_offsets_and_step() -> None:
    observation = example()
    assert_same_bits(observation_from_cloud(foreign(observation, 57, OFFSETS)), observation)


def test_bytes_and_more_of_them_than_needed() -> None:
    observation = example(3)
    message = message_of(observation)
    message.data = bytes(message.data) + b'more'
    assert_same_bits(observation_from_cloud(message), observation)


def test_organised_cloud_is_read_row_by_row() -> None:
    observation = example(6)
    message = foreign(observation, 57, OFFSETS, height=2, width=3, row_step=3 * 57)
    assert_same_bits(observation_from_cloud(message), observation)


@pytest.mark.parametrize(('column', 'value'), [
    ('points_optical', np.nan), ('points_optical', -np.inf), ('histogram', np.nan),
    ('histogram', np.inf), ('histogram', -0.25), ('weight', np.nan), ('weight', np.inf),
    ('weight', -1e-3),
])
def test_points_that_say_nonsense_are_left_out(column: str, value: float) -> None:
    observation = example()
    array = getattr(observation, column)
    array.reshape(len(array), -1)[[2, 5], -1] = value
    keep = [0, 1, 3, 4, 6]
    expected = Observation(observation.points_optical[keep], observation.histogram[keep],
                           observation.weight[keep])
    assert_same_bits(observation_from_cloud(message_of(observation)), expected)


def test_all_nonsense_is_an_empty_observation() -> None:
    observation = example(2)
    observation.points_optical[:] = np.nan
    found = observation_from_cloud(message_of(observation))
    assert found.points_optical.shape == (0, 3)
    assert found.histogram.shape == (0, 5)


def field_of(message: Any, name: str) -> Any:
    return next(field for field in message.fields if field.name == name)


@pytest.mark.parametrize('name', ['x', 'y', 'z', 'histogram', 'weight'])
@pytest.mark.parametrize('change', [
    {'name': 'other'}, {'datatype': 8}, {'datatype': 6}, {'count': 4}, {'offset': 37},
])
def test_wrong_fields_are_named(name: str, change: dict[str, Any]) -> None:
    message = message_of(example())
    for key, value in change.items():
        setattr(field_of(message, name), key, value)
    size = 5 if name == 'histogram' else 1
    with pytest.raises(MessageError, match=(
        rf'^/left/points: no field {name} of {size} float32 \(it has: .*\); connect the points'
    )):
        observation_from_cloud(message, '/left/points')


def test_shares_that_reach_into_the_next_point_are_refused() -> None:
    message = message_of(example())
    field_of(message, 'histogram').offset = 24  # to 44 of 40 bytes
    with pytest.raises(MessageError, match='no field histogram of 5 float32'):
        observation_from_cloud(message)
    field_of(message, 'histogram').offset = 20
    assert len(observation_from_cloud(message).weight) > 0


def test_cloud_of_a_lidar_is_refused() -> None:
    columns = {name: np.zeros(3) for name in ('x', 'y', 'z', 'intensity')}
    message = encode.points_message(HEADER, columns)
    with pytest.raises(MessageError, match=r'no field histogram .* \(it has: x, y, z, intensity'):
        observation_from_cloud(message)
    message.fields = []
    with pytest.raises(MessageError, match=r'no field x of 1 float32 \(it has: none\)'):
        observation_from_cloud(message)


@pytest.mark.parametrize('change', [
    {'width': 8}, {'height': 2}, {'width': 2**31, 'height': 2**31}, {'is_bigendian': True},
    {'height': 3, 'width': 2, 'row_step': 81},
])
def test_data_that_do_not_fit_the_header(change: dict[str, Any]) -> None:
    message = message_of(example())
    for key, value in change.items():
        setattr(message, key, value)
    count = message.width * message.height
    with pytest.raises(MessageError, match=(
        rf'^/points: 280 bytes for {count} points of 40, or padded rows, or big-endian; fix'
    )):
        observation_from_cloud(message, '/points')


def test_columns_of_any_width_stand_side_by_side() -> None:
    """(N,), (N, 1) and (N, 3); whole numbers and float64 become float32."""
    message = encode.points_message(HEADER, {
        'a': np.array([1, 2]), 'b': np.array([[3.5], [4.5]]),
        'c': np.array([[5, 6, 7], [8, np.nan, 10]]).astype(float)[:, ::-1]})
    assert [(f.name, f.offset, f.count) for f in message.fields] == [
        ('a', 0, 1), ('b', 4, 1), ('c', 8, 3)]
    table = message.data.view('<f4').reshape(2, 5)
    np.testing.assert_array_equal(table, [[1, 3.5, 7, 6, 5], [2, 4.5, 10, np.nan, 8]])
    assert not message.is_dense
    assert (message.height, message.width, message.point_step, message.row_step) == (1, 2, 20, 40)


@pytest.mark.parametrize('width', [1, 2, 5])
def test_columns_without_rows_keep_their_width(width: int) -> None:
    message = encode.points_message(HEADER, {'a': np.empty(0), 'b': np.empty((0, width))})
    assert [(f.name, f.offset, f.count) for f in message.fields] == [('a', 0, 1), ('b', 4, width)]
    assert (message.width, message.point_step, len(message.data)) == (0, 4 + 4 * width, 0)
    assert message.is_dense


def test_the_first_of_equally_likely_classes_gives_the_colour() -> None:
    """Naive twin: argmax of each point."""
    shares = np.random.default_rng(3).integers(0, 4, (5, 211)).astype(np.float32)
    values = np.array([3, np.nan, -1, 1e-42, 7], np.float32)  # bits of colours are any number
    found = likeliest(shares, values)
    assert found.tobytes() == values[shares.argmax(0)].tobytes()
