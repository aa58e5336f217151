"""`build explain`: one cell at length: what it is, what becomes of it, which rules were asked, and what works instead."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import List, Tuple

from builder import terminal
from builder.audit.explain import Explanation, ExplanationLine, explain
from builder.cli.flags import add_matrix, known_cells, load_matrix
from builder.errors import UsageError
from builder.execution.build import Build
from builder.platforms import machines
from builder.records import to_json
from builder.store.layout import Layout


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("cells", metavar="CELL", help="a cell id, or several with * and {a,b}, in quotes")
    add_matrix(parser)
    parser.add_argument(
        "--facts", type=Path, metavar="FILE", help="as on the machine of this file, written by build doctor --json"
    )
    parser.add_argument("--format", choices=("text", "json"), default="text")


def run(args: argparse.Namespace) -> int:
    loaded, place = load_matrix(args)
    only = known_cells(args.cells, loaded.matrix)
    machine = machines.read(args.facts).machine if args.facts else machines.here()
    build = Build(loaded, machine, Layout(place))
    planned = build.plan(only)
    if not planned.cells:
        raise UsageError(f"{args.cells!r} is left out by `build:` or `skip:`", where=str(args.matrix))
    build.pinner.check(planned.jobs)
    healed = build.recalled(planned)
    found = [
        explain(
            loaded.matrix,
            machine,
            healed.plan,
            cell,
            healed.outcome,
            healed.fate(cell),
            healed.searched.get(cell.id),
        )
        for cell in healed.plan.cells
    ]
    if args.format == "json":
        print(json.dumps({"cells": [to_json(one) for one in found]}, indent=1, ensure_ascii=False))
    else:
        print("\n\n".join(as_text(one) for one in found))
    return 0


def as_text(one: Explanation) -> str:
    parts = [terminal.wrapped(f"{one.cell}: {terminal.paint(one.fate)}" + (f": {one.why}" if one.why else ""), "")]
    parts += ["", "What it is", *_lines(one.what)]
    if one.broken is not None:
        parts += ["", "Why it is skipped", *_lines((one.broken,))]
    if one.instead:
        parts += ["", "What works instead"]
        for number, remedy in enumerate(one.instead, 1):
            said = "; ".join(part for part in (f"needs {remedy.needs}" if remedy.needs else "", remedy.cost) if part)
            parts.append(terminal.wrapped(f"{number}. {remedy.use}" + (f": {said}" if said else ""), "  ", hanging=5))
    if one.orders:
        parts += [
            "",
            "To build it" if one.fate == "waiting" else "To verify it",
            *(terminal.wrapped(order, "  ", hanging=2) for order in one.orders),
        ]
    for title, lines in (
        ("Rules that were asked and hold", one.rules),
        ("Settings", one.settings),
        ("Gates", one.gates),
        ("Sizes", one.sizes),
        ("Search for layers to keep in float32", one.search),
        ("Steps", one.steps),
    ):
        if lines:
            parts += ["", title, *_lines(lines)]
    return "\n".join(parts)


def _lines(lines: Tuple[ExplanationLine, ...]) -> List[str]:
    width = max(len(line.name) for line in lines) + 2
    return [
        terminal.wrapped(
            line.value + (f" [{line.source}]" if line.source else ""), f"  {line.name.ljust(width)}", hanging=width + 2
        )
        for line in lines
    ]
