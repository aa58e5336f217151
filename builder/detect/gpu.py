"""A GPU as data, what one source says of the GPUs, and which of them CUDA_VISIBLE_DEVICES leaves visible."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import List, Mapping, Optional, Sequence, Tuple

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
