"""NVIDIA GPUs: which source is asked when, and what keeps programs from using what is there.

libcuda, then NVML, then nvidia-smi, then the device tree of a Jetson. Nothing but a few names of files is looked at
on a machine where there is no trace of a driver. docs/decisions/0009-host-facts.md has the reasons.
"""

from __future__ import annotations

import ctypes
import dataclasses
import re
from dataclasses import dataclass
from typing import Any, Iterator, List, Mapping, Optional, Sequence, Tuple

from builder.platforms.probe import TIMED_OUT, Answer, Probe

# A GPU as data, what one source says of the GPUs, and which of them CUDA_VISIBLE_DEVICES leaves visible.


NO_INSTANCE = "every GPU is in MIG mode without an instance: see nvidia-smi mig -lgip, then nvidia-smi mig -cgi ID -C"


@dataclass(frozen=True)
class Gpu:
    """`sm` is its compute capability, empty when no source says it. A MIG instance counts as a GPU of its own."""

    name: str
    sm: str
    memory_mib: int = 0
    uuid: str = ""
    mig: bool = False

    @property
    def described(self) -> str:
        return f"{self.name} ({self.sm or 'compute capability unknown'})"


@dataclass(frozen=True)
class Seen:
    """`by` names the source. `cuda` is the newest CUDA that the driver knows. `problem` says why no program here can
    use a GPU of NVIDIA's, listed or not."""

    gpus: Tuple[Gpu, ...] = ()
    by: str = ""
    driver: str = ""
    cuda: str = ""
    problem: str = ""


def cuda_version(number: int) -> str:
    """12040, as the driver says it, is 12.4."""
    return f"{number // 1000}.{number % 1000 // 10}" if number > 0 else ""


def hidden(environ: Mapping[str, str]) -> Optional[str]:
    """CUDA_VISIBLE_DEVICES, when it is set."""
    return environ.get("CUDA_VISIBLE_DEVICES")


def visible(gpus: Sequence[Gpu], environ: Mapping[str, str]) -> Tuple[Gpu, ...]:
    """What CUDA would enumerate. NVML and nvidia-smi list every GPU, whatever CUDA_VISIBLE_DEVICES says.

    The rules are those of the CUDA programming guide: indices, or the first characters of a UUID; the list ends at
    the first word that fits nothing. Indices count in the order given here, which is that of the PCI bus.
    """
    value = hidden(environ)
    if value is None:
        return tuple(gpus)
    kept: List[Gpu] = []
    for word in value.split(","):
        found = _named(gpus, word.strip())
        if found is None or found in kept:
            break
        kept.append(found)
    return tuple(kept)


def _named(gpus: Sequence[Gpu], word: str) -> Optional[Gpu]:
    if re.fullmatch(r"[0-9]{1,4}", word):
        return gpus[int(word)] if int(word) < len(gpus) else None
    fitting = [gpu for gpu in gpus if word and gpu.uuid.startswith(word)]
    return fitting[0] if len(fitting) == 1 else None


# GPUs through the program nvidia-smi, the last resort: it comes with every driver, and takes up to seconds.


_PLACES = ("nvidia-smi", "/usr/lib/wsl/lib/nvidia-smi")
# Drivers before 510 do not know the compute capability, those before 450 no MIG mode.
_FIELDS = (
    ("name", "uuid", "driver_version", "memory.total", "compute_cap", "mig.mode.current"),
    ("name", "uuid", "driver_version", "memory.total"),
)
# From driver 610 on "CUDA UMD Version". Either is the newest CUDA that the driver knows, not an installed toolkit.
_NEWEST = re.compile(r"CUDA (?:UMD )?Version: *([0-9]+\.[0-9]+)")
_MIB = re.compile(r"[0-9]{1,9}")
_SM = re.compile(r"[0-9]+\.[0-9]+")
# `  MIG 1g.10gb     Device  0: (UUID: MIG-...)`, below `GPU 0: NAME (UUID: GPU-...)`
_LISTED = re.compile(r"(?:GPU +[0-9]+: (?P<gpu>.+?)|MIG (?P<mig>\S+) +Device +[0-9]+:) +\(UUID: (?P<uuid>\S+?)\)")


def ask_nvidia_smi(probe: Probe) -> Seen:
    for place in _PLACES:
        seen = _ask(probe, place) if not place.startswith("/") or probe.exists(place) else None
        if seen is not None:
            return seen
    return Seen(by="nvidia-smi", problem="nvidia-smi is not installed")


def _ask(probe: Probe, program: str) -> Optional[Seen]:
    """None where the program is not there."""
    answer, rows = Answer(None, ""), []  # type: Answer, List[_Row]
    for fields in _FIELDS:
        answer = probe.command([program, f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"])
        rows = _rows(answer.text, fields) if answer.code == 0 else []
        if rows or answer.code in (None, TIMED_OUT):
            break
    if answer.code is None:
        return None
    if not rows:
        return Seen(by="nvidia-smi", problem=f"nvidia-smi says {_first_line(answer.text)}")
    header = probe.command([program])
    newest = _NEWEST.search(header.text)
    gpus: List[Gpu] = []
    for row in rows:
        gpus += _instances(probe, program, row.gpu) if row.in_mig_mode else [row.gpu]
    cuda = newest.group(1) if newest else ""
    return Seen(tuple(gpus), "nvidia-smi", rows[0].driver, cuda, "" if gpus else NO_INSTANCE)


@dataclass(frozen=True)
class _Row:
    gpu: Gpu
    driver: str
    in_mig_mode: bool


def _rows(text: str, fields: Tuple[str, ...]) -> List[_Row]:
    """A row for each line that has the fields asked for. What else a driver prints is left out."""
    found = []
    for row in ([part.strip() for part in line.split(",")] for line in text.splitlines()):
        if len(row) != len(fields) or not row[1].startswith("GPU-"):
            continue
        said = dict(zip(fields, row))
        sm, memory = said.get("compute_cap", ""), said["memory.total"]
        mib = int(memory) if _MIB.fullmatch(memory) else 0
        gpu = Gpu(said["name"], sm if _SM.fullmatch(sm) else "", mib, said["uuid"])
        found.append(_Row(gpu, said["driver_version"], said.get("mig.mode.current") == "Enabled"))
    return found


def _instances(probe: Probe, program: str, gpu: Gpu) -> List[Gpu]:
    """The MIG instances of `gpu`, from `nvidia-smi -L`."""
    found, mine = [], False
    for match in _LISTED.finditer(probe.command([program, "-L"]).text):
        if match.group("gpu"):
            mine = match.group("uuid") == gpu.uuid
        elif mine:
            found.append(Gpu(f"{gpu.name} MIG {match.group('mig')}", gpu.sm, 0, match.group("uuid"), True))
    return found


def _first_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[0][:200] if lines else "nothing"


# GPUs through NVML, by the package nvidia-ml-py where it is installed: for where libcuda is missing or refuses.
#
# NVML lists the hardware. It does not obey CUDA_VISIBLE_DEVICES, orders GPUs by the PCI bus, and does not exist on
# JetPack 5 and older.


_NVML_MIB = 1 << 20


def load_nvml(probe: Probe) -> Any:
    """The module, or None. It is imported only on machines where something of NVIDIA's was found: 40 ms."""
    return probe.module("pynvml")


def ask_nvml(nvml: Any) -> Seen:
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as problem:
        return Seen(by="NVML", problem=f"NVML says {problem}")
    try:
        driver = _text(nvml.nvmlSystemGetDriverVersion())
        newest = cuda_version(_or_none(nvml, nvml.nvmlSystemGetCudaDriverVersion) or 0)
        gpus, count = tuple(_gpus(nvml)), nvml.nvmlDeviceGetCount()
        return Seen(gpus, "NVML", driver, newest, "" if gpus or not count else NO_INSTANCE)
    except nvml.NVMLError as problem:
        return Seen(by="NVML", problem=f"NVML says {problem}")
    finally:
        nvml.nvmlShutdown()


def _gpus(nvml: Any) -> Iterator[Gpu]:
    """GPUs, and the instances in place of a GPU that is in MIG mode, as CUDA would list them."""
    for index in range(nvml.nvmlDeviceGetCount()):
        device = nvml.nvmlDeviceGetHandleByIndex(index)
        found = _or_none(nvml, nvml.nvmlDeviceGetCudaComputeCapability, device)
        sm = f"{found[0]}.{found[1]}" if found else ""
        mode = _or_none(nvml, nvml.nvmlDeviceGetMigMode, device)
        if not mode or not mode[0]:
            yield _nvml_gpu(nvml, device, sm, mig=False)
            continue
        for number in range(nvml.nvmlDeviceGetMaxMigDeviceCount(device)):
            instance = _or_none(nvml, nvml.nvmlDeviceGetMigDeviceHandleByIndex, device, number)
            if instance is not None:
                yield _nvml_gpu(nvml, instance, sm, mig=True)


def _nvml_gpu(nvml: Any, device: Any, sm: str, *, mig: bool) -> Gpu:
    memory = _or_none(nvml, nvml.nvmlDeviceGetMemoryInfo, device)  # a Jetson has no memory of its own for its GPU
    return Gpu(
        _text(nvml.nvmlDeviceGetName(device)),
        sm,
        memory.total // _NVML_MIB if memory else 0,
        _text(nvml.nvmlDeviceGetUUID(device)),
        mig,
    )


def _or_none(nvml: Any, call: Any, *words: Any) -> Optional[Any]:
    """None for what this driver or this GPU does not support."""
    try:
        return call(*words)
    except nvml.NVMLError:
        return None


def _text(said: Any) -> str:
    """Text; bytes before nvidia-ml-py 11.515."""
    return said.decode(errors="replace") if isinstance(said, bytes) else str(said)


# GPUs through libcuda, the driver's own library: what a CUDA program on this machine would see.
#
# It obeys CUDA_VISIBLE_DEVICES, lists MIG instances, knows every compute capability, and is there on every machine
# that can run CUDA, Jetsons included. It makes no context on a GPU.


# The second is where Windows puts it; the loader of some distributions does not look there.
_LIBCUDA_PLACES = ("libcuda.so.1", "/usr/lib/wsl/lib/libcuda.so.1")
_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_{MAJOR,MINOR}, cuda.h
_NO_DEVICE = 100  # CUDA_ERROR_NO_DEVICE
_LIBCUDA_MIB = 1 << 20


def load_libcuda(probe: Probe) -> Any:
    """The library, or None."""
    for place in _LIBCUDA_PLACES:
        library = probe.library(place) if not place.startswith("/") or probe.exists(place) else None
        if library is not None:
            return library
    return None


def ask_libcuda(cuda: Any) -> Seen:
    number = ctypes.c_int()
    newest = cuda_version(number.value) if cuda.cuDriverGetVersion(ctypes.byref(number)) == 0 else ""
    code = cuda.cuInit(0)
    count = ctypes.c_int()
    if code == 0:
        code = cuda.cuDeviceGetCount(ctypes.byref(count))
    if code == 0 and count.value == 0:
        code = _NO_DEVICE
    if code != 0:
        return Seen(by="libcuda", cuda=newest, problem=f"libcuda says {_error(cuda, code)}")
    return Seen(tuple(_libcuda_gpu(cuda, index) for index in range(count.value)), "libcuda", cuda=newest)


def _libcuda_gpu(cuda: Any, index: int) -> Gpu:
    device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    name, memory = ctypes.create_string_buffer(128), ctypes.c_size_t()
    cuda.cuDeviceGet(ctypes.byref(device), index)
    cuda.cuDeviceGetName(name, len(name), device)
    cuda.cuDeviceGetAttribute(ctypes.byref(major), _MAJOR, device)
    cuda.cuDeviceGetAttribute(ctypes.byref(minor), _MINOR, device)
    cuda.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
    called = name.value.decode(errors="replace")
    mig = " MIG " in called
    return Gpu(called, f"{major.value}.{minor.value}", memory.value // _LIBCUDA_MIB, _uuid(cuda, device, mig), mig)


def _uuid(cuda: Any, device: ctypes.c_int, mig: bool) -> str:
    """As nvidia-smi writes it. Only the second version of the call knows MIG instances; old drivers lack it."""
    call: Optional[Any] = getattr(cuda, "cuDeviceGetUuid_v2", None) or getattr(cuda, "cuDeviceGetUuid", None)
    octets = ctypes.create_string_buffer(16)
    if call is None or call(octets, device) != 0:
        return ""
    digits = octets.raw.hex()
    parts = (digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:])
    return ("MIG-" if mig else "GPU-") + "-".join(parts)


def _error(cuda: Any, code: int) -> str:
    said = ctypes.c_char_p()
    if cuda.cuGetErrorName(code, ctypes.byref(said)) != 0 or said.value is None:
        return f"error {code}"
    return f"{said.value.decode(errors='replace')} ({code})"


_TRACES = (
    "/dev/nvidiactl",
    "/dev/nvidia0",
    "/proc/driver/nvidia/version",
    "/dev/dxg",
    "/dev/nvhost-ctrl",
    "/dev/nvmap",
)
_KERNEL_MODULE = r"NVRM version:.*?\s([0-9]+\.[0-9]+(?:\.[0-9]+)?)\s"
_VENDOR, _DISPLAY = "10de", "0x03"


def has_driver(probe: Probe) -> bool:
    """Is there any trace of a driver? A handful of names, so that a machine without a GPU costs nothing."""
    return any(probe.exists(path) for path in _TRACES)


def find(probe: Probe, chip: Optional[str]) -> Seen:
    """`chip` is the compute capability by the chip of a Jetson, empty when it is hidden; None on any other machine."""
    cuda = load_libcuda(probe)
    if not has_driver(probe) and chip is None:
        seen = ask_libcuda(cuda) if cuda is not None else Seen()
        return seen if seen.gpus else Seen(problem=_without_driver(probe))
    if cuda is None:
        seen = _without_libcuda(probe, chip)
    else:
        seen = ask_libcuda(cuda)
        if not seen.gpus:
            seen = _refused(probe, seen, chip)
    return seen if seen.driver else dataclasses.replace(seen, driver=_driver(probe))


def _refused(probe: Probe, seen: Seen, chip: Optional[str]) -> Seen:
    """libcuda lists nothing: because it was told to, or because something is broken; then say what is there."""
    if hidden(probe.environ) is not None and "NO_DEVICE" in seen.problem:
        return dataclasses.replace(seen, problem=_hiding(probe))
    there = _hardware(probe, chip)
    newest = seen.cuda or there.cuda
    return dataclasses.replace(there, cuda=newest, problem="; ".join(filter(None, (seen.problem, there.problem))))


def _without_libcuda(probe: Probe, chip: Optional[str]) -> Seen:
    there = _hardware(probe, chip)
    if not there.gpus:
        why = there.problem or (_hiding(probe) if hidden(probe.environ) is not None else "and no GPU is listed")
        return dataclasses.replace(there, problem=f"a driver is there, but libcuda.so.1 is not found; {why}")
    flags = "--runtime nvidia" if chip is not None else "--gpus all -e NVIDIA_DRIVER_CAPABILITIES=compute,utility"
    how = f"libcuda.so.1 is not found, so no program can use it; a container needs {flags}"
    return dataclasses.replace(there, problem=how)


def _hardware(probe: Probe, chip: Optional[str]) -> Seen:
    """What is there, usable or not: by NVML, by nvidia-smi, or by the chip of a Jetson."""
    # here and below: few machines get this far

    module = load_nvml(probe)
    seen = ask_nvml(module) if module is not None else Seen()
    if not seen.gpus:
        other = ask_nvidia_smi(probe)
        seen = other if other.gpus or not seen.problem else seen
    if not seen.gpus and chip:
        seen = Seen((Gpu(f"Jetson GPU of compute capability {chip}", chip),), "device tree")
    return dataclasses.replace(seen, gpus=visible(seen.gpus, probe.environ)) if seen.gpus else seen


def _hiding(probe: Probe) -> str:
    return f"CUDA_VISIBLE_DEVICES is {hidden(probe.environ)!r}, which hides every GPU"


def _driver(probe: Probe) -> str:
    """The kernel module's version; where it has no such file (WSL), what NVML says."""
    match = re.search(_KERNEL_MODULE, probe.text("/proc/driver/nvidia/version"))
    if match:
        return match.group(1)

    module = load_nvml(probe)
    return ask_nvml(module).driver if module is not None else ""


def _without_driver(probe: Probe) -> str:
    """Something to say where a GPU sits on the PCI bus and no driver of NVIDIA's runs it."""
    for device, driver in _on_the_bus(probe):
        runs = f"run by {driver}" if driver else "without a driver"
        return f"an NVIDIA GPU (PCI {device}) is there {runs}: install NVIDIA's driver and start again"
    return ""


def _on_the_bus(probe: Probe) -> Iterator["tuple[str, str]"]:
    """(device, its driver) of each display controller of NVIDIA's. One file lists all devices but not their class."""
    for line in probe.text("/proc/bus/pci/devices").splitlines():
        fields = line.split("\t")
        if len(fields) < 2 or not fields[1].startswith(_VENDOR) or len(fields[0]) != 4:
            continue
        slot = int(fields[0][2:], 16)
        place = f"0000:{fields[0][:2]}:{slot >> 3:02x}.{slot & 7}"
        if probe.text(f"/sys/bus/pci/devices/{place}/class").startswith(_DISPLAY):
            yield fields[1], fields[-1].strip() if len(fields) > 17 else ""
