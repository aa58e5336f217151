"""What is offered instead of a skipped cell works: it breaks no rule, whatever the GPU, the runtime and the precision."""

from __future__ import annotations

import dataclasses
from typing import Iterator, Optional, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.config.cells import Cell
from builder.config.contract import Output, Precision
from builder.config.matrix import Head, Target
from builder.platforms import rules, tables
from builder.platforms.asked import Asked
from tests.fakes import LAPTOP

PRECISIONS = get_args(Precision)
HEAD = Head("h", (Output("scores", ("batch", "h", "w")),))
VERSIONS = {
    "tensorrt": [row.versions.first for row in tables.tensorrt().series],
    "tensorrt-rtx": [row.versions.first for row in tables.rtx().series],
    "onnxruntime-gpu": [row.versions.first for row in tables.onnxruntime_gpu().series],
}
GPUS = tables.cuda().gpus
JETSONS = {gpu.sm for gpu in GPUS if gpu.jetson}


def targets() -> Iterator[Target]:
    """Every GPU under every series of every GPU runtime; a Jetson under every JetPack."""
    for gpu in GPUS:
        for runtime, versions in VERSIONS.items():
            for version in versions:
                jetpacks: "list[Optional[str]]" = [None]
                if gpu.jetson and runtime == "tensorrt":
                    jetpacks += [row.versions.last for row in tables.jetpack().series]
                for pack in jetpacks:
                    arch = "aarch64" if gpu.jetson else "x86_64"
                    yield Target("t", runtime, version, gpu.example, sm=gpu.sm, arch=arch, jetpack=pack)  # type: ignore[arg-type]


def check(question: Asked) -> "tuple[rules.Remedy, ...]":
    """The remedies of a skipped cell, each put to the rules."""
    skip = rules.judge(question)
    if skip is None:
        return ()
    found = rules.remedies(question, skip)
    assert len(found) <= rules.MOST
    assert len({remedy.line for remedy in found}) == len(found), "nothing is said twice"
    for remedy in found:
        assert remedy.use
        if remedy.target is None:
            assert remedy.use in skip.fixes
            continue
        assert remedy.cost
        cell = dataclasses.replace(question.cell, precision=remedy.precision)
        again = rules.judge(Asked(cell, question.head, remedy.target, question.machine))
        assert again is None, (question.target, remedy.line, again)
        assert (remedy.target, remedy.precision) != (question.target, question.cell.precision)
    return found


@pytest.mark.parametrize("precision", PRECISIONS)
def test_no_remedy_breaks_a_rule(precision: str) -> None:
    asked = 0
    for target in targets():
        check(Asked(Cell("m", "h", precision, "t"), HEAD, target, LAPTOP))
        asked += 1
    assert asked > 400


_CUDAS = st.sampled_from(["10.2", "11.0", "11.8", "12.0", "12.4", "12.9", "13.0", "13.4", "9.0"])


@given(
    gpu=st.sampled_from(GPUS),
    runtime=st.sampled_from(sorted(VERSIONS)),
    number=st.integers(0, 30),
    precision=st.sampled_from(PRECISIONS),
    cuda_=st.none() | _CUDAS,
    driver=st.none() | st.sampled_from(["450.80.02", "470.256", "525.60.13", "535.183", "580.65.06", "590.44"]),
    python=st.none() | st.sampled_from(["3.6", "3.8", "3.10", "3.11", "3.12", "3.14"]),
    cudnn=st.none() | st.sampled_from(["8.9", "9.10.2", "9.20"]),
    arch=st.sampled_from(["x86_64", "aarch64"]),
    os=st.sampled_from(["linux", "windows"]),
    pack=st.none() | st.sampled_from(["4.6.1", "5.1", "6.0", "6.2", "7.1", "9.9"]),
)
def test_no_remedy_breaks_a_rule_whatever_is_declared(
    gpu: tables.ComputeCapability,
    runtime: str,
    number: int,
    precision: str,
    cuda_: Optional[str],
    driver: Optional[str],
    python: Optional[str],
    cudnn: Optional[str],
    arch: str,
    os: str,
    pack: Optional[str],
) -> None:
    version = VERSIONS[runtime][number % len(VERSIONS[runtime])]
    target = Target(
        "t", runtime, version, "it", os, arch, gpu.sm, cuda_, cudnn, driver, pack, python  # type: ignore[arg-type]
    )  # fmt: skip
    check(Asked(Cell("m", "h", precision, "t"), HEAD, target, LAPTOP))


@pytest.mark.parametrize("gpu", GPUS, ids=lambda gpu: gpu.sm)
def test_fp32_has_somewhere_to_go_on_every_gpu(gpu: tables.ComputeCapability) -> None:
    """A GPU too old or too new for what was declared is never a dead end."""
    arch = "aarch64" if gpu.jetson else "x86_64"
    target = Target("t", "tensorrt", "7.0", gpu.example, sm=gpu.sm, arch=arch)  # type: ignore[arg-type]
    found = check(Asked(Cell("m", "h", "fp32", "t"), HEAD, target, LAPTOP))
    if rules.judge(Asked(Cell("m", "h", "fp32", "t"), HEAD, target, LAPTOP)) is not None:
        on_the_cpu = [remedy.target is not None and remedy.target.sm is None for remedy in found]
        assert len(found) == 3 or any(on_the_cpu)


def test_a_slow_precision_is_replaced_on_the_same_target_first() -> None:
    target = Target("t", "tensorrt", "8.6", "GTX 1060", sm="6.1", cuda="12.1")
    found = check(Asked(Cell("m", "h", "fp16", "t"), HEAD, target, LAPTOP))
    assert [remedy.use for remedy in found] == [
        "precision int8 on this target",
        "precision fp32 on this target",
        "runtime: openvino, on the CPU",
    ]
    assert found[0].cost == "the GPU runs int8 at up to four times its fp32 rate (dp4a)"


def test_a_precision_that_the_gpu_lacks_is_offered_in_the_nearest_one() -> None:
    target = Target("t", "tensorrt", "10.16", "GTX 1060", sm="6.1")
    found = check(Asked(Cell("m", "h", "fp16", "t"), HEAD, target, LAPTOP))
    assert found[0].use == "TensorRT 8.6.1 in int8"


def test_bf16_of_another_kind_of_processor_is_not_promised() -> None:
    target = Target("t", "tensorrt", "10.3", "Jetson Orin", sm="8.7", arch="aarch64", jetpack="6.2")
    strong = dataclasses.replace(LAPTOP, features=("amx_bf16",))
    found = check(Asked(Cell("m", "h", "bf16", "t"), HEAD, target, strong))
    assert [remedy.precision for remedy in found] == ["fp16", "int8", "fp32"]
