"""`build publish DEST`: copy versions of a store to where hosts pull from."""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

from builder import clock, plugins
from builder.cli.flags import add_transfer, transfer
from builder.errors import UsageError
from builder.plugins import Repository
from builder.store import channels, copying, oci, supply, versions
from builder.store.layout import Layout


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dest", metavar="DEST", help="a folder, or an address such as oci://HOST/NAME")
    where = "a store's folder, or another place or bundle that holds the version (artifacts)"
    parser.add_argument("--store", default="artifacts", metavar="SOURCE", help=where)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--version", type=int, metavar="N", help="a version of the store (default: the newest)")
    what.add_argument(
        "--channel",
        action="append",
        default=[],
        metavar="NAME",
        help="a channel, and the version that it stands at; may be repeated",
    )
    add_transfer(parser)


def run(args: argparse.Namespace) -> int:
    if plugins.is_bundle(args.dest):
        raise UsageError(f"{args.dest} is one file, which is written at once", hint=f"build bundle {args.dest}")
    place = plugins.repository(args.dest, os.environ)
    with tempfile.TemporaryDirectory(prefix="deploymatrix-") as kept:
        supplied = supply.opened(args.store, Path(kept), os.environ)
        store = supplied.store
        with supplied.reading():
            if supplied.place is not None:
                _bring(args, supplied, supplied.place)
            for name in args.channel:
                _carry(args, store, name, place)
            if not args.channel:
                _send(args, store, place)
    return 0


def _bring(args: argparse.Namespace, supplied: supply.Supply, source: Repository) -> None:
    """What is to be published and is not on this machine comes here first, for as long as it takes."""
    asked = [supplied.version(args.version, "name another place with --store")] if not args.channel else []
    for name in args.channel:
        found = channels.offered(source, channels.named(name))
        if found is None:
            raise UsageError(f"there is no channel {name}", where=source.name, hint=f"build channels {args.store}")
        asked.append(channels.parsed(found.data, source.name).current.version)
    with transfer(args, "fetched") as pace:
        for version in sorted(set(asked)):
            supply.whole(supplied, version, pace)


def _send(args: argparse.Namespace, store: Layout, place: Repository) -> None:
    version = versions.chosen(store, args.version, "make one: build matrix")
    versions.read(store, version)  # nothing is sent that does not read
    with transfer(args, "published") as pace:
        copied = copying.publish(store, copying.belonging(version, oci.all_of(store)), place, print, pace)
    print(f"v{version} is in {place.name}: {copied} files copied, the rest was there")
    print(f"Next, on a host: build pull {args.dest}")


def _carry(args: argparse.Namespace, store: Layout, name: str, place: Repository) -> None:
    with transfer(args, "published") as pace:
        record, copied = channels.carry(store, name, place, clock.now(), print, pace)
    at = record.current
    print(
        f"{name} stands at v{at.version} in {place.name}, serial {at.serial}: {copied} files copied, the rest was there"
    )
    print(f"Next, on a host: build pull {args.dest} --channel {name}")
