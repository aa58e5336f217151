"""GPUs through NVML, by the package nvidia-ml-py where it is installed: for where libcuda is missing or refuses.

NVML lists the hardware. It does not obey CUDA_VISIBLE_DEVICES, orders GPUs by the PCI bus, and does not exist on
JetPack 5 and older.
"""

from __future__ import annotations

from typing import Any, Iterator, Optional

from builder.detect.gpu import NO_INSTANCE, Gpu, Seen, cuda_version
from builder.detect.probe import Probe

_MIB = 1 << 20


def load(probe: Probe) -> Any:
    """The module, or None. It is imported only on machines where something of NVIDIA's was found: 40 ms."""
    return probe.module("pynvml")


def ask(nvml: Any) -> Seen:
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
            yield _gpu(nvml, device, sm, mig=False)
            continue
        for number in range(nvml.nvmlDeviceGetMaxMigDeviceCount(device)):
            instance = _or_none(nvml, nvml.nvmlDeviceGetMigDeviceHandleByIndex, device, number)
            if instance is not None:
                yield _gpu(nvml, instance, sm, mig=True)


def _gpu(nvml: Any, device: Any, sm: str, *, mig: bool) -> Gpu:
    memory = _or_none(nvml, nvml.nvmlDeviceGetMemoryInfo, device)  # a Jetson has no memory of its own for its GPU
    return Gpu(
        _text(nvml.nvmlDeviceGetName(device)),
        sm,
        memory.total // _MIB if memory else 0,
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
