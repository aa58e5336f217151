"""`build report`: one HTML file with all that is known of a version."""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

from builder import text
from builder.errors import UsageError
from builder.report import page, view
from builder.stores import versions
from builder.stores.layout import Layout


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--store", type=Path, default=Path("artifacts"), metavar="DIR", help="the store (artifacts)")
    parser.add_argument("--version", type=int, metavar="N", help="a version of the store (default: the newest)")
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("report.html"), metavar="FILE", help="default: report.html"
    )


def run(args: argparse.Namespace) -> int:
    store = Layout(args.store)
    manifest = versions.read(store, args.version) if args.version is not None else versions.latest(store)
    if manifest is None:
        raise UsageError(
            f"{args.store} holds no version", hint="name a store with --store DIR, or make one: build matrix"
        )
    html = page.fitted(lambda detail: view.report(manifest, detail))
    _write(args.output, html.encode())
    print(f"report of {manifest.model.name} v{manifest.version} -> {args.output}  ({text.size(len(html.encode()))})")
    return 0


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
