"""`build keys`: make a key to sign with, say whom this machine trusts, and say it to others in key statements."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Callable, Dict

from builder.errors import UsageError
from builder.store import trust
from builder.trust import key_memory, minisign
from builder.verbs import key_statements


def arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    new = actions.add_parser("new", help="make a key pair: FILE, which is secret, and FILE.pub")
    new.add_argument("file", type=Path, metavar="FILE")
    new.add_argument("--no-password", action="store_true", help="protected by nothing but the file's permissions (CI)")
    listed = actions.add_parser("list", help="the keys that are trusted here")
    listed.set_defaults(file=None)
    trusted = actions.add_parser("trust", help="take what the owner of this public key signs, and nothing unsigned")
    trusted.add_argument("name", metavar="NAME")
    trusted.add_argument("key", metavar="KEY", help="a .pub file, or the key itself (RW...)")
    distrusted = actions.add_parser("distrust", help="take it no more")
    distrusted.add_argument("name", metavar="NAME")
    key_statements.arguments(actions)


def run(args: argparse.Namespace) -> int:
    doing: Dict[str, Callable[[argparse.Namespace], int]] = {
        "new": _new,
        "list": _list,
        "trust": _trust,
        "distrust": _distrust,
        **key_statements.ACTIONS,
    }
    return doing[args.action](args)


def _new(args: argparse.Namespace) -> int:
    public = args.file.with_name(f"{args.file.name}.pub")
    for path in (args.file, public):
        if path.exists():
            raise UsageError("is there already; a key is never overwritten", where=str(path))
    password = "" if args.no_password else trust.ask(again=True)
    key = minisign.new_key()
    args.file.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(args.file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(minisign.secret_key_file(key, password))
    public.write_text(key.public.file, encoding="utf-8")
    print(f"{args.file}: keep it secret\n{public}: give it to your hosts")
    print(f"Next: build sign --key {args.file}   and on each host: build keys trust NAME {key.public.text}")
    return 0


def _list(args: argparse.Namespace) -> int:
    place = trust.folder(os.environ)
    pinned = trust.keys(place)
    ring = trust.these(None, os.environ)
    dropped = {gone.owner.key.key: gone.why for gone in ring.dropped}
    for one in pinned:
        said = dropped.get(one.key.key, "pinned by hand")
        print(f"{one.name}  {one.key.name}  {one.key.text}  {said}")
    known = {one.key.key for one in pinned}
    for found in key_memory.remembered(place, pinned).values():
        statement = found.last
        until = f" until {statement.expires}" if statement.expires else ""
        for what, owners in (("root", statement.roots), ("named", statement.keys), ("revoked", statement.revoked)):
            for one in (owner.trusted for owner in owners):
                said = dropped.get(one.key.key, f"{what} in statement {statement.serial} of {statement.ring}")
                if one.key.key not in known:
                    ends = until if what == "named" and one.key.key not in dropped else ""
                    print(f"{one.name}  {one.key.name}  {one.key.text}  {said}{ends}")
    if not ring:
        print(f"no key is trusted here ({place}): whatever a store offers is taken. Next: build keys trust NAME KEY")
    return 0


def _trust(args: argparse.Namespace) -> int:
    path = Path(args.key)
    key = trust.read_key(path) if path.exists() else minisign.public_key(args.key, args.key)
    pinned = trust.pin(trust.folder(os.environ), args.name, key)
    print(f"{args.name} ({key.name}) is trusted: {pinned}")
    return 0


def _distrust(args: argparse.Namespace) -> int:
    place = trust.folder(os.environ)
    trust.unpin(place, args.name)
    left = len(trust.keys(place))
    said = "" if left else ": whatever a store offers is taken"
    if not left and trust.these(None, os.environ):
        said = ", and nothing is taken: what it said of other keys is remembered. To start anew: build keys forget RING"
    print(f"{args.name} is trusted no more; {left} left{said}")
    return 0
