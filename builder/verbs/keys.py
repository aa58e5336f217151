"""`build keys`: make a key to sign with, and say whom this machine trusts."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Callable, Dict

from builder import trust
from builder.errors import UsageError
from builder.signing import minisign


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


def run(args: argparse.Namespace) -> int:
    doing: Dict[str, Callable[[argparse.Namespace], int]] = {
        "new": _new,
        "list": _list,
        "trust": _trust,
        "distrust": _distrust,
    }
    return doing[args.action](args)


def _new(args: argparse.Namespace) -> int:
    public = args.file.with_name(f"{args.file.name}.pub")
    for path in (args.file, public):
        if path.exists():
            raise UsageError("is there already; a key is never overwritten", where=str(path))
    password = "" if args.no_password else ask_password(again=True)
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
    found = trust.keys(place)
    for one in found:
        print(f"{one.name}  {one.key.name}  {one.key.text}")
    if not found:
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
    print(f"{args.name} is trusted no more; {left} left" + ("" if left else ": whatever a store offers is taken"))
    return 0


def secret_key(path: Path) -> minisign.SecretKey:
    """The key in a secret key file; asks for its password when it has one. Raises UsageError."""
    text = trust.read_text(path)
    return minisign.secret_key(text, ask_password() if minisign.is_protected(text, str(path)) else "", str(path))


def ask_password(*, again: bool = False) -> str:
    """From DEPLOYMATRIX_PASSWORD, or the terminal. Raises UsageError where there is neither."""
    given = os.environ.get("DEPLOYMATRIX_PASSWORD")
    if given is not None:
        return given
    if not sys.stdin.isatty():
        raise UsageError(
            "the key needs a password, and there is no terminal to ask on",
            hint="set DEPLOYMATRIX_PASSWORD, or make a key with --no-password",
        )
    import getpass

    password = getpass.getpass("Password: ")
    if again and getpass.getpass("Again: ") != password:
        raise UsageError("the two passwords differ; nothing was written")
    return password
