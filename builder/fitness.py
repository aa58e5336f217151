"""Does a machine that is worked on over SSH fit its target, and what does a worker lack there? Pure.

Nothing of deploymatrix is installed there, so the lines to type are about the runtime and what measuring needs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator, List, Tuple

from builder import gpu_model
from builder.compat import install
from builder.config.matrix import Target
from builder.facts import Machine
from builder.places import cannot_build, cannot_run, platform_of

_PYTHON = ".venv/bin/python"  # where the lines of builder/compat/install.py put it


@dataclass(frozen=True)
class Fitness:
    """`wrong`: why nothing is built there; `lacking`: packages without which nothing is measured; `differs`: what the
    matrix declares otherwise, and no artifact depends on; `lines`: how to get what is missing."""

    target: str
    wrong: str
    lacking: Tuple[str, ...]
    differs: Tuple[str, ...]
    lines: Tuple[str, ...]

    @property
    def said(self) -> str:
        absent = f"not installed: {', '.join(self.lacking)}" if self.lacking else ""
        return "; ".join(part for part in (self.wrong, absent, *self.differs) if part)


def fitness(target: Target, machine: Machine, *, tasks: bool) -> Fitness:
    """`tasks`: the matrix has metrics to score there."""
    platform = platform_of(target, machine)
    wrong = cannot_build(platform, machine) or cannot_run(platform, machine) or ""
    needed = ("numpy", "polygraphy", *(("opencv-python-headless",) if tasks else ()))
    lacking = tuple(name for name in needed if machine.version(name) is None)
    alike = (target.os, target.arch) == (machine.os, machine.arch)
    mends = alike and (target.sm is None or bool(gpu_model.fitting(machine, target.sm, target.gpu)))
    lines: Tuple[str, ...] = ()
    if wrong and mends:
        lines = (*install.without_ours(target, tasks), f"# then in matrix.yaml: worker: {{python: {_PYTHON}}}")
    elif wrong and alike and target.gpu and (others := gpu_model.fitting(machine, target.sm, None)):
        found = gpu_model.in_general(gpu_model.canonical(others[0].name))
        lines = (f"# it is another GPU; if it is the one that you mean, in matrix.yaml: gpu: {found}",)
    elif lacking and not wrong:
        lines = (f"{target.worker.python} -m pip install {' '.join(lacking)}",)
    return Fitness(target.name, wrong, lacking, tuple(_differing(target, machine)), lines)


def _differing(target: Target, machine: Machine) -> Iterator[str]:
    pairs: List[Tuple[str, "str | None", str]] = [
        ("driver", target.driver, machine.driver),
        ("CUDA", target.cuda, machine.cuda),
        ("cuDNN", target.cudnn, machine.cudnn),
        ("Python", target.python, machine.python),
    ]
    for name, declared, found in pairs:
        if declared and found and not f"{found}.".startswith(f"{declared}."):
            yield f"the target declares {name} {declared}, it has {found}"
