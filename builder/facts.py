"""What a machine is: processor, GPUs, driver, surroundings, Python, and installed packages by their metadata.

`Machine` is plain data: tests and the planner use machines that are not this one. `here()` asks builder/detect,
which imports nothing to find out, so it takes milliseconds.
"""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass
from typing import Optional, Tuple

from builder.detect import nvidia, packages, processor, surroundings
from builder.detect.gpu import Gpu
from builder.detect.packages import Package
from builder.detect.probe import Probe, real

__all__ = ["Gpu", "Machine", "Package", "here"]


@dataclass(frozen=True)
class Machine:
    """`driver` is NVIDIA's, `cuda_driver` the newest CUDA that it knows, `cuda` and `cudnn` what is installed.
    `gpus_by` names what listed the GPUs; `gpu_problem` says why no program can use one, listed or not. `board` is what
    the device tree calls the machine. `container` is the engine's name. What is unknown is empty."""

    os: str
    arch: str
    cpu: str
    cores: int
    features: Tuple[str, ...]
    python: str
    gpus: Tuple[Gpu, ...] = ()
    packages: Tuple[Package, ...] = ()
    memory_mib: int = 0
    board: str = ""
    driver: str = ""
    cuda_driver: str = ""
    gpus_by: str = ""
    gpu_problem: str = ""
    cuda: str = ""
    cudnn: str = ""
    jetpack: str = ""
    l4t: str = ""
    container: str = ""
    wsl: bool = False

    def version(self, package: str) -> Optional[str]:
        return next((p.version for p in self.packages if p.name == package), None)

    @property
    def kind(self) -> str:
        """What timings are comparable on: the processor and how many cores of it this machine has."""
        return f"{self.cpu} x{self.cores}"


def here(probe: Optional[Probe] = None) -> Machine:
    """This machine, or the one that `probe` describes."""
    probe = probe or real()
    distributions = packages.distributions(probe)
    installed = packages.named(distributions)
    chip = None
    if surroundings.is_jetson(probe) or nvidia.has_driver(probe):
        from builder.detect import jetson  # here, so that other machines do not pay for its tables

        debian = packages.Debian(probe)
        chip = jetson.find(probe, debian) if surroundings.is_jetson(probe) else None
        installed += packages.from_debian(probe, debian, installed)
    seen = nvidia.find(probe, chip.sm if chip else None)
    return Machine(
        os=platform.system().lower(),
        arch={"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine().lower()),
        cpu=processor.name(probe),
        cores=processor.cores(),
        features=processor.features(probe),
        python="%d.%d.%d" % sys.version_info[:3],
        gpus=seen.gpus,
        packages=tuple(installed),
        memory_mib=processor.memory_mib(probe),
        board=surroundings.board(probe),
        driver=seen.driver,
        cuda_driver=seen.cuda,
        gpus_by=seen.by if seen.gpus else "",
        gpu_problem=seen.problem,
        cuda=packages.cuda(probe, distributions),
        cudnn=packages.cudnn(probe, distributions),
        jetpack=chip.jetpack if chip else "",
        l4t=chip.l4t if chip else "",
        container=surroundings.container(probe),
        wsl=surroundings.wsl(probe),
    )
