"""`build sweep`: parity and latency of a cell over a grid of sizes, as a table; what is missing is performed first.

It publishes nothing. What it measures with the settings of `sweep:` is what `build matrix` would measure, and recalls.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from typing import Tuple

from builder.actions.measurements import Swept
from builder.cli import sweep_table
from builder.cli.flags import add_matrix, known_cells, load_matrix
from builder.cli.sweep_table import Judged
from builder.config import checks
from builder.config.cells import Cell
from builder.config.matrix import Matrix, Sweep
from builder.errors import GateFailed, NothingFits, UsageError
from builder.execution.local import Local
from builder.execution.scheduler import Lines, Outcome, Silent
from builder.execution.scheduler import run as perform
from builder.planning.planner import Plan, plan
from builder.planning.resolver import Pinner
from builder.platforms import machines
from builder.records import RecordError
from builder.store.layout import Layout
from validation import verdict


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("cells", metavar="CELL", help="a cell id, or several with * and {a,b}, in quotes")
    add_matrix(parser)
    parser.add_argument(
        "--points", type=int, metavar="N", help="sizes inside each profile (default: the matrix's, or 12)"
    )
    parser.add_argument(
        "--seconds", type=float, metavar="S", help="measuring time per size (default: the matrix's, or 0.5)"
    )
    parser.add_argument("--photograph", metavar="FILE", help="one of the parity photographs (default: the first)")
    parser.add_argument("--quiet", action="store_true", help="no progress, only the table")
    parser.add_argument("--format", choices=("text", "json", "markdown"), default="text")


def run(args: argparse.Namespace) -> int:
    loaded, place = load_matrix(args)
    only = known_cells(args.cells, loaded.matrix)
    matrix = _sweeping(loaded.matrix, args)
    machine, store = machines.here(), Layout(place)
    whole = plan(matrix, machine, only=only, store=str(place))
    wanted = Plan(_swept_cells(whole, args), whole.needed(cell.sweep for cell in whole.cells if cell.sweep))
    pinner = Pinner(loaded.root, machine, store)
    pinner.check(wanted.jobs)
    reporter = Silent() if args.quiet else Lines()
    with store.locked():
        try:
            outcome = perform(wanted, pinner, store, Local(), reporter)
        finally:
            reporter.close()
    judged = tuple(_judged(matrix, cell, outcome) for cell in wanted.cells)
    if args.format == "json":
        print(json.dumps({"cells": [sweep_table.as_json(one) for one in judged]}, indent=1, ensure_ascii=False))
    else:
        table = sweep_table.as_markdown if args.format == "markdown" else sweep_table.as_text
        print("\n\n".join(table(one) for one in judged))
    failed = any(verdict.sweep_problems(one.swept) or one.missed for one in judged)
    return GateFailed.exit_code if failed else 0


def _sweeping(matrix: Matrix, args: argparse.Namespace) -> Matrix:
    """The matrix with the cells of the command line swept too, and its flags over what `sweep:` says."""
    declared = matrix.sweep
    select = f"{declared.select} {args.cells}" if declared else args.cells
    given = {name: getattr(args, name) for name in ("points", "seconds", "photograph")}
    chosen = dataclasses.replace(declared or Sweep(select), select=select)
    swept = dataclasses.replace(
        matrix, sweep=dataclasses.replace(chosen, **{name: value for name, value in given.items() if value is not None})
    )
    try:
        checks.check_sweep(swept)
    except RecordError as problem:
        raise UsageError(f"--{problem.path[-1]}: {problem.problem}", hint="see: build sweep --help") from None
    return swept


def _swept_cells(whole: Plan, args: argparse.Namespace) -> Tuple[Cell, ...]:
    """The selected cells that have a sweep; an error when none has, with the reason of the first."""
    found = tuple(cell for cell in whole.cells if cell.sweep)
    if found:
        return found
    if not whole.cells:
        raise UsageError(f"{args.cells!r} is left out by `build:` or `skip:`", where=str(args.matrix))
    first = whole.cells[0]
    raise NothingFits(f"{first.id} is skipped: {first.reason}", hint=f"what works instead: build explain {first.id}")


def _judged(matrix: Matrix, cell: Cell, outcome: Outcome) -> Judged:
    """What was measured, beside the gates. Raises the error of the step that failed, or NothingFits for a cell of
    another machine."""
    result = outcome.results.get(cell.sweep)
    if result is None or not isinstance(result.facts, Swept):
        failed = outcome.failures.get(outcome.blocked.get(cell.sweep, cell.sweep))
        if failed is not None:
            raise failed
        reason = cell.reason or cell.unverified
        raise NothingFits(f"{cell.id} cannot be swept here: {reason}", hint="; ".join(cell.remedies) or None)
    outputs = [o.name for o in matrix.head(cell.head).outputs]
    held_to = verdict.limits_of(matrix.gates, cell, outputs, ())
    return Judged(cell.id, tuple(outputs), result.facts, verdict.sweep_checks(held_to, result.facts))
