"""What this machine is: processor, GPUs, Python, and installed packages by their metadata.

Nothing is imported to find out, so it takes milliseconds. `Machine` is plain data: tests and the planner use
machines that are not this one.
"""

from __future__ import annotations

import ctypes
import os
import platform
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Iterable, List, Optional, Tuple

PACKAGES = (
    "torch",
    "onnx",
    "onnxscript",
    "onnxsim",
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
    "polygraphy",
    "tensorrt",
    "tensorrt_rtx",
    "numpy",
    "opencv-python-headless",
    "safetensors",
)
# Only what a rule or a choice reads; the rest of /proc/cpuinfo is noise in a key.
CPU_FEATURES = (
    "avx2",
    "avx512f",
    "avx512_vnni",
    "avx_vnni",
    "avx512_bf16",
    "amx_bf16",
    "amx_int8",
    "asimd",
    "asimddp",
    "bf16",
)

_METADATA = re.compile(r"(.+?)-([0-9][^-]*?)(?:-py[0-9.]+)?\.(?:dist|egg)-info$")
_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_{MAJOR,MINOR}, cuda.h


@dataclass(frozen=True)
class Package:
    name: str
    version: str


@dataclass(frozen=True)
class Gpu:
    name: str
    sm: str


@dataclass(frozen=True)
class Machine:
    os: str
    arch: str
    cpu: str
    cores: int
    features: Tuple[str, ...]
    python: str
    gpus: Tuple[Gpu, ...] = ()
    packages: Tuple[Package, ...] = ()

    def version(self, package: str) -> Optional[str]:
        return next((p.version for p in self.packages if p.name == package), None)

    @property
    def kind(self) -> str:
        """What timings are comparable on: the processor and how many cores of it this machine has."""
        return f"{self.cpu} x{self.cores}"


def here() -> Machine:
    return Machine(
        os=platform.system().lower(),
        arch={"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine().lower()),
        cpu=_cpu_model(),
        cores=_cores(),
        features=_cpu_features(),
        python="%d.%d.%d" % sys.version_info[:3],
        gpus=tuple(_gpus()),
        packages=tuple(_packages(PACKAGES)),
    )


def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        return os.cpu_count() or 1


def _cpuinfo(keys: Iterable[str]) -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:
        return ""
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip() in keys:
            return value.strip()
    return ""


def _cpu_model() -> str:
    return _cpuinfo(("model name", "Model")) or platform.processor() or platform.machine()


def _cpu_features() -> Tuple[str, ...]:
    flags = set(_cpuinfo(("flags", "Features")).split())
    return tuple(f for f in CPU_FEATURES if f in flags)


def _packages(names: Iterable[str]) -> Iterable[Package]:
    """Installed versions from the names of metadata folders, `onnx-1.23.2.dist-info`. `importlib.metadata` would read
    the same through e-mail and zip parsers, whose import alone costs more than all the rest of this file."""
    found: Dict[str, str] = {}
    for folder in sys.path:
        try:
            listed = os.listdir(folder or ".")
        except OSError:  # a zip file, or a folder that is gone
            continue
        for entry in listed:
            match = _METADATA.match(entry)
            if match:
                found.setdefault(_normal(match.group(1)), match.group(2))
    for name in names:
        if _normal(name) in found:
            yield Package(name, found[_normal(name)])


def _normal(name: str) -> str:
    """PEP 503: case, and runs of - _ . do not tell packages apart."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _gpus() -> List[Gpu]:
    """NVIDIA GPUs through the driver's own library; none without a driver."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return []
    count = ctypes.c_int()
    if cuda.cuInit(0) != 0 or cuda.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return []
    return [_gpu(cuda, index) for index in range(count.value)]


def _gpu(cuda: ctypes.CDLL, index: int) -> Gpu:
    device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    name = ctypes.create_string_buffer(128)
    cuda.cuDeviceGet(ctypes.byref(device), index)
    cuda.cuDeviceGetName(name, len(name), device)
    cuda.cuDeviceGetAttribute(ctypes.byref(major), _MAJOR, device)
    cuda.cuDeviceGetAttribute(ctypes.byref(minor), _MINOR, device)
    return Gpu(name.value.decode(errors="replace"), f"{major.value}.{minor.value}")
