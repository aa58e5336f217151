"""`build pin VERSION`: a version that `build gc` keeps."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Optional

from builder.errors import UsageError
from builder.store import channels, promotion, versions
from builder.store.layout import Layout
from builder.store.remotes.folder import Folder


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("version", nargs="?", metavar="VERSION", help="v3, or a channel: the version that stands there")
    parser.add_argument("--remove", action="store_true", help="pin it no more")
    parser.add_argument("--store", type=Path, default=Path("artifacts"), metavar="DIR", help="default: artifacts")


def run(args: argparse.Namespace) -> int:
    store = Layout(args.store)
    versions.chosen(store, None, "make one: build matrix")
    if args.version is None:
        if args.remove:
            raise UsageError("--remove needs a version", hint="build pin --remove v3")
        _list(store)
        return 0
    number = _number(store, args.version)
    with store.locked():
        if not args.remove:
            channels.pin(store, number)
        elif number in channels.pinned(store):
            channels.unpin(store, number)
        else:
            raise UsageError(f"v{number} is not pinned", where=str(store.root), hint="what is: build pin")
    print(f"v{number} is {'pinned no more' if args.remove else 'pinned: build gc keeps it'}")
    return 0


def _list(store: Layout) -> None:
    why = channels.roots(store)
    for number, reasons in why.items():
        print(f"v{number}  {', '.join(reasons)}")
    if not why:
        print(f"nothing is pinned in {store.root}, and no channel stands anywhere")


def _number(store: Layout, word: str) -> int:
    found: Optional[channels.OfferedChannel] = None
    if channels.is_name(word):
        found = channels.offered(Folder(str(store.root), {}), word)
    if found is not None:
        return channels.parsed(found.data, str(store.root)).current.version
    return promotion.number(word)
