# SPDX-License-Identifier: Apache-2.0
"""The node docs say what the code does."""

import importlib.util
from pathlib import Path

import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed: pip install -e .[ros]')


def test_nodes_md_is_generated(repository: Path) -> None:
    spec = importlib.util.spec_from_file_location('nodes_docs', repository / 'docs' / 'nodes.py')
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    text = (repository / 'docs' / 'nodes.md').read_text()
    assert text == module.nodes_md(), 'run: python docs/nodes.py'
