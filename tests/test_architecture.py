# SPDX-License-Identifier: Apache-2.0
"""Structure: what may import what, and how large things may grow."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / 'perception'
SOURCES = sorted(PACKAGE.rglob('*.py'))
FOLDERS = ('benchmarks', 'docs', 'tests', 'calibration', 'bags', 'launch')
SCRIPTS = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob('*.py'))
FUNCTION_LINES = 40
FILE_LINES = 350
NESTING = 3
PARAMETERS = 6
BLOCKS = (ast.For, ast.While, ast.If, ast.With, ast.Try, ast.AsyncFor, ast.AsyncWith, ast.Match)
BROAD = {'Exception', 'BaseException'}
EXCUSE = 'noqa: BLE001 - '  # a library that raises Exception itself, and says so in words

Function = ast.FunctionDef | ast.AsyncFunctionDef


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix('').parts
    return '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)


def is_core(path: Path) -> bool:
    return path.relative_to(PACKAGE).parts[0] not in ('nodes', 'training', 'world')


def functions(tree: ast.Module) -> list[Function]:
    return [node for node in ast.walk(tree) if isinstance(node, Function)]


def lines_without_docstring(function: Function) -> int:
    first = function.body[0]
    length = (function.end_lineno or 0) - function.lineno + 1
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
        length -= (first.end_lineno or 0) - first.lineno + 1
    return length


def nesting(node: ast.AST) -> int:
    """Deepest block below this node; an elif is not deeper than its if."""
    deepest = 0
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (Function, ast.Lambda)):
            continue
        depth = nesting(child) + isinstance(child, BLOCKS)
        if isinstance(node, ast.If) and node.orelse == [child] and isinstance(child, ast.If):
            depth -= 1
        deepest = max(deepest, depth)
    return deepest


def imported_after(modules: list[str]) -> set[str]:
    """Top-level modules loaded in a fresh interpreter that imports these."""
    code = 'import importlib, sys\nfor name in sys.argv[1:]: importlib.import_module(name)\n' \
           'print("\\n".join(sorted({name.partition(".")[0] for name in sys.modules})))'
    done = subprocess.run([sys.executable, '-c', code, *modules], cwd=ROOT, text=True,
                          capture_output=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_the_core_imports_neither_ros_nor_torch_nor_a_renderer() -> None:
    core = [module_name(path) for path in SOURCES if is_core(path)]
    loaded = imported_after(core)
    assert {'numpy', 'cv2', 'perception'} <= loaded
    assert not loaded & {'rclpy', 'torch', 'onnx', 'onnxscript', 'moderngl', 'openvino', 'cuda',
                         'tensorrt', 'tensorrt_rtx'}


def test_the_command_line_starts_light() -> None:
    assert not imported_after(['perception.commands.main']) & {
        'rclpy', 'torch', 'moderngl', 'onnx', 'matplotlib', 'skimage', 'openvino', 'numba',
        'scipy'}


@pytest.mark.parametrize(('folder', 'banned'), [
    ('training', {'rclpy'}), ('world', {'rclpy', 'torch'}), ('nodes', {'torch', 'moderngl'}),
])
def test_dependencies_flow_one_way(folder: str, banned: set[str]) -> None:
    for path in sorted((PACKAGE / folder).glob('*.py')):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else (
                [node.module or ''] if isinstance(node, ast.ImportFrom) else [])
            assert not {name.partition('.')[0] for name in names} & banned, path


@pytest.mark.parametrize('path', SOURCES, ids=module_name)
def test_sizes(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= FILE_LINES
    for function in functions(ast.parse(text)):
        where = f'{path.name}:{function.lineno} {function.name}'
        assert lines_without_docstring(function) <= FUNCTION_LINES, where
        assert nesting(function) <= NESTING, where
        command = path.parent.name == 'commands' and function.decorator_list == []
        arguments = function.args.posonlyargs + function.args.args + function.args.kwonlyargs
        own = [argument for argument in arguments if argument.arg not in ('self', 'cls')]
        if not command:
            assert len(own) <= PARAMETERS, where


@pytest.mark.parametrize('path', SOURCES + SCRIPTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_headers_and_errors(path: Path) -> None:
    text = path.read_text()
    assert 'SPDX-License-Identifier: Apache-2.0' in '\n'.join(text.splitlines()[:2])
    excused = [number for number, line in enumerate(text.splitlines(), 1) if EXCUSE in line]
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ExceptHandler) and node.lineno not in excused:
            assert node.type is not None, f'{path.name}:{node.lineno}: bare except'
            caught = {name.id for name in ast.walk(node.type) if isinstance(name, ast.Name)}
            assert not caught & BROAD, f'{path.name}:{node.lineno}: broad except'


def test_nesting_is_counted_as_a_reader_would() -> None:
    code = 'def f(x):\n    for a in x:\n        if a:\n            pass\n' \
           '        elif b:\n            with a:\n                pass\n'
    assert nesting(functions(ast.parse(code))[0]) == 3
