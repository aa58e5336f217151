"""Which cells may exist on which target."""

from __future__ import annotations

import dataclasses
from typing import Any, Optional, Tuple

import pytest

from builder.config.cells import Cell
from builder.config.contract import Align, Input, Keypoints, Output, Profile, ShapeRange
from builder.config.matrix import Allowed, Head, Target
from builder.config.tensorrt import TensorRtOptions
from builder.platforms import rules, tables
from builder.platforms.asked import Asked, Held, Skip
from builder.platforms.machines import Machine
from tests.fakes import GTX1060, LAPTOP, ORIN, RASPBERRY, RTX3090

ORT = Target("t", "onnxruntime", machine="a CPU")
OV = Target("t", "openvino", machine="a CPU")
RTX = Target("t", "tensorrt-rtx", "1.7", machine="RTX 3090", sm="8.6")
TRT10 = Target("t", "tensorrt", "10.16", machine="RTX 3090", sm="8.6")
TRT86 = Target("t", "tensorrt", "8.6", machine="GTX 1060", sm="6.1")
ORIN_JP6 = Target("t", "tensorrt", "10.3", machine="Orin", arch="aarch64", sm="8.7", jetpack="6.2")
ORT_GPU = Target("t", "onnxruntime-gpu", "1.26", machine="GTX 1060", sm="6.1")
XAVIER = Target("t", "tensorrt", "8.5.2", machine="Xavier NX", arch="aarch64", sm="7.2", jetpack="5.1")
MAP = Head("h", (Output("scores", ("batch", "h", "w")),))
BF16_CPU = dataclasses.replace(LAPTOP, features=("avx2", "amx_bf16"))


def on(target: Target, **changes: Optional[str]) -> Target:
    return dataclasses.replace(target, **changes)  # type: ignore[arg-type]


def asked(precision: str, target: Target, machine: Machine = LAPTOP, head: Head = MAP, **more: Any) -> Asked:
    return Asked(Cell("m", head.name, precision, target.name), head, target, machine, **more)


def judged(precision: str, target: Target, machine: Machine = LAPTOP, head: Head = MAP, **more: Any) -> Optional[Skip]:
    return rules.judge(asked(precision, target, machine, head, **more))


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
        ("int8", on(TRT86, sm="6.2"), GTX1060, "jetson-jetpack"),
        ("fp16", on(TRT86, sm="5.2"), GTX1060, "fp16-sm"),
        ("fp16", on(TRT86, sm="5.3"), GTX1060, "jetson-jetpack"),
        ("fp32", ORIN_JP6, ORIN, None),
        ("int8", ORIN_JP6, ORIN, None),
        ("fp32", on(ORIN_JP6, version="8.6.2"), ORIN, "jetpack-tensorrt"),
        ("fp32", on(ORIN_JP6, jetpack="6.0"), ORIN, "jetpack-tensorrt"),
        ("fp32", on(ORIN_JP6, jetpack="4.6"), ORIN, "jetpack-sm"),
        ("fp32", on(ORIN_JP6, jetpack="6.2.1"), ORIN, None),
        ("fp16", XAVIER, LAPTOP, None),
        ("int8", XAVIER, LAPTOP, None),
        # new GPUs: the first series that has them
        ("fp32", on(TRT10, sm="12.0"), LAPTOP, None),
        ("fp32", on(TRT10, sm="12.0", version="10.8"), LAPTOP, None),
        ("fp32", on(TRT10, sm="12.0", version="10.7"), LAPTOP, "tensorrt-sm"),
        ("fp32", on(TRT10, sm="10.0", version="10.8"), LAPTOP, None),
        ("fp32", on(TRT10, sm="8.9", version="8.4"), LAPTOP, "tensorrt-sm"),
        ("fp32", on(TRT10, sm="8.9", version="8.5"), LAPTOP, None),
        ("fp32", on(TRT10, sm="3.7", version="8.5"), LAPTOP, None),
        ("fp32", on(TRT10, sm="3.7", version="8.6"), LAPTOP, "tensorrt-sm"),
        ("fp32", on(TRT10, sm="5.2", version="8.6"), LAPTOP, None),
        ("fp32", on(TRT10, sm="6.3"), LAPTOP, "tensorrt-sm"),
        ("fp32", on(RTX, sm="12.1"), LAPTOP, None),
        ("fp32", on(RTX, sm="12.1", version="1.4"), LAPTOP, "rtx-sm"),
        ("fp32", on(RTX, version="2.0"), LAPTOP, "rtx-version"),
        # declared CUDA
        ("fp32", on(TRT10, cuda="12.9"), LAPTOP, None),
        ("fp32", on(TRT10, cuda="13.0"), LAPTOP, None),
        ("fp32", on(TRT10, cuda="11.8"), LAPTOP, "tensorrt-cuda"),
        ("fp32", on(TRT10, cuda="11.8", version="10.12"), LAPTOP, None),
        ("fp32", on(TRT86, cuda="12.1"), LAPTOP, None),
        ("fp32", on(TRT86, cuda="10.2"), LAPTOP, "tensorrt-cuda"),
        ("fp32", on(TRT86, cuda="13.0"), LAPTOP, "tensorrt-cuda"),
        ("fp32", on(TRT10, sm="12.0", cuda="12.4", version="10.9"), LAPTOP, "cuda-sm"),
        ("fp32", on(ORT_GPU, version="1.31", sm="7.5", cuda="12.9"), LAPTOP, "ort-gpu-cuda"),
        ("fp32", on(ORT_GPU, cuda="13.0"), LAPTOP, "cuda-sm"),
        ("fp32", on(ORT_GPU, cuda="9.2"), LAPTOP, "cuda-known"),
        ("fp32", on(RTX, cuda="12.9"), LAPTOP, None),
        ("fp32", on(RTX, cuda="12.6"), LAPTOP, "rtx-cuda"),
        # declared Python
        ("fp32", on(TRT86, python="3.11"), LAPTOP, None),
        ("fp32", on(TRT86, python="3.12"), LAPTOP, "tensorrt-python"),
        ("fp32", on(TRT10, python="3.8.10"), LAPTOP, None),
        ("fp32", on(TRT10, version="11.4", python="3.9"), LAPTOP, "tensorrt-python"),
        ("fp32", on(RTX, python="3.14"), LAPTOP, "rtx-python"),
        ("fp32", on(ORT_GPU, python="3.10"), LAPTOP, "ort-gpu-python"),
        ("fp32", on(ORT_GPU, python="3.10", version="1.23"), LAPTOP, None),
        # platforms
        ("fp32", on(TRT10, os="windows"), LAPTOP, None),
        ("fp32", on(TRT10, arch="aarch64"), LAPTOP, None),
        ("fp32", on(TRT10, arch="aarch64", cuda="11.8", version="10.9"), LAPTOP, "tensorrt-cuda"),
        ("fp32", on(TRT10, arch="aarch64", os="windows"), LAPTOP, "tensorrt-platform"),
        ("fp32", on(TRT10, arch="aarch64", version="8.4", sm="7.5"), LAPTOP, "tensorrt-platform"),
        ("fp32", on(RTX, arch="aarch64"), LAPTOP, "rtx-platform"),
        ("fp32", on(RTX, os="windows"), LAPTOP, None),
        # JetPack: board, platform, TensorRT, CUDA, Python
        ("fp32", on(ORIN_JP6, jetpack=None), LAPTOP, "jetson-jetpack"),
        ("fp32", on(XAVIER, jetpack=None), LAPTOP, "jetson-jetpack"),
        ("fp32", on(ORIN_JP6, arch="x86_64"), LAPTOP, "jetpack-platform"),
        ("fp32", on(ORIN_JP6, jetpack="5.1", version="8.5"), LAPTOP, None),
        ("fp32", on(ORIN_JP6, jetpack="7.0", version="10.13"), LAPTOP, "jetpack-sm"),
        ("fp32", on(ORIN_JP6, jetpack="8.0"), LAPTOP, "jetpack-version"),
        ("fp32", on(ORIN_JP6, jetpack="7.2", version="10.16"), LAPTOP, None),
        ("fp32", on(ORIN_JP6, jetpack="7.2.1", version="10.16.2", sm="11.0"), LAPTOP, None),
        ("fp32", on(ORIN_JP6, jetpack="7.2"), LAPTOP, "jetpack-tensorrt"),
        ("fp32", on(ORIN_JP6, jetpack="7.3", version="10.16"), LAPTOP, "jetpack-version"),
        ("fp32", on(XAVIER, jetpack="6.2", version="10.3"), LAPTOP, "jetpack-sm"),
        ("fp32", on(XAVIER, jetpack="4.6.1", version="8.2"), LAPTOP, "jetpack-python"),
        ("fp32", on(XAVIER, sm="11.0", jetpack="7.0", version="10.13"), LAPTOP, None),
        ("fp32", on(XAVIER, sm="11.0"), LAPTOP, "jetpack-sm"),
        ("fp32", on(ORIN_JP6, cuda="12.6"), LAPTOP, None),
        ("fp32", on(ORIN_JP6, cuda="12.2"), LAPTOP, "jetpack-cuda"),
        ("fp32", on(ORIN_JP6, python="3.10"), LAPTOP, None),
        ("fp32", on(ORIN_JP6, python="3.12"), LAPTOP, "jetpack-python"),
        # drivers
        ("fp32", on(TRT86, cuda="12.1", driver="525.60.13"), LAPTOP, None),
        ("fp32", on(TRT86, cuda="12.1", driver="580"), LAPTOP, None),
        ("fp32", on(TRT86, cuda="12.1", driver="470.256"), LAPTOP, "driver-cuda"),
        ("fp32", on(TRT86, cuda="11.8", driver="470.256"), LAPTOP, None),
        ("fp32", on(TRT86, cuda="12.1", driver="590.44"), LAPTOP, "driver-sm"),
        ("fp32", on(TRT10, cuda="13.0", driver="575.51"), LAPTOP, "driver-cuda"),
        ("fp32", on(TRT10, cuda="13.0", driver="590.44"), LAPTOP, None),
        ("fp32", on(ORT_GPU, driver="470.256"), LAPTOP, "driver-cuda"),
        # onnxruntime-gpu
        ("fp32", ORT_GPU, LAPTOP, None),
        ("fp32", on(ORT_GPU, version=None), LAPTOP, None),
        ("fp32", on(ORT_GPU, version="1.27"), LAPTOP, "ort-gpu-sm"),
        ("fp32", on(ORT_GPU, version="1.14"), LAPTOP, "ort-gpu-version"),
        ("fp32", on(ORT_GPU, sm="5.2"), LAPTOP, "ort-gpu-sm"),
        ("fp32", on(ORT_GPU, sm="5.2", version="1.20"), LAPTOP, None),
        ("fp32", on(ORT_GPU, sm="12.0"), LAPTOP, None),  # PTX of 9.0
        ("fp32", on(ORT_GPU, sm="10.0", version="1.28"), LAPTOP, None),
        ("fp32", on(ORT_GPU, sm="10.3", version="1.28"), LAPTOP, None),  # code for 10.0
        ("fp32", on(ORT_GPU, sm="10.0", version="1.31"), LAPTOP, "ort-gpu-sm"),
        ("fp32", on(ORT_GPU, sm="12.1", version="1.31"), LAPTOP, None),
        ("fp32", on(ORT_GPU, sm="8.6", version="1.31", arch="aarch64"), LAPTOP, "ort-gpu-sm"),
        ("fp32", on(ORT_GPU, cudnn="9.10.2"), LAPTOP, None),
        ("fp32", on(ORT_GPU, cudnn="9.11"), LAPTOP, "cudnn-sm"),
        ("fp32", on(ORT_GPU, cudnn="8.9"), LAPTOP, "ort-gpu-cudnn"),
        ("fp32", on(ORT_GPU, cudnn="9.11", sm="8.6"), LAPTOP, None),
        ("fp32", on(ORT_GPU, arch="aarch64"), LAPTOP, "ort-gpu-platform"),
        ("fp32", on(ORT_GPU, arch="aarch64", version="1.29", sm="9.0"), LAPTOP, None),
        ("fp32", on(ORT_GPU, arch="aarch64", version="1.29", sm="8.7", jetpack="6.2"), LAPTOP, "ort-gpu-platform"),
        ("fp32", on(ORT_GPU, os="windows"), LAPTOP, "ort-gpu-platform"),
        ("fp16", ORT_GPU, LAPTOP, "fp16-rate"),
        ("fp16", on(ORT_GPU, sm="8.6"), LAPTOP, None),
        ("int8", on(ORT_GPU, sm="8.6"), LAPTOP, "cuda-int8"),
        ("bf16", on(ORT_GPU, sm="8.6"), LAPTOP, "bf16-lowering"),
    ],
)
def test_the_rule_that_speaks(precision: str, target: Target, machine: Machine, rule: Optional[str]) -> None:
    skip = judged(precision, target, machine)
    assert (skip.rule if skip else None) == rule
    if skip:
        assert skip.fact
        assert skip.source
        remedies = rules.remedies(asked(precision, target, machine), skip)
        assert 1 <= len(remedies) <= 3, "a skip says what to do instead"


def test_tensorrt_10_on_a_pascal_gpu_names_8_6_onnxruntime_and_the_cpu() -> None:
    question = asked("fp32", on(TRT10, sm="6.1", machine="GTX 1060"), GTX1060)
    skip = rules.judge(question)
    assert skip is not None
    assert skip.fact == "TensorRT 10.16 supports compute capability 7.5 and newer; GTX 1060 is 6.1"
    assert skip.source == "NVIDIA TensorRT 10.16 support matrix and release notes"
    native, runtime, cpu = rules.remedies(question, skip)
    assert native.line == "TensorRT 8.6.1 (CUDA 12.1, driver 525.60.13 to 580, Python 3.8 to 3.11)"
    assert native.cost == "about the fp32 rate of the GPU"
    assert runtime.line == (
        "onnxruntime-gpu 1.26.0 (CUDA 12.9, driver 525.60.13 to 580, cuDNN 9.10.2.21, Python 3.11 to 3.14)"
    )
    assert cpu.line == "runtime: openvino, on the CPU"
    assert "measured 1.05 times" in cpu.cost


def test_an_older_driver_is_respected_by_what_is_offered() -> None:
    question = asked("fp32", on(TRT10, sm="8.6", cuda="13.0", driver="535.183"))
    skip = rules.judge(question)
    assert skip is not None and skip.rule == "driver-cuda"
    assert skip.fixes == ("install driver 580.65.06 or newer",)
    for remedy in rules.remedies(question, skip):
        assert "CUDA 13" not in remedy.needs


def test_a_jetpack_names_the_tensorrt_it_brings() -> None:
    question = asked("fp32", on(ORIN_JP6, version="10.16"))
    skip = rules.judge(question)
    assert skip is not None
    assert skip.fact == "JetPack 6.2 brings TensorRT 10.3, not 10.16"
    assert [r.line for r in rules.remedies(question, skip)][:2] == [
        'version: "10.3"',
        "TensorRT 10.3 (JetPack 6.2: CUDA 12.6, cuDNN 9.3, Python 3.10)",
    ]


@pytest.mark.parametrize("sm", ["6.1", "7.0", "7.5"])
def test_no_bf16_below_ampere(sm: str) -> None:
    assert judged("bf16", on(TRT86, sm=sm)) is not None


@pytest.mark.parametrize(
    ("precision", "has", "lacks"),
    [
        ("fp16", "5.3 6.0 6.1 6.2 7.0 12.0", "3.5 5.0 5.2"),
        ("int8", "6.1 7.0 7.2 8.7", "5.3 6.0 6.2"),
        ("bf16", "8.0 8.7 11.0", "7.5 7.2 6.1"),
        ("fp8", "8.9 9.0 12.0", "8.6 8.7"),
        ("fp4", "10.0 12.1", "9.0"),
        ("tf32", "8.0 9.0", "7.5"),
    ],
)
def test_precisions_and_compute_capabilities(precision: str, has: str, lacks: str) -> None:
    row = tables.arithmetic(precision)
    assert row is not None
    assert [sm for sm in (*has.split(), *lacks.split()) if row.on(sm)] == has.split()


# ------------------------------------------------------------------------------------------- waiving


def test_a_slow_precision_is_planned_when_a_reason_is_given() -> None:
    wanted = (Allowed("fp16-rate", "the engine must fit into 1 GiB"),)
    assert judged("fp16", TRT86, GTX1060, allow=wanted) is None
    assert judged("int8", on(ORT_GPU, sm="8.6"), allow=wanted) is not None, "another rule"
    said = rules.answers(asked("fp16", TRT86, GTX1060, allow=wanted))
    (skip,) = [answer for answer in said if isinstance(answer, Skip)]
    assert rules.waived(asked("fp16", TRT86, allow=wanted), skip) == wanted[0]


def test_what_is_impossible_cannot_be_waived() -> None:
    wanted = (Allowed("tensorrt-sm", "please"), Allowed("bf16-sm", "please"))
    assert judged("fp32", on(TRT10, sm="6.1"), allow=wanted) is not None
    assert judged("bf16", TRT86, allow=wanted) is not None


# ------------------------------------------------------------------------------------------- what holds


def test_every_rule_that_concerns_a_cell_says_why_it_holds() -> None:
    said = rules.answers(asked("int8", on(TRT86, cuda="12.1", driver="535.183", python="3.10"), opset=20))
    assert all(isinstance(answer, Held) and answer.fact and answer.source for answer in said)
    assert {answer.rule for answer in said} >= {
        "tensorrt-version",
        "tensorrt-platform",
        "tensorrt-sm",
        "tensorrt-cuda",
        "tensorrt-python",
        "tensorrt-options",
        "tensorrt-opset",
        "driver-cuda",
        "driver-sm",
        "cuda-sm",
        "gpu-known",
        "int8-sm",
    }
    assert rules.answers(asked("fp32", ORT)) == (), "no rule concerns fp32 on a CPU"


def test_options_that_a_version_lacks_are_a_broken_rule() -> None:
    question = asked("fp32", TRT86, options=TensorRtOptions(strip=True, refit=True))
    skip = rules.judge(question)
    assert skip is not None and skip.rule == "option-strip"
    assert skip.fixes == ("leave strip out",)


@pytest.mark.parametrize(
    ("target", "rule"),
    [
        (TRT10, "tensorrt-options"),
        (TRT86, "option-strip"),
        (RTX, "option-strip"),
        (on(TRT10, version=None), None),
        (on(RTX, version=None), None),
        (ORT_GPU, None),
        (ORT, None),
    ],
    ids=["10.16", "8.6", "rtx", "no-version", "rtx-no-version", "onnxruntime-gpu", "onnxruntime"],
)
def test_options_concern_a_tensorrt_of_a_declared_version_and_nothing_else(target: Target, rule: Optional[str]) -> None:
    said = rules.answers(asked("fp32", target, options=TensorRtOptions(strip=True)))
    assert [one.rule for one in said if "option" in one.rule] == ([rule] if rule else [])


@pytest.mark.parametrize(("target", "rule"), [(TRT10, "tensorrt-dla"), (ORIN_JP6, None), (XAVIER, None)])
def test_dla_is_on_some_jetsons_only(target: Target, rule: Optional[str]) -> None:
    skip = judged("fp16", target, options=TensorRtOptions(dla_core=0))
    assert (skip.rule if skip else None) == rule
    assert skip is None or ("8.7 (Jetson Orin)" in skip.fact and skip.fixes == ("leave dla_core out: the GPU",))


# ------------------------------------------------------------------------------------------- the graph


def sized(side: int) -> Any:
    image = Input("image", ("batch", 1, "8*h", "8*w"))
    shape = (1, 1, side, side)
    return {"inputs": (image,), "profiles": (Profile("p", (ShapeRange("image", shape, shape, shape),)),)}


def test_a_tensor_of_two_thousand_million_elements_is_refused() -> None:
    head = Head("h", (Output("wide", ("batch", 1024, "h", "w")),))
    assert judged("fp32", RTX, head=head, **sized(8 * 1024)) is None
    skip = judged("fp32", RTX, head=head, **sized(8 * 1456))
    assert skip is not None and skip.rule == "tensorrt-volume"
    assert "'wide' has 2170814464 elements" in skip.fact
    assert judged("fp32", OV, head=head, **sized(8 * 1456)) is None
    assert judged("fp32", RTX, head=MAP, **sized(8 * 1456)) is None
    unknown = Head("h", (Output("wide", ("batch", "k", 1 << 31)),))
    assert judged("fp32", RTX, head=unknown, **sized(64)) is None, "how large k is, nobody says"


def test_nine_dimensions_are_too_many_for_tensorrt() -> None:
    assert judged("fp32", TRT10, head=Head("h", (Output("deep", (1,) * 8),))) is None
    skip = judged("fp32", TRT10, head=Head("h", (Output("deep", (1,) * 9),)))
    assert skip is not None and skip.rule == "tensorrt-dimensions"
    assert judged("fp32", OV, head=Head("h", (Output("deep", (1,) * 9),))) is None


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
        assert "3840" in skip.fact
        assert len(rules.remedies(asked("fp32", target, head=head), skip)) == 3
