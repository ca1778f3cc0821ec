# SPDX-License-Identifier: Apache-2.0
"""
The NVIDIA driver and memory on the device, asked so that nothing crashes where there is none.

Some of TensorRT's libraries end the process without a driver: ``absence`` comes before them.
"""

import ctypes
import sys
import weakref
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from math import prod
from types import ModuleType
from typing import Any, Protocol

import numpy as np

from perception.errors import NetworkError
from perception.types import Float

DRIVER = 'libcuda.so.1'
FUNCTIONS = ('cuInit', 'cuGetErrorString', 'cuDeviceGetCount', 'cuDeviceGet', 'cuDeviceGetName',
             'cuDeviceGetAttribute')
MAJOR, MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, _MINOR
NAME_BYTES = 256
DRIVER_REMEDY = 'for a GPU install its driver, and check it with nvidia-smi'
MEMORY_REMEDY = 'no Python package for memory on the GPU; pip install cuda-bindings'


@dataclass(frozen=True)
class Device:
    """The first visible GPU: its name, and its compute capability (8, 9)."""

    name: str
    capability: tuple[int, int]

    @property
    def target(self) -> str:
        """Compute capability as builders write it: ``sm89``."""
        return 'sm{}{}'.format(*self.capability)


def absence() -> str | None:
    """Why no GPU can be used here, in one line with the remedy; None = one can."""
    try:
        first_device()
    except NetworkError as error:
        return str(error)
    return None


@lru_cache(maxsize=1)
def first_device(library: str = DRIVER) -> Device:
    """
    The first visible GPU, by the driver alone.

    Raises
    ------
    NetworkError
        No driver, or no GPU that it can use.
    """
    try:
        driver = ctypes.CDLL(library)
        for name in FUNCTIONS:
            getattr(driver, name)
    except (OSError, AttributeError) as error:
        raise NetworkError(f'no NVIDIA driver ({error}); {DRIVER_REMEDY}') from None
    _ask(driver, 'cuInit', ctypes.c_uint(0))
    count, device = ctypes.c_int(), ctypes.c_int()
    _ask(driver, 'cuDeviceGetCount', ctypes.byref(count))
    if count.value < 1:
        raise NetworkError('the NVIDIA driver sees no GPU; check CUDA_VISIBLE_DEVICES')
    _ask(driver, 'cuDeviceGet', ctypes.byref(device), ctypes.c_int(0))
    text = ctypes.create_string_buffer(NAME_BYTES)
    _ask(driver, 'cuDeviceGetName', text, ctypes.c_int(NAME_BYTES), device)
    capability = (_attribute(driver, MAJOR, device), _attribute(driver, MINOR, device))
    return Device(text.value.decode(errors='replace'), capability)


def _attribute(driver: ctypes.CDLL, number: int, device: ctypes.c_int) -> int:
    value = ctypes.c_int()
    _ask(driver, 'cuDeviceGetAttribute', ctypes.byref(value), ctypes.c_int(number), device)
    return value.value


def _ask(driver: ctypes.CDLL, function: str, *arguments: Any) -> None:
    """Call a function of the driver; a status other than 0 is an error."""
    status = getattr(driver, function)(*arguments)
    if status == 0:
        return
    text = ctypes.c_char_p()
    driver.cuGetErrorString(ctypes.c_int(status), ctypes.byref(text))
    reason = (text.value or b'unknown').decode(errors='replace')
    raise NetworkError(
        f'the NVIDIA driver refuses: {function}: {reason} ({status}); {DRIVER_REMEDY}'
    )


class Memory(Protocol):
    """Named float32 arrays on the device, and a stream of their own: not the default one."""

    stream: int

    def reserve(self, name: str, shape: tuple[int, ...]) -> int:
        """Address of room for this array; what it held before may be lost."""
        ...

    def upload(self, name: str, array: Float) -> int:
        """Address on the device of a copy of a contiguous float32 array."""
        ...

    def download(self, name: str, shape: tuple[int, ...]) -> Float:
        """Wait for the stream and copy an array back."""
        ...

    def mark(self) -> None:
        """Note by the device's own clock when the stream comes to this place."""
        ...

    def marked_ms(self) -> float:
        """Wait for the last mark; device time since the one before it [ms]."""
        ...


def open_memory() -> Memory:
    """
    Memory by torch where it is loaded already, else by cuda-bindings, else by torch.

    Raises
    ------
    NetworkError
        Neither is there, or the device refuses.
    """
    bindings = _importable('cuda.bindings.runtime')
    torch = sys.modules.get('torch') or (None if bindings else _importable('torch'))
    if torch is not None and torch.cuda.is_available():
        return TorchMemory(torch)
    if bindings is None:
        raise NetworkError(MEMORY_REMEDY)
    return BoundMemory(bindings)


def memory_absence() -> str | None:
    """Why no Python package can hold memory on the GPU; None = one can."""
    if _importable('cuda.bindings.runtime') is not None:
        return None
    torch = _importable('torch')
    return None if torch is not None and torch.cuda.is_available() else MEMORY_REMEDY


def _importable(name: str) -> Any:
    """Import a module that may be absent; None where it is."""
    try:
        return import_module(name)
    except ImportError:
        return None


class BoundMemory:
    """Device memory by NVIDIA's cuda-bindings."""

    def __init__(self, runtime: ModuleType) -> None:
        self._runtime: Any = runtime
        self._held: dict[str, tuple[int, int]] = {}  # address, bytes
        self.stream = int(self._done(
            self._runtime.cudaStreamCreateWithFlags(self._runtime.cudaStreamNonBlocking)))
        self._marks = [self._done(self._runtime.cudaEventCreate()) for _ in range(2)]
        weakref.finalize(self, _release, runtime, self._held, self._marks, self.stream)

    def reserve(self, name: str, shape: tuple[int, ...]) -> int:
        """Address of room for this array; see ``Memory``."""
        address, held = self._held.get(name, (0, 0))
        size = max(prod(shape), 1) * np.dtype(np.float32).itemsize
        if size > held:
            self._done(self._runtime.cudaFree(address))
            self._held.pop(name, None)
            address = int(self._done(self._runtime.cudaMalloc(size)))
            self._held[name] = address, size
        return address

    def upload(self, name: str, array: Float) -> int:
        """Address on the device of a copy; see ``Memory``."""
        address = self.reserve(name, array.shape)
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._done(self._runtime.cudaMemcpyAsync(
            address, array.ctypes.data, array.nbytes, kind, self.stream))
        return address

    def download(self, name: str, shape: tuple[int, ...]) -> Float:
        """Wait for the stream and copy an array back; see ``Memory``."""
        array = np.empty(shape, np.float32)
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._done(self._runtime.cudaMemcpyAsync(
            array.ctypes.data, self._held[name][0], array.nbytes, kind, self.stream))
        self._done(self._runtime.cudaStreamSynchronize(self.stream))
        return array

    def mark(self) -> None:
        """Note when the stream comes to this place; see ``Memory``."""
        self._marks.reverse()
        self._done(self._runtime.cudaEventRecord(self._marks[1], self.stream))

    def marked_ms(self) -> float:
        """Device time between the last two marks [ms]; see ``Memory``."""
        self._done(self._runtime.cudaEventSynchronize(self._marks[1]))
        return float(self._done(self._runtime.cudaEventElapsedTime(*self._marks)))

    def _done(self, result: tuple[Any, ...]) -> Any:
        """What a call returned beside its status, which must be 0."""
        status, *values = result
        if int(status) != 0:
            _, text = self._runtime.cudaGetErrorString(status)
            raise NetworkError(
                f'the GPU refuses: {text.decode()} ({int(status)}); {DRIVER_REMEDY}')
        return values[0] if values else None


def _release(
    runtime: Any, held: dict[str, tuple[int, int]], marks: list[Any], stream: int
) -> None:
    """Give all of it back; at the end of a process the driver may be gone already."""
    for address, _ in held.values():
        runtime.cudaFree(address)
    for mark in marks:
        runtime.cudaEventDestroy(mark)
    runtime.cudaStreamDestroy(stream)


class TorchMemory:
    """Device memory by torch, for a process that has loaded it anyway."""

    def __init__(self, torch: ModuleType) -> None:
        self._torch: Any = torch
        self._stream: Any = self._torch.cuda.Stream()
        self._held: dict[str, Any] = {}
        self._marks = [self._torch.cuda.Event(enable_timing=True) for _ in range(2)]
        self.stream = int(self._stream.cuda_stream)

    def reserve(self, name: str, shape: tuple[int, ...]) -> int:
        """Address of room for this array; see ``Memory``."""
        size, tensor = max(prod(shape), 1), self._held.get(name)
        if tensor is None or tensor.numel() < size:
            with self._torch.cuda.stream(self._stream):
                tensor = self._torch.empty(size, dtype=self._torch.float32, device='cuda')
            self._held[name] = tensor
        return int(tensor.data_ptr())

    def upload(self, name: str, array: Float) -> int:
        """Address on the device of a copy; see ``Memory``."""
        address = self.reserve(name, array.shape)
        flat = array.ravel() if array.flags.writeable else array.flatten()
        with self._torch.cuda.stream(self._stream):
            self._held[name][:array.size].copy_(self._torch.from_numpy(flat))
        return address

    def download(self, name: str, shape: tuple[int, ...]) -> Float:
        """Wait for the stream and copy an array back; see ``Memory``."""
        with self._torch.cuda.stream(self._stream):
            flat = self._held[name][:prod(shape)].cpu()
        self._stream.synchronize()
        return np.asarray(flat.numpy(), np.float32).reshape(shape)

    def mark(self) -> None:
        """Note when the stream comes to this place; see ``Memory``."""
        self._marks.reverse()
        self._marks[1].record(self._stream)

    def marked_ms(self) -> float:
        """Device time between the last two marks [ms]; see ``Memory``."""
        self._marks[1].synchronize()
        return float(self._marks[0].elapsed_time(self._marks[1]))
