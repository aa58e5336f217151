"""GPUs through libcuda, the driver's own library: what a CUDA program on this machine would see.

It obeys CUDA_VISIBLE_DEVICES, lists MIG instances, knows every compute capability, and is there on every machine
that can run CUDA, Jetsons included. It makes no context on a GPU.
"""

from __future__ import annotations

import ctypes
from typing import Any, Optional

from builder.detect.gpu import Gpu, Seen, cuda_version
from builder.detect.probe import Probe

# The second is where Windows puts it; the loader of some distributions does not look there.
_PLACES = ("libcuda.so.1", "/usr/lib/wsl/lib/libcuda.so.1")
_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_{MAJOR,MINOR}, cuda.h
_NO_DEVICE = 100  # CUDA_ERROR_NO_DEVICE
_MIB = 1 << 20


def load(probe: Probe) -> Any:
    """The library, or None."""
    for place in _PLACES:
        library = probe.library(place) if not place.startswith("/") or probe.exists(place) else None
        if library is not None:
            return library
    return None


def ask(cuda: Any) -> Seen:
    number = ctypes.c_int()
    newest = cuda_version(number.value) if cuda.cuDriverGetVersion(ctypes.byref(number)) == 0 else ""
    code = cuda.cuInit(0)
    count = ctypes.c_int()
    if code == 0:
        code = cuda.cuDeviceGetCount(ctypes.byref(count))
    if code == 0 and count.value == 0:
        code = _NO_DEVICE
    if code != 0:
        return Seen(by="libcuda", cuda=newest, problem=f"libcuda says {_error(cuda, code)}")
    return Seen(tuple(_gpu(cuda, index) for index in range(count.value)), "libcuda", cuda=newest)


def _gpu(cuda: Any, index: int) -> Gpu:
    device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    name, memory = ctypes.create_string_buffer(128), ctypes.c_size_t()
    cuda.cuDeviceGet(ctypes.byref(device), index)
    cuda.cuDeviceGetName(name, len(name), device)
    cuda.cuDeviceGetAttribute(ctypes.byref(major), _MAJOR, device)
    cuda.cuDeviceGetAttribute(ctypes.byref(minor), _MINOR, device)
    cuda.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
    called = name.value.decode(errors="replace")
    mig = " MIG " in called
    return Gpu(called, f"{major.value}.{minor.value}", memory.value // _MIB, _uuid(cuda, device, mig), mig)


def _uuid(cuda: Any, device: ctypes.c_int, mig: bool) -> str:
    """As nvidia-smi writes it. Only the second version of the call knows MIG instances; old drivers lack it."""
    call: Optional[Any] = getattr(cuda, "cuDeviceGetUuid_v2", None) or getattr(cuda, "cuDeviceGetUuid", None)
    octets = ctypes.create_string_buffer(16)
    if call is None or call(octets, device) != 0:
        return ""
    digits = octets.raw.hex()
    parts = (digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:])
    return ("MIG-" if mig else "GPU-") + "-".join(parts)


def _error(cuda: Any, code: int) -> str:
    said = ctypes.c_char_p()
    if cuda.cuGetErrorName(code, ctypes.byref(said)) != 0 or said.value is None:
        return f"error {code}"
    return f"{said.value.decode(errors='replace')} ({code})"
