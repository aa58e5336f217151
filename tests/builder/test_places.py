"""Where work can be done: targets against machines."""

from __future__ import annotations

import dataclasses

import pytest

from builder.facts import Machine
from builder.matrix import Target
from builder.places import cannot_build, cannot_run, how_to_build, how_to_verify, platform_of
from tests.builder.compat.test_rules import ORIN_JP6, ORT, ORT_GPU, OV, RTX, TRT10, TRT86, XAVIER
from tests.fakes import GTX1060, LAPTOP, ORIN, RASPBERRY, RTX3090, with_version, without

ARM_ORT = dataclasses.replace(ORT, arch="aarch64")


@pytest.mark.parametrize(
    ("target", "machine", "build", "run"),
    [
        (ORT, LAPTOP, "", ""),
        (OV, LAPTOP, "", ""),
        (OV, GTX1060, "openvino is not installed here", "openvino is not installed here"),
        (ORT, RASPBERRY, "needs linux on x86_64; this machine is linux on aarch64", "needs linux on x86_64"),
        (ARM_ORT, RASPBERRY, "", ""),
        (RTX, LAPTOP, "", "no GPU of compute capability 8.6 here to run it on; this machine has no NVIDIA GPU"),
        (RTX, RTX3090, "", ""),
        (RTX, without(LAPTOP, "tensorrt_rtx"), "tensorrt_rtx is not installed here", "no GPU"),
        (
            RTX,
            with_version(LAPTOP, "tensorrt_rtx", "1.6.0"),
            "tensorrt_rtx 1.6.0 is installed here, the target declares 1.7",
            "no GPU",
        ),
        (RTX, with_version(RTX3090, "tensorrt_rtx", "1.70.0"), "the target declares 1.7", "the target declares 1.7"),
        (
            TRT10,
            LAPTOP,
            "needs a GPU of compute capability 8.6 and TensorRT 10.16; this machine has no NVIDIA GPU",
            "no GPU",
        ),
        (TRT10, RTX3090, "", ""),
        (TRT10, GTX1060, "this machine has NVIDIA GeForce GTX 1060 6GB (6.1)", "no GPU of compute capability 8.6"),
        (
            TRT10,
            with_version(RTX3090, "tensorrt", "10.1.6"),
            "tensorrt 10.1.6 is installed here, the target declares 10.16",
            "10.16",
        ),
        (TRT10, without(RTX3090, "tensorrt"), "tensorrt is not installed here", "not installed"),
        (TRT86, GTX1060, "", ""),
        (ORT_GPU, LAPTOP, "", "no GPU of compute capability 6.1 here to run it on; this machine has no NVIDIA GPU"),
        (ORT_GPU, GTX1060, "", "onnxruntime-gpu is not installed here"),
        (ORT_GPU, without(LAPTOP, "onnxruntime"), "onnxruntime-gpu is not installed here", "no GPU"),
        (ORT_GPU, with_version(GTX1060, "onnxruntime-gpu", "1.26.0"), "", ""),
        (ORT_GPU, with_version(GTX1060, "onnxruntime-gpu", "1.23.2"), "", "the target declares 1.26"),
        (ORT_GPU, without(with_version(GTX1060, "onnxruntime-gpu", "1.26.0"), "onnxruntime"), "", ""),
        (ORT_GPU, ORIN, "needs linux on x86_64", "no GPU of compute capability 6.1"),
        (ORIN_JP6, ORIN, "", ""),
        (ORIN_JP6, RTX3090, "needs linux on aarch64", "no GPU of compute capability 8.7"),
        (XAVIER, ORIN, "needs a GPU of compute capability 7.2", "no GPU of compute capability 7.2"),
    ],
)
def test_what_a_machine_can_build_and_run(target: Target, machine: Machine, build: str, run: str) -> None:
    platform = platform_of(target, machine)
    for expected, found in ((build, cannot_build(platform, machine)), (run, cannot_run(platform, machine))):
        assert bool(expected) == (found is not None), found
        assert expected in (found or "")


def test_a_cpu_platform_has_the_installed_version_and_the_features_of_this_machine() -> None:
    here = platform_of(ORT, LAPTOP)
    assert (here.version, here.features) == ("1.23.2", LAPTOP.features)
    there = platform_of(ARM_ORT, LAPTOP)
    assert (there.version, there.features) == ("any", ())
    assert platform_of(TRT10, RTX3090).features == (), "an engine does not depend on the processor"


def test_what_to_type() -> None:
    line = how_to_build(RTX, LAPTOP, "artifacts")
    assert "deploymatrix[rtx]" in line
    assert "tensorrt_rtx==1.7.*" in line
    first, *commands = how_to_build(ORIN_JP6, LAPTOP, "store").split("\n")
    assert first == (
        "copy store/ to the Orin (TensorRT 10.3; JetPack 6.2: CUDA 12.6, cuDNN 9.3, Python 3.10), and there:"
    )
    assert commands[0] == "sudo apt-get install nvidia-jetpack python3-venv"
    assert commands[-1] == ".venv/bin/build perform '*-t' --store store"
    assert "opencv" in commands[-2] and "opencv" not in how_to_build(ORIN_JP6, LAPTOP, "store", tasks=False)
    assert "(TensorRT 8.6; CUDA 12.0 to 12.1, driver 525.60.13 to 580" in how_to_build(TRT86, LAPTOP, "store")
    assert how_to_verify(TRT10, "store").endswith(".venv/bin/build perform '*-t' --store store")


def test_an_onnx_file_for_a_gpu_is_built_where_any_onnxruntime_is() -> None:
    assert how_to_build(ORT_GPU, without(LAPTOP, "onnxruntime"), "store") == "pip install 'deploymatrix[build]'"


def test_nothing_is_ordered_for_windows() -> None:
    windows = dataclasses.replace(TRT10, os="windows")
    assert how_to_build(windows, LAPTOP, "store") == "nothing yet: this program does not run on windows"
