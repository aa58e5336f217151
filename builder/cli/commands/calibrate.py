"""`build calibrate`: where int8 ranges come from; with `--sweep`, what other methods and fewer photographs would give.

It publishes nothing. What it builds and measures is what `build matrix` would with the same calibration, and is recalled
there.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Tuple

from builder.actions.measurements import Parity
from builder.audit import calibration_study
from builder.audit.calibration_study import Measured, Study, Variant
from builder.cli import calibration_table
from builder.cli.flags import add_matrix, add_selectors, load_matrix, selectors
from builder.config.cells import Cell
from builder.config.loader import Loaded
from builder.config.matrix import Calibration, Matrix, Method
from builder.errors import NothingFits, StepFailed, UsageError
from builder.execution import publish
from builder.execution.local import Local
from builder.execution.scheduler import Lines, Outcome, Reporter, Silent
from builder.execution.scheduler import run as perform
from builder.planning.planner import Plan, plan
from builder.planning.resolver import Pinner
from builder.platforms import machines
from builder.store.layout import Layout
from validation import verdict

_METHODS: Tuple[Method, ...] = ("minmax", "percentile", "mse", "entropy")
_COUNTS: Tuple[Optional[int], ...] = (1, 2, 4, 8, None)


def arguments(parser: argparse.ArgumentParser) -> None:
    add_matrix(parser)
    add_selectors(parser)
    parser.add_argument("--sweep", action="store_true", help="try methods and counts, and show the accuracy of each")
    parser.add_argument(
        "--methods",
        type=_methods,
        metavar="LIST",
        help="with --sweep: minmax,percentile,mse,entropy (default: all four)",
    )
    parser.add_argument(
        "--counts", type=_counts, metavar="LIST", help="with --sweep: numbers of photographs (default: 1,2,4,8,all)"
    )
    parser.add_argument(
        "--seeds", type=_seeds, metavar="N", help="with --sweep: draws where not all are taken (default: 3)"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress, only the table")
    parser.add_argument("--format", choices=("text", "json", "markdown"), default="text")


def run(args: argparse.Namespace) -> int:
    for flag in ("methods", "counts", "seeds"):
        if getattr(args, flag) is not None and not args.sweep:
            raise UsageError(f"--{flag} is for a study", hint=f"build calibrate --sweep --{flag} ...")
    loaded, place = load_matrix(args)
    chosen = loaded.matrix.calibration
    if chosen is None:
        raise UsageError(
            "the matrix declares no calibration", where=str(args.matrix), hint="see `calibration:` in matrix.yaml"
        )
    desk = _Desk(loaded, place, args)
    return _study(desk, chosen, args) if args.sweep else _show(desk, chosen, args)


class _Desk:
    """What both kinds need: the machine, the store, the selected cells."""

    def __init__(self, loaded: Loaded, place: Path, args: argparse.Namespace) -> None:
        self.loaded, self.store, self.machine = loaded, Layout(place), machines.here()
        self.pinner = Pinner(loaded.root, self.machine, self.store)
        self._only, self._skip = selectors(args, loaded.matrix)
        self._place, self._quiet = str(place), args.quiet

    def plan(self, matrix: Matrix) -> Plan:
        """Of the selected int8 cells whose ranges are found here."""
        whole = plan(matrix, self.machine, only=self._only, skip=self._skip, store=self._place)
        cells = tuple(cell for cell in whole.cells if cell.precision == "int8")
        if not cells:
            raise UsageError("no int8 cell is selected", hint="list the cells with: build plan --print-ids")
        return Plan(cells, whole.jobs)

    def perform(self, wanted: Plan, said: str = "") -> Outcome:
        reporter: Reporter = Silent() if self._quiet else Lines()
        if said and not self._quiet:
            print(said, file=sys.stderr, flush=True)
        try:
            return perform(wanted, self.pinner, self.store, Local(), reporter)
        finally:
            reporter.close()


# ------------------------------------------------------------------------------------------- the ranges


def _show(desk: _Desk, chosen: Calibration, args: argparse.Namespace) -> int:
    if args.format == "markdown":
        raise UsageError("--format markdown is for --sweep", hint="build calibrate --sweep --format markdown")
    whole = desk.plan(desk.loaded.matrix)
    cells = tuple(cell for cell in whole.cells if cell.onnx and cell.tensorrt.int8 != "calibrator")
    if not cells:
        raise _nothing(whole.cells, "the ranges of {} are not found here")
    wanted = Plan(cells, whole.needed(cell.onnx for cell in cells))
    desk.pinner.check(wanted.jobs)
    with desk.store.locked():
        outcome = desk.perform(wanted)
    graphs: Dict[str, List[str]] = {}
    for cell in cells:
        failed = publish.first_failure(cell, outcome)
        if failed is not None:
            raise failed
        graphs.setdefault(outcome.results[cell.onnx].output("model.onnx").digest, []).append(cell.id)
    from builder.inspection import onnx  # here, since it needs onnx, and what was said above does not

    found = [(tuple(ids), onnx.ranges_of(desk.store.fetch(graph), ids[0])) for graph, ids in graphs.items()]
    if args.format == "json":
        print(json.dumps(onnx.as_json(chosen, found), indent=1, ensure_ascii=False))
    else:
        print(onnx.as_text(chosen, found))
        print("\nWhat other methods and fewer photographs would give: build calibrate --sweep --only CELL")
    return 0


# ------------------------------------------------------------------------------------------- the study


def _study(desk: _Desk, chosen: Calibration, args: argparse.Namespace) -> int:
    matrix, all_of = desk.loaded.matrix, desk.loaded.calibration
    there_are, counts = len(all_of.files) if all_of else 0, args.counts or _COUNTS
    if all_of is None and any(count is not None for count in args.counts or ()):
        raise UsageError(
            f"{chosen.source} gives what it gives: no number of images can be drawn from it", hint="--counts all"
        )
    variants = calibration_study.variants(
        chosen, all_of, args.methods or _METHODS, counts if all_of else (None,), args.seeds or 3
    )
    cells, left_out = _measurable(desk.plan(matrix))
    measured: List[Tuple[Measured, ...]] = []
    desk.pinner.check(Plan(cells, desk.plan(matrix).jobs).needed(_jobs(cells)))
    with desk.store.locked():
        for number, variant in enumerate(variants, 1):
            measured.append(_measured(desk, variant, cells, f"{_said(variant)} ({number} of {len(variants)})"))
    declared = (chosen.method, len(chosen.photographs.files) if chosen.photographs else 0)
    studies = [
        Study(
            cell.id,
            tuple(o.name for o in matrix.head(cell.head).outputs),
            there_are,
            chosen.size,
            declared,
            calibration_study.choices(row[place] for row in measured),
        )
        for place, cell in enumerate(cells)
    ]
    _print(studies, args, [*_too_many(args.counts or (), there_are), *left_out])
    return StepFailed.exit_code if any(one.failed_steps() for one in studies) else 0


def _print(studies: Sequence[Study], args: argparse.Namespace, notes: Sequence[str]) -> None:
    if args.format == "json":
        cells = [calibration_table.as_json(study) for study in studies]
        print(json.dumps({"cells": cells, "notes": list(notes)}, indent=1, ensure_ascii=False))
        return
    table = calibration_table.as_markdown if args.format == "markdown" else calibration_table.as_text
    print("\n\n".join([*map(table, studies), *notes]))


def _measurable(whole: Plan) -> Tuple[Tuple[Cell, ...], List[str]]:
    """The cells that can be built and run here, and in words which others were selected."""
    here = tuple(c for c in whole.cells if c.fate == "build" and not c.unverified)
    if not here:
        raise _nothing(whole.cells, "{} cannot be measured here")
    others = [cell.id for cell in whole.cells if cell not in here]
    return here, [f"Not measured here: {', '.join(others)}."] if others else []


def _nothing(cells: Sequence[Cell], words: str) -> NothingFits:
    first = cells[0]
    reason = first.reason or first.unverified or "TensorRT's own calibrator finds them on the target"
    return NothingFits(f"{words.format(first.id)}: {reason}", hint=f"build explain {first.id}")


def _jobs(cells: Sequence[Cell]) -> List[str]:
    """What is measured of them: everything but time."""
    return [id for c in cells for id in (c.parity, *(job for t in c.tasks for job in (t.job, t.reference)))]


def _measured(desk: _Desk, variant: Variant, cells: Sequence[Cell], said: str) -> Tuple[Measured, ...]:
    matrix, ids = calibration_study.with_calibration(desk.loaded.matrix, variant), [cell.id for cell in cells]
    whole = desk.plan(matrix)
    chosen = tuple(cell for cell in whole.cells if cell.id in ids)
    outcome = desk.perform(Plan(chosen, whole.needed(_jobs(chosen))), said)
    return tuple(_of_cell(matrix, cell, variant, outcome) for cell in chosen)


def _of_cell(matrix: Matrix, cell: Cell, variant: Variant, outcome: Outcome) -> Measured:
    failed = publish.first_failure(cell, outcome)
    if failed is not None:
        return Measured(variant, failed=f"{failed.where or 'a step'}: {failed.what}")
    found = outcome.results[cell.parity].facts
    parity = found.outputs if isinstance(found, Parity) else ()
    tasks = publish.scored(cell, outcome)
    outputs = [o.name for o in matrix.head(cell.head).outputs]
    wanted = verdict.limits_of(matrix.gates, cell, outputs, [task.name for task in cell.tasks])
    judged = [limit for limit in wanted if limit.level != "speed"]
    return Measured(variant, parity, tasks, verdict.checks(judged, parity, tasks, None), verdict.problems(parity))


def _said(variant: Variant) -> str:
    plural = "s" if variant.count != 1 else ""
    images = f", {variant.count} photograph{plural}, seed {variant.seed}" if variant.files else ""
    return f"{variant.method}{images}"


def _too_many(counts: Sequence[Optional[int]], there_are: int) -> List[str]:
    beyond = [count for count in counts if count is not None and count > there_are]
    return (
        [f"There are only {there_are} photographs: {', '.join(map(str, beyond))} could not be drawn."] if beyond else []
    )


# ------------------------------------------------------------------------------------------- words


def _methods(word: str) -> Tuple[Method, ...]:
    given = [part.strip() for part in word.split(",")]
    found = tuple(method for method in _METHODS if method in given)
    wrong = [part for part in given if part not in _METHODS]
    if wrong:
        raise argparse.ArgumentTypeError(f"{wrong[0]!r} is no method; there are {', '.join(_METHODS)}")
    return found


def _counts(word: str) -> Tuple[Optional[int], ...]:
    found: List[Optional[int]] = []
    for part in (part.strip() for part in word.split(",")):
        if part != "all" and not (part.isdigit() and int(part)):
            raise argparse.ArgumentTypeError(f"{part!r} is no number of photographs; write 1,2,4 or all")
        found.append(None if part == "all" else int(part))
    return tuple(found)


def _seeds(word: str) -> int:
    if not word.isdigit() or not 1 <= int(word) <= 100:
        raise argparse.ArgumentTypeError(f"{word!r} is no number of draws from 1 to 100")
    return int(word)
