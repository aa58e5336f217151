"""`build publish DEST`: copy versions of a store to where hosts pull from."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from builder import clock, seams
from builder.errors import UsageError
from builder.seams import Repository
from builder.stores import copying, moving, tags, versions
from builder.stores.layout import Layout
from builder.verbs.transferring import add_transfer, transfer


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dest", metavar="DEST", help="a folder, or an address such as oci://HOST/NAME")
    parser.add_argument("--store", type=Path, default=Path("artifacts"), metavar="DIR", help="default: artifacts")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--version", type=int, metavar="N", help="a version of the store (default: the newest)")
    channel = "a channel, and the version that it stands at; may be repeated"
    what.add_argument("--channel", action="append", default=[], metavar="NAME", help=channel)
    add_transfer(parser)


def run(args: argparse.Namespace) -> int:
    if seams.is_bundle(args.dest):
        raise UsageError(f"{args.dest} is one file, which is written at once", hint=f"build bundle {args.dest}")
    store, place = Layout(args.store), seams.repository(args.dest, os.environ)
    with store.reading():
        for name in args.channel:
            _carry(args, store, name, place)
        if not args.channel:
            _send(args, store, place)
    return 0


def _send(args: argparse.Namespace, store: Layout, place: Repository) -> None:
    version = versions.chosen(store, args.version, "make one: build matrix")
    versions.read(store, version)  # nothing is sent that does not read
    with transfer(args, "published") as pace:
        copied = copying.publish(store, copying.belonging(version, tags.all_of(store)), place, print, pace)
    print(f"v{version} is in {place.name}: {copied} files copied, the rest was there")
    print(f"Next, on a host: build pull {args.dest}")


def _carry(args: argparse.Namespace, store: Layout, name: str, place: Repository) -> None:
    with transfer(args, "published") as pace:
        record, copied = moving.carry(store, name, place, clock.now(), print, pace)
    at = record.current
    print(
        f"{name} stands at v{at.version} in {place.name}, serial {at.serial}: {copied} files copied, the rest was there"
    )
    print(f"Next, on a host: build pull {args.dest} --channel {name}")
