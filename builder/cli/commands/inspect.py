"""`build inspect ARTIFACT`: what an artifact is, what is in it, and in which precision it computes. Changes nothing."""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from pathlib import Path
from typing import Tuple

from builder import digest
from builder.audit import inspect
from builder.audit.inspect import Findings
from builder.errors import StoreDamaged, UsageError
from builder.platforms import machines
from builder.records import to_json
from builder.store.layout import Layout

_CACHE = "timing.cache"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("artifact", metavar="ARTIFACT", help="a cell, a pulled folder, an artifact's folder or a file")
    parser.add_argument(
        "--store", type=Path, default=Path("artifacts"), metavar="DIR", help="where cells are looked up (artifacts)"
    )
    parser.add_argument(
        "--timing-cache", type=Path, metavar="FILE", help="of a TensorRT cell: write the timings of its build to FILE"
    )
    parser.add_argument("--format", choices=("text", "json"), default="text")


def run(args: argparse.Namespace) -> int:
    store = Layout(args.store)
    if args.timing_cache is not None:
        print(_timings(args.artifact, store, args.timing_cache))
        return 0
    machine = machines.here()
    with tempfile.TemporaryDirectory(prefix="deploymatrix-") as scratch:
        found = tuple(inspect.look(one, machine) for one in inspect.find(args.artifact, store, Path(scratch)))
    if args.format == "json":
        print(json.dumps({"artifacts": [to_json(one) for one in found]}, indent=1, ensure_ascii=False))
    else:
        print("\n\n".join(map(inspect.as_text, found)))
    return _exit_code(found)


def _exit_code(found: Tuple[Findings, ...]) -> int:
    return StoreDamaged.exit_code if any(one.problems for one in found) else 0


def _timings(cell: str, store: Layout, file: Path) -> str:
    """Copy the timing cache of a cell's build; returns what to write into matrix.yaml."""
    entry, manifest = inspect.cell(cell, store)
    if entry.platform is None or entry.platform.runtime != "tensorrt":
        runtime = entry.platform.runtime if entry.platform else "nothing yet"
        raise UsageError(
            f"{cell} has no timing cache: only a build with TensorRT itself times kernels; this cell is for {runtime}"
        )
    if entry.artifact is None:
        raise UsageError(f"{cell} is not built in v{manifest.version}", hint=entry.verdict.reason or None)
    result = store.recall(entry.artifact.action)
    kept = [blob for blob in result.outputs if blob.name == _CACHE] if result is not None else []
    if not kept:
        why = "its build kept none" if result is not None else "the record of its build is not here"
        raise UsageError(
            f"{cell} has no timing cache in {store.root}: {why}", hint=f"build it anew: build perform {cell}"
        )
    shutil.copyfile(store.fetch(kept[0].digest), file)
    where = f"timings of {cell} -> {file}. To build with them again, in the settings of the cell:"
    return f"{where}\n  tensorrt: {{timing_cache: {{file: {file}, sha256: {digest.hex_part(kept[0].digest)}}}}}"
