"""The names of queues, and which of them a machine serves."""

from __future__ import annotations

from typing import Any, Optional, Tuple

import pytest

from builder.config.matrix import Target
from builder.execution.fleet import queues
from builder.platforms.gpus import Gpu
from builder.platforms.machines import Machine
from builder.platforms.platform import Platform, platform_of
from tests.fact_machines import MACHINES
from tests.fakes import GTX1060, LAPTOP, ORIN, RASPBERRY, RTX3090, _with


def _short(machine: Machine) -> "set[str]":
    return {name[len(queues.PREFIX) :] for name in queues.served(machine)}


@pytest.mark.parametrize(
    ("platform", "name"),
    [
        (Platform("tensorrt", "10.16", "linux", "x86_64", "8.6"), "tensorrt-10.16.sm8.6.linux-x86_64"),
        (Platform("tensorrt", "10.3", "linux", "aarch64", "8.7", "6.2"), "tensorrt-10.3.sm8.7.linux-aarch64.jp6.2"),
        (Platform("onnxruntime", "any", "linux", "x86_64"), "onnxruntime-any.linux-x86_64"),
        (
            Platform("tensorrt", "10.16", "linux", "x86_64", "8.6", gpu="RTX 3090"),
            "tensorrt-10.16.sm8.6.rtx-3090.linux-x86_64",
        ),
        (
            Platform("tensorrt", "10", "linux", "x86_64", "6.1", gpu="GTX 1060 6GB"),
            "tensorrt-10.sm6.1.gtx-1060.linux-x86_64",
        ),
    ],
)
def test_a_queue_is_named_after_what_its_machines_are(platform: Platform, name: str) -> None:
    assert queues.name(platform) == queues.PREFIX + name


def test_a_machine_serves_every_beginning_of_its_version() -> None:
    served = _short(RTX3090)
    for version in ("any", "10", "10.16", "10.16.1", "10.16.1.11"):
        assert f"tensorrt-{version}.sm8.6.linux-x86_64" in served
    assert not any(name.startswith("tensorrt-10.1.") or "sm6.1" in name for name in served)
    assert "onnxruntime-any.linux-x86_64" in served


def test_a_machine_serves_jobs_for_its_gpu_model_and_for_no_other() -> None:
    served = _short(RTX3090)
    assert {"tensorrt-10.16.sm8.6.linux-x86_64", "tensorrt-10.16.sm8.6.rtx-3090.linux-x86_64"} <= served
    other = _short(_with(RTX3090, gpus=(Gpu("NVIDIA GeForce RTX 3080", "8.6"),)))
    assert "tensorrt-10.16.sm8.6.linux-x86_64" in other
    assert not any("rtx-3090" in name for name in other)


def test_a_machine_serves_nothing_that_it_cannot_run() -> None:
    assert not any("tensorrt" in name for name in _short(LAPTOP)), "TensorRT-RTX builds here, and nothing runs it"
    assert {name.split(".")[0] for name in _short(GTX1060)} >= {"tensorrt-8", "onnxruntime-any"}
    assert all("aarch64" in name for name in _short(RASPBERRY) | _short(ORIN))
    assert any(name.startswith("tensorrt-10.3") for name in _short(ORIN))


WITH_OPENVINO = ("h100", "laptop-without-gpu", "rtx3090", "rtx5090", "t4", "this-kind", "wsl-rtx4070")


@pytest.mark.parametrize(
    ("runtime", "version", "sm", "gpu", "jetpack", "machines"),
    [
        ("tensorrt", "10.16", "8.6", None, None, ("rtx3090",)),
        ("tensorrt", "10", "8.6", "NVIDIA GeForce RTX 3090", None, ("rtx3090",)),
        ("tensorrt", "10.16", "8.6", "RTX 3080", None, ()),
        ("tensorrt", "10.13", "8.6", None, None, ()),
        ("tensorrt", "8.6", "6.1", "GTX 1060 6GB", None, ("gtx1060",)),
        ("tensorrt", "10.16", "9.0", "H100", None, ("h100",)),
        ("tensorrt", "10.3", "8.7", "Jetson AGX Orin", "6.2", ("orin-jetpack6",)),
        ("tensorrt", "10.3", "8.7", None, "6", ("orin-jetpack6",)),
        ("tensorrt", "10.3", "8.7", "Orin Nano", "6.2", ()),
        ("tensorrt", "8.5", "7.2", "Jetson Xavier NX", "5.1", ("xavier-nx-jetpack5",)),
        ("tensorrt", "8.5", "7.2", "Jetson Xavier NX", "6.2", ()),
        ("tensorrt", "10.13", "11.0", None, "7.0", ("thor-jetpack7",)),
        ("tensorrt-rtx", "1.7", "8.9", "RTX 4070", None, ("wsl-rtx4070",)),
        ("tensorrt-rtx", None, "8.9", None, None, ("wsl-rtx4070",)),
        ("tensorrt-rtx", "1.7", "7.5", None, None, ()),  # two build it, and their drivers do not run it
        ("onnxruntime-gpu", "1.23", "6.1", None, None, ("gtx1060",)),
        ("openvino", None, None, None, None, WITH_OPENVINO),
        ("openvino", "2025.4", None, None, None, ()),
        ("onnxruntime", "1.31", None, None, None, (*WITH_OPENVINO, "a100-mig-kubernetes", "t4-docker-without-libcuda")),
    ],
)
def test_what_a_run_orders_is_served_by_the_machines_that_are_what_the_target_declares(
    runtime: Any,
    version: Optional[str],
    sm: Optional[str],
    gpu: Optional[str],
    jetpack: Optional[str],
    machines: Tuple[str, ...],
) -> None:
    """The run names one queue, each worker names all of its own; between the recorded machines they meet in these."""
    arch: Any = "aarch64" if jetpack else "x86_64"
    target = Target("t", runtime, version, arch=arch, sm=sm, gpu=gpu, jetpack=jetpack)
    queue = queues.name(platform_of(target, MACHINES["this-kind"]))
    assert {name for name, machine in MACHINES.items() if queue in queues.served(machine)} == set(machines)


@pytest.mark.parametrize("name", sorted(MACHINES))
def test_the_queues_of_a_machine_are_short_and_say_its_platform(name: str) -> None:
    machine, served = MACHINES[name], queues.served(MACHINES[name])
    assert served and len(set(served)) == len(served)
    for queue in served:
        assert queue.startswith(queues.PREFIX) and len(queue) < 120
        end = queue.split(f".{machine.os}-{machine.arch}")[1]
        assert not end or machine.jetpack.startswith(end[len(".jp") :])
