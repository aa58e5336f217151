"""`build report`: one HTML file with all that is known of a version."""

from __future__ import annotations

import argparse
import errno
import os
import sys
from pathlib import Path
from typing import Optional, Tuple

from builder import files, terminal
from builder.audit import history, ledger, report_actions
from builder.audit.drift_limits import Allowances
from builder.audit.history import Version
from builder.audit.report import page
from builder.audit.report.page import Beside
from builder.audit.report_actions import LayerTable, Picture
from builder.config.loader import Loaded, load
from builder.errors import UsageError
from builder.execution.local import Local
from builder.platforms import machines
from builder.store.layout import Layout

_MATRIX = Path("matrix.yaml")
_STORE = Path("artifacts")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-m", "--matrix", type=Path, metavar="FILE", help="for its limits and --layers; matrix.yaml when it is here"
    )
    parser.add_argument("--store", type=Path, metavar="DIR", help="default: what the matrix says (artifacts)")
    parser.add_argument("--version", metavar="VERSION", help="a version of the store (default: the newest)")
    parser.add_argument(
        "--since", metavar="VERSION", help=f"the first version to look at for drift (default: the last {history.USUAL})"
    )
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("report.html"), metavar="FILE", help="default: report.html"
    )
    parser.add_argument(
        "--layers", action="store_true", help="measure error by layer where that was not done yet (a minute per graph)"
    )
    parser.add_argument(
        "--pictures", type=_count, default=12, metavar="N", help="draw the worst cases of at most N cells (12)"
    )


def run(args: argparse.Namespace) -> int:
    loaded = load(args.matrix or _MATRIX) if args.matrix is not None or _MATRIX.is_file() else None
    place = args.store or (loaded.store if loaded else _STORE)
    known, against = history.read(place, args.version, None, args.since)
    limits = loaded.matrix.drift if loaded else ()
    _check(args.output)  # before minutes are spent on what could not be written
    beside = Beside(
        pictures=_pictures(known[-1], Layout(place), args.pictures),
        ledger=ledger.ledger(known, Allowances(limits, ()).of, against=against),
        layers=_layers(known[-1], loaded, Layout(place), measure=args.layers),
    )
    manifest = known[-1].manifest
    html = page.fitted(lambda detail: page.report(manifest, detail, beside))
    _write(args.output, html.encode())
    print(
        f"report of {manifest.model.name} v{manifest.version} -> {args.output}  ({terminal.size(len(html.encode()))})"
    )
    return 0


def _layers(version: Version, loaded: Optional[Loaded], store: Layout, *, measure: bool) -> Tuple[LayerTable, ...]:
    if loaded is None:
        if measure:
            raise UsageError("--layers needs the matrix", hint="name it with -m FILE: what is lowered is written there")
        return ()
    executor = Local()
    try:
        used = executor if measure else None
        return report_actions.layer_tables(loaded, version.manifest, store, machines.here(), used, _say)
    except BaseException:  # as below
        executor.stop()
        raise


def _pictures(version: Version, store: Layout, most: int) -> Tuple[Picture, ...]:
    if most == 0:
        return ()
    executor = Local()
    try:
        return report_actions.pictures(
            version.manifest, version.provenance, store, machines.here(), executor, _say, most
        )
    except BaseException:  # an interrupt above all: no worker may outlive it
        executor.stop()
        raise


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _count(word: str) -> int:
    if not word.isdigit():
        raise argparse.ArgumentTypeError(f"{word!r} is not a number of pictures")
    return int(word)


def _check(path: Path) -> None:
    wrong = errno.EISDIR if path.is_dir() else (errno.ENOENT if not path.parent.is_dir() else 0)
    if wrong:
        raise _unwritable(path, os.strerror(wrong))


def _unwritable(path: Path, why: Optional[str]) -> UsageError:
    return UsageError(f"cannot be written: {why}", where=str(path), hint="name another file with -o FILE")


def _write(path: Path, data: bytes) -> None:
    """Whole or not at all. UsageError where it cannot be written."""
    try:
        files.write(path, data)
    except OSError as problem:
        raise _unwritable(path, problem.strerror) from None
