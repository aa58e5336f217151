"""One job at a time on a GPU, and none beside a job that needs the processor: locks that die with the process that holds
them, shared by all users of the machine.

A job for a GPU holds that GPU alone and the machine together with jobs of other GPUs; any other job holds the machine
alone. They are files in the system's temporary folder, and advisory: they order workers of this program, and nothing else.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Optional, Sequence, Tuple

from builder.platforms import gpu_models
from builder.platforms.gpus import Gpu
from builder.platforms.machines import Machine
from builder.platforms.platform import Platform

_NAME = "deploymatrix"
_PAUSE = 0.2  # seconds between tries


@dataclass(frozen=True)
class Seat:
    """What a job holds; `gpu` is None for the whole machine."""

    gpu: Optional[Gpu] = None

    @property
    def environ(self) -> Dict[str, str]:
        """What the job has to see of the machine. A GPU without a UUID (Jetson, simulated) is the only one."""
        return {"CUDA_VISIBLE_DEVICES": self.gpu.uuid} if self.gpu and self.gpu.uuid else {}


def fitting(platform: Optional[Platform], machine: Machine) -> Tuple[Gpu, ...]:
    """The GPUs of which a job of this platform needs one; none when it needs the processor."""
    if platform is None or platform.sm is None:
        return ()
    return gpu_models.fitting(machine, platform.sm, platform.gpu)


@contextlib.contextmanager
def alone(gpus: Sequence[Gpu], told: Callable[[], None], gone: Callable[[], None]) -> Iterator[Seat]:
    """Hold one of `gpus`, or the machine. `told` is called once when another job has it, `gone` at every try: it raises to
    give up."""
    waited = False
    held: Optional[Tuple[Seat, List[int]]] = None
    try:
        while held is None:
            held = _tried(gpus)
            if held is None:
                if not waited:
                    told()
                waited = True
                gone()
                time.sleep(_PAUSE)
        yield held[0]
    finally:
        for file in held[1] if held else ():
            os.close(file)


def _tried(gpus: Sequence[Gpu]) -> Optional[Tuple[Seat, List[int]]]:
    machine = _locked("", shared=bool(gpus))
    if machine is None:
        return None
    if not gpus:
        return Seat(), [machine]
    for gpu in gpus:
        own = _locked("-" + re.sub(r"[^A-Za-z0-9]", "_", gpu.uuid or gpu.name))
        if own is not None:
            return Seat(gpu), [machine, own]
    os.close(machine)
    return None


def _locked(suffix: str, *, shared: bool = False) -> Optional[int]:
    file = _opened(Path(tempfile.gettempdir()) / f"{_NAME}{suffix}.lock")
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        return None
    return file


def _opened(path: Path) -> int:
    """Open for reading: that is enough to lock, and possible when another user made the file. Follows no link."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(path, flags)
    except FileNotFoundError:
        with contextlib.suppress(FileExistsError):  # another worker was faster
            return os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o644)
    return os.open(path, flags)
