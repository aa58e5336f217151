"""Installed packages by their metadata: Python distributions, Debian packages, the CUDA toolkit's own files.

Nothing is imported to find out. `importlib.metadata` would read the same through e-mail and zip parsers, whose
import alone costs more than all of detection.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from typing import Dict, Iterable, List, Mapping, Tuple

from builder.platforms.probe import Probe

NAMES = (
    "torch",
    "onnx",
    "onnxscript",
    "onnxsim",
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
    "polygraphy",
    "tensorrt",
    "tensorrt_cu12_libs",  # which CUDA a TensorRT is for: the driver must know it
    "tensorrt_cu13_libs",
    "tensorrt_rtx",
    "tensorrt_rtx_cu12_libs",
    "tensorrt_rtx_cu13_libs",
    "numpy",
    "opencv-python-headless",
    "safetensors",
)
# Other distributions of the same module. They count as the name on the left.
_SAME: Dict[str, Tuple[str, ...]] = {
    "onnxruntime": ("onnxruntime-gpu",),
    "tensorrt": (
        "tensorrt-cu13",
        "tensorrt-cu12",
        "tensorrt-cu13-bindings",
        "tensorrt-cu12-bindings",
        "tensorrt-bindings",
    ),
    "tensorrt-rtx": ("tensorrt-rtx-cu13", "tensorrt-rtx-cu12"),
    "opencv-python-headless": ("opencv-python", "opencv-contrib-python-headless", "opencv-contrib-python"),
}
# Modules that Debian packages bring without metadata of Python's: name here -> module, packages.
_MODULES: Dict[str, Tuple[str, Tuple[str, ...]]] = {
    "tensorrt": ("tensorrt", ("python3-libnvinfer",)),
    "opencv-python-headless": ("cv2", ("python3-opencv", "libopencv-python")),
}
_METADATA = re.compile(r"(.+?)-([0-9][^-]*?)(?:-py[0-9.]+)?\.(?:dist|egg)-info$")
_CUDA_WHEELS = ("nvidia-cuda-runtime", "nvidia-cuda-runtime-cu12", "nvidia-cuda-runtime-cu11")
_CUDNN_WHEELS = ("nvidia-cudnn-cu13", "nvidia-cudnn-cu12", "nvidia-cudnn-cu11")
_CUDNN_HEADERS = (
    "/usr/include/cudnn_version.h",
    "/usr/include/x86_64-linux-gnu/cudnn_version.h",
    "/usr/include/aarch64-linux-gnu/cudnn_version.h",
    "/usr/local/cuda/include/cudnn_version.h",
)


@dataclass(frozen=True)
class Package:
    name: str
    version: str


def distributions(probe: Probe) -> Dict[str, str]:
    """Normalised name -> version of all that this Python can import, from folders such as `onnx-1.23.2.dist-info`."""
    found: Dict[str, str] = {}
    for folder in probe.path:
        try:
            listed = os.listdir(folder or ".")
        except OSError:  # a zip file, or a folder that is gone
            continue
        for entry in listed:
            match = _METADATA.match(entry)
            if match:
                found.setdefault(_normal(match.group(1)), match.group(2))
    return found


def named(distributions: Mapping[str, str], names: Iterable[str] = NAMES) -> List[Package]:
    """Those of `names` that are installed, under whichever distribution."""
    packages = []
    for name in names:
        for candidate in (_normal(name), *_SAME.get(_normal(name), ())):
            if candidate in distributions:
                packages.append(Package(name, distributions[candidate]))
                break
    return packages


def cuda(probe: Probe, distributions: Mapping[str, str]) -> str:
    """Version of the CUDA that is installed: the wheel that Python programs load, else the toolkit of the system."""
    wheel = next((distributions[name] for name in _CUDA_WHEELS if name in distributions), "")
    if wheel:
        return wheel
    try:
        said = json.loads(probe.text("/usr/local/cuda/version.json"))["cuda"]["version"]
    except (ValueError, KeyError, TypeError):  # no such file, or one of another form
        said = probe.text("/usr/local/cuda/version.txt")  # CUDA 10: "CUDA Version 10.2.89"
    match = re.search(r"[0-9]+(\.[0-9]+)*", said) if said and isinstance(said, str) else None
    if match:
        return match.group()
    folder = probe.link("/usr/local/cuda").rpartition("/cuda-")[2]  # it is a link to cuda-12.6
    return folder if re.fullmatch(r"[0-9]+\.[0-9]+", folder) else ""


def cudnn(probe: Probe, distributions: Mapping[str, str]) -> str:
    wheel = next((distributions[name] for name in _CUDNN_WHEELS if name in distributions), "")
    if wheel:
        return wheel
    for path in _CUDNN_HEADERS:
        numbers = dict(re.findall(r"#define CUDNN_(MAJOR|MINOR|PATCHLEVEL)\s+([0-9]+)", probe.text(path)))
        if len(numbers) == 3:
            return f"{numbers['MAJOR']}.{numbers['MINOR']}.{numbers['PATCHLEVEL']}"
    return ""


class Debian:
    """The packages of a Debian system, from the file that dpkg keeps. It is some MiB, so it is read once and only
    where a Jetson or an NVIDIA driver makes it worth it."""

    def __init__(self, probe: Probe) -> None:
        self._text = "\n" + probe.text("/var/lib/dpkg/status")

    def version(self, name: str) -> str:
        """The upstream numbers of an installed package: 10.3.0.30 of 10.3.0.30-1+cuda12.5."""
        start = self._text.find(f"\nPackage: {name}\n")
        if start < 0:
            return ""
        paragraph = self._text[start : self._text.find("\n\n", start)]
        match = re.search(r"^Version: (?:[0-9]+:)?([0-9]+(?:\.[0-9]+)*)", paragraph, re.MULTILINE)
        return match.group(1) if match and "\nStatus: install ok installed\n" in paragraph else ""

    def first(self, *names: str) -> str:
        return next((version for version in map(self.version, names) if version), "")


def from_debian(probe: Probe, debian: Debian, found: Iterable[Package]) -> List[Package]:
    """What Debian packages bring on a Jetson. The TensorRT library counts as `libnvinfer`. A Python module counts under
    its own name only where this Python can see it: a virtual environment without the system's packages cannot."""
    packages = []
    library = debian.first("libnvinfer11", "libnvinfer10", "libnvinfer8", "libnvinfer7")
    if library:
        packages.append(Package("libnvinfer", library))
    known = {package.name for package in found}
    for name, (module, names) in _MODULES.items():
        version = debian.first(*names) if name not in known else ""
        if version and _sees(probe, module):
            packages.append(Package(name, version))
    return packages


def _sees(probe: Probe, module: str) -> bool:
    """Is there such a module on Python's path, as a folder or a file?"""
    for folder in probe.path:
        try:
            if any(entry == module or entry.startswith(f"{module}.") for entry in os.listdir(folder or ".")):
                return True
        except OSError:  # a zip file, or a folder that is gone
            continue
    return False


def _normal(name: str) -> str:
    """PEP 503: case, and runs of - _ . do not tell packages apart."""
    return re.sub(r"[-_.]+", "-", name).lower()
