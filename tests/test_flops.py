# SPDX-License-Identifier: Apache-2.0
"""Counted operations against counts by hand."""

from pathlib import Path

import pytest

from perception.errors import NetworkError
from perception.flops import count_flops, sgemm_flops
from perception.inference import WEIGHTS


def test_lagr2008_by_hand() -> None:
    """7x6 to 20 maps, 1x4 pool, 6x5 to 100 maps; rows 12 and columns 25 give one window."""
    first = 2 * (12 - 6) * (25 - 5) * 20 * 3 * 7 * 6
    second = 2 * 1 * 1 * 100 * 20 * 6 * 5
    found = count_flops(WEIGHTS / 'lagr2008.onnx', [{'bands': (1, 3, 12, 25)}])
    assert found == pytest.approx(first + second, rel=0.02)


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
