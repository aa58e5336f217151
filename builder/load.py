"""matrix.yaml on disk to a checked `Matrix`. The only place that reads the file.

Anything wrong is one UsageError with its place (builder/yaml_file.py). Paths in the file are relative to
its folder. Weights and photographs are not opened here: `plan` and the steps do that.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Optional

from builder import inventory, photographs, yaml_file
from builder.consistent import consistency
from builder.evidence import Photographs
from builder.matrix import ANY_MACHINE, Matrix, Target
from builder.records import RecordError

_MINIMAL_HINT = "start from the commented matrix.yaml that ships with deploymatrix, or see `build schema`"


@dataclass(frozen=True)
class Loaded:
    """A matrix, the folder its paths are relative to, and the digest of the file's bytes. `calibration`: every photograph
    that int8 ranges may come from, before `count` draws some of them."""

    matrix: Matrix
    path: Path
    root: Path
    digest: str
    calibration: Optional[Photographs] = None

    @property
    def store(self) -> Path:
        return self.root / self.matrix.store


def load(path: Path, machines: Optional[Path] = None) -> Loaded:
    """`machines`: a file that says which machines do the work of which target, in place of what the matrix says."""
    found = yaml_file.read(path, Matrix, kind="matrix", flag="-m", empty=_MINIMAL_HINT)
    written = found.record
    try:
        matrix, pool = photographs.declared(written, path.parent), photographs.undrawn(written, path.parent)
        consistency.check(matrix)
    except RecordError as problem:
        raise found.wrong(problem) from None
    matrix = replace(matrix, targets=tuple(map(_called, matrix.targets)))
    listed = inventory.load(machines, matrix).machines if machines is not None else ()
    return Loaded(inventory.resolved(matrix, listed), path, path.parent, found.digest, pool)


def _called(target: Target) -> Target:
    """A machine that has no name of its own is called by its GPU."""
    return replace(target, machine=target.gpu) if target.gpu and target.machine == ANY_MACHINE else target
