"""The flags that several verbs share: which matrix, which store, which cells."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import difflib
import sys
from pathlib import Path
from typing import Dict, Iterator, Tuple

from builder.config import checks
from builder.config.cells import all_cells, selects
from builder.config.gates import Gate
from builder.config.loader import Loaded, load
from builder.config.matrix import Matrix
from builder.config.yaml_reader import nearest
from builder.digest import Json
from builder.errors import UsageError
from builder.records import RecordError, dotted, from_json
from builder.store import transfers
from builder.store.transfers import Pace
from builder.terminal import Meter


def add_matrix(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-m", "--matrix", type=Path, default=Path("matrix.yaml"), metavar="FILE", help="default: matrix.yaml"
    )
    parser.add_argument("--store", type=Path, metavar="DIR", help="default: what the matrix says (artifacts)")
    parser.add_argument(
        "--machines", type=Path, metavar="FILE", help="which machines do the work of which target, instead of `where:`"
    )


def add_selectors(parser: argparse.ArgumentParser) -> None:
    text = "cell ids with * and {a,b}; may be repeated"
    parser.add_argument("--only", action="append", default=[], metavar="CELLS", help=f"only these cells: {text}")
    parser.add_argument("--skip", action="append", default=[], metavar="CELLS", help=f"all but these cells: {text}")


def load_matrix(args: argparse.Namespace) -> Tuple[Loaded, Path]:
    """The loaded matrix and the store's folder."""
    loaded = load(args.matrix, args.machines)
    return loaded, args.store if args.store is not None else loaded.store


def selectors(args: argparse.Namespace, matrix: Matrix) -> Tuple[Tuple[str, ...], Tuple[str, ...]]:
    """(only, skip), each known to select something."""
    for flag, given in (("--only", args.only), ("--skip", args.skip)):
        for selector in given:
            if not any(selects(selector, cell) for cell in all_cells(matrix)):
                raise UsageError(
                    f"{flag} {selector!r} selects no cell", hint="list the cells with: build plan --print-ids"
                )
    return tuple(args.only), tuple(args.skip)


def known_cells(selector: str, matrix: Matrix) -> Tuple[str, ...]:
    """`selector` as (only,), when it selects a cell; else UsageError with the nearest ids."""
    cells = all_cells(matrix)
    if any(selects(selector, cell) for cell in cells):
        return (selector,)
    near = difflib.get_close_matches(selector, [cell.id for cell in cells], n=3, cutoff=0.5)
    hint = f"the nearest: {', '.join(near)}" if near else "list the cells with: build plan"
    raise UsageError(f"{selector!r} is no cell of this matrix", hint=hint)


# The options of verbs that transfer files, and what they make. Not a verb.


def add_transfer(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--jobs", type=_jobs, default=transfers.JOBS, metavar="N", help=f"files at once ({transfers.JOBS})"
    )
    parser.add_argument(
        "--timeout",
        type=_seconds,
        default=transfers.SECONDS,
        metavar="SECONDS",
        help=f"for all files together ({transfers.SECONDS:g}); the next try goes on from there",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress")


@contextlib.contextmanager
def transfer(args: argparse.Namespace, doing: str) -> Iterator[Pace]:
    """`doing` is for the line of progress: "fetched"."""
    meter = Meter(doing, None if args.quiet else sys.stderr)
    try:
        yield Pace(meter, jobs=args.jobs, seconds=args.timeout)
    finally:
        meter.close()


def _jobs(word: str) -> int:
    if not (word.isascii() and word.isdigit() and 1 <= int(word) <= 64):
        raise argparse.ArgumentTypeError(f"{word!r} is not a number of files at once (1 to 64)")
    return int(word)


def _seconds(word: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 < float(word) < 1e7:
            return float(word)
    raise argparse.ArgumentTypeError(f"{word!r} is not a number of seconds")


# A gate in the words of the command line, `[CELLS:]PATH=NUMBER`, with the path it would have below a gate of matrix.yaml:
#
# *-int8-*:outputs.scores.cosine=0.99      tasks.views.homography_3px.max_degradation=0.05      speed.speedup.threshold=2


_EXAMPLE = "write it as --gate '*-int8-*:outputs.scores.cosine=0.99'"


def with_gates(loaded: Loaded, words: Tuple[str, ...]) -> Loaded:
    """`loaded` with these gates after its own. Raises UsageError."""
    made = tuple(_gate(loaded, word) for word in words)
    return dataclasses.replace(loaded, matrix=dataclasses.replace(loaded.matrix, gates=(*loaded.matrix.gates, *made)))


def _gate(loaded: Loaded, word: str) -> Gate:
    limit, equals, number = word.rpartition("=")
    select, _, path = limit.rpartition(":")
    names, where = path.split("."), f"--gate {word}"
    if not equals or len(names) < 3 or not all(names):
        said = "not a gate: a path below `outputs`, `tasks` or `speed`, and a number"
        raise UsageError(said, where=where, hint=_EXAMPLE)
    try:
        value: Json = float(number)
    except ValueError:
        raise UsageError(f"{number!r} is not a number", where=where, hint=_EXAMPLE) from None
    for name in reversed(names):
        value = {name: value}
    assert isinstance(value, dict)
    said_in_full: Dict[str, Json] = {"select": select or "*", **value}
    try:
        gate = from_json(Gate, said_in_full)
        checks.check_gate(loaded.matrix, gate, ())
    except RecordError as problem:
        told = f"{dotted(problem.path)}: {problem.problem}"
        raise UsageError(told, where=where, hint=nearest(problem)) from None
    if not any(selects(gate.select, cell) for cell in all_cells(loaded.matrix)):
        hint = "list the cells with: build plan --print-ids"
        raise UsageError(f"{gate.select!r} selects no cell", where=where, hint=hint)
    return gate
