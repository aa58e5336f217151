"""`build bundle FILE`: a version as one file, for hosts that no network reaches."""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from typing import Tuple

from builder.cli.flags import add_transfer, transfer
from builder.config.cells import selects_id
from builder.errors import UsageError
from builder.store import channels, copying, supply, versions
from builder.store.manifest import Entry, Manifest
from builder.store.remotes import bundle
from builder.store.remotes.folder import Folder

_COMPRESSED = (".gz", ".tgz", ".xz", ".txz", ".bz2", ".zst", ".zip", ".lz4")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="the tar to write, such as superpoint.tar")
    where = "a store's folder, or the address that it was published to (artifacts)"
    parser.add_argument("--store", default="artifacts", metavar="SOURCE", help=where)
    parser.add_argument("--version", type=int, metavar="N", help="a version of the store (default: the newest)")
    parser.add_argument(
        "--only", action="append", default=[], metavar="CELLS", help="only these artifacts: cell ids with * and {a,b}"
    )
    parser.add_argument("--head", metavar="NAME", help="only the artifacts of this head")
    add_transfer(parser)


def run(args: argparse.Namespace) -> int:
    if args.file.suffix.lower() in _COMPRESSED:
        raise UsageError(
            f"a bundle is a plain tar; {args.file.name} is the name of a compressed file",
            hint=f"build bundle {args.file.name.split('.')[0]}.tar",
        )
    bundle.check_free(args.file)
    # What comes from elsewhere is brought beside the bundle first, where there must be room for it in any case.
    with tempfile.TemporaryDirectory(prefix=".bundle-", dir=str(args.file.parent)) as kept:
        supplied = supply.opened(args.store, Path(kept), os.environ)
        with supplied.reading():
            return _bundled(args, supplied)


def _bundled(args: argparse.Namespace, supplied: supply.Supply) -> int:
    store = supplied.store
    version = supplied.version(args.version, "make one: build matrix")
    manifest = supplied.offered(versions.read(store, version))
    chosen = _chosen(manifest, args)
    place = supplied.place or Folder(str(store.root), {})
    standing = channels.names_at(place, version)
    names = (*copying.belonging(version, place.tags()), *standing)
    artifacts = {entry.artifact.digest for entry in chosen if entry.artifact}
    if supplied.place is not None:
        with transfer(args, "fetched") as pace:
            supply.bring(supplied.place, names, artifacts, store, pace)
    made = bundle.write_bundle(store, names, artifacts, args.file)
    signed = sum(name.endswith(".minisig") for name in names)
    print(
        f"v{version} of {manifest.model.name} -> {args.file}: {len(chosen)} artifacts, "
        f"{signed} {'signature' if signed == 1 else 'signatures'}, "
        + (f"where {' and '.join(standing)} stood, " if standing else "")
        + f"{made.size / 1e6:.1f} MB"
    )
    if not signed:
        print(f"note: v{version} is not signed; to let hosts know whose it is, first: build sign --key FILE")
    print(f"Next, on the host that it was carried to: build pull {args.file.name}")
    return 0


def _chosen(manifest: Manifest, args: argparse.Namespace) -> Tuple[Entry, ...]:
    """The entries whose artifacts are asked for. Raises UsageError where a flag means nothing of this version."""
    heads = [head.name for head in manifest.model.heads]
    if args.head is not None and args.head not in heads:
        raise UsageError(f"the model has no head {args.head!r}", hint=f"heads: {', '.join(heads)}")
    for selector in args.only:
        if not any(selects_id(selector, entry.cell) for entry in manifest.entries):
            raise UsageError(
                f"--only {selector!r} selects no cell of v{manifest.version}",
                hint=f"for example: {', '.join(entry.cell for entry in manifest.entries[:3])}",
            )
    chosen = tuple(
        entry
        for entry in manifest.entries
        if entry.artifact is not None
        and (args.head is None or entry.head == args.head)
        and (not args.only or any(selects_id(selector, entry.cell) for selector in args.only))
    )
    if not chosen:
        raise UsageError("none of these cells has an artifact", hint="what became of them: build pull --explain")
    return chosen
