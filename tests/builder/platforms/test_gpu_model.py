"""Which GPU is the model that a target declares."""

from __future__ import annotations

from typing import Optional, Set

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.config.matrix import gpu_model
from builder.platforms import gpu_models
from builder.platforms.gpus import Gpu
from tests.fact_machines import MACHINES
from tests.fakes import RTX3090, _with

NX = "NVIDIA Jetson Xavier NX Developer Kit"


@pytest.mark.parametrize(
    ("declared", "found", "board", "same"),
    [
        ("RTX 3090", "NVIDIA GeForce RTX 3090", "", True),
        ("NVIDIA GeForce RTX 3090", "NVIDIA GeForce RTX 3090", "", True),
        ("rtx-3090", "NVIDIA GeForce RTX 3090", "", True),
        ("RTX 3080", "NVIDIA GeForce RTX 3090", "", False),
        ("RTX 3090", "NVIDIA GeForce RTX 3090 Ti", "", False),
        ("RTX 3090 Ti", "NVIDIA GeForce RTX 3090", "", False),
        ("RTX 3080", "NVIDIA GeForce RTX 3080 Laptop GPU", "", False),
        ("RTX 3080 Laptop", "NVIDIA GeForce RTX 3080 Laptop GPU", "", True),
        ("GTX 1060", "NVIDIA GeForce GTX 1060 6GB", "", True),
        ("GTX 1060 6GB", "NVIDIA GeForce GTX 1060 6GB", "", True),
        ("GTX 1060 3GB", "NVIDIA GeForce GTX 1060 6GB", "", False),
        ("GTX 1060", "NVIDIA GeForce GTX 1060 with Max-Q Design", "", False),
        ("A100", "NVIDIA A100-SXM4-80GB", "", True),
        ("A100 80GB", "NVIDIA A100-SXM4-80GB", "", True),
        ("A100-PCIE", "NVIDIA A100-SXM4-80GB", "", False),
        ("A100", "NVIDIA A100-SXM4-40GB MIG 1g.5gb", "", False),
        ("A100 MIG 1g.5gb", "NVIDIA A100-SXM4-40GB MIG 1g.5gb", "", True),
        ("DGX A100", "NVIDIA A100-SXM4-40GB", "NVIDIA DGX A100", True),
        ("DGX A100", "NVIDIA A100-SXM4-40GB MIG 1g.5gb", "NVIDIA DGX A100", False),
        ("H100", "NVIDIA H100 80GB HBM3", "", True),
        ("H100", "NVIDIA H100 NVL", "", False),
        ("A6000", "NVIDIA RTX A6000", "", True),
        ("RTX 6000", "NVIDIA RTX 6000 Ada Generation", "", False),
        ("T4", "Tesla T4", "", True),
        ("Jetson Xavier NX", "Xavier", NX, True),
        ("Jetson AGX Xavier", "Xavier", NX, False),
        ("Jetson Orin", "Orin (nvgpu)", "NVIDIA Jetson AGX Orin Developer Kit", True),
        ("Jetson AGX Orin", "Orin (nvgpu)", "NVIDIA Jetson AGX Orin Developer Kit", True),
        ("Orin Nano", "Orin (nvgpu)", "NVIDIA Jetson AGX Orin Developer Kit", False),
        ("the GPU", "NVIDIA GeForce RTX 3090", "", False),
    ],
)
def test_a_declared_model_and_one_that_is_there(declared: str, found: str, board: str, same: bool) -> None:
    gpu = Gpu(found, "8.6", mig=" MIG " in found)
    assert gpu_models.is_called(declared, gpu, _with(RTX3090, gpus=(gpu,), board=board)) is same


@pytest.mark.parametrize(
    ("declared", "sm", "machines"),
    [
        ("GTX 1060", "6.1", {"gtx1060"}),
        ("NVIDIA GeForce GTX 1060 6GB", "6.1", {"gtx1060"}),
        ("Jetson Xavier NX", "7.2", {"xavier-nx-jetpack5"}),
        ("T4", "7.5", {"t4", "t4-docker-without-libcuda"}),
        ("A100", "8.0", set()),  # what is there is a part of one
        ("A100 MIG 3g.20gb", "8.0", {"a100-mig-kubernetes"}),
        ("RTX 3090", "8.6", {"rtx3090"}),
        ("RTX 3090", "8.9", set()),
        ("Jetson AGX Orin", "8.7", {"orin-jetpack6"}),
        ("RTX 4070", "8.9", {"wsl-rtx4070"}),
        ("H100", "9.0", {"h100"}),
        ("Jetson AGX Thor", "11.0", {"thor-jetpack7"}),
        ("RTX 5090", "12.0", {"rtx5090"}),
        ("RTX 9999", "8.6", set()),
        (None, "8.6", {"rtx3090"}),
        (None, None, set()),
    ],
)
def test_the_recorded_machines_that_have_a_declared_gpu(
    declared: Optional[str], sm: Optional[str], machines: Set[str]
) -> None:
    fitting = {name: gpu_models.fitting(machine, sm, declared) for name, machine in MACHINES.items()}
    assert {name for name, gpus in fitting.items() if gpus} == machines
    assert all(fitting[name] == MACHINES[name].gpus for name in machines)


@given(st.text(max_size=40))
def test_a_canonical_name_is_that_of_itself(text: str) -> None:
    once = gpu_model(text)
    assert gpu_model(once) == once
