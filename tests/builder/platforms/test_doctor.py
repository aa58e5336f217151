"""`build doctor`: what it says of this machine, and of others in its place."""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable, List

import pytest

from builder import cli
from builder.platforms import machines, requirements
from builder.platforms.machines import Machine
from tests.fact_machines import MACHINES
from tests.fakes import REPOSITORY, Project, without

Doctor = Callable[..., str]


@pytest.fixture
def doctor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Doctor:
    """doctor(machine, words...): what it prints there, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(machine: Machine, *words: str) -> str:
        monkeypatch.setattr(machines, "here", lambda: machine)
        assert cli.main(["doctor", *words]) == 0
        return capsys.readouterr().out

    return run


def _table(out: str, title: str) -> List[List[str]]:
    """The rows of the table whose first column is called `title`, cut at two spaces."""
    lines = out.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"{title} "))
    rows = lines[start + 1 : lines.index("", start)]
    return [[part.strip() for part in row.split("  ") if part.strip()] for row in rows]


# ------------------------------------------------------------------------------------------- this machine


def test_what_it_prints_here_is_a_file_that_plan_reads(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["doctor", "--json"]) == 0
    printed = capsys.readouterr().out
    assert set(json.loads(printed)) == {"schema", "machine"}
    (tmp_path / "here.json").write_text(printed, encoding="utf-8")
    assert machines.read(tmp_path / "here.json").machine == machines.here()
    monkeypatch.chdir(project.root)
    assert cli.main(["plan", "--print-ids", "--facts", str(tmp_path / "here.json")]) == 0
    there = capsys.readouterr().out
    assert cli.main(["plan", "--print-ids"]) == 0
    assert capsys.readouterr().out == there


def test_without_a_matrix_it_needs_two_small_packages_at_most(tmp_path: Path) -> None:
    """-S leaves out what is installed. Python reads TOML itself from 3.11 on."""
    site = tmp_path / "site"
    site.mkdir()
    for name in ("packaging", *(() if sys.version_info >= (3, 11) else ("tomli",))):
        (site / name).symlink_to(Path(str(importlib.import_module(name).__file__)).parent)
    done = subprocess.run(
        [sys.executable, "-S", "-m", "builder.cli", "doctor"],
        cwd=str(tmp_path),
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(REPOSITORY), str(site)])},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stdout
    assert done.stdout.startswith("This machine:")


# ------------------------------------------------------------------------------------------- other machines


def test_a_machine_with_a_gpu(doctor: Doctor) -> None:
    out = doctor(MACHINES["rtx3090"])
    assert "system     linux on x86_64\n" in out
    assert "AMD Ryzen 9 5950X 16-Core Processor, 32 cores\n" in out
    assert "GPU        NVIDIA GeForce RTX 3090, compute capability 8.6, 24.0 GiB\n" in out
    assert "driver     580.65.06, knows CUDA up to 13.0\n" in out
    assert [row[:2] for row in _table(out, "runtime")] == [
        ["onnxruntime", "build, run"],
        ["openvino", "build, run"],
        ["onnxruntime-gpu", "build"],
        ["tensorrt-rtx", "build, run"],
        ["tensorrt", "build, run"],
    ]
    assert [row[1] for row in _table(out, "step")] == ["yes"] * 4
    assert out.endswith("Next, with a matrix.yaml: build doctor -m FILE\n")


def test_a_jetson(doctor: Doctor) -> None:
    out = doctor(MACHINES["xavier-nx-jetpack5"])
    assert "board      NVIDIA Jetson Xavier NX Developer Kit\n" in out
    assert "JetPack    5.1.2 (L4T 35.4.1)\n" in out
    assert "CUDA       11.4, cuDNN 8.6.0\n" in out
    assert ["tensorrt", "build, run"] in _table(out, "runtime")
    assert "export a PyTorch model, lower an ONNX model: do this on a machine with Python 3.10 or newer" in " ".join(
        out.split()
    )
    hidden = without(MACHINES["xavier-nx-jetpack5"], "tensorrt")
    out = " ".join(doctor(hidden).split())
    assert "TensorRT 8.5.2 is installed, but this Python does not see its module" in out
    assert (
        "TensorRT 8.5.2 (JetPack 5.1.2: CUDA 11.4, cuDNN 8.6, Python 3.8), in an environment of its own here, beside"
        in out
    )
    assert "--system-site-packages" in out


@pytest.mark.parametrize(("jetpack", "said"), [("7.3", "7.3 (L4T 39.4): in no table"), ("", "L4T 39.4: in no table")])
def test_a_jetpack_that_is_in_no_table_is_said(doctor: Doctor, jetpack: str, said: str) -> None:
    newer = dataclasses.replace(MACHINES["orin-jetpack6"], jetpack=jetpack, l4t="39.4")
    assert said in " ".join(doctor(newer).split())
    assert "in no table" not in doctor(dataclasses.replace(newer, jetpack="7.2.1", l4t="39.2.1"))


def test_surroundings_are_named(doctor: Doctor) -> None:
    assert "in the Windows Subsystem for Linux" in doctor(MACHINES["wsl-rtx4070"])
    assert "in a container (kubernetes)" in doctor(MACHINES["a100-mig-kubernetes"])
    assert ", 19.5 GiB, a MIG instance\n" in doctor(MACHINES["a100-mig-kubernetes"])


def test_a_gpu_that_cannot_be_used(doctor: Doctor) -> None:
    out = doctor(MACHINES["t4-docker-without-libcuda"])
    assert "libcuda.so.1 is not found, so no program can use it" in out
    assert "listed by nvidia-smi" in out
    hidden = dataclasses.replace(
        MACHINES["rtx3090"], gpus=(), gpu_problem="CUDA_VISIBLE_DEVICES is '', which hides every GPU"
    )
    out = doctor(hidden)
    assert "GPU        no NVIDIA GPU that can be used\n             CUDA_VISIBLE_DEVICES is ''" in out
    rows = {row[0]: row[1:] for row in _table(out, "runtime")}
    assert rows["tensorrt-rtx"][0] == "build"
    assert "this machine has no NVIDIA GPU that it can use: CUDA_VISIBLE_DEVICES is ''" in rows["tensorrt-rtx"][1]
    assert rows["tensorrt"][0] == "no"


def test_an_empty_machine(doctor: Doctor) -> None:
    out = doctor(Machine("linux", "riscv64", "unknown", 1, (), "3.8.0"))
    assert "processor  unknown, 1 core\n" in out
    assert "packages   none that deploymatrix uses\n" in out
    assert [row[1] for row in _table(out, "runtime")] == ["no"] * 5
    assert [row[1] for row in _table(out, "step")] == ["no"] * 4
    assert "compare artifacts: pip install polygraphy numpy" in out


@pytest.mark.parametrize("name", MACHINES)
def test_every_machine_can_be_described(name: str, doctor: Doctor) -> None:
    machine = MACHINES[name]
    out = doctor(machine, "-m", str(REPOSITORY / "matrix.yaml"))
    assert all(len(line) <= 110 for line in out.split("step ")[0].splitlines())
    assert machines.TIED not in out
    assert machines.in_short(machine).startswith(f"linux on {machine.arch}, {machine.kind}")


# ------------------------------------------------------------------------------------------- with a matrix


def test_the_targets_of_a_matrix(doctor: Doctor) -> None:
    out = doctor(MACHINES["laptop-without-gpu"], "-m", str(REPOSITORY / "matrix.yaml"))
    rows = {row[0]: row[1:] for row in _table(out, "target")}
    assert rows["cpu_onnxruntime"] == ["build, run"]
    assert rows["rtx3090_rtx"][0] == "build"
    assert "no GPU of compute capability 8.6" in rows["rtx3090_rtx"][1]
    assert rows["gtx1060_trt86"][0] == "no"
    assert rows["orin_jp6"] == ["no", "needs linux on aarch64; this machine is linux on x86_64"]
    assert "build perform '*-orin_jp6' --store artifacts" in " ".join(out.split())
    assert out.endswith(f"Next: build plan -m {REPOSITORY / 'matrix.yaml'}\n")


def test_what_is_missing_on_the_machine_that_is_meant(project: Project, doctor: Doctor) -> None:
    """Nobody copies a store from an RTX 3090 to the RTX 3090."""
    words = ("-m", str(project.matrix))
    bare = without(without(MACHINES["rtx3090"], "tensorrt"), "tensorrt_rtx")
    out = doctor(bare, *words)
    assert ["trt", "no", "tensorrt is not installed here"] in _table(out, "target")
    advice = " ".join(out[out.index("target ") :].split())
    assert "copy " not in advice
    assert "trt: install TensorRT 10.16 here (CUDA " in advice
    assert "rtx: install TensorRT-RTX 1.7 here (CUDA " in advice
    old = dataclasses.replace(MACHINES["rtx3090"], driver="", cuda_driver="12.2")
    out = doctor(old, *words)
    assert ["trt", "build, run"] in _table(out, "target")
    row = next(row for row in _table(out, "target") if row[0] == "rtx")
    assert row[1] == "build"
    assert row[2].startswith("its NVIDIA driver knows CUDA up to 12.2; tensorrt_rtx_cu13_libs needs CUDA 13")
    assert "For what is missing" not in out[out.index("target ") :]
    hidden = dataclasses.replace(bare, gpu_problem="libcuda.so.1 is not found")
    assert "For what is missing" not in doctor(hidden, *words).partition("target ")[2]


def test_a_matrix_in_this_folder_is_found(project: Project, doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.root)
    out = doctor(MACHINES["rtx3090"])
    assert [row[:2] for row in _table(out, "target")] == [[name, "build, run"] for name in ("ort", "ov", "rtx", "trt")]
    assert out.endswith("Next: build plan\n")
    project.edit("matrix.yaml", "ov: {runtime: openvino}", "ov: {runtime: openvino, disabled: {reason: not now}}")
    assert ["ov", "no", "disabled in the matrix: not now"] in _table(doctor(MACHINES["rtx3090"]), "target")


def test_a_matrix_that_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["doctor", "-m", "none.yaml"]) == 2
    assert "none.yaml: no such file" in capsys.readouterr().err
    (tmp_path / "matrix.yaml").write_text("schema: 1\n", encoding="utf-8")
    assert cli.main(["doctor"]) == 2
    assert cli.main(["doctor", "--json"]) == 0, "the facts do not depend on it"


# ------------------------------------------------------------------------------------------- remedies


@pytest.mark.parametrize(
    ("sm", "cuda_driver", "series", "installs"),
    [
        ("6.1", "12.2", "8.6", "tensorrt==8.6.1"),
        ("7.0", "12.2", "10.4", "'tensorrt-cu12==10.4.*'"),
        ("8.6", "", "10.16", "'tensorrt-cu12==10.16.*'"),
        ("8.6", "13.1", "10.16", "'tensorrt-cu12==10.16.*'"),
        ("8.6", "11.8", "10.13", "'tensorrt-cu11==10.13.*'"),
        ("2.0", "12.2", "", ""),
    ],
)
def test_the_tensorrt_to_install(sm: str, cuda_driver: str, series: str, installs: str) -> None:
    machine = without(MACHINES["rtx3090"], "tensorrt")
    machine = dataclasses.replace(machine, gpus=(machines.Gpu("a GPU", sm),), cuda_driver=cuda_driver)
    found = next(a for a in requirements.runtimes(machine) if a.what == "tensorrt")
    assert len(found.remedies) == bool(series)
    for remedy in found.remedies:
        assert f"TensorRT {series} " in remedy.split("(")[0]
        assert installs in remedy.split("\n")[-1]


@pytest.mark.parametrize(
    ("name", "python", "cuda_driver", "series"),
    [
        ("gtx1060", "3.10.12", "12.2", "1.23"),
        ("gtx1060", "3.11.2", "12.2", "1.26"),
        ("gtx1060", "3.8.10", "12.2", "1.19"),
        ("gtx1060", "3.8.10", "11.8", "1.18"),
        ("rtx3090", "3.12.3", "13.0", "1.31"),
        ("rtx3090", "3.12.3", "12.8", "1.26"),
        ("orin-jetpack6", "3.10.12", "12.6", ""),
    ],
)
def test_the_onnxruntime_gpu_to_install(name: str, python: str, cuda_driver: str, series: str) -> None:
    machine = without(MACHINES[name], "onnxruntime-gpu")
    machine = dataclasses.replace(machine, python=python, cuda_driver=cuda_driver)
    found = next(a for a in requirements.runtimes(machine) if a.what == "onnxruntime-gpu")
    assert [remedy.split(" (")[0].replace("install ", "") for remedy in found.remedies] == (
        [f"onnxruntime-gpu {series}"] if series else []
    )


def test_an_onnxruntime_gpu_that_does_not_fit() -> None:
    def run(version: str) -> str:
        machine = dataclasses.replace(MACHINES["gtx1060"], packages=(machines.Package("onnxruntime-gpu", version),))
        return next(a for a in requirements.runtimes(machine) if a.what == "onnxruntime-gpu").run

    assert "has code for compute capability 7.5, 8.0, " in run("1.31.1")
    assert run("1.23.2") == ""
    machine = dataclasses.replace(MACHINES["t4"], packages=(machines.Package("onnxruntime-gpu", "1.31.1"),))
    found = next(a for a in requirements.runtimes(machine) if a.what == "onnxruntime-gpu")
    assert "knows CUDA up to 12.2; onnxruntime-gpu 1.31.1 needs CUDA 13: install driver 580.65.06" in found.run


@pytest.mark.parametrize("version", ["10.14.1.48.post1", "10.3", "8.6.1", "weird", "10"])
def test_versions_of_every_form_are_survived(version: str) -> None:
    machine = dataclasses.replace(MACHINES["gtx1060"], packages=(machines.Package("tensorrt", version),))
    found = next(a for a in requirements.runtimes(machine) if a.what == "tensorrt")
    assert ("is for compute capability" in found.why_not) == version.startswith("10.")


def test_a_gpu_of_unknown_compute_capability() -> None:
    machine = dataclasses.replace(MACHINES["rtx3090"], gpus=(machines.Gpu("a GPU", ""),))
    found = next(a for a in requirements.runtimes(machine) if a.what == "tensorrt")
    assert "a GPU (compute capability unknown)" in found.why_not
    assert "nvidia-ml-py" in found.remedies[0]
