"""matrix.yaml on disk to a checked `Matrix`, with the machines of each target.

The only reader of the file. Any error is one UsageError with its place (builder/config/yaml_reader.py). Paths in the
file are relative to its folder. Weights and photographs are not opened here: `plan` and the steps do that.
"""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Iterator, Literal, Optional, Tuple

from builder.config import checks, datasets, machine_checks, yaml_reader
from builder.config.cells import expand
from builder.config.matrix import ANY_MACHINE, Matrix, Photographs, Target
from builder.config.remote_machines import Listed, Reached
from builder.records import RecordError, described

# ------------------------------------------------------------------------------------------- machines of the targets
#
# Machines come from `where:` of a target, `machines:` of the matrix, or an inventory file. An inventory belongs to the
# owner of the machines, so it is not part of the matrix; for the targets that it names, it replaces the matrix's
# machines.


@dataclass(frozen=True)
class Inventory:
    schema: Literal[1]
    machines: Tuple[Listed, ...] = field(
        metadata=described("Machines by name, and the targets that each may do.", keyed=True)
    )


def load_inventory(path: Path, matrix: Matrix) -> Inventory:
    """Raises UsageError, with `file:line:column`."""
    found = yaml_reader.read(
        path, Inventory, kind="machines", flag="--machines", empty="machines: {NAME: {targets: [TARGET]}}"
    )
    try:
        machine_checks.check_listed(found.record.machines, matrix.targets)
    except RecordError as problem:
        raise found.wrong(problem) from None
    return found.record


def with_inventory(matrix: Matrix, machines: Tuple[Listed, ...] = ()) -> Matrix:
    """The matrix with the machines of each target.

    `machines` of an inventory replace its own.
    """
    named = {machine.name for machine in machines}
    known = (*machines, *(machine for machine in matrix.machines if machine.name not in named))
    targets = tuple(_with_machines(target, matrix, machines) for target in matrix.targets)
    return replace(matrix, targets=targets, machines=known)


def _with_machines(target: Target, matrix: Matrix, machines: Tuple[Listed, ...]) -> Target:
    theirs = tuple(_of(target, machines))
    own = (*_named(target), *_of(target, matrix.machines))
    return replace(target, reached=tuple(dict.fromkeys(theirs or own)))


def _of(target: Target, machines: Tuple[Listed, ...]) -> Iterator[Reached]:
    for machine in machines:
        patterns = (pattern for word in machine.targets for pattern in expand(word))
        if any(fnmatch.fnmatchcase(target.name, pattern) for pattern in patterns):
            yield machine.reached


def _named(target: Target) -> Iterator[Reached]:
    where = (target.where,) if isinstance(target.where, str) else target.where or ()
    for place in where:
        yield Reached(place, target.worker)


# ------------------------------------------------------------------------------------------- the matrix


_MINIMAL_HINT = "start from the commented matrix.yaml that ships with deploymatrix, or see `build schema`"


@dataclass(frozen=True)
class Loaded:
    """A matrix, the folder of its relative paths, and the digest of the file's bytes.

    `calibration`: every photograph that int8 ranges may come from, before `count` draws some of them.
    """

    matrix: Matrix
    path: Path
    root: Path
    digest: str
    calibration: Optional[Photographs] = None

    @property
    def store(self) -> Path:
        return self.root / self.matrix.store


def load(path: Path, machines: Optional[Path] = None) -> Loaded:
    """Load a matrix.

    `machines`: an inventory file that replaces the machines of its targets.
    """
    found = yaml_reader.read(path, Matrix, kind="matrix", flag="-m", empty=_MINIMAL_HINT)
    written = found.record
    try:
        matrix, pool = datasets.declared(written, path.parent), datasets.undrawn(written, path.parent)
        checks.check(matrix)
    except RecordError as problem:
        raise found.wrong(problem) from None
    matrix = replace(matrix, targets=tuple(map(_called, matrix.targets)))
    listed = load_inventory(machines, matrix).machines if machines is not None else ()
    return Loaded(with_inventory(matrix, listed), path, path.parent, found.digest, pool)


def _called(target: Target) -> Target:
    """A machine that has no name of its own is called by its GPU."""
    return replace(target, machine=target.gpu) if target.gpu and target.machine == ANY_MACHINE else target
