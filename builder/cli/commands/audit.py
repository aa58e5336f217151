"""`build audit`: what drifted since the last release, by how much, since when, and why. Reads the store, builds nothing."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Callable, Tuple

from builder.audit import drift_limits, history, junit, ledger, markdown, text
from builder.audit.drift_limits import Allowances
from builder.audit.history import Ledger, Metric, Version, readings
from builder.config.cells import expand, selects_id
from builder.config.gates import DriftLimits, names_metric
from builder.config.loader import load
from builder.errors import DriftFound, UsageError
from builder.records import to_json

_MATRIX = Path("matrix.yaml")
_STORE = Path("artifacts")


def arguments(parser: argparse.ArgumentParser) -> None:
    text = "cell ids with * and {a,b}; may be repeated"
    parser.add_argument("cell", nargs="?", metavar="CELL", help="one cell (or several, in quotes) at length")
    parser.add_argument("-m", "--matrix", type=Path, metavar="FILE", help="for its limits; matrix.yaml when it is here")
    parser.add_argument("--store", type=Path, metavar="DIR", help="default: what the matrix says (artifacts)")
    parser.add_argument("--against", metavar="VERSION", help="the release to hold it against (default: the one before)")
    parser.add_argument("--version", metavar="VERSION", help="the candidate (default: the newest)")
    parser.add_argument(
        "--since", metavar="VERSION", help=f"the first version to look at (default: the last {history.USUAL})"
    )
    parser.add_argument("--only", action="append", default=[], metavar="CELLS", help=f"only these cells: {text}")
    parser.add_argument("--skip", action="append", default=[], metavar="CELLS", help=f"all but these cells: {text}")
    parser.add_argument(
        "--metric", action="append", default=[], metavar="METRIC", help="only these: views, scores.*, latency, ..."
    )
    parser.add_argument(
        "--fail-on",
        action="append",
        default=[],
        metavar="METRIC[:LIMIT]",
        help="only this ends with exit code 4, instead of the matrix's limits: views.homography_3px:0.02, latency:10%%, "
        "verdict, any, limits, none; may be repeated",
    )
    parser.add_argument("--all", action="store_true", help="list every number, also those that did not move")
    parser.add_argument("--format", choices=("text", "json", "markdown", "junit"), default="text")


def run(args: argparse.Namespace) -> int:
    declared, place, source = _limits(args)
    versions, against = history.read(place, args.version, args.against, args.since)
    only = _cells(args, versions)
    known = tuple(name for v in versions for e in v.manifest.entries for name in readings(e))
    drift_limits.check(args.fail_on, known)
    for pattern in args.metric:
        drift_limits.matching(pattern, tuple(dict.fromkeys(known)), f"--metric {pattern}")
    held = Allowances(declared, tuple(args.fail_on))
    made = ledger.ledger(
        versions,
        held.of,
        against=against,
        limits=" ".join(f"--fail-on {word}" for word in args.fail_on) or source,
        only=only,
        metrics=_metrics(tuple(args.metric)),
    )
    print(_rendered(args, made, versions, place))
    markdown.tell(made, os.environ, sys.stderr)
    return DriftFound.exit_code if made.beyond else 0


def _limits(args: argparse.Namespace) -> Tuple[Tuple[DriftLimits, ...], Path, str]:
    """(drift limits, store, where the limits are from). Without a matrix at hand, the defaults."""
    if args.matrix is None and not _MATRIX.is_file():
        return (), args.store or _STORE, "the defaults"
    loaded = load(args.matrix or _MATRIX)
    source = f"{args.matrix or _MATRIX}, then the defaults" if loaded.matrix.drift else "the defaults"
    return loaded.matrix.drift, args.store or loaded.store, source


def _cells(args: argparse.Namespace, versions: Tuple[Version, ...]) -> Callable[[str], bool]:
    ids = tuple(dict.fromkeys(entry.cell for v in versions for entry in v.manifest.entries))
    flags = [("--only", word) for word in args.only] + [("--skip", word) for word in args.skip]
    flags += [("CELL", args.cell)] if args.cell else []
    for flag, word in flags:
        if not any(selects_id(word, cell) for cell in ids):
            raise UsageError(f"{flag} {word!r} selects no cell", hint=f"cells: {text.listed(ids)}")
    wanted = tuple(args.only) + ((args.cell,) if args.cell else ())

    def only(cell: str) -> bool:
        chosen = not wanted or any(selects_id(word, cell) for word in wanted)
        return chosen and not any(selects_id(word, cell) for word in args.skip)

    return only


def _metrics(patterns: Tuple[str, ...]) -> Callable[[Metric, bool], bool]:
    def wanted(metric: Metric, timed: bool) -> bool:
        return not patterns or any(
            names_metric(one, metric.name, timed_in_turns=timed) for pattern in patterns for one in expand(pattern)
        )

    return wanted


def _rendered(args: argparse.Namespace, made: Ledger, versions: Tuple[Version, ...], place: Path) -> str:
    if args.format == "json":
        return json.dumps(to_json(made), indent=1, ensure_ascii=False)
    if args.format == "markdown":
        return markdown.as_markdown(made, every=args.all)
    if args.format == "junit":
        return junit.as_junit(made)
    if args.cell:
        return text.cell_as_text(made, versions)
    return text.as_text(made, place, every=args.all)
