"""One project for all tests of this folder, so that what they share is exported, lowered and measured once."""

from __future__ import annotations

import pytest

from builder.platforms import machines
from tests.hardware import rig as rigs


def pytest_report_header() -> str:
    machine = machines.here()
    gpus = ", ".join(gpu.described for gpu in machine.gpus) or "none"
    truth = "PyTorch" if rigs.with_pytorch(machine) else "onnxruntime on the CPU, since torch is not installed here"
    return f"hardware: GPUs {gpus}; driver {machine.driver or 'none'}; engines are compared with {truth}"


@pytest.fixture(scope="session")
def rig(tmp_path_factory: pytest.TempPathFactory) -> rigs.Rig:
    for package in ("numpy", "cv2", "onnx", "onnxruntime", "polygraphy"):
        pytest.importorskip(package)
    folder = tmp_path_factory.mktemp("hardware") / "project"
    rigs.photographs(folder / "photographs")
    return rigs.Rig(folder, machines.here())
