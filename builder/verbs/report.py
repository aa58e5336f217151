"""`build report`: one HTML file with all that is known of a version."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Tuple

from builder import facts, pictures, text
from builder.audit import reading
from builder.drift_limits import DriftLimits
from builder.errors import UsageError
from builder.executors.local import Local
from builder.load import load
from builder.pictures import Picture
from builder.report import page, view
from builder.stores.layout import Layout
from validation import drift
from validation.allowances import Allowances
from validation.history import Version

_MATRIX = Path("matrix.yaml")
_STORE = Path("artifacts")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-m", "--matrix", type=Path, metavar="FILE", help="for its limits; matrix.yaml when it is here")
    parser.add_argument("--store", type=Path, metavar="DIR", help="default: what the matrix says (artifacts)")
    parser.add_argument("--version", metavar="VERSION", help="a version of the store (default: the newest)")
    parser.add_argument(
        "--since", metavar="VERSION", help=f"the first version to look at for drift (default: the last {reading.USUAL})"
    )
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("report.html"), metavar="FILE", help="default: report.html"
    )
    parser.add_argument(
        "--pictures", type=_count, default=12, metavar="N", help="draw the worst cases of at most N cells (12)"
    )


def run(args: argparse.Namespace) -> int:
    limits, place = _matrix(args)
    known, against = reading.read(place, args.version, None, args.since)
    manifest, ledger = known[-1].manifest, drift.ledger(known, Allowances(limits, ()).of, against=against)
    drawn = _pictures(known[-1], Layout(place), args.pictures)
    html = page.fitted(lambda detail: view.report(manifest, detail, drawn, ledger))
    _write(args.output, html.encode())
    print(f"report of {manifest.model.name} v{manifest.version} -> {args.output}  ({text.size(len(html.encode()))})")
    return 0


def _matrix(args: argparse.Namespace) -> Tuple[Tuple[DriftLimits, ...], Path]:
    """(drift limits, store). Without a matrix at hand, the defaults."""
    if args.matrix is None and not _MATRIX.is_file():
        return (), args.store or _STORE
    loaded = load(args.matrix or _MATRIX)
    return loaded.matrix.drift, args.store or loaded.store


def _pictures(version: Version, store: Layout, most: int) -> Tuple[Picture, ...]:
    if most == 0:
        return ()
    executor = Local()
    try:
        return pictures.pictures(version.manifest, version.provenance, store, facts.here(), executor, _say, most)
    except BaseException:  # an interrupt above all: no worker may outlive it
        executor.stop()
        raise


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _count(word: str) -> int:
    if not word.isdigit():
        raise argparse.ArgumentTypeError(f"{word!r} is not a number of pictures")
    return int(word)


def _write(path: Path, data: bytes) -> None:
    """Whole or not at all. UsageError where it cannot be written."""
    partial = ""
    try:
        handle, partial = tempfile.mkstemp(dir=str(path.parent), prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.chmod(partial, 0o644)
        os.replace(partial, path)
    except OSError as problem:
        if partial:
            os.unlink(partial)
        raise UsageError(
            f"cannot be written: {problem.strerror}", where=str(path), hint="name another file with -o FILE"
        ) from None
