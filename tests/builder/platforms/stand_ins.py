"""Machines for detection to look at: a tree of files, a libcuda, an NVML, an nvidia-smi. No test is here."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

from builder.platforms.probe import Answer, Probe

UUIDS = (
    "8932f937-d72c-4106-c12f-20bd9faed9f6",
    "11111111-2222-3333-4444-555555555555",
    "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee",
)
DRIVER = {
    "/dev/nvidiactl": "",
    "/dev/nvidia0": "",
    "/proc/driver/nvidia/version": (
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  560.35.03  Fri Aug 16 21:39:15 UTC 2024\n"
        "GCC version:  gcc version 12.3.0 (Ubuntu 12.3.0-1ubuntu1~22.04)\n"
    ),
}


@dataclass(frozen=True)
class Device:
    name: str
    sm: Tuple[int, int] = (8, 6)
    mib: int = 24576
    uuid: str = UUIDS[0]
    mig_mode: bool = False
    instances: Tuple["Device", ...] = ()


RTX3090 = Device("NVIDIA GeForce RTX 3090")
GTX1060 = Device("NVIDIA GeForce GTX 1060 6GB", (6, 1), 6144, UUIDS[1])
SLICE = Device("NVIDIA A100-SXM4-40GB MIG 1g.5gb", (8, 0), 4864, UUIDS[2])
A100 = Device("NVIDIA A100-SXM4-40GB", (8, 0), 40960, UUIDS[1], mig_mode=True, instances=(SLICE,))


def nothing(_: object) -> None:
    return None


def no_command(_: Sequence[str]) -> Answer:
    return Answer(None, "No such file or directory")


def probe(
    root: Path,
    files: Optional[Mapping[str, str]] = None,
    *,
    environ: Optional[Mapping[str, str]] = None,
    path: Tuple[str, ...] = (),
    cuda: Any = None,
    nvml: Any = None,
    command: Callable[[Sequence[str]], Answer] = no_command,
) -> Probe:
    """A probe of the files given, written below `root`. `cuda` is loaded as libcuda, `nvml` as pynvml."""
    for name, text in (files or {}).items():
        place = root / name.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8")
    return Probe(
        root,
        environ or {},
        path,
        lambda name: cuda if name == "libcuda.so.1" else None,
        lambda name: nvml if name == "pynvml" else None,
        command,
    )


# ------------------------------------------------------------------------------------------- libcuda


@dataclass
class FakeCuda:
    """The calls that detection makes of libcuda. `devices` are those that CUDA would enumerate."""

    devices: Tuple[Device, ...] = ()
    version: int = 12060
    code: int = 0
    knows_instances: bool = True

    def __post_init__(self) -> None:
        if self.knows_instances:
            self.cuDeviceGetUuid_v2 = self._uuid
        self.cuDeviceGetUuid = self._uuid

    def cuDriverGetVersion(self, number: Any) -> int:
        number._obj.value = self.version
        return 0

    def cuInit(self, flags: int) -> int:
        return self.code

    def cuDeviceGetCount(self, count: Any) -> int:
        count._obj.value = len(self.devices)
        return 0

    def cuDeviceGet(self, device: Any, index: int) -> int:
        device._obj.value = index
        return 0

    def cuDeviceGetName(self, name: Any, length: int, device: Any) -> int:
        name.value = self.devices[device.value].name.encode()
        return 0

    def cuDeviceGetAttribute(self, value: Any, attribute: int, device: Any) -> int:
        value._obj.value = self.devices[device.value].sm[{75: 0, 76: 1}[attribute]]
        return 0

    def cuDeviceTotalMem_v2(self, memory: Any, device: Any) -> int:
        memory._obj.value = self.devices[device.value].mib << 20
        return 0

    def _uuid(self, octets: Any, device: Any) -> int:
        octets.raw = bytes.fromhex(self.devices[device.value].uuid.replace("-", ""))
        return 0

    def cuGetErrorName(self, code: int, text: Any) -> int:
        names = {100: b"CUDA_ERROR_NO_DEVICE", 803: b"CUDA_ERROR_SYSTEM_DRIVER_MISMATCH"}
        if code not in names:
            return 1
        text._obj.value = names[code]
        return 0


# ------------------------------------------------------------------------------------------- NVML


class NVMLError(Exception):
    pass


@dataclass
class Memory:
    total: int


@dataclass
class FakeNvml:
    """The functions of nvidia-ml-py that detection calls. `broken` is what starting it says."""

    devices: Tuple[Device, ...] = ()
    driver: Any = "560.35.03"
    version: int = 12060
    broken: str = ""
    lacks: Tuple[str, ...] = ()
    started: List[bool] = field(default_factory=list)
    NVMLError = NVMLError

    def nvmlInit(self) -> None:
        if self.broken:
            raise NVMLError(self.broken)
        self.started.append(True)

    def nvmlShutdown(self) -> None:
        self.started.pop()

    def _known(self, what: str) -> None:
        if what in self.lacks:
            raise NVMLError("Not Supported")

    def nvmlSystemGetDriverVersion(self) -> Any:
        self._known("driver")
        return self.driver

    def nvmlSystemGetCudaDriverVersion(self) -> int:
        self._known("cuda")
        return self.version

    def nvmlDeviceGetCount(self) -> int:
        return len(self.devices)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Device:
        return self.devices[index]

    def nvmlDeviceGetCudaComputeCapability(self, device: Device) -> Tuple[int, int]:
        self._known("sm")
        return device.sm

    def nvmlDeviceGetMigMode(self, device: Device) -> List[int]:
        self._known("mig")
        return [int(device.mig_mode), int(device.mig_mode)]

    def nvmlDeviceGetMaxMigDeviceCount(self, device: Device) -> int:
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, device: Device, index: int) -> Device:
        if index >= len(device.instances):
            raise NVMLError("Not Found")
        return device.instances[index]

    def nvmlDeviceGetName(self, device: Device) -> str:
        return device.name

    def nvmlDeviceGetUUID(self, device: Device) -> str:
        return f"{'MIG' if ' MIG ' in device.name else 'GPU'}-{device.uuid}"

    def nvmlDeviceGetMemoryInfo(self, device: Device) -> Memory:
        self._known("memory")
        return Memory(device.mib << 20)


# ------------------------------------------------------------------------------------------- nvidia-smi

OLD_HEADER = """\
+-----------------------------------------------------------------------------------------+
| NVIDIA-SMI 560.35.03              Driver Version: 560.35.03      CUDA Version: 12.6     |
|-----------------------------------------+------------------------+----------------------+
"""
NEW_HEADER = """\
+-----------------------------------------------------------------------------------------+
| NVIDIA-SMI 610.43.02              KMD Version: 610.43.02     CUDA UMD Version: 13.3     |
+-----------------------------------------+------------------------+----------------------+
"""
BROKEN = (
    "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make sure that the latest NVIDIA "
    "driver is installed and running.\n\n"
)
MISMATCH = "Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 560.35\n"


@dataclass
class FakeSmi:
    """nvidia-smi: answers to --query-gpu, to -L and to nothing. `knows` are the fields that this driver has."""

    devices: Tuple[Device, ...] = ()
    header: str = OLD_HEADER
    driver: str = "560.35.03"
    knows_sm: bool = True
    fails: Optional[Answer] = None
    calls: List[Sequence[str]] = field(default_factory=list)

    def __call__(self, words: Sequence[str]) -> Answer:
        self.calls.append(words)
        if not words[0].endswith("nvidia-smi"):
            return no_command(words)
        if self.fails is not None:
            return self.fails
        if words[1:] == ["-L"]:
            return Answer(0, self._list())
        if len(words) == 1:
            return Answer(0, self.header)
        fields = words[1].split("=")[1].split(",")
        if "compute_cap" in fields and not self.knows_sm:
            return Answer(2, 'Field "compute_cap" is not a valid field to query.\n')
        return Answer(0, "".join(", ".join(self._row(d)[f] for f in fields) + "\n" for d in self.devices))

    def _row(self, device: Device) -> Dict[str, str]:
        return {
            "name": device.name,
            "uuid": f"GPU-{device.uuid}",
            "driver_version": self.driver,
            "memory.total": str(device.mib),
            "compute_cap": f"{device.sm[0]}.{device.sm[1]}",
            "mig.mode.current": "Enabled" if device.mig_mode else "[N/A]",
        }

    def _list(self) -> str:
        lines = []
        for number, device in enumerate(self.devices):
            lines.append(f"GPU {number}: {device.name} (UUID: GPU-{device.uuid})")
            for index, part in enumerate(device.instances):
                profile = part.name.rpartition(" ")[2]
                lines.append(f"  MIG {profile}      Device  {index}: (UUID: MIG-{part.uuid})")
        return "\n".join(lines) + "\n"
