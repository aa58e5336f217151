"""Action: one step with all its inputs pinned to digests. Its key names its result, on any machine.

    key = sha256(canonical JSON of recipe, inputs, tools, platform)

Equal keys promise an interchangeable result, not equal bytes: engine builders time tactics and may differ, so a
result records the digests it really has. Where an action ran is not part of it.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass, field, replace
from typing import Optional, Tuple

from builder import digest
from builder.actions.recipes import Facts, Recipe
from builder.platforms.machines import Machine
from builder.platforms.platform import Blob, Pinned, Platform, Tool
from builder.records import KEYED, to_json

# Where an action was performed: what of the machine may move a number although no input did. It is part of no key.


@dataclass(frozen=True)
class Site:
    """`machine` is the processor and its cores, `kernel` the operating system's, `driver` NVIDIA's; empty when unknown."""

    machine: str
    kernel: str = ""
    python: str = ""
    driver: str = ""


def this_site(machine: Machine) -> Site:
    """The site of this process. `machine` is what was found of it."""
    return Site(machine.kind, f"{platform.system()} {platform.release()}".strip(), machine.python, machine.driver)


@dataclass(frozen=True)
class Action:
    recipe: Recipe
    inputs: Tuple[Pinned, ...] = field(metadata=KEYED)
    tools: Tuple[Tool, ...] = field(metadata=KEYED)
    platform: Optional[Platform] = None

    @property
    def key(self) -> str:
        return digest.of_json(to_json(self))


# Files of an engine build that no host needs.
BY_PRODUCTS = ("timing.cache", "calibration.cache")
# What identifies an artifact, beside its files; see builder/store/sidecar.py.
SIDECAR = "artifact.json"


@dataclass(frozen=True)
class Result:
    """What an action gave: its files, its facts, how long it took (seconds), its peak memory (MiB), and where."""

    key: str
    outputs: Tuple[Blob, ...]
    facts: Facts
    seconds: float
    peak_mib: int
    site: Optional[Site] = None

    @property
    def product(self) -> Tuple[Blob, ...]:
        """The outputs without what is only kept for the next build."""
        return tuple(blob for blob in self.outputs if blob.name not in BY_PRODUCTS)

    @property
    def opened(self) -> Tuple[Blob, ...]:
        """The product without its sidecar: what a measurement depends on. The same bytes made by another action are
        not measured again."""
        return tuple(blob for blob in self.product if blob.name != SIDECAR)

    def output(self, name: str) -> Blob:
        return next(blob for blob in self.outputs if blob.name == name)


@dataclass(frozen=True)
class Pending:
    """What another machine has to do for a cell: build it, then measure it. The measuring actions lack the
    artifact's files among their inputs, since these are not known before it is built."""

    cell: str
    engine: Action
    measure: Tuple[Action, ...]

    def measuring(self, built: Result) -> Tuple[Action, ...]:
        """The measuring actions, complete, once the engine action gave `built`."""
        artifact = tuple(Pinned(f"artifact/{blob.name}", blob.digest) for blob in built.opened)
        return tuple(replace(action, inputs=(*artifact, *action.inputs)) for action in self.measure)
