"""GPUs: which source is asked when, and what is said when one is missing, refuses or lies."""

from __future__ import annotations

import ctypes
import dataclasses
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, Optional, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.platforms import gpus
from builder.platforms.gpus import Gpu, Seen, cuda_version, visible
from builder.platforms.probe import TIMED_OUT, Answer, real
from tests.builder.platforms.stand_ins import (
    A100,
    BROKEN,
    DRIVER,
    GTX1060,
    MISMATCH,
    NEW_HEADER,
    RTX3090,
    SLICE,
    UUIDS,
    FakeCuda,
    FakeNvml,
    FakeSmi,
    no_command,
    probe,
)
from tests.fakes import REPOSITORY

SEEN_3090 = Gpu("NVIDIA GeForce RTX 3090", "8.6", 24576, f"GPU-{UUIDS[0]}")
SEEN_1060 = Gpu("NVIDIA GeForce GTX 1060 6GB", "6.1", 6144, f"GPU-{UUIDS[1]}")
SEEN_SLICE = Gpu("NVIDIA A100-SXM4-40GB MIG 1g.5gb", "8.0", 4864, f"MIG-{UUIDS[2]}", True)


def refuse(words: Sequence[str]) -> Answer:
    raise AssertionError(f"ran {words}")


class Untouched:
    """An NVML that nobody may ask."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"asked NVML for {name}")


def find(tmp_path: Path, chip: Optional[str] = None, **given: Any) -> Seen:
    return gpus.find(probe(tmp_path, **given), chip)


# ------------------------------------------------------------------------------------------- libcuda answers


def test_libcuda_answers_and_nobody_else_is_asked(tmp_path: Path) -> None:
    cuda = FakeCuda((RTX3090, GTX1060))
    seen = find(tmp_path, files=DRIVER, cuda=cuda, nvml=Untouched(), command=refuse)
    assert seen == Seen((SEEN_3090, SEEN_1060), "libcuda", "560.35.03", "12.6")


def test_a_mig_instance_is_a_gpu_of_its_own(tmp_path: Path) -> None:
    seen = find(tmp_path, files=DRIVER, cuda=FakeCuda((SLICE,)), command=refuse)
    assert seen.gpus == (SEEN_SLICE,)


def test_an_old_driver_without_the_newer_call_for_uuids(tmp_path: Path) -> None:
    seen = find(tmp_path, files=DRIVER, cuda=FakeCuda((GTX1060,), knows_instances=False), command=refuse)
    assert seen.gpus == (SEEN_1060,)


def test_on_windows_the_driver_has_no_file_and_nvml_says_its_version(tmp_path: Path) -> None:
    seen = find(tmp_path, files={"/dev/dxg": ""}, cuda=FakeCuda((RTX3090,)), nvml=FakeNvml(driver=b"566.36"))
    assert (seen.by, seen.driver, seen.gpus) == ("libcuda", "566.36", (SEEN_3090,))


@pytest.mark.parametrize(
    ("line", "version"),
    [
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  560.35.03  Fri Aug 16 21:39:15 UTC 2024\n", "560.35.03"),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build  (root@h)\n", "580.65.06"),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  540.4.0  Release Build  (u@h)\n", "540.4.0"),
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  418.87  Thu Aug  8 15:35:46 CDT 2019\n", "418.87"),
        ("something else\n", ""),
    ],
)
def test_the_version_of_the_kernel_module(line: str, version: str, tmp_path: Path) -> None:
    files = {**DRIVER, "/proc/driver/nvidia/version": line}
    assert find(tmp_path, files=files, cuda=FakeCuda((RTX3090,)), command=refuse).driver == version


# ------------------------------------------------------------------------------------------- nothing is there


def test_without_a_trace_nothing_is_asked(tmp_path: Path) -> None:
    assert find(tmp_path, nvml=Untouched(), command=refuse) == Seen()


def test_a_libcuda_without_a_driver_is_not_worth_a_word(tmp_path: Path) -> None:
    assert find(tmp_path, cuda=FakeCuda(code=100), nvml=Untouched(), command=refuse) == Seen()


PCI = "/proc/bus/pci/devices"
LINE = "{slot}\t{device}\t10" + 14 * "\t               0" + "\t{driver}\n"


@pytest.mark.parametrize(
    ("device", "kind", "driver", "problem"),
    [
        ("10de2204", "0x030000\n", "nouveau", "an NVIDIA GPU (PCI 10de2204) is there run by nouveau"),
        ("10de1db6", "0x030200\n", "", "an NVIDIA GPU (PCI 10de1db6) is there without a driver: install NVIDIA's"),
        ("10de1aef", "0x040300\n", "snd_hda_intel", ""),  # the sound of the same card
        ("80869a49", "0x030000\n", "i915", ""),
    ],
)
def test_a_gpu_that_no_driver_of_nvidia_runs(device: str, kind: str, driver: str, problem: str, tmp_path: Path) -> None:
    files = {
        PCI: "garbage\n" + LINE.format(slot="0100", device=device, driver=driver),
        "/sys/bus/pci/devices/0000:01:00.0/class": kind,
    }
    seen = find(tmp_path, files=files, command=refuse)
    assert seen.gpus == ()
    assert seen.problem.startswith(problem) and bool(problem) == bool(seen.problem)


# ------------------------------------------------------------------------------------------- libcuda is missing


@pytest.mark.parametrize("source", ["NVML", "nvidia-smi"])
def test_hardware_without_libcuda_is_listed_as_unusable(source: str, tmp_path: Path) -> None:
    given: Dict[str, Any] = {"nvml": FakeNvml((RTX3090, GTX1060)), "command": refuse}
    if source == "nvidia-smi":
        given = {"command": FakeSmi((RTX3090, GTX1060))}
    seen = find(tmp_path, files=DRIVER, **given)
    assert (seen.gpus, seen.by) == ((SEEN_3090, SEEN_1060), source)
    assert (seen.driver, seen.cuda) == ("560.35.03", "12.6")
    assert "libcuda.so.1 is not found" in seen.problem
    assert "NVIDIA_DRIVER_CAPABILITIES=compute,utility" in seen.problem


def test_nvml_is_left_as_it_was_found(tmp_path: Path) -> None:
    nvml = FakeNvml((RTX3090,))
    find(tmp_path, files=DRIVER, nvml=nvml)
    assert nvml.started == []


def test_what_a_gpu_does_not_support_is_left_out(tmp_path: Path) -> None:
    seen = find(tmp_path, files=DRIVER, nvml=FakeNvml((RTX3090,), lacks=("sm", "mig", "memory", "cuda")))
    assert seen.gpus == (Gpu(SEEN_3090.name, "", 0, SEEN_3090.uuid),)
    assert seen.gpus[0].described == "NVIDIA GeForce RTX 3090 (compute capability unknown)"


def test_an_nvml_that_fails_later_gives_way_to_nvidia_smi(tmp_path: Path) -> None:
    nvml = FakeNvml((RTX3090,), lacks=("driver",))
    seen = find(tmp_path, files=DRIVER, nvml=nvml, command=FakeSmi((RTX3090,)))
    assert (seen.by, nvml.started) == ("nvidia-smi", [])


def test_an_old_nvidia_smi_knows_no_compute_capability(tmp_path: Path) -> None:
    seen = find(tmp_path, files=DRIVER, command=FakeSmi((GTX1060,), knows_sm=False))
    assert seen.gpus == (dataclasses.replace(SEEN_1060, sm=""),)


def test_the_header_of_newer_drivers(tmp_path: Path) -> None:
    smi = FakeSmi((RTX3090,), header=NEW_HEADER, driver="610.43.02")
    seen = find(tmp_path, files={"/dev/dxg": ""}, command=smi)
    assert (seen.driver, seen.cuda) == ("610.43.02", "13.3")


def test_nvidia_smi_where_windows_puts_it(tmp_path: Path) -> None:
    smi = FakeSmi((RTX3090,))

    def command(words: Sequence[str]) -> Answer:
        return smi(words) if words[0].startswith("/") else no_command(words)

    files = {"/dev/dxg": "", "/usr/lib/wsl/lib/nvidia-smi": ""}
    assert find(tmp_path, files=files, command=command).gpus == (SEEN_3090,)


@pytest.mark.parametrize("source", ["NVML", "nvidia-smi"])
@pytest.mark.parametrize(
    ("device", "gpus"),
    [(A100, (SEEN_SLICE,)), (dataclasses.replace(A100, instances=()), ())],
)
def test_mig_mode(source: str, device: Any, gpus: Any, tmp_path: Path) -> None:
    given: Dict[str, Any] = {"nvml": FakeNvml((device,))} if source == "NVML" else {"command": FakeSmi((device,))}
    seen = find(tmp_path, files=DRIVER, **given)
    assert [dataclasses.replace(gpu, memory_mib=4864) for gpu in seen.gpus] == list(gpus)
    assert ("nvidia-smi mig -cgi" in seen.problem) == (not gpus)


# ------------------------------------------------------------------------------------------- something is broken


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Answer(9, BROKEN), "nvidia-smi says NVIDIA-SMI has failed because"),
        (Answer(18, MISMATCH), "Driver/library version mismatch"),
        (Answer(TIMED_OUT, "no answer in 10 seconds"), "no answer in 10 seconds"),
        (Answer(0, ""), "nvidia-smi says nothing"),
        (Answer(0, "\0\x1b[31m,,,\n\ufffd\n"), "nvidia-smi says"),
        (Answer(0, "No devices were found\n"), "No devices were found"),
        (Answer(-11, ""), "nvidia-smi says nothing"),
        (Answer(None, "No such file or directory"), "nvidia-smi is not installed"),
    ],
)
def test_a_broken_driver_says_so(answer: Answer, said: str, tmp_path: Path) -> None:
    seen = find(tmp_path, files=DRIVER, command=lambda words: answer)
    assert seen.gpus == ()
    assert seen.problem.startswith("a driver is there, but libcuda.so.1 is not found; ")
    assert said in seen.problem
    assert "\n" not in seen.problem


def test_a_hanging_nvidia_smi_is_asked_once(tmp_path: Path) -> None:
    smi = FakeSmi(fails=Answer(TIMED_OUT, "no answer in 10 seconds"))
    find(tmp_path, files=DRIVER, command=smi)
    assert len(smi.calls) == 1


def test_libcuda_refuses_and_the_hardware_is_named_all_the_same(tmp_path: Path) -> None:
    seen = find(tmp_path, files=DRIVER, cuda=FakeCuda(code=803), nvml=FakeNvml((RTX3090,)))
    assert (seen.gpus, seen.by) == ((SEEN_3090,), "NVML")
    assert seen.problem == "libcuda says CUDA_ERROR_SYSTEM_DRIVER_MISMATCH (803)"
    seen = find(tmp_path, files=DRIVER, cuda=FakeCuda(code=999), command=FakeSmi(fails=Answer(9, BROKEN)))
    assert seen.problem.startswith("libcuda says error 999; nvidia-smi says NVIDIA-SMI has failed")
    seen = find(tmp_path, files=DRIVER, cuda=FakeCuda(), nvml=FakeNvml(broken="Driver Not Loaded"))
    assert seen.problem == "libcuda says CUDA_ERROR_NO_DEVICE (100); NVML says Driver Not Loaded"


def test_mig_mode_without_an_instance_is_why_libcuda_lists_nothing(tmp_path: Path) -> None:
    empty = dataclasses.replace(A100, instances=())
    seen = find(tmp_path, files=DRIVER, cuda=FakeCuda(code=100), nvml=FakeNvml((empty,)))
    assert seen.problem.startswith("libcuda says CUDA_ERROR_NO_DEVICE (100); every GPU is in MIG mode without an")


# ------------------------------------------------------------------------------------------- CUDA_VISIBLE_DEVICES


@pytest.mark.parametrize("value", ["", "-1", "NoDevFiles"])
def test_gpus_that_are_hidden(value: str, tmp_path: Path) -> None:
    environ = {"CUDA_VISIBLE_DEVICES": value}
    problem = f"CUDA_VISIBLE_DEVICES is {value!r}, which hides every GPU"
    seen = find(tmp_path, files=DRIVER, environ=environ, cuda=FakeCuda(code=100), nvml=Untouched(), command=refuse)
    assert (seen.gpus, seen.problem) == ((), problem)
    seen = find(tmp_path, files=DRIVER, environ=environ, nvml=FakeNvml((RTX3090,)))
    assert seen.gpus == ()
    assert problem in seen.problem


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("0", [0]),
        ("1,0", [1, 0]),
        ("0,-1,1", [0]),
        ("0,7,1", [0]),
        ("1,1", [1]),
        (" 1 , 0 ", [1, 0]),
        (f"GPU-{UUIDS[1]}", [1]),
        ("GPU-8932f937", [0]),
        ("GPU-", []),  # fits both
        ("MIG-aaaa,0", []),
        (",0", []),
        ("\u00b2", []),  # a digit to Python, not to CUDA
        ("9" * 5000, []),
    ],
)
def test_the_rules_of_cuda_visible_devices(value: str, kept: "list[int]") -> None:
    gpus = (SEEN_3090, SEEN_1060)
    assert visible(gpus, {"CUDA_VISIBLE_DEVICES": value}) == tuple(gpus[i] for i in kept)
    assert visible(gpus, {}) == gpus


@given(st.text())
def test_any_value_of_cuda_visible_devices_is_survived(value: str) -> None:
    assert set(visible((SEEN_3090, SEEN_1060), {"CUDA_VISIBLE_DEVICES": value})) <= {SEEN_3090, SEEN_1060}


def test_cuda_versions_as_the_driver_writes_them() -> None:
    assert [cuda_version(n) for n in (0, -1, 10020, 12040, 13000)] == ["", "", "10.2", "12.4", "13.0"]


# ------------------------------------------------------------------------------------------- Jetson


def test_a_jetson_whose_libcuda_is_hidden_by_a_container(tmp_path: Path) -> None:
    seen = find(tmp_path, "8.7")
    assert seen.gpus == (Gpu("Jetson GPU of compute capability 8.7", "8.7"),)
    assert seen.by == "device tree"
    assert "--runtime nvidia" in seen.problem


def test_a_jetson_with_libcuda(tmp_path: Path) -> None:
    orin = dataclasses.replace(RTX3090, name="Orin", sm=(8, 7), mib=62841)
    seen = find(tmp_path, "8.7", cuda=FakeCuda((orin,), version=11040), command=refuse)
    assert (seen.gpus[0].name, seen.gpus[0].sm, seen.cuda, seen.problem) == ("Orin", "8.7", "11.4", "")


# ------------------------------------------------------------------------------------------- a real library

STUB = """
#include <string.h>
#include <stddef.h>
typedef struct { unsigned char bytes[16]; } uuid;
int cuInit(unsigned flags) { return flags ? 1 : 0; }
int cuDriverGetVersion(int *version) { *version = 12080; return 0; }
int cuDeviceGetCount(int *count) { *count = 2; return 0; }
int cuDeviceGet(int *device, int index) { *device = 70 + index; return 0; }
int cuDeviceGetName(char *name, int size, int device) {
  strncpy(name, device == 70 ? "First" : "Second MIG 1g.10gb", size); return 0; }
int cuDeviceGetAttribute(int *value, int attribute, int device) {
  *value = attribute == 75 ? 9 : attribute == 76 ? 0 : -1; return 0; }
int cuDeviceTotalMem_v2(size_t *bytes, int device) { *bytes = (size_t)81559 << 20; return 0; }
int cuDeviceGetUuid_v2(uuid *id, int device) {
  for (int i = 0; i < 16; i++) id->bytes[i] = (unsigned char)(0xf0 + i); return 0; }
int cuGetErrorName(int code, const char **name) { *name = "CUDA_ERROR_STUB"; return 0; }
"""


def test_the_calls_fit_a_compiled_library(tmp_path: Path) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    (tmp_path / "stub.c").write_text(STUB, encoding="utf-8")
    built = tmp_path / "libcuda.so.1"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(built), str(tmp_path / "stub.c")], check=True)
    seen = find(tmp_path, files=DRIVER, cuda=ctypes.CDLL(str(built)), command=refuse)
    id = "f0f1f2f3-f4f5-f6f7-f8f9-fafbfcfdfeff"
    assert seen.gpus == (
        Gpu("First", "9.0", 81559, f"GPU-{id}"),
        Gpu("Second MIG 1g.10gb", "9.0", 81559, f"MIG-{id}", True),
    )
    assert seen.cuda == "12.8"


def test_commands_and_modules_of_this_machine() -> None:
    here = real()
    assert here.command(["echo", "a"]) == Answer(0, "a\n")
    assert here.command(["false"]) == Answer(1, "")
    assert here.command(["no-such-program-anywhere"]).code is None
    assert here.module("no_such_module_anywhere") is None
    assert here.module("json") is not None
    assert here.library("libno-such-library.so.1") is None


NVML_STUB = """
#include <string.h>
#include <stdio.h>
typedef struct { unsigned long long total, free, used; } memory;
int nvmlInit_v2(void) { return 0; }
int nvmlInitWithFlags(unsigned flags) { return 0; }
int nvmlShutdown(void) { return 0; }
int nvmlSystemGetDriverVersion(char *text, unsigned size) { strncpy(text, "560.35.03", size); return 0; }
int nvmlSystemGetCudaDriverVersion(int *version) { *version = 12060; return 0; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = 2; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, long *device) { *device = 100 + index; return 0; }
int nvmlDeviceGetCudaComputeCapability(long device, int *major, int *minor) { *major = 8; *minor = 0; return 0; }
int nvmlDeviceGetMigMode(long device, unsigned *now, unsigned *next) {
  if (device == 100) return 3; *now = *next = 1; return 0; }
int nvmlDeviceGetMaxMigDeviceCount(long device, unsigned *count) { *count = 2; return 0; }
int nvmlDeviceGetMigDeviceHandleByIndex(long device, unsigned index, long *instance) {
  if (index) return 6; *instance = 200; return 0; }
int nvmlDeviceGetName(long device, char *name, unsigned size) {
  strncpy(name, device == 200 ? "A100 MIG 1g.5gb" : "A100", size); return 0; }
int nvmlDeviceGetUUID(long device, char *id, unsigned size) { snprintf(id, size, "id-%ld", device); return 0; }
int nvmlDeviceGetMemoryInfo(long device, memory *found) {
  found->total = (device == 200 ? 4864ULL : 40960ULL) << 20; return 0; }
const char *nvmlErrorString(int code) { return "stub"; }
"""


def test_the_calls_fit_nvidia_ml_py(tmp_path: Path) -> None:
    """The real package over a compiled library of the same calls, in a process of its own: it keeps what it loads."""
    pytest.importorskip("pynvml", reason="nvidia-ml-py is not installed")
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    (tmp_path / "stub.c").write_text(NVML_STUB, encoding="utf-8")
    built = tmp_path / "libnvidia-ml.so.1"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(built), str(tmp_path / "stub.c")], check=True)
    code = "import pynvml; from builder.platforms import gpus as nvml; print(nvml.ask_nvml(pynvml))"
    environ = {**os.environ, "LD_LIBRARY_PATH": str(tmp_path), "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environ, stdout=subprocess.PIPE, encoding="utf-8", check=True
    )
    gpus = (Gpu("A100", "8.0", 40960, "id-100"), Gpu("A100 MIG 1g.5gb", "8.0", 4864, "id-200", True))
    assert done.stdout.strip() == repr(Seen(gpus, "NVML", "560.35.03", "12.6"))


def test_nvidia_ml_py_without_a_driver() -> None:
    pynvml: Any = pytest.importorskip("pynvml", reason="nvidia-ml-py is not installed")
    seen = gpus.ask_nvml(pynvml)
    assert bool(seen.problem) != bool(seen.gpus)
