"""Where an action was performed: what of the machine may move a number although no input did. It is part of no key."""

from __future__ import annotations

import platform
from dataclasses import dataclass

from builder.platforms.machines import Machine


@dataclass(frozen=True)
class Site:
    """`machine` is the processor and its cores, `kernel` the operating system's, `driver` NVIDIA's; empty when unknown."""

    machine: str
    kernel: str = ""
    python: str = ""
    driver: str = ""


def here(machine: Machine) -> Site:
    """The site of this process. `machine` is what was found of it."""
    return Site(machine.kind, f"{platform.system()} {platform.release()}".strip(), machine.python, machine.driver)
