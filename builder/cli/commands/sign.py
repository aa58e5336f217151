"""`build sign`: sign a version of a store with a key of one's own."""

from __future__ import annotations

import argparse
from pathlib import Path

from builder.store import referrers, versions
from builder.store.layout import Layout
from builder.store.trust import secret_key
from builder.trust import minisign


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--key", type=Path, required=True, metavar="FILE", help="a secret key: build keys new FILE")
    parser.add_argument("--store", type=Path, default=Path("artifacts"), metavar="DIR", help="default: artifacts")
    parser.add_argument("--version", type=int, metavar="N", help="a version of the store (default: the newest)")


def run(args: argparse.Namespace) -> int:
    key = secret_key(args.key)
    store = Layout(args.store)
    version = versions.chosen(store, args.version, "make one: build matrix")
    with store.locked():
        manifest = versions.read(store, version)
        data = store.read(versions.manifest_digest(store, version))
        comment = f"deploymatrix {manifest.model.name} v{version} of {manifest.created}"
        referrers.attach_signature(store, version, key.public.name, minisign.sign(key, data, comment).file)
    print(f"v{version} of {manifest.model.name} in {args.store}/ is signed by {key.public.name}: {comment}")
    return 0
