"""`build gc`: remove what nothing in a store needs any more, and say what that is."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import List

from builder import clock, terminal
from builder.digest import Json
from builder.errors import UsageError
from builder.store import gc
from builder.store.gc import Garbage, Removal, Rule
from builder.store.layout import Layout


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--store", type=Path, default=Path("artifacts"), metavar="DIR", help="default: artifacts")
    parser.add_argument("--dry-run", action="store_true", help="say what would be removed; remove nothing")
    parser.add_argument("--keep", type=int, metavar="N", help="remove versions but the newest N (default: remove none)")
    parser.add_argument(
        "--older-than",
        metavar="AGE",
        help="remove versions older than this (30d, 12h, 8w), never the newest; also how long a result is kept that no"
        " version was made of (default: 30d)",
    )
    parser.add_argument("--format", choices=("text", "json"), default="text")


def run(args: argparse.Namespace) -> int:
    if args.keep is not None and args.keep < 1:
        raise UsageError("--keep: at least 1", hint="to start anew, remove the folder")
    if not (args.store / "index.json").is_file():
        raise UsageError(f"{args.store} is no store", hint="name one: build gc --store DIR")
    store, now = Layout(args.store), time.time()
    age = clock.length(args.older_than, "--older-than").total_seconds() if args.older_than else None
    rule = Rule(args.keep, age)
    if args.dry_run:
        with store.reading():
            found = gc.garbage(store, rule, now)
    else:
        with store.collecting():
            found = gc.garbage(store, rule, now)
            gc.remove(store, found, now)
    if args.format == "json":
        print(json.dumps(_as_json(found, args.dry_run), indent=1))
    else:
        print(_as_text(found, args.dry_run))
    return 0


def _as_text(found: Garbage, dry: bool) -> str:
    lines: List[str] = []
    if found.versions:
        lines.append(f"{terminal.counted(len(found.versions), 'version')}: {_spans(found.versions)}")
    if found.results:
        lines.append(f"{terminal.counted(len(found.results), 'result')} that no kept version was made of")
    for part, what in (
        (found.of_versions, "of those versions"),
        (found.of_results, "of those results"),
        (found.of_nothing, "that nothing names: a run was killed, or a version never published"),
        (found.arriving, "half fetched, and untouched for a day"),
    ):
        if part.count:
            lines.append(f"{terminal.counted(part.count, 'file')}, {terminal.size(part.size)}, {what}")
    kept = f"kept: {_spans(found.kept) or 'no version'}; {terminal.counted(found.left.count, 'file')}, {terminal.size(found.left.size)}"
    lines += [f"v{held.version} stays: {', '.join(held.reasons)}" for held in found.held]
    if not found.size and not found.versions and not found.results and not found.held:
        return f"Nothing to remove; {kept}"
    head = "Would free" if dry else "Freed"
    return "\n".join([f"{head} {terminal.size(found.size)}; {kept}", *(f"  {line}" for line in lines)])


def _spans(numbers: "tuple[int, ...]") -> str:
    """`v1-v7, v9`"""
    spans: List[List[int]] = []
    for number in numbers:
        if spans and spans[-1][1] == number - 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ", ".join(f"v{first}" if first == last else f"v{first}-v{last}" for first, last in spans)


def _as_json(found: Garbage, dry: bool) -> Json:
    return {
        "dry_run": dry,
        "bytes": found.size,
        "versions": list(found.versions),
        "results": len(found.results),
        "files": {
            "of_versions": _part(found.of_versions),
            "of_results": _part(found.of_results),
            "of_nothing": _part(found.of_nothing),
            "half_fetched": _part(found.arriving),
        },
        "kept": {
            "versions": list(found.kept),
            "files": _part(found.left),
            "held": [{"version": held.version, "reasons": list(held.reasons)} for held in found.held],
        },
    }


def _part(part: Removal) -> Json:
    return {"count": part.count, "bytes": part.size}
