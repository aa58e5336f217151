"""`build doctor`: what this machine is, and what it can build and run. Reads; writes nothing."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import List, Optional, Tuple

from builder import abilities, fact_file, facts, portrait, text
from builder.abilities import Ability

_HERE = Path("matrix.yaml")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-m", "--matrix", type=Path, metavar="FILE", help="also say which of its targets fit (matrix.yaml, if there)"
    )
    parser.add_argument("--json", action="store_true", help="only the facts, as `build plan --facts` reads them")


def run(args: argparse.Namespace) -> int:
    machine = facts.here()
    if args.json:
        print(fact_file.text(machine))
        return 0
    matrix: Optional[Path] = args.matrix or (_HERE if _HERE.is_file() else None)
    parts = ["This machine:", *_described(machine), ""]
    parts += _abilities("step", abilities.steps(machine))
    parts += _abilities("runtime", abilities.runtimes(machine))
    if matrix is not None:
        from builder.load import load  # here, so that a bare host needs no PyYAML to say what it is

        parts += _abilities("target", abilities.targets(load(matrix).matrix, machine))
        parts.append(f"Next: build plan{'' if matrix == _HERE else f' -m {matrix}'}")
    else:
        parts.append("Next, with a matrix.yaml: build doctor -m FILE")
    print("\n".join(parts))
    return 0


def _described(machine: facts.Machine) -> List[str]:
    pairs = portrait.lines(machine)
    width = max(len(what) for what, _ in pairs) + 2
    return [
        text.wrapped(said, f"  {what.ljust(width)}", hanging=width + 2).replace(portrait.TIED, " ")
        for what, said in pairs
    ]


def _abilities(what: str, found: Tuple[Ability, ...]) -> List[str]:
    """A table, and how to get what is missing."""
    steps = what == "step"
    rows = [(a.what, ("no" if a.build else "yes") if steps else a.can, a.why_not) for a in found]
    lines = [text.table((what, "can it" if steps else "can", "why not the rest"), rows, status=1), ""]
    lacking = [(a.what, remedy) for a in found for remedy in a.remedies]
    return lines + (["For what is missing:", *text.advice(lacking), ""] if lacking else [])
