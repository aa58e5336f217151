"""Machines as files: reading them, and what plan, choose and doctor make of the kinds in tests/facts.

The tables are derived by hand from the rules and from what each machine has; a machine that is not here is one line more.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, Dict, List, get_args

import pytest

from builder import cli, release
from builder.audit.explain import explain
from builder.config.contract import Precision
from builder.config.loader import load
from builder.errors import UsageError
from builder.execution.scheduler import Outcome
from builder.host.choose import choose
from builder.planning.planner import Plan, plan
from builder.platforms import machines, requirements
from builder.platforms.gpus import Gpu
from builder.store.manifest import Manifest
from tests.fact_machines import FILES, FOLDER, MACHINES
from tests.fakes import LAPTOP, REPOSITORY, Project, entry, manifest

KINDS = {
    "rtx3090",
    "gtx1060",
    "orin-jetpack6",
    "xavier-nx-jetpack5",
    "h100",
    "t4",
    "rtx5090",
    "raspberry-pi-5",
    "apple-silicon-container",
    "laptop-without-gpu",
}

# ------------------------------------------------------------------------------------------- the files


def test_every_kind_that_the_project_is_for_is_here() -> None:
    assert set(MACHINES) >= KINDS


@pytest.mark.parametrize("name", FILES)
def test_a_file_says_whether_it_was_recorded(name: str) -> None:
    source = FILES[name].source
    compiled = source.startswith("compiled from documentation: ") and source.endswith(
        "; not recorded on such a machine"
    )
    assert compiled != source.startswith("recorded on such a machine with build doctor --json")


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_what_doctor_would_print(name: str) -> None:
    data = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    printed = json.loads(machines.text(MACHINES[name]))
    assert {**data, "source": ""} == {**printed, "source": ""}


def test_what_doctor_prints_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "facts.json").write_text(machines.text(LAPTOP), encoding="utf-8")
    assert machines.read(tmp_path / "facts.json").machine == LAPTOP


def _facts(**changes: Any) -> Dict[str, Any]:
    data: Dict[str, Any] = json.loads(machines.text(LAPTOP))
    data["machine"].update(changes)
    return data


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", ":1:1: is not JSON"),
        ("{\n 'a': 1}", ":2:2: is not JSON"),
        ("[]", "expected a mapping, found a list"),
        ("7", "expected a mapping, found a whole number 7"),
        ("{}", "missing key 'schema'"),
        ('{"schema": 1}', "missing key 'machine'"),
        ('{"schema": 2, "machine": {}}', "has schema 2; this deploymatrix reads schema 1"),
        ('{"schema": "1"}', "has schema '1'; this deploymatrix reads schema 1"),
        ('{"schema": 1, "machines": {}}', "unknown key 'machines'"),
        (json.dumps(_facts(gpu=[])), "machine.gpu: unknown key 'gpu'\n  did you mean 'gpus'?"),
        (json.dumps(_facts(gpus=[{"name": "a", "sm": 8.6}])), "machine.gpus[0].sm: expected text, found a number 8.6"),
        (json.dumps(_facts(cores="8")), "machine.cores: expected a whole number"),
        ('{"schema": 1, "machine": {"os": "linux"}}', "missing key 'arch'"),
        ("[" * 100_000, "is nested too deeply"),
        ("\ufeff{}", "is not JSON"),
    ],
)
def test_a_wrong_file_is_refused(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "facts.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        machines.read(path)
    assert str(caught.value).startswith(str(path))
    assert said in str(caught.value)
    assert caught.value.hint


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        machines.read(tmp_path / "none.json")
    with pytest.raises(UsageError, match="directory"):
        machines.read(tmp_path)
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="not UTF-8"):
        machines.read(tmp_path / "binary")
    (tmp_path / "large").write_bytes(b" " * ((1 << 20) + 1))
    with pytest.raises(UsageError, match="too large"):
        machines.read(tmp_path / "large")


# ------------------------------------------------------------------------------------------- plan

# Fates of the shipped matrix by precision (fp32 bf16 fp16 int8), one word per target: b is built here, u is built here
# but cannot be run, w waits for its machine, s is ruled out. onnxruntime-gpu opens a plain ONNX file, which any onnxruntime
# makes; the GTX 1060 here has 1.23, the last for its Python, and the matrix declares 1.26.
TARGETS = (
    "cpu_onnxruntime",
    "cpu_openvino",
    "rtx3090_rtx",
    "rtx3090_trt10",
    "gtx1060_trt86",
    "gtx1060_ort",
    "orin_jp6",
    "xaviernx_jp5",
)
PLANS = {
    "rtx3090": "bsbb bsbb bsbs bsbb wssw usss wsww wsww",
    "gtx1060": "bsbb wsww wsws wsww bssb usss wsww wsww",  # without OpenVINO and TensorRT-RTX
    "orin-jetpack6": "wsww wwww wsws wsww wssw wsss bsbb wsww",  # the CPU targets are for x86-64
    "xavier-nx-jetpack5": "wsww wwww wsws wsww wssw wsss wsww bsbb",
    "h100": "bsbb bbbb wsws wsww wssw usss wsww wsww",  # AMX and AVX-512 have bf16; TensorRT-RTX is not for it
    "t4": "bsbb bsbb usus wsww wssw usss wsww wsww",  # builds for the RTX 3090 without being one
    "rtx5090": "bsbb bbbb usus wsww wssw usss wsww wsww",
    "raspberry-pi-5": "wsww wwww wsws wsww wssw wsss wsww wsww",
    "apple-silicon-container": "wsww wwww wsws wsww wssw wsss wsww wsww",
    "laptop-without-gpu": "bsbb bsbb usus wsww wssw usss wsww wsww",
    "wsl-rtx4070": "bsbb bsbb usus wsww wssw usss wsww wsww",
    "a100-mig-kubernetes": "bsbb wsww wsws wsww wssw usss wsww wsww",
    "thor-jetpack7": "wsww wwww wsws wsww wssw wsss wsww wsww",
    "t4-docker-without-libcuda": "bsbb wsww usus wsww wssw usss wsww wsww",
    "this-kind": "bsbb bbbb usus wsww wssw usss wsww wsww",
}


@pytest.mark.parametrize("name", MACHINES)
@pytest.mark.parametrize("head", ["dense", "keypoints"])
def test_the_plan_of_the_shipped_matrix(name: str, head: str) -> None:
    planned = plan(load(REPOSITORY / "matrix.yaml").matrix, MACHINES[name])
    assert _letters(planned, head) == PLANS[name]


def _letters(planned: Plan, head: str) -> str:
    found = {
        (c.target, c.precision): "u" if c.fate == "build" and c.unverified else c.fate[0]
        for c in planned.cells
        if c.head == head
    }
    return " ".join("".join(found[target, precision] for precision in get_args(Precision)) for target in TARGETS)


@pytest.mark.parametrize(
    ("name", "cell", "reason"),
    [
        ("gtx1060", "superpoint-dense-fp32-cpu_openvino", "openvino is not installed here"),
        ("gtx1060", "superpoint-dense-fp32-rtx3090_trt10", "this machine has NVIDIA GeForce GTX 1060 6GB (6.1)"),
        ("orin-jetpack6", "superpoint-dense-fp32-cpu_openvino", "this machine is linux on aarch64"),
        ("orin-jetpack6", "superpoint-dense-fp16-xaviernx_jp5", "needs a GPU of compute capability 7.2"),
        ("raspberry-pi-5", "superpoint-dense-fp32-orin_jp6", "this machine has no NVIDIA GPU"),
        ("t4", "superpoint-dense-fp32-rtx3090_rtx", "this machine has Tesla T4 (7.5)"),
        ("h100", "superpoint-dense-fp16-rtx3090_rtx", "tensorrt_rtx is not installed here"),
    ],
)
def test_the_reason_is_a_fact_of_that_machine(name: str, cell: str, reason: str) -> None:
    planned = plan(load(REPOSITORY / "matrix.yaml").matrix, MACHINES[name])
    found = next(c for c in planned.cells if c.id == cell)
    assert reason in found.reason + found.unverified


# ------------------------------------------------------------------------------------------- explain

# What `build explain` says of three cells there: bf16 under OpenVINO, fp16 of the RTX 3090 under TensorRT-RTX, and int8 of
# the Orin. The word is the fate; after it, the rule that is broken or a piece of the reason.
NO_GPU = "this machine has no NVIDIA GPU"
ON_ARM, ON_X86 = "this machine is linux on aarch64", "this machine is linux on x86_64"
EXPLAINED = {
    "rtx3090": ("skipped cpu-bf16", "build ", f"waiting {ON_X86}"),
    "gtx1060": ("skipped cpu-bf16", "waiting tensorrt_rtx is not installed here", f"waiting {ON_X86}"),
    "orin-jetpack6": (f"waiting {ON_ARM}", f"waiting {ON_ARM}", "build "),
    "xavier-nx-jetpack5": (f"waiting {ON_ARM}", f"waiting {ON_ARM}", "waiting this machine has Xavier (7.2)"),
    "h100": ("build ", "waiting tensorrt_rtx is not installed here", f"waiting {ON_X86}"),
    "t4": ("skipped cpu-bf16", "build this machine has Tesla T4 (7.5)", f"waiting {ON_X86}"),
    "rtx5090": ("build ", "build this machine has NVIDIA GeForce RTX 5090 (12.0)", f"waiting {ON_X86}"),
    "raspberry-pi-5": (f"waiting {ON_ARM}", f"waiting {ON_ARM}", f"waiting {NO_GPU}"),
    "apple-silicon-container": (f"waiting {ON_ARM}", f"waiting {ON_ARM}", f"waiting {NO_GPU}"),
    "laptop-without-gpu": ("skipped cpu-bf16", f"build {NO_GPU}", f"waiting {ON_X86}"),
    "wsl-rtx4070": ("skipped cpu-bf16", "build this machine has NVIDIA GeForce RTX 4070 (8.9)", f"waiting {ON_X86}"),
    "a100-mig-kubernetes": (
        "skipped cpu-bf16",
        "waiting tensorrt_rtx is not installed here",
        f"waiting {ON_X86}",
    ),
    "thor-jetpack7": (f"waiting {ON_ARM}", f"waiting {ON_ARM}", "waiting this machine has NVIDIA Thor (11.0)"),
    "t4-docker-without-libcuda": ("skipped cpu-bf16", "build this machine has Tesla T4 (7.5)", f"waiting {ON_X86}"),
    "this-kind": ("build ", f"build {NO_GPU}", f"waiting {ON_X86}"),
}
ASKED = ("superpoint-dense-bf16-cpu_openvino", "superpoint-dense-fp16-rtx3090_rtx", "superpoint-dense-int8-orin_jp6")


@pytest.mark.parametrize("name", MACHINES)
def test_what_explain_says_there(name: str) -> None:
    matrix = load(REPOSITORY / "matrix.yaml").matrix
    planned = plan(matrix, MACHINES[name])
    for id, wanted in zip(ASKED, EXPLAINED[name]):
        cell = next(c for c in planned.cells if c.id == id)
        said = explain(matrix, MACHINES[name], planned, cell, Outcome(), cell.fate)
        fate, _, reason = wanted.partition(" ")
        assert said.fate == fate
        if fate == "skipped":
            assert said.broken is not None and said.broken.name == reason
        else:
            assert reason in said.why and said.broken is None
            assert bool(reason) == bool(said.why)


# ------------------------------------------------------------------------------------------- choose


def _artifacts() -> Manifest:
    """One artifact per way to run, for several platforms; the GPUs' are the fastest, as they would be."""

    def made(cell: str, naive: float, **given: Any) -> Any:
        return entry(f"tiny-dense-{cell}", p50=1.0, naive=naive, **given)

    return manifest(
        made("fp32-ort", 1.0, version="1.31.1"),
        made("int8-ov", 4.0, runtime="openvino", version="2026.4.1"),
        made("bf16-ov", 2.0, runtime="openvino", version="2026.4.1", compute="bf16"),
        made("int8-arm_ort", 2.0, version="1.31.1", arch="aarch64"),
        made("bf16-arm_ov", 3.0, runtime="openvino", version="2026.4.1", arch="aarch64", compute="bf16"),
        made("fp16-rtx86", 20.0, runtime="tensorrt-rtx", version="1.7", sm="8.6"),
        made("fp16-rtx75", 20.0, runtime="tensorrt-rtx", version="1.7", sm="7.5"),
        made("fp16-trt86", 25.0, runtime="tensorrt", version="10.16", sm="8.6"),
        made("fp16-trt80", 25.0, runtime="tensorrt", version="10.16", sm="8.0"),
        made("int8-trt61", 10.0, runtime="tensorrt", version="8.6", sm="6.1"),
        made("fp16-orin", 15.0, runtime="tensorrt", version="10.3", sm="8.7", arch="aarch64"),
        made("fp16-xavier", 12.0, runtime="tensorrt", version="8.5.2", sm="7.2", arch="aarch64"),
    )


# A digit is the rank. Letters are reasons: P platform, G GPU, B bf16, I not installed, V version, D driver, C no CUDA.
REASONS = {
    "P": "it is for linux on ",
    "G": "it needs compute capability ",
    "B": "it computes in bf16, which ",
    "I": "is not installed on this host",
    "V": "it was proven with ",
    "D": "its NVIDIA driver ",
    "C": "its GPU cannot be used: ",
}
CHOICES = {
    #                              ort ov ov arm arm rtx rtx trt trt trt orin xavier
    "rtx3090": "43BPP2G1GGPP",
    "gtx1060": "2IBPPGGGG1PP",
    "orin-jetpack6": "PPP2BPPPPP1G",
    "xavier-nx-jetpack5": "PPP2BPPPPPG1",
    "h100": "312PPGGGGGPP",
    "t4": "21BPPGDGGGPP",
    "rtx5090": "312PPGGGGGPP",
    "raspberry-pi-5": "PPP1BPPPPPGG",
    "apple-silicon-container": "PPP21PPPPPGG",
    "laptop-without-gpu": "21BPPGGGGGPP",
    "wsl-rtx4070": "21BPPGGGGGPP",
    "a100-mig-kubernetes": "1IBPPGGGDGPP",  # its TensorRT is for CUDA 13, its driver is not
    "thor-jetpack7": "PPP1IPPPPPGG",
    "t4-docker-without-libcuda": "1IBPPGCGGGPP",
    "this-kind": "312PPGGGGGPP",
}


@pytest.mark.parametrize("name", MACHINES)
def test_the_artifact_that_a_machine_would_get(name: str) -> None:
    artifacts = _artifacts()
    choice = choose(artifacts, MACHINES[name], "dense")
    said = {rejected.cell: rejected.reason for rejected in choice.rejected}
    ranks = {chosen.cell: str(rank) for rank, chosen in enumerate(choice.ranked, 1)}
    letters = ""
    for made in artifacts.entries:
        reason = said.get(made.cell, "")
        letters += ranks.get(made.cell) or next(letter for letter, text in REASONS.items() if text in reason)
    assert letters == CHOICES[name]


def test_why_a_gpu_that_is_there_is_not_used() -> None:
    reasons = {r.cell: r.reason for r in choose(_artifacts(), MACHINES["t4"], "dense").rejected}
    assert reasons["tiny-dense-fp16-rtx75"] == (
        "its NVIDIA driver 535.183.01 knows CUDA up to 12.2; tensorrt_rtx_cu13_libs needs CUDA 13: "
        "install driver 580.65.06 or newer"
    )
    reasons = {r.cell: r.reason for r in choose(_artifacts(), MACHINES["t4-docker-without-libcuda"], "dense").rejected}
    assert reasons["tiny-dense-fp16-rtx75"].startswith("its GPU cannot be used: libcuda.so.1 is not found")


def test_a_gpu_of_unknown_compute_capability_gets_no_engine() -> None:
    unknown = dataclasses.replace(MACHINES["rtx3090"], gpus=(Gpu("a GPU", ""),))
    engine = entry("tiny-dense-fp16-trt", runtime="tensorrt", version="10.16", sm="8.0")
    assert engine.artifact is not None
    portable = dataclasses.replace(engine, artifact=dataclasses.replace(engine.artifact, portability="ampere-plus"))
    for made in (engine, portable):
        (rejected,) = choose(manifest(made), unknown, "dense").rejected
        assert rejected.reason.endswith("this host has a GPU (compute capability unknown)")


# ------------------------------------------------------------------------------------------- doctor

# What it can do with onnxruntime, OpenVINO, onnxruntime-gpu, TensorRT-RTX, TensorRT: b builds only, + builds and runs,
# - neither. onnxruntime-gpu and TensorRT-RTX build without a GPU.
ABILITIES = {
    "rtx3090": "++b++",
    "gtx1060": "+-+-+",
    "orin-jetpack6": "+-b-+",
    "xavier-nx-jetpack5": "+-b-+",
    "h100": "++b-+",
    "t4": "++bb-",
    "rtx5090": "++b++",
    "raspberry-pi-5": "+-b--",
    "apple-silicon-container": "++b--",
    "laptop-without-gpu": "++bb-",
    "wsl-rtx4070": "++b+-",
    "a100-mig-kubernetes": "+-b--",
    "thor-jetpack7": "+-b-+",
    "t4-docker-without-libcuda": "+-bb-",
    "this-kind": "++bb-",
}
RUNTIMES = ["onnxruntime", "openvino", "onnxruntime-gpu", "tensorrt-rtx", "tensorrt"]


@pytest.mark.parametrize("name", MACHINES)
def test_what_a_machine_can_do(name: str) -> None:
    found = requirements.runtimes(MACHINES[name])
    assert [ability.what for ability in found] == RUNTIMES
    letters = {"build, run": "+", "build": "b", "no": "-"}
    assert "".join(letters[ability.can] for ability in found) == ABILITIES[name]
    for ability in found:
        assert bool(ability.why_not) == (ability.can != "build, run")


@pytest.mark.parametrize(
    ("name", "runtime", "why", "remedy"),
    [
        ("gtx1060", "openvino", "openvino is not installed", release.pip_install("host")),
        ("gtx1060", "tensorrt-rtx", "it runs on compute capability 7.5, ", release.pip_install("rtx")),
        ("h100", "tensorrt-rtx", "this machine has NVIDIA H100 80GB HBM3 (9.0)", release.pip_install("rtx")),
        ("t4", "tensorrt", "tensorrt is not installed", "'tensorrt-cu12==10.16.*'"),
        ("t4", "tensorrt-rtx", "install driver 580.65.06 or newer", ""),
        ("wsl-rtx4070", "tensorrt", "tensorrt is not installed", "'tensorrt-cu12==10.16.*'"),
        ("a100-mig-kubernetes", "tensorrt", "tensorrt_cu13_libs needs CUDA 13", ""),
        ("raspberry-pi-5", "tensorrt-rtx", "it exists for linux on x86_64", ""),
        ("raspberry-pi-5", "tensorrt", "this machine has no NVIDIA GPU", ""),
        ("t4-docker-without-libcuda", "tensorrt-rtx", "libcuda.so.1 is not found", ""),
        ("t4-docker-without-libcuda", "tensorrt", "libcuda.so.1 is not found", ""),
        ("t4", "onnxruntime-gpu", "onnxruntime-gpu is not installed", "'onnxruntime-gpu[cuda,cudnn]==1.26.*'"),
        ("rtx3090", "onnxruntime-gpu", "onnxruntime-gpu is not installed", "'onnxruntime-gpu[cuda,cudnn]==1.31.*'"),
        ("orin-jetpack6", "onnxruntime-gpu", "the package index has no onnxruntime-gpu for JetPack", ""),
    ],
)
def test_what_is_missing_and_how_to_get_it(name: str, runtime: str, why: str, remedy: str) -> None:
    found = next(a for a in requirements.runtimes(MACHINES[name]) if a.what == runtime)
    assert why in found.why_not
    assert (remedy in " ".join(found.remedies)) if remedy else not found.remedies


# ------------------------------------------------------------------------------------------- build plan --facts


def test_plan_for_another_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(Project(tmp_path / "p").root)
    assert cli.main(["plan", "--facts", str(FOLDER / "rtx3090.json")]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"As on the machine of {FOLDER / 'rtx3090.json'}: linux on x86_64, AMD Ryzen 9 5950X")
    assert "NVIDIA GeForce RTX 3090 (8.6)" in out
    assert out.endswith("Next, on that machine: build doctor\n")
    assert cli.main(["plan", "--print-ids", "--facts", str(FOLDER / "raspberry-pi-5.json")]) == 0
    assert capsys.readouterr().out.strip() == ""


@pytest.mark.parametrize("words", [["--facts"], ["--facts", "none.json"]])
def test_a_wrong_facts_flag(words: List[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(Project(tmp_path / "p").root)
    assert cli.main(["plan", *words]) == 2
    assert capsys.readouterr().err.startswith("error: ")
