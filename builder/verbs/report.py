"""`build report`: one HTML file with all that is known of a version."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Tuple

from builder import facts, pictures, text
from builder.errors import UsageError
from builder.executors.local import Local
from builder.manifest import Manifest
from builder.pictures import Picture
from builder.report import page, view
from builder.stores import versions
from builder.stores.layout import Layout


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--store", type=Path, default=Path("artifacts"), metavar="DIR", help="the store (artifacts)")
    parser.add_argument("--version", type=int, metavar="N", help="a version of the store (default: the newest)")
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("report.html"), metavar="FILE", help="default: report.html"
    )
    parser.add_argument(
        "--pictures", type=_count, default=12, metavar="N", help="draw the worst cases of at most N cells (12)"
    )


def run(args: argparse.Namespace) -> int:
    store = Layout(args.store)
    manifest = versions.read(store, args.version) if args.version is not None else versions.latest(store)
    if manifest is None:
        raise UsageError(
            f"{args.store} holds no version", hint="name a store with --store DIR, or make one: build matrix"
        )
    drawn = _pictures(manifest, store, args.pictures)
    html = page.fitted(lambda detail: view.report(manifest, detail, drawn))
    _write(args.output, html.encode())
    print(f"report of {manifest.model.name} v{manifest.version} -> {args.output}  ({text.size(len(html.encode()))})")
    return 0


def _pictures(manifest: Manifest, store: Layout, most: int) -> Tuple[Picture, ...]:
    if most == 0:
        return ()
    executor = Local()
    made_of = versions.read_provenance(store, manifest.version)
    try:
        return pictures.pictures(manifest, made_of, store, facts.here(), executor, _say, most)
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
