"""`build publish DEST`: copy versions of a store to where hosts pull from."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from builder import seams
from builder.errors import UsageError
from builder.stores import copying, tags, versions
from builder.stores.layout import Layout
from builder.verbs.transferring import add_transfer, transfer


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dest", metavar="DEST", help="a folder, or an address such as oci://HOST/NAME")
    parser.add_argument("--store", type=Path, default=Path("artifacts"), metavar="DIR", help="default: artifacts")
    parser.add_argument("--version", type=int, metavar="N", help="a version of the store (default: the newest)")
    add_transfer(parser)


def run(args: argparse.Namespace) -> int:
    if seams.is_bundle(args.dest):
        raise UsageError(f"{args.dest} is one file, which is written at once", hint=f"build bundle {args.dest}")
    store = Layout(args.store)
    version = versions.chosen(store, args.version, "make one: build matrix")
    versions.read(store, version)  # nothing is sent that does not read
    place = seams.repository(args.dest, os.environ)
    with transfer(args, "published") as pace:
        copied = copying.publish(store, copying.belonging(version, tags.all_of(store)), place, print, pace)
    print(f"v{version} is in {place.name}: {copied} files copied, the rest was there")
    print(f"Next, on a host: build pull {args.dest}")
    return 0
