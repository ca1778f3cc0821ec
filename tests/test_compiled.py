# SPDX-License-Identifier: Apache-2.0
"""Compiled loops: types as declared, renewed with their file, and usable without a cache."""

import ast
import builtins
import logging

import numpy as np
import pytest
from test_architecture import SOURCES, functions, module_name

from perception.compiled import F4, F8, I8, _Notice, compiled, given

LOOPS = [(path, tree) for path in SOURCES
         if 'import' in (text := path.read_text()) and '@compiled(' in text
         for tree in [ast.parse(text)]]


def loops(tree):
    return [f for f in functions(tree) if any(
        isinstance(d, ast.Call) and getattr(d.func, 'id', '') == 'compiled'
        for d in f.decorator_list)]


def names_defined_here(tree):
    assigned = {name.id for node in tree.body if isinstance(node, ast.Assign)
                for target in node.targets for name in ast.walk(target)
                if isinstance(name, ast.Name)}
    return assigned | {f.name for f in loops(tree)}


@pytest.mark.parametrize(('path', 'tree'), LOOPS, ids=[module_name(path) for path, _ in LOOPS])
def test_loops_read_nothing_of_other_modules(path, tree):
    """The machine code kept on disk is renewed when its own file changes, and only then."""
    known = names_defined_here(tree) | {'np'} | set(dir(builtins))
    for loop in loops(tree):
        own = {a.arg for a in ast.walk(loop) if isinstance(a, ast.arg)}
        own |= {n.id for n in ast.walk(loop) if isinstance(n, ast.Name)
                and isinstance(n.ctx, ast.Store)}
        read = {n.id for statement in loop.body for n in ast.walk(statement)
                if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
        annotated = {n.id for node in ast.walk(loop) if isinstance(node, ast.AnnAssign)
                     for n in ast.walk(node.annotation) if isinstance(n, ast.Name)}
        assert read - own - known - annotated == set(), loop.name


def test_there_are_loops():
    assert len(LOOPS) >= 5


def scaled_sum():
    """A loop that is in no file, so nothing can be kept of it."""
    scope = {}
    exec('def scaled(values, factor):\n'
         '    total = 0.0\n'
         '    for value in values:\n'
         '        total += value * factor\n'
         '    return total\n', scope)
    return compiled(F8, given(F4, 1), I8)(scope['scaled'])


def test_a_loop_compiles_where_nothing_can_be_kept_and_takes_its_types_alone():
    scaled = scaled_sum()
    values = np.array([1.5, -4.0, 0.25], np.float32)
    values.flags.writeable = False
    assert scaled(values, 3) == -6.75
    for wrong in (values.astype(float), values[::2], values[None]):
        with pytest.raises(TypeError, match='No matching definition'):
            scaled(wrong, 3)


def test_compiling_is_said_once(caplog):
    notice = _Notice()
    with caplog.at_level(logging.WARNING):
        notice.on_start(None)
        notice.on_end(None)
        notice.on_start(None)
    assert [record.message for record in caplog.records] == [
        'compiling inner loops for this processor, once: about a minute']
