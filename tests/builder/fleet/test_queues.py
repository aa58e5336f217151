"""The names of queues, and which of them a machine serves."""

from __future__ import annotations

import pytest

from builder.blob import Platform
from builder.facts import Gpu, Machine
from builder.fleet import queues
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


@pytest.mark.parametrize("name", sorted(MACHINES))
def test_of_every_known_machine_each_queue_is_one_that_its_own_target_would_have(name: str) -> None:
    """What a worker serves and what a run orders are two functions; on each recorded machine they meet."""
    machine = MACHINES[name]
    for queue in queues.served(machine):
        assert queue.startswith(queues.PREFIX) and len(queue) < 120
        assert f"{machine.os}-{machine.arch}" in queue
