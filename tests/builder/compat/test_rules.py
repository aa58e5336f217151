"""Which cells may exist on which target."""

from __future__ import annotations

import dataclasses
from typing import Optional, Tuple

import pytest

from builder.cells import Cell
from builder.compat import rules, tables
from builder.facts import Machine
from builder.matrix import Align, Head, Keypoints, Output, Target
from tests.fakes import GTX1060, LAPTOP, ORIN, RASPBERRY, RTX3090

ORT = Target("t", "onnxruntime", machine="a CPU")
OV = Target("t", "openvino", machine="a CPU")
RTX = Target("t", "tensorrt-rtx", "1.7", machine="RTX 3090", sm="8.6")
TRT10 = Target("t", "tensorrt", "10.16", machine="RTX 3090", sm="8.6")
TRT86 = Target("t", "tensorrt", "8.6", machine="GTX 1060", sm="6.1")
ORIN_JP6 = Target("t", "tensorrt", "10.3", machine="Orin", arch="aarch64", sm="8.7", jetpack="6.2")
XAVIER = Target("t", "tensorrt", "8.5.2", machine="Xavier NX", arch="aarch64", sm="7.2", jetpack="5.1")
MAP = Head("h", (Output("scores", ("batch", "h", "w")),))
BF16_CPU = dataclasses.replace(LAPTOP, features=("avx2", "amx_bf16"))


def on(target: Target, **changes: str) -> Target:
    return dataclasses.replace(target, **changes)  # type: ignore[arg-type]


def judged(precision: str, target: Target, machine: Machine = LAPTOP, head: Head = MAP) -> Optional[rules.Skip]:
    return rules.judge(rules.Asked(Cell("m", head.name, precision, target.name), head, target, machine))


@pytest.mark.parametrize(
    ("precision", "target", "machine", "rule"),
    [
        ("fp32", ORT, LAPTOP, None),
        ("fp16", ORT, LAPTOP, None),
        ("int8", ORT, RASPBERRY, None),
        ("bf16", ORT, BF16_CPU, "bf16-lowering"),
        ("fp32", OV, LAPTOP, None),
        ("bf16", OV, LAPTOP, "cpu-bf16"),
        ("bf16", OV, BF16_CPU, None),
        ("bf16", on(OV, arch="aarch64"), LAPTOP, None),
        ("fp32", RTX, LAPTOP, None),
        ("fp16", RTX, LAPTOP, None),
        ("bf16", RTX, LAPTOP, "bf16-lowering"),
        ("int8", RTX, RTX3090, "rtx-int8"),
        ("fp32", on(RTX, sm="6.1"), GTX1060, "rtx-sm"),
        ("fp32", on(RTX, sm="8.7"), LAPTOP, "rtx-sm"),
        ("fp32", on(RTX, sm="9.0"), LAPTOP, "rtx-sm"),
        ("int8", TRT10, LAPTOP, None),
        ("bf16", TRT10, LAPTOP, "bf16-lowering"),
        ("fp32", on(TRT10, sm="6.1"), GTX1060, "tensorrt-sm"),
        ("fp32", on(TRT10, sm="7.0"), LAPTOP, "tensorrt-sm"),
        ("fp32", on(TRT10, sm="7.0", version="10.4"), LAPTOP, None),
        ("fp32", on(TRT10, sm="7.0", version="10.5"), LAPTOP, "tensorrt-sm"),
        ("fp32", on(TRT10, version="9.1"), LAPTOP, "tensorrt-version"),
        ("fp32", on(TRT10, version="10.16.1.11"), LAPTOP, None),
        ("fp32", TRT86, GTX1060, None),
        ("fp16", TRT86, GTX1060, "fp16-rate"),
        ("int8", TRT86, GTX1060, None),
        ("bf16", TRT86, GTX1060, "bf16-sm"),
        ("int8", on(TRT86, sm="6.0"), GTX1060, "int8-sm"),
        ("int8", on(TRT86, sm="6.2"), GTX1060, "int8-sm"),
        ("fp16", on(TRT86, sm="5.2"), GTX1060, "fp16-sm"),
        ("fp16", on(TRT86, sm="5.3"), GTX1060, None),
        ("fp32", ORIN_JP6, ORIN, None),
        ("int8", ORIN_JP6, ORIN, None),
        ("fp32", on(ORIN_JP6, version="8.6.2"), ORIN, "jetpack-tensorrt"),
        ("fp32", on(ORIN_JP6, jetpack="6.0"), ORIN, "jetpack-tensorrt"),
        ("fp32", on(ORIN_JP6, jetpack="4.6"), ORIN, "jetpack-tensorrt"),
        ("fp32", on(ORIN_JP6, jetpack="6.2.1"), ORIN, None),
        ("fp16", XAVIER, LAPTOP, None),
        ("int8", XAVIER, LAPTOP, None),
    ],
)
def test_the_rule_that_speaks(precision: str, target: Target, machine: Machine, rule: Optional[str]) -> None:
    skip = judged(precision, target, machine)
    assert (skip.rule if skip else None) == rule
    if skip:
        assert skip.fact
        assert skip.source
        assert skip.remedies, "a skip says what to do instead"


def test_tensorrt_10_on_a_pascal_gpu_names_8_6_and_the_cpu() -> None:
    skip = judged("fp32", on(TRT10, sm="6.1", machine="GTX 1060"), GTX1060)
    assert skip is not None
    assert skip.fact == "TensorRT 10.16 supports compute capability 7.5 and newer; GTX 1060 is 6.1"
    native, cpu = skip.remedies
    assert native.startswith("TensorRT 8.6 (CUDA 11.0 to 11.8, 12.0 to 12.1; Python 3.6 to 3.11)")
    assert "CPU target" in cpu


def test_a_jetpack_names_the_tensorrt_it_brings() -> None:
    skip = judged("fp32", on(ORIN_JP6, version="10.16"))
    assert skip is not None
    assert skip.fact == "JetPack 6.2 brings TensorRT 10.3, not 10.16"
    assert skip.remedies == ('version: "10.3"',)


@pytest.mark.parametrize("sm", ["6.1", "7.2", "7.5"])
def test_no_bf16_below_ampere(sm: str) -> None:
    assert judged("bf16", on(TRT86, sm=sm)) is not None


def test_a_slow_precision_is_replaced_by_one_that_is_allowed() -> None:
    skip = judged("fp16", TRT86, GTX1060)
    assert skip is not None
    for remedy in skip.remedies:
        assert judged(remedy.split()[1], TRT86, GTX1060) is None, remedy


@pytest.mark.parametrize(
    ("asked", "last"),
    [
        ("8.4.1", (8, 5)),
        ("8.5.2", (8, 5)),
        ("8.6", (8, 6)),
        ("8.6.1.6", (8, 6)),
        ("10.0", (10, 4)),
        ("10.4.0.26", (10, 4)),
        ("10.13.0", (10, 13, 0)),
        ("10.13.3", (10, 16)),
        ("11.4", (11, 4)),
    ],
)
def test_versions_find_their_row(asked: str, last: Tuple[int, ...]) -> None:
    row = tables.tensorrt_row(asked)
    assert row is not None
    assert row.last == last


@pytest.mark.parametrize("asked", ["8.3", "8.7", "9.0", "10.17", "12.0"])
def test_versions_without_a_row(asked: str) -> None:
    assert tables.tensorrt_row(asked) is None


def test_the_rows_do_not_overlap_and_every_jetpack_has_one() -> None:
    for before, after in zip(tables.TENSORRT, tables.TENSORRT[1:]):
        assert before.last < after.first
    for version, _, _ in tables.JETPACK_TENSORRT.values():
        assert tables.tensorrt_row(version) is not None, version


def points(count: "int | str") -> Tuple[Output, ...]:
    return Output("xy", ("batch", count, 2)), Output("scores", ("batch", count))


@pytest.mark.parametrize(
    ("head", "target", "refused"),
    [
        (Head("h", points(3840), align=Align("xy", "scores")), RTX, False),
        (Head("h", points(3841), align=Align("xy", "scores")), RTX, True),
        (Head("h", points(3841), align=Align("xy", "scores")), TRT10, True),
        (Head("h", points(8192), postprocess=Keypoints(points="xy")), TRT86, True),
        (Head("h", points(8192), align=Align("xy", "scores")), ORT, False),
        (Head("h", points(8192), align=Align("xy", "scores")), OV, False),
        (Head("h", points("k"), align=Align("xy", "scores")), RTX, False),
        (Head("h", points(8192)), RTX, False),  # nobody says that these rows are points
        (Head("h", points(8192), postprocess=Keypoints()), RTX, False),
    ],
)
def test_topk_is_refused_before_anything_is_built(head: Head, target: Target, refused: bool) -> None:
    skip = judged("fp32", target, head=head)
    assert (skip is not None) == refused
    if skip is not None:
        assert skip.rule == "tensorrt-topk"
        assert "3840" in skip.fact and len(skip.remedies) == 3
