"""Where work can be done: targets against machines."""

from __future__ import annotations

import dataclasses
import re

import pytest

from builder import release
from builder.config.matrix import Target
from builder.platforms import install
from builder.platforms.gpus import Gpu
from builder.platforms.install import how_to_build, how_to_verify
from builder.platforms.machines import Machine
from builder.platforms.platform import cannot_build, cannot_run, is_meant, platform_of, same_series
from tests.builder.platforms.test_rules import ORIN_JP6, ORT, ORT_GPU, OV, RTX, TRT10, TRT86, XAVIER
from tests.fakes import GTX1060, LAPTOP, ORIN, RASPBERRY, REPOSITORY, RTX3090, _with, with_version, without

ARM_ORT = dataclasses.replace(ORT, arch="aarch64")
RTX3080 = _with(RTX3090, gpus=(Gpu("NVIDIA GeForce RTX 3080", "8.6"),))


def named(target: Target, gpu: str) -> Target:
    return dataclasses.replace(target, gpu=gpu)


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
        (named(TRT10, "RTX 3090"), RTX3090, "", ""),
        (
            named(TRT10, "RTX 3090"),
            RTX3080,
            "needs a GPU of compute capability 8.6 (RTX 3090) and TensorRT 10.16; this machine has NVIDIA GeForce RTX 3080",
            "no GPU of compute capability 8.6 (RTX 3090) here to run it on; this machine has NVIDIA GeForce RTX 3080",
        ),
        (named(RTX, "RTX 3090"), RTX3080, "", "no GPU of compute capability 8.6 (RTX 3090) here"),
        (TRT10, RTX3080, "", ""),
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


@pytest.mark.parametrize(
    ("installed", "proven", "same"),
    [
        ("2026.4.1", "2026.4.0", True),
        ("2026.4.1", "2026.5.0", False),
        ("10.1.6", "10.16", False),
        ("11.0.0", "11", True),
        ("1.0", "any", True),
        ("nightly-x", "nightly-x", True),
        ("nightly-x", "nightly-y", False),
        ("1.0", "nightly-x", False),
        ("nightly-x", "1.0", False),
    ],
)
def test_a_series_is_two_numbers(installed: str, proven: str, same: bool) -> None:
    assert same_series(installed, proven) is same


def test_what_to_type() -> None:
    line = how_to_build(RTX, LAPTOP, "artifacts")
    assert f"pip install './{release.WHEEL}[rtx]'" in line
    assert "tensorrt_rtx==1.7.*" in line
    first, *commands = how_to_build(ORIN_JP6, LAPTOP, "store").split("\n")
    assert first == (
        f"copy store/ and {release.WHEEL} (pip wheel --no-deps . in a checkout of deploymatrix) to the Orin "
        "(TensorRT 10.3; JetPack 6.2: CUDA 12.6, cuDNN 9.3, Python 3.10), and there:"
    )
    assert commands[0] == "sudo apt-get install nvidia-jetpack python3-venv"
    assert commands[-2] == ".venv/bin/build perform '*-t' --store store"
    assert commands[-1] == "# then copy store/ back (rsync -a --ignore-existing), and run here: build matrix"
    assert "opencv" in commands[-3] and "opencv" not in how_to_build(ORIN_JP6, LAPTOP, "store", tasks=False)
    assert "(TensorRT 8.6; CUDA 12.0 to 12.1, driver 525.60.13 to 580" in how_to_build(TRT86, LAPTOP, "store")
    assert ".venv/bin/build perform '*-t' --store store" in how_to_verify(TRT10, LAPTOP, "store")
    assert "copy store/ and " in how_to_verify(ORT, LAPTOP, "store") and " to any CPU" in how_to_verify(
        dataclasses.replace(ORT, machine="any CPU"), LAPTOP, "store"
    )


def test_on_the_machine_that_is_meant_nothing_is_copied() -> None:
    bare = without(without(RTX3090, "tensorrt"), "tensorrt_rtx")
    first, *commands = how_to_build(TRT10, bare, "store").split("\n")
    assert first.startswith("install TensorRT 10.16 here (CUDA 12.0 to 12.9, driver ")
    assert commands == [f"pip install polygraphy 'tensorrt-cu12==10.16.*' {install._NVIDIA_INDEX}", "build matrix"]
    assert how_to_verify(RTX, bare, "store").split("\n")[1:] == [
        "pip install polygraphy 'tensorrt-rtx==1.7.*'",
        "build matrix",
    ]


@pytest.mark.parametrize(
    ("target", "machine"),
    [
        (TRT86, without(GTX1060, "tensorrt")),  # an older NumPy
        (TRT10, dataclasses.replace(without(RTX3090, "tensorrt"), python="3.14.0")),  # no module for this Python
        (TRT10, with_version(RTX3090, "tensorrt", "11.4.0.106")),  # another version is there
        (ORT_GPU, GTX1060),  # it takes onnxruntime's place
        (ORIN_JP6, without(ORIN, "tensorrt")),  # the packages of the system
    ],
    ids=lambda value: getattr(value, "runtime", ""),
)
def test_what_cannot_join_this_environment_gets_its_own(target: Target, machine: Machine) -> None:
    first, *commands = how_to_verify(target, machine, "store").split("\n")
    assert "in an environment of its own here" in first and "copy" not in first
    assert commands[0].startswith("build matrix  # leaves its orders in store/")
    assert any("-m venv" in line and ".venv-t" in line for line in commands)
    assert commands[-2] == ".venv-t/bin/build perform '*-t' --store store"
    assert commands[-1].startswith("build matrix")


def test_a_gpu_that_cannot_be_used_is_mended_first() -> None:
    broken = dataclasses.replace(RTX3090, gpu_problem="libcuda.so.1 is not found")
    assert how_to_build(TRT10, broken, "store") == "mend that, then run here: build matrix"


def test_an_onnx_file_for_a_gpu_is_built_where_any_onnxruntime_is() -> None:
    assert (
        how_to_build(ORT_GPU, without(LAPTOP, "onnxruntime"), "store")
        == f"install it here:\n{release.pip_install('build')}"
    )


def test_another_model_is_not_the_machine_that_is_meant() -> None:
    target = named(TRT10, "RTX 3090")
    assert is_meant(target, RTX3090)
    assert not is_meant(target, RTX3080)
    assert "copy artifacts/" in how_to_verify(target, RTX3080, "artifacts")


def test_nothing_is_ordered_for_windows() -> None:
    windows = dataclasses.replace(TRT10, os="windows")
    assert how_to_build(windows, LAPTOP, "store") == "nothing yet: this program does not run on windows"


def test_no_hint_names_a_package_that_no_index_has() -> None:
    places = [*(REPOSITORY / "builder").rglob("*.py"), *(REPOSITORY / "docs").rglob("*.md"), REPOSITORY / "README.md"]
    for path in places:
        assert not re.search(r"pip install (--\S+ )*'?deploymatrix(?!-[0-9])", path.read_text(encoding="utf-8")), path
