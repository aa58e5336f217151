"""`build perform`: on a target's own machine, with a copy of the store, do what waits for this machine."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from builder.errors import NothingFits, StepFailed, UsageError
from builder.execution import orders
from builder.execution.local import Local
from builder.platforms import machines
from builder.release import VERSION
from builder.store.layout import Layout


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("cells", metavar="CELLS", help="cell ids with * and {a,b}, in quotes")
    parser.add_argument(
        "--store", type=Path, default=Path("artifacts"), metavar="DIR", help="the copied store (artifacts)"
    )


def run(args: argparse.Namespace) -> int:
    store = Layout(args.store)
    waiting = [p.cell for p in store.pending()]
    if not waiting and store.orders():
        raise UsageError(
            f"its {store.orders()} orders are of another version of deploymatrix; this one, {VERSION}, does not read them",
            where=str(args.store),
            hint="install here the wheel of the checkout that wrote them, or run `build matrix` there with this one",
        )
    if not waiting:
        raise UsageError(
            f"nothing waits in {args.store}", hint="run `build matrix` where the model is, then copy its store here"
        )
    with store.locked():
        report = orders.perform(args.cells, store, Local(), machines.here(), lambda line: print(line, file=sys.stderr))
    for cell in report.done:
        print(f"{cell}: built and measured")
    for cell, reason in report.refused.items():
        print(f"{cell}: not here: {reason}", file=sys.stderr)
    for cell, problem in report.failed.items():
        print(f"{cell}: failed: {problem}", file=sys.stderr)
    if report.failed:
        return StepFailed.exit_code
    if not report.done and not report.refused:
        raise UsageError(f"{args.cells!r} selects nothing that waits", hint="waiting: " + ", ".join(waiting))
    if not report.done:
        return NothingFits.exit_code
    print(f"Next: copy {args.store}/ back and run there: build matrix")
    return 0
