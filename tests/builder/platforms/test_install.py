"""The orders to install, row by row: what a person types on the machine that a cell waits for."""

from __future__ import annotations

from typing import List

import pytest

from builder.config.loader import Loaded
from builder.config.matrix import Target
from builder.platforms import install
from builder.release import WHEEL

PIP = f".venv/bin/pip install ./{WHEEL}"
USUAL = "polygraphy onnxruntime opencv-python-headless"
NEWER_PIP = ".venv/bin/pip install --upgrade pip"
VENV, SYSTEM_VENV = "python3 -m venv .venv", "python3 -m venv --system-site-packages .venv"
JETPACK = "sudo apt-get install nvidia-jetpack python3-venv"
NVIDIA = "--extra-index-url https://pypi.nvidia.com"

SHIPPED = {
    "cpu_onnxruntime": ("", [VENV, f"{PIP} numpy {USUAL}"]),
    "cpu_openvino": ("", [VENV, f"{PIP} numpy {USUAL} openvino"]),
    "rtx3090_rtx": (
        "CUDA 13.0 to 13.4, driver 580.65.06 or newer, Python 3.8 to 3.13",
        [f"{VENV}  # Python 3.8 to 3.13", f"{PIP} numpy {USUAL} 'tensorrt-rtx==1.7.*'"],
    ),
    "rtx3090_trt10": (
        "CUDA 12.9, driver 525.60.13 or newer, Python 3.8 to 3.13",
        [f"{VENV}  # Python 3.8 to 3.13", f"{PIP} numpy {USUAL} 'tensorrt-cu12==10.16.*' {NVIDIA}"],
    ),
    "gtx1060_trt86": (
        "CUDA 12.1, driver 525.60.13 to 580, Python 3.8 to 3.11",
        [
            f"{VENV}  # Python 3.8 to 3.11",
            f"{PIP} 'numpy<2' {USUAL} setuptools wheel nvidia-cudnn-cu12==8.9.7.29",
            f".venv/bin/pip install --no-build-isolation tensorrt==8.6.1 {NVIDIA}",
        ],
    ),
    "gtx1060_ort": (
        "CUDA 12.8, driver 525.60.13 to 580, cuDNN 9.10.2.21, Python 3.11 to 3.14",
        [
            f"{VENV}  # Python 3.11 to 3.14",
            f"{PIP} numpy polygraphy opencv-python-headless 'onnxruntime-gpu[cuda,cudnn]==1.26.*' "
            "'nvidia-cudnn-cu12==9.10.2.21'",
        ],
    ),
    "orin_jp6": (
        "JetPack 6.2: CUDA 12.6, cuDNN 9.3, Python 3.10",
        [JETPACK, SYSTEM_VENV, f"{PIP} 'numpy<2' {USUAL}"],
    ),
    "xaviernx_jp5": (
        "JetPack 5.1: CUDA 11.4, cuDNN 8.6, Python 3.8",
        [JETPACK, SYSTEM_VENV, NEWER_PIP, f"{PIP} 'numpy<1.24' {USUAL}"],
    ),
}


def test_every_shipped_target_is_in_the_table(shipped: Loaded) -> None:
    assert {target.name for target in shipped.matrix.targets} == set(SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_the_orders_of_the_shipped_targets(name: str, shipped: Loaded) -> None:
    needs, commands = SHIPPED[name]
    target = shipped.matrix.target(name)
    assert install.needs(target) == needs
    assert list(install.commands(target, True)) == commands


@pytest.mark.parametrize(
    ("target", "needs", "last"),
    [
        (
            Target("t", "tensorrt", "10.3", sm="7.0", cuda="11.8"),
            "CUDA 11.8, driver 450.80.02 to 580, Python 3.8 to 3.12",
            f"{PIP} 'numpy<2' polygraphy onnxruntime 'tensorrt-cu11==10.3.*' {NVIDIA}",
        ),
        (
            Target("t", "tensorrt", "10.16.1.11", sm="8.6", cuda="13.2"),
            "CUDA 13.2, driver 580.65.06 or newer, Python 3.8 to 3.13",
            f"{PIP} numpy polygraphy onnxruntime tensorrt-cu13==10.16.1.11 {NVIDIA}",
        ),
        (
            Target("t", "tensorrt", "10.16", sm="8.6"),
            "CUDA 12.0 to 12.9, driver 525.60.13 or newer, Python 3.8 to 3.13",
            f"{PIP} numpy polygraphy onnxruntime 'tensorrt-cu12==10.16.*' {NVIDIA}",
        ),
        (
            Target("t", "tensorrt", "8.6", sm="6.1", cuda="11.8"),
            "CUDA 11.8, driver 450.80.02 to 580, Python 3.8 to 3.11",
            "export LD_LIBRARY_PATH=$PWD/$(echo TensorRT-*)/lib",
        ),
        (
            Target("t", "tensorrt", "10.9", sm="9.0", arch="aarch64", cuda="12.8"),
            "CUDA 12.8, driver 525.60.13 or newer, Python 3.8 to 3.13",
            f"{PIP} numpy polygraphy onnxruntime",
        ),
        (
            Target("t", "onnxruntime-gpu", sm="8.6"),
            "",
            f"{PIP} numpy polygraphy 'onnxruntime-gpu[cuda,cudnn]'",
        ),
        (
            Target("t", "onnxruntime-gpu", "1.31", sm="8.6"),
            "CUDA 13.0 to 13.4, driver 580.65.06 or newer, Python 3.11 to 3.14",
            f"{PIP} numpy polygraphy 'onnxruntime-gpu[cuda,cudnn]==1.31.*'",
        ),
        (
            Target("t", "onnxruntime-gpu", "1.20", sm="8.6", cudnn="9.5"),
            "CUDA 12.0 to 12.9, driver 525.60.13 or newer, cuDNN 9.5, Python 3.10 to 3.13",
            f"{PIP} numpy polygraphy 'onnxruntime-gpu==1.20.*' 'nvidia-cudnn-cu12==9.5.*'",
        ),
        (
            Target("t", "tensorrt", "10.13", sm="11.0", arch="aarch64", jetpack="7.1"),
            "JetPack 7.1: CUDA 13.0, cuDNN 9.12, Python 3.12",
            f"{PIP} numpy polygraphy onnxruntime",
        ),
        (
            Target("t", "tensorrt", "8.4", sm="7.2", arch="aarch64", jetpack="5.0"),
            "JetPack 5.0: CUDA 11.4, cuDNN 8.3.3, Python 3.8",
            f"{PIP} 'numpy<1.24' polygraphy onnxruntime",
        ),
    ],
    ids=lambda value: f"{value.runtime} {value.version} {value.sm}" if isinstance(value, Target) else "",
)
def test_other_targets_without_tasks(target: Target, needs: str, last: str) -> None:
    assert install.needs(target) == needs
    commands: List[str] = list(install.commands(target, False))
    assert commands[-1] == last
    assert any(".venv" in command for command in commands)


def test_onnxruntime_and_onnxruntime_gpu_are_never_installed_together(shipped: Loaded) -> None:
    for command in install.commands(shipped.matrix.target("gtx1060_ort"), True):
        assert " onnxruntime " not in f"{command} "
