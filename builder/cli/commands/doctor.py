"""`build doctor`: what this machine is, or one that is worked on over SSH, and what it can build and run.

Writes nothing here; on the other machine, the worker that is asked."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, List, Optional, Tuple

from builder import terminal
from builder.config.matrix import Matrix
from builder.config.remote_machines import FORM, Reached, SshWorker, parsed
from builder.errors import NothingFits, Unreachable, UsageError
from builder.platforms import machines, requirements
from builder.platforms.machines import text
from builder.platforms.requirements import Ability

if TYPE_CHECKING:
    from builder.execution.messages import Facts

_HERE = Path("matrix.yaml")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-m", "--matrix", type=Path, metavar="FILE", help="also say which of its targets fit (matrix.yaml, if there)"
    )
    parser.add_argument(
        "--on",
        metavar="TARGET",
        help="the machine of this target of the matrix, or of the file of machines, or of ssh://HOST, instead of this one",
    )
    parser.add_argument("--machines", type=Path, metavar="FILE", help="which machines do the work of which target")
    parser.add_argument("--json", action="store_true", help="only the facts, as `build plan --facts` reads them")


def run(args: argparse.Namespace) -> int:
    if args.on is not None:
        return _elsewhere(args)
    machine = machines.here()
    if args.json:
        print(text(machine))
        return 0
    path, matrix = args.matrix or _HERE, _matrix_of(args)
    parts = ["This machine:", *_described(machine), ""]
    parts += _abilities("step", requirements.steps(machine))
    parts += _abilities("runtime", requirements.runtimes(machine))
    if matrix is not None:
        parts += _abilities("target", requirements.targets(matrix, machine))
        parts.append(f"Next: build plan{'' if path == _HERE else f' -m {path}'}")
    else:
        parts.append("Next, with a matrix.yaml: build doctor -m FILE")
    print("\n".join(parts))
    return 0


def _elsewhere(args: argparse.Namespace) -> int:
    """What machines that are worked on over SSH are, and how they fit the targets that are to be made there."""
    from builder.execution.ssh.executor import Machines

    matrix = _matrix_of(args)
    places, codes, problems = _reached(args.on, matrix), [], []  # type: Tuple[Reached, ...], List[int], List[Unreachable]
    if args.json and len(places) > 1:
        raise UsageError(
            f"{args.on!r} is {len(places)} machines", hint=f"name one: build doctor --json --on {places[0].where}"
        )
    with Machines(os.environ) as machines:
        for place in places:
            try:
                found = machines.at(place).facts()
            except Unreachable as problem:
                if len(places) == 1:
                    raise
                print(f"{problem}\n", file=sys.stderr)
                problems.append(problem)
                continue
            if args.json:
                print(text(found.machine))
            else:
                codes.append(_said_of(place, found, matrix))
    if args.json:
        return 0
    known = bool(matrix and any(place in target.reached for target in matrix.targets for place in places))
    print("Next: build matrix" if known else "Next: name it in matrix.yaml as `where:` of a target")
    return problems[0].exit_code if problems else max(codes)


def _said_of(place: Reached, found: "Facts", matrix: Optional[Matrix]) -> int:
    """Tell what one machine is. The exit code that says whether it fits."""
    from builder.platforms.requirements import fitness

    parts = [f"{place.where}:", *_described(found.machine)]
    parts += [f"  {'keeps':<9}  files in {found.folder}, where {found.free / 2**30:.1f} GiB are free", ""]
    parts += _abilities("runtime", requirements.runtimes(found.machine))
    targets = [target for target in (matrix.targets if matrix else ()) if place in target.reached]
    checked = [fitness(target, found.machine, tasks=bool(matrix and matrix.tasks)) for target in targets]
    if checked:
        rows = [(fit.target, "no" if fit.wrong or fit.lacking else "yes", fit.said) for fit in checked]
        parts += [terminal.table(("target", "fits", "why not"), rows, status=1), ""]
    for fit in checked:
        parts += [f"For {fit.target}, on that machine:", *(f"  {line}" for line in fit.lines), ""] if fit.lines else []
    print("\n".join(parts))
    return NothingFits.exit_code if any(fit.wrong or fit.lacking for fit in checked) else 0


def _matrix_of(args: argparse.Namespace) -> Optional[Matrix]:
    path: Optional[Path] = args.matrix or (_HERE if _HERE.is_file() else None)
    if path is None:
        return None
    from builder.config.loader import load  # here, so that a bare host needs no PyYAML to say what it is

    return load(path, args.machines).matrix


def _reached(name: str, matrix: Optional[Matrix]) -> Tuple[Reached, ...]:
    """Of a target's name, of a machine's, or of an address; who is in the matrix is worked on as it says."""
    targets = matrix.targets if matrix is not None else ()
    known = tuple(dict.fromkeys(place for target in targets for place in target.reached if not place.many))
    for target in targets:
        if name == target.name:
            found = tuple(place for place in target.reached if not place.many)
            if not found:
                hint = "build fleet" if target.reached else "add `where: ssh://HOST` to it in matrix.yaml"
                what = "is worked on by the fleet" if target.reached else "has no `where:`"
                raise UsageError(f"the target {name!r} {what}", hint=hint)
            return found
    for machine in matrix.machines if matrix is not None else ():
        if name == machine.name:
            return (machine.reached,)
    for place in known:
        if name in (place.where, place.where[len("ssh://") :]):
            return (place,)
    try:
        parsed(name)
    except ValueError:
        said = ", ".join(target.name for target in targets if target.reached)
        hint = f"of this matrix: {said}" if said else f"or an address: {FORM}"
        raise UsageError(f"{name!r} is no target that is worked on over SSH", hint=hint) from None
    return (Reached(name, SshWorker()),)


def _described(machine: machines.Machine) -> List[str]:
    pairs = machines.lines(machine)
    width = max(len(what) for what, _ in pairs) + 2
    return [
        terminal.wrapped(said, f"  {what.ljust(width)}", hanging=width + 2).replace(machines.TIED, " ")
        for what, said in pairs
    ]


def _abilities(what: str, found: Tuple[Ability, ...]) -> List[str]:
    """A table, and how to get what is missing."""
    steps = what == "step"
    rows = [(a.what, ("no" if a.build else "yes") if steps else a.can, a.why_not) for a in found]
    lines = [terminal.table((what, "can it" if steps else "can", "why not the rest"), rows, status=1), ""]
    lacking = [(a.what, remedy) for a in found for remedy in a.remedies]
    return lines + (["For what is missing:", *terminal.advice(lacking), ""] if lacking else [])
