"""What `build promote` and `build rollback` share: their flags, the desk that they work at, and what they say."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
from pathlib import Path
from typing import Iterator

from builder import clock
from builder.errors import DeployError
from builder.store import promotion, supply, trust, versions
from builder.store.manifest import Manifest
from builder.store.trust import secret_key
from builder.trust.keyring import KeyGroup, Keyring, Trusted


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--channel", required=True, metavar="NAME", help="such as stable or canary")
    where = "a store's folder, or the address that it was published to (artifacts)"
    parser.add_argument("--store", default="artifacts", metavar="STORE", help=where)
    key = "sign with this secret key; may be repeated"
    parser.add_argument("--key", type=Path, action="append", default=[], metavar="FILE", help=key)
    expires = "hosts refuse it after 12h, 30d, 8w, or never do (never); as long as the last time when not said"
    parser.add_argument("--expires", default="", metavar="TIME", help=expires)
    parser.add_argument("--reason", default="", metavar="TEXT", help="one line that hosts show")
    parser.add_argument("--unverified", action="store_true", help="also a version of which nothing was measured")


def wish(args: argparse.Namespace) -> promotion.Wish:
    return promotion.Wish(args.channel, args.reason, args.expires, args.unverified)


@contextlib.contextmanager
def desk(args: argparse.Namespace) -> Iterator[promotion.Desk]:
    keys = tuple(secret_key(path) for path in args.key)
    own = tuple(Trusted(path.name, key.public) for path, key in zip(args.key, keys))
    with tempfile.TemporaryDirectory(prefix="deploymatrix-") as scratch:
        supplied = supply.opened(args.store, Path(scratch), os.environ)
        ring = (
            trust.at(None, os.environ, supplied.place)
            if supplied.place
            else trust.these(None, os.environ, supplied.store)
        )
        for note in ring.notes:
            print(f"note: {note}", file=sys.stderr)
        if own:
            ring = Keyring((*ring.groups, KeyGroup(own)), ring.dropped)
        with supplied.reading():
            yield promotion.Desk(supplied, keys, ring, clock.now())


def say(moved: promotion.Moved, at: promotion.Desk, store: str) -> None:
    record, base = moved.record, moved.base
    if base is not None and not base.believed:
        said = f"where {record.channel} stood before is not signed by anyone trusted here; its history begins anew"
        print(f"note: {said}", file=sys.stderr)
    start = f"v{base.record.current.version} -> " if base else ""
    signed = f"signed by {', '.join(key.public.name for key in at.keys)}" if at.keys else "not signed"
    good = f"good until {record.expires}" if record.expires else "good without end"
    print(
        f"{record.channel} of {record.model}: {start}v{record.current.version}, serial {record.current.serial}, {signed}, {good}"
    )
    passed = sum(entry.verdict.status == "passed" for entry in moved.manifest.entries)
    print(f"{passed} of {len(moved.manifest.entries)} cells of v{record.current.version} passed")
    if base is not None and base.record.current.version != record.current.version:
        with contextlib.suppress(
            DeployError
        ):  # what was left may be gone or damaged, which is no reason not to leave it
            number = at.supplied.version(base.record.current.version, "")
            print(_changes(versions.read(at.supplied.store, number), moved.manifest))
    if at.supplied.place is None:
        print(
            f"Next: build publish DEST --channel {record.channel}   and on a host: build pull DEST --channel {record.channel}"
        )
    else:
        print(f"Next, on a host: build pull {store} --channel {record.channel}")


def _changes(old: Manifest, new: Manifest) -> str:
    """'of the cells that hosts are offered, 11 stay as they are, 2 are others, 1 is gone'"""
    before, after = (
        {
            entry.cell: entry.artifact.digest
            for entry in one.entries
            if entry.artifact and entry.verdict.status == "passed"
        }
        for one in (old, new)
    )
    same = sum(after.get(cell) == artifact for cell, artifact in before.items())
    other = len(set(before) & set(after)) - same
    return (
        f"from v{old.version} to v{new.version}: {same} artifacts stay as they are, {other} are replaced, "
        f"{len(set(after) - set(before))} come and {len(set(before) - set(after))} go"
    )
