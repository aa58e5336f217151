"""`build plan`: every cell and its fate. Reads; performs and writes nothing."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Dict, List

from builder import terminal
from builder.cli.flags import add_matrix, add_selectors, load_matrix, selectors
from builder.config.cells import Cell
from builder.digest import Json
from builder.execution.build import Build
from builder.execution.precision_search import Healed
from builder.platforms import machines
from builder.store.layout import Layout

ORDER = ("build", "recalled", "waiting", "skipped")
_TITLES = (
    ("To build what waits:", "waiting"),
    ("Instead of what is skipped (build explain CELL says more):", "skipped"),
)


def arguments(parser: argparse.ArgumentParser) -> None:
    add_matrix(parser)
    add_selectors(parser)
    parser.add_argument(
        "--facts", type=Path, metavar="FILE", help="plan for the machine of this file, written by build doctor --json"
    )
    parser.add_argument("--print-ids", action="store_true", help="only the ids of the cells that this machine builds")
    parser.add_argument("--format", choices=("text", "json"), default="text")


def run(args: argparse.Namespace) -> int:
    loaded, place = load_matrix(args)
    only, skip = selectors(args, loaded.matrix)
    machine = machines.read(args.facts).machine if args.facts else machines.here()
    build = Build(loaded, machine, Layout(place))
    planned = build.plan(only, skip)
    if args.print_ids:
        print("\n".join(cell.id for cell in planned.cells if cell.fate == "build" or cell.reached))
        return 0
    build.pinner.check(planned.jobs)
    healed = build.recalled(planned)
    if args.format == "json":
        print(json.dumps(as_json(healed), indent=1, ensure_ascii=False))
    else:
        if args.facts:
            print(f"As on the machine of {args.facts}: {machines.in_short(machine)}\n")
        print(as_text(healed, elsewhere=bool(args.facts)))
    return 0


def as_json(healed: Healed) -> Json:
    cells: List[Json] = []
    for cell in healed.plan.cells:
        row: Dict[str, Json] = {"cell": cell.id, "plan": healed.fate(cell)}
        for name in ("reason", "rule", "source", "unverified", "note"):
            if getattr(cell, name):
                row[name] = getattr(cell, name)
        if cell.remedies:
            row["remedies"] = list(cell.remedies)
        cells.append(row)
    return {"cells": cells}


def as_text(healed: Healed, *, elsewhere: bool = False) -> str:
    """`elsewhere`: planned for another machine than this one."""
    planned = healed.plan
    fates = [healed.fate(cell) for cell in planned.cells]
    rows = [(cell.id, word, _note(cell, word)) for cell, word in zip(planned.cells, fates)]
    parts = [terminal.table(("cell", "plan", "why"), rows, status=1), ""]
    for title, word in _TITLES:
        pairs = [
            (cell.target, " / ".join(cell.remedies))
            for cell, f in zip(planned.cells, fates)
            if f == word and cell.remedies
        ]
        if pairs:
            parts += [title, *terminal.advice(pairs), ""]
    parts.append(f"{len(planned.cells)} cells: {terminal.counts(fates, ORDER)}.")
    if elsewhere:
        parts.append("Next, on that machine: build doctor")
    else:
        parts.append("Next: build matrix" if "build" in fates else "Nothing to build here. Next on a host: build pull")
    return "\n".join(parts)


def _note(cell: Cell, word: str) -> str:
    unverified = f"unverified here: {cell.unverified}" if cell.unverified else ""
    said = unverified if word in ("build", "recalled") else cell.reason
    if cell.reached and word == "build":
        said = f"on {' or '.join(place.where if not place.many else 'the fleet' for place in cell.reached)}"
    return "; ".join(part for part in (said, cell.note) if part)
