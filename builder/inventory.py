"""Which machines do the work of which target: `where:` of a target, `machines:` of the matrix, or a file of its own.

A file of machines says whose machines they are, and a matrix what is built; so the file is not part of the matrix, and for
the targets that it names it stands in place of what the matrix says. Opens no connection.
"""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Iterator, Literal, Tuple

from builder import yaml_file
from builder.cells import expand
from builder.consistent import reachable
from builder.matrix import Matrix, Target
from builder.reach import Listed, Reached
from builder.records import RecordError, described


@dataclass(frozen=True)
class Inventory:
    schema: Literal[1]
    machines: Tuple[Listed, ...] = field(
        metadata=described("Machines by name, and the targets that each may do.", keyed=True)
    )


def load(path: Path, matrix: Matrix) -> Inventory:
    """Raises UsageError, with `file:line:column`."""
    found = yaml_file.read(
        path, Inventory, kind="machines", flag="--machines", empty="machines: {NAME: {targets: [TARGET]}}"
    )
    try:
        reachable.check_listed(found.record.machines, matrix.targets)
    except RecordError as problem:
        raise found.wrong(problem) from None
    return found.record


def resolved(matrix: Matrix, machines: Tuple[Listed, ...] = ()) -> Matrix:
    """The matrix with the machines of each target. `machines` come from a file, and take the place of its own."""
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
