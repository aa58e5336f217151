"""That the tests of this folder are collected anywhere, and skipped for the true reason. It runs everywhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Tuple

import pytest

from builder.planning.planner import plan
from builder.platforms import machines
from tests import fakes
from tests.fact_machines import MACHINES
from tests.hardware import rig as rigs


@pytest.mark.parametrize(
    ("machine", "runtime", "reason"),
    [
        ("laptop-without-gpu", "tensorrt", "this machine has no NVIDIA GPU"),
        ("laptop-without-gpu", "tensorrt-rtx", "it runs on compute capability .*; this machine has no NVIDIA GPU"),
        ("laptop-without-gpu", "onnxruntime-gpu", "it runs on an NVIDIA GPU; this machine has no NVIDIA GPU"),
        ("t4-docker-without-libcuda", "tensorrt", "its GPU cannot be used: .*libcuda"),
        ("raspberry-pi-5", "tensorrt-rtx", "not for linux on aarch64"),
        ("gtx1060", "tensorrt-rtx", "it runs on compute capability 7.5, .*GTX 1060"),
        ("orin-jetpack6", "onnxruntime-gpu", "no onnxruntime-gpu for JetPack"),
    ],
)
def test_the_reason_names_what_is_missing(machine: str, runtime: str, reason: str) -> None:
    assert re.search(reason, rigs.why_not(runtime, MACHINES[machine])), rigs.why_not(runtime, MACHINES[machine])


def test_a_missing_package_is_named() -> None:
    machine = MACHINES["rtx3090"]
    assert rigs.why_not("tensorrt", machine) == ""
    assert rigs.why_not("tensorrt", fakes.without(machine, "tensorrt")) == "tensorrt is not installed"
    assert rigs.why_not("tensorrt-rtx", fakes.without(machine, "tensorrt_rtx")) == "tensorrt_rtx is not installed"


def test_a_tensorrt_that_dropped_the_gpu_is_named() -> None:
    machine = fakes.with_version(MACHINES["gtx1060"], "tensorrt", "10.16.1.11")
    assert "TensorRT 10.16.1.11 is for compute capability 7.5" in rigs.why_not("tensorrt", machine)


@pytest.mark.parametrize(
    ("machine", "line"),
    [
        ("rtx3090", 'runtime: tensorrt, version: "10.16", sm: "8.6", gpu: "NVIDIA GeForce RTX 3090", arch: x86_64'),
        ("orin-jetpack6", 'runtime: tensorrt, version: "10.3", sm: "8.7", gpu: "Orin", arch: aarch64, jetpack: "6.2'),
    ],
)
def test_the_target_is_the_installed_version_on_this_gpu(machine: str, line: str) -> None:
    assert line in (rigs.target("tensorrt", MACHINES[machine]) or "")


@pytest.mark.parametrize(
    ("options", "lacking"),
    [
        ("{}", ()),
        ("{typing: weak, layers: [{pattern: node_conv2d*, precision: fp32}]}", ()),
        ("{strip: true}", ("gtx1060", "xavier-nx-jetpack5")),
        ("{version_compatible: true}", ("xavier-nx-jetpack5",)),
        ("{hardware_compatible: ampere_plus}", ("xavier-nx-jetpack5",)),
        ("{hardware_compatible: same_compute_capability}", ("gtx1060", "xavier-nx-jetpack5", "orin-jetpack6")),
        ("{typing: weak, int8: calibrator}", ()),
        ("{dla_core: 0}", ("rtx3090", "gtx1060")),
    ],
)
def test_on_these_machines_an_option_would_be_tried_or_skipped(
    options: str, lacking: Tuple[str, ...], tmp_path: Path
) -> None:
    """The planner's word on the very matrix that the tests write, for machines that are not here."""
    pytest.importorskip("onnx")
    for number, machine in enumerate(("rtx3090", "gtx1060", "orin-jetpack6", "xavier-nx-jetpack5")):
        folder = tmp_path / str(number)
        (folder / "photographs").mkdir(parents=True)
        for file in "abcd":
            (folder / "photographs" / f"{file}.png").write_bytes(b"")
        rig = rigs.Rig(folder, MACHINES[machine])
        cells = plan(rig.write(options=options).matrix, rig.machine, only=("*-fp32-tensorrt",)).cells
        assert [cell.fate for cell in cells] == ["skipped" if machine in lacking else "build"], (machine, cells)


def test_pytest_collects_the_folder_and_skips_with_those_reasons() -> None:
    """As a person runs it. Where a GPU can be used, its tests are not among those looked at here."""
    command = [sys.executable, "-m", "pytest", "tests/hardware", "-m", "hardware", "-rs"]
    machine = machines.here()
    out = {runtime: rigs.why_not(runtime, machine) for runtime in ("tensorrt", "tensorrt-rtx")}
    if not all(out.values()):
        pytest.skip("a GPU can be used here: the tests themselves run")
    done = subprocess.run([*command, "-k", "tensorrt"], cwd=str(fakes.REPOSITORY), capture_output=True, text=True)
    told = " ".join(done.stdout.split())
    assert done.returncode == 0, done.stdout + done.stderr
    if "could not import" in told:
        pytest.skip("what prepares these tests is not installed here")
    for runtime, reason in out.items():
        assert f"{runtime}: {reason}" in told, done.stdout
    assert " passed" not in told
