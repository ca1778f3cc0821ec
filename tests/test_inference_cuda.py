# SPDX-License-Identifier: Apache-2.0
"""The driver probe and memory on the device: one clear line where there is no GPU."""

import inspect
import os
import re
import subprocess
import sys

import numpy as np
import pytest

from perception.errors import NetworkError
from perception.inference import cuda
from perception.inference.cuda import Device

CODE = """
import sys
from perception.inference.session import PLACES, engine_module
for engine in PLACES:
    print(engine, '|', engine_module(engine).absence())
assert 'tensorrt_rtx' not in sys.modules and 'torch' not in sys.modules
"""


@pytest.mark.parametrize(('capability', 'target'), [((7, 5), 'sm75'), ((12, 0), 'sm120')])
def test_target_is_the_capability_without_its_point(
    capability: tuple[int, int], target: str
) -> None:
    assert Device('some card', capability).target == target


@pytest.mark.parametrize('library', ['libno_such_driver.so.1', 'libm.so.6'])
def test_a_missing_driver_is_one_line(library: str) -> None:
    with pytest.raises(NetworkError, match=r'no NVIDIA driver .*install its driver') as caught:
        cuda.first_device(library)
    assert '\n' not in str(caught.value)


def test_engines_say_why_before_their_library_is_loaded() -> None:
    hidden = {**os.environ, 'CUDA_VISIBLE_DEVICES': ''}
    done = subprocess.run([sys.executable, '-c', CODE], env=hidden, text=True,
                          capture_output=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    told = dict(line.split(' | ') for line in done.stdout.splitlines())
    assert told['onnxruntime'] == 'None'
    for engine in ('tensorrt', 'tensorrt_rtx', 'onnxruntime_cuda', 'onnxruntime_tensorrt'):
        assert 'driver' in told[engine]


def test_memory_uses_names_that_the_bindings_have() -> None:
    """Without a GPU each call answers with a status, and takes what it is given."""
    runtime = pytest.importorskip('cuda.bindings.runtime')
    used = set(re.findall(r'runtime\.(cuda\w+)', inspect.getsource(cuda)))
    assert {'cudaEventCreate', 'cudaEventRecord', 'cudaEventElapsedTime',
            'cudaEventSynchronize', 'cudaEventDestroy'} <= used
    assert not [name for name in used if not hasattr(runtime, name)]
    if cuda.absence():
        mark = runtime.cudaEvent_t()
        for answer in (runtime.cudaEventCreate(), runtime.cudaEventRecord(mark, 140_000_000),
                       runtime.cudaEventElapsedTime(mark, mark)):
            assert int(answer[0]) != 0


def test_memory_keeps_what_it_is_given_or_names_what_is_missing() -> None:
    pytest.importorskip('cuda.bindings')
    if cuda.absence():
        with pytest.raises(NetworkError, match=r'the GPU refuses: .*driver'):
            cuda.open_memory()
        return
    memory = cuda.open_memory()
    small, large = (np.random.default_rng(0).random((1, 3, 5, width), np.float32)
                    for width in (7, 70))
    for array in (small, large, small):
        assert memory.upload('bands', array) == memory.reserve('bands', array.shape)
        np.testing.assert_array_equal(memory.download('bands', array.shape), array)
    assert memory.stream != 0
    for _ in range(3):  # three marks, and each pair of neighbours a time
        memory.mark()
    assert 0 <= memory.marked_ms() < 1000
