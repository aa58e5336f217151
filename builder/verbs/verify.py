"""`build verify`: is a version whole, and signed by someone who is trusted here?"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from builder import digest, trust
from builder.errors import StoreDamaged
from builder.manifest import Manifest
from builder.stores import versions
from builder.stores.layout import Layout


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--store", type=Path, default=Path("artifacts"), metavar="DIR", help="default: artifacts")
    parser.add_argument("--version", type=int, metavar="N", help="a version of the store (default: the newest)")
    parser.add_argument("--key", metavar="KEY", help="trust this public key alone: a .pub file, or the key itself")


def run(args: argparse.Namespace) -> int:
    store = Layout(args.store)
    version = versions.chosen(store, args.version, "make one: build matrix")
    trusted = trust.these(args.key, os.environ)
    said, data = (
        "nobody is trusted here, so its maker is not known",
        store.read(versions.manifest_digest(store, version)),
    )
    if trusted:
        found = trust.proof(store, version, trusted)
        said, data = str(found), found.data
    files = _whole(store, versions.parsed(store, version, data))
    print(f"v{version} in {args.store}/ is whole: {files} files have their digests. {said}")
    return 0


def _whole(store: Layout, manifest: Manifest) -> int:
    """How many files of artifacts were read again. Raises StoreDamaged at the first that is not as the manifest says."""
    count = 0
    for entry in manifest.entries:
        for blob in entry.artifact.files if entry.artifact else ():
            path = store.fetch(blob.digest)
            if path.stat().st_size != blob.size or digest.of_file(path) != blob.digest:
                raise StoreDamaged(
                    f"{blob.name} of {entry.cell} is not what the manifest says",
                    where=str(path),
                    hint="delete that file and run `build matrix` again",
                )
            count += 1
    return count
