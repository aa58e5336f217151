"""`build plan`: every cell and its fate. Reads; performs and writes nothing."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Dict, List

from builder import facts, text
from builder.digest import Json
from builder.pinning import Pinner
from builder.plan import Plan, PlannedCell, plan
from builder.run import Outcome, prospect
from builder.stores.layout import Layout
from builder.verbs.selection import add_matrix, add_selectors, load_matrix, selectors

ORDER = ("build", "recalled", "waiting", "skipped")


def arguments(parser: argparse.ArgumentParser) -> None:
    add_matrix(parser)
    add_selectors(parser)
    parser.add_argument("--print-ids", action="store_true", help="only the ids of the cells that this machine builds")
    parser.add_argument("--format", choices=("text", "json"), default="text")


def run(args: argparse.Namespace) -> int:
    loaded, place = load_matrix(args)
    only, skip = selectors(args, loaded.matrix)
    machine, store = facts.here(), Layout(place)
    planned = plan(loaded.matrix, machine, only=only, skip=skip)
    if args.print_ids:
        print("\n".join(cell.cell.id for cell in planned.cells if cell.fate == "build"))
        return 0
    pinner = Pinner(loaded.root, machine, store)
    pinner.check(planned.jobs)
    outcome = prospect(planned, pinner, store)
    if args.format == "json":
        print(json.dumps(as_json(planned, outcome), indent=1, ensure_ascii=False))
    else:
        print(as_text(planned, outcome, place))
    return 0


def fate(cell: PlannedCell, outcome: Outcome) -> str:
    """build, recalled, waiting or skipped: recalled when all that this machine would do for it is already done."""
    if cell.fate == "skipped":
        return cell.fate
    if cell.fate == "waiting":
        return "recalled" if cell.engine in outcome.results else "waiting"
    here = (cell.engine,) if cell.unverified else (cell.engine, *cell.measurements)
    return "recalled" if all(job in outcome.results for job in here) else "build"


def as_json(planned: Plan, outcome: Outcome) -> Json:
    cells: List[Json] = []
    for cell in planned.cells:
        row: Dict[str, Json] = {"cell": cell.cell.id, "plan": fate(cell, outcome)}
        for name in ("reason", "source", "unverified"):
            if getattr(cell, name):
                row[name] = getattr(cell, name)
        if cell.remedies:
            row["remedies"] = list(cell.remedies)
        cells.append(row)
    return {"cells": cells}


def as_text(planned: Plan, outcome: Outcome, store: Path) -> str:
    fates = [fate(cell, outcome) for cell in planned.cells]
    rows = [(cell.cell.id, word, _note(cell, word)) for cell, word in zip(planned.cells, fates)]
    parts = [text.table(("cell", "plan", "why"), rows, status=1), ""]
    for title, word in (("To build what waits:", "waiting"), ("Instead of what is skipped:", "skipped")):
        pairs = [
            (cell.cell.target, " / ".join(cell.remedies))
            for cell, f in zip(planned.cells, fates)
            if f == word and cell.remedies
        ]
        if pairs:
            parts += [title, *_advice(pairs), ""]
    parts.append(f"{len(planned.cells)} cells: {text.counts(fates, ORDER)}.")
    parts.append("Next: build matrix" if "build" in fates else "Nothing to build here. Next on a host: build pull")
    return "\n".join(parts)


def _note(cell: PlannedCell, word: str) -> str:
    if word in ("build", "recalled"):
        return f"unverified here: {cell.unverified}" if cell.unverified else ""
    return cell.reason


def _advice(pairs: "list[tuple[str, str]]") -> List[str]:
    """One paragraph per advice, with the targets it is for."""
    lines = []
    for advice, targets in text.grouped(pairs).items():
        named = ", ".join(dict.fromkeys(targets))
        lines.append(text.wrapped(f"{named}: {advice}", "  "))
    return lines
