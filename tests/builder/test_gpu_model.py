"""Which GPU is the model that a target declares."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder import gpu_model
from builder.facts import Gpu
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
    assert gpu_model.is_called(declared, gpu, _with(RTX3090, gpus=(gpu,), board=board)) is same


@pytest.mark.parametrize("name", sorted(MACHINES))
def test_every_gpu_is_of_the_model_that_it_calls_itself(name: str) -> None:
    machine = MACHINES[name]
    for gpu in machine.gpus:
        assert gpu in gpu_model.fitting(machine, gpu.sm, gpu.name)
        assert gpu in gpu_model.fitting(machine, gpu.sm, gpu_model.in_general(gpu_model.canonical(gpu.name)))
        assert not gpu_model.fitting(machine, gpu.sm, "RTX 9999")


@given(st.text(max_size=40))
def test_a_canonical_name_is_that_of_itself(text: str) -> None:
    once = gpu_model.canonical(text)
    assert gpu_model.canonical(once) == once
