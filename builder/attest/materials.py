"""What a version was made of, once for every statement about it: files that no step made, and the tools of all steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, List, Tuple

from builder.manifest import Manifest
from builder.platforms.platform import Tool
from builder.provenance import Provenance

# What the files that a step takes from outside are to the version.
_ROLES = {
    "calibration-data": "calibration",
    "reference": "parity",
    "sweep-reference": "parity",
    "task-cases": "task",
}


@dataclass(frozen=True)
class Material:
    """A file by digest. `role`: model (code, weights, an ONNX file), calibration, parity, task, or input."""

    name: str
    digest: str
    role: str


def files(provenance: Provenance) -> Tuple[Material, ...]:
    """Everything that came from outside, each digest once under each name."""
    made = {output.digest for step in provenance.steps for output in step.outputs}
    found: Dict[Tuple[str, str], Material] = {}
    for step in provenance.steps:
        for pinned in step.inputs:
            if pinned.digest not in made:
                photograph = pinned.name.startswith(("photographs/", "data/"))
                role = _ROLES.get(step.step, "input") if photograph else "model"
                found.setdefault((pinned.name, pinned.digest), Material(pinned.name, pinned.digest, role))
    return tuple(found[key] for key in sorted(found))


def tools(manifest: Manifest, provenance: Provenance) -> Tuple[Tool, ...]:
    """Every package that a step used, or, for a version of an older release, every one that was installed."""
    used: List[Tool] = [tool for step in provenance.steps for tool in step.tools]
    return tuple(sorted(set(used or manifest.builder.tools), key=lambda tool: (tool.name, tool.version)))


def purl(tool: Tool) -> str:
    """https://github.com/package-url/purl-spec: names of PyPI are lower case with - for _; `+cpu` is escaped."""
    return f"pkg:pypi/{tool.name.lower().replace('_', '-')}@{tool.version.replace('+', '%2B')}"
