# SPDX-License-Identifier: Apache-2.0
"""Counted operations against counts by hand."""

from pathlib import Path

import pytest

from perception.errors import NetworkError
from perception.flops import count_flops, layer_flops, sgemm_flops
from perception.inference import WEIGHTS


def test_lagr2008_by_hand() -> None:
    """7x6 to 20 maps of one channel each, 1x4 pool, 6x5 to 100 maps of three; one window."""
    layers = layer_flops(WEIGHTS / 'lagr2008.onnx', [{'bands': (1, 3, 12, 25)}])
    first = 2 * (12 - 6) * (25 - 5) * 10 * 7 * 6
    pick, second = 2 * 6 * 5 * 100, 2 * 1 * 1 * 100 * 6 * 5
    assert layers == {'/first.0/Conv': first, '/first.1/Conv': first} | {
        f'/picks.{k}/Conv': pick for k in range(3)} | {
        f'/second.{k}/Conv': second for k in range(3)}


def test_int8_counts_what_float32_does() -> None:
    """Its layers are dense, but their zeros do no work; rounding makes a few more zeros."""
    sizes = [{'bands': (1, 3, 20, 101)}]
    dense = layer_flops(WEIGHTS / 'lagr2008_int8.onnx', sizes)
    thin = layer_flops(WEIGHTS / 'lagr2008.onnx', sizes)
    picks = sum(flops for name, flops in thin.items() if 'picks' in name)
    assert len(dense) == 3
    assert sum(dense.values()) == pytest.approx(sum(thin.values()) - picks, rel=0.03)


def test_calls_add_up_and_grow_with_the_picture() -> None:
    path = WEIGHTS / 'default.onnx'
    small, large = ({'bands': (1, 3, 36, columns)} for columns in (101, 201))
    one, two = count_flops(path, [small]), count_flops(path, [large])
    assert count_flops(path, [small, large]) == one + two
    assert 2 < two / one < 2.6


def test_what_cannot_be_counted_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match=r'default\.onnx: its operations cannot be counted'):
        count_flops(WEIGHTS / 'default.onnx', [{'image': (1, 3, 36, 101)}])
    with pytest.raises(NetworkError, match=r'none\.onnx: its operations'):
        count_flops(tmp_path / 'none.onnx', [{}])


def test_the_peak_is_a_rate() -> None:
    assert 1e9 < sgemm_flops(2) < 1e13
