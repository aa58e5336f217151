"""`build keys`: make a key to sign with, say whom this machine trusts, and say it to others in key statements."""

from __future__ import annotations

import argparse
import dataclasses
import os
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple

from builder import clock, plugins
from builder.errors import UsageError
from builder.store import trust
from builder.store.layout import Layout
from builder.trust import key_memory, key_statements, minisign
from builder.trust.key_statements import History, Statement
from builder.trust.keyring import Trusted

# The actions of `build keys` about key statements: who signs for the owners of root keys, and who no longer does.


def statement_arguments(actions: Any) -> None:
    """Adds the actions to the parser of `build keys`."""
    delegate = _change(actions, "delegate", "let these keys sign versions too, until the statement ends")
    delegate.add_argument("keys", nargs="*", metavar="NAME=KEY", help="a .pub file, or the key itself (RW...)")
    delegate.add_argument("--threshold", type=int, metavar="N", help="so many roots must sign a statement")
    delegate.add_argument("--signatures", type=int, metavar="N", help="so many keys must sign a version")
    revoke = _change(actions, "revoke", "these keys count no more, and never again")
    revoke.add_argument(
        "keys", nargs="+", metavar="KEY", help="its name in the statement, its id, a .pub file, or the key itself"
    )
    _change(actions, "renew", "say the same once more, for as long again or as --expires says")
    rotate = _change(actions, "rotate", "these are the roots from now on, signed by the old and the new ones")
    rotate.add_argument("keys", nargs="+", metavar="NAME=KEY", help="every root, also one that stays")
    cosign = actions.add_parser("cosign", help="add the signature of another root to the newest statement")
    _signing(cosign)
    update = actions.add_parser("update", help="on a host: accept the statement of a place without pulling")
    update.add_argument("source", nargs="?", default="artifacts", metavar="SOURCE", help="as of build pull (artifacts)")
    forget = actions.add_parser("forget", help="on a host: forget the statements of a ring, and go by what is pinned")
    forget.add_argument("ring", metavar="RING", help="as build keys list names it")


def _change(actions: Any, name: str, help: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(name, help=help)
    _signing(parser)
    parser.add_argument(
        "--expires", metavar="LENGTH", help="how long it is valid: 90d, 12h, never (default: as long as the last one)"
    )
    return parser


def _signing(parser: argparse.ArgumentParser) -> None:
    text = "the secret key of a root; may be repeated"
    parser.add_argument("--root", type=Path, action="append", required=True, metavar="FILE", help=text)
    parser.add_argument("--store", type=Path, default=Path("artifacts"), metavar="DIR", help="default: artifacts")


def _delegate(args: argparse.Namespace) -> int:
    if not (args.keys or args.threshold or args.signatures):
        raise UsageError("nobody is named", hint="build keys delegate NAME=KEY --root FILE")
    owners = key_statements.named(args.keys)

    def change(new: Statement) -> Statement:
        return key_statements.limited(key_statements.delegated(new, owners), args.threshold, args.signatures)

    return _stated(args, change)


def _revoke(args: argparse.Namespace) -> int:
    return _stated(args, lambda new: key_statements.revoked(new, args.keys))


def _renew(args: argparse.Namespace) -> int:
    return _stated(args, lambda new: new)


def _rotate(args: argparse.Namespace) -> int:
    owners = key_statements.named(args.keys)
    return _stated(args, lambda new: key_statements.rotated(new, owners))


def _stated(args: argparse.Namespace, change: Callable[[Statement], Statement]) -> int:
    """Write the next statement of the store, signed by the roots that were given."""
    secrets = _secrets(args)
    roots = tuple(Trusted(name, secret.public) for name, secret in secrets)
    store = Layout(args.store)
    _known(store)
    with store.locked():
        history = _history(store)
        old = key_statements.last(history, roots, str(store.root))
        new = change(key_statements.after(old, roots, clock.now(), args.expires))
        signed = key_statements.new(new)
        texts = tuple(_signature(secret, signed.statement, new) for _, secret in secrets)
        signed = dataclasses.replace(signed, signatures=texts)
        trust.put(store, key_statements.extended(history, signed).text)
    print(key_statements.told(new))
    _say_next(args, old, signed, new)
    return 0


def _cosign(args: argparse.Namespace) -> int:
    secrets, store = _secrets(args), Layout(args.store)
    with store.locked():
        history = _history(store)
        if history is None:
            raise UsageError("there is no key statement here", where=str(store.root), hint="build keys delegate")
        newest = history.statements[-1].read
        for _, secret in secrets:
            text = _signature(secret, history.statements[-1].statement, newest)
            history = key_statements.cosigned(history, text)
        trust.put(store, history.text)
    print(f"signed by {' and '.join(secret.public.name for _, secret in secrets)}:\n{key_statements.told(newest)}")
    print(f"Next: build publish DEST --store {args.store}")
    return 0


def _say_next(
    args: argparse.Namespace, old: Optional[Statement], signed: key_statements.Signed, new: Statement
) -> None:
    """Whose signatures it still needs before a host accepts it, else where it goes."""
    for said in ((old.roots, old.threshold) if old else (), (new.roots, new.threshold)):
        if said:
            owners, needed = tuple(one.trusted for one in said[0]), said[1]
            by = signed.by(owners)
            if len(by) < needed:
                left = " or ".join(str(one) for one in owners if one not in by)
                print(f"{len(by)} of {needed} signatures; hosts wait for {left}: build keys cosign --root FILE")
                return
    print(f"Next: build publish DEST --store {args.store}   and on a host, at its next pull or with: build keys update")


def _update(args: argparse.Namespace) -> int:
    place = trust.folder(os.environ)
    if not trust.keys(place):
        raise UsageError("no root is pinned here", where=str(place), hint="build keys trust NAME KEY")
    source = plugins.repository(args.source, os.environ)
    ring = trust.at(None, os.environ, source)
    for note in ring.notes:
        print(note)
    if not ring.notes:
        print(f"{source.name} says nothing new of keys")
    return 0


def _forget(args: argparse.Namespace) -> int:
    key_memory.forget(trust.folder(os.environ), args.ring)
    print(f"{args.ring} is forgotten; what is pinned counts: build keys list")
    return 0


def _secrets(args: argparse.Namespace) -> List[Tuple[str, minisign.SecretKey]]:
    return [(path.stem, trust.secret_key(path)) for path in args.root]


def _signature(secret: minisign.SecretKey, statement: str, about: Statement) -> str:
    comment = f"deploymatrix keys {about.ring} {about.serial} of {about.issued}"
    return minisign.sign(secret, statement.encode(), comment).file


def _history(store: Layout) -> Optional[History]:
    data = trust.of(store)
    return None if data is None else key_statements.history(data, str(store.root))


def _known(store: Layout) -> None:
    if not (store.root / "index.json").is_file():
        raise UsageError("this is no store", where=str(store.root), hint="make one: build matrix")


ACTIONS: Dict[str, Callable[[argparse.Namespace], int]] = {
    "delegate": _delegate,
    "revoke": _revoke,
    "renew": _renew,
    "rotate": _rotate,
    "cosign": _cosign,
    "update": _update,
    "forget": _forget,
}


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
    statement_arguments(actions)


def run(args: argparse.Namespace) -> int:
    doing: Dict[str, Callable[[argparse.Namespace], int]] = {
        "new": _new,
        "list": _list,
        "trust": _trust,
        "distrust": _distrust,
        **ACTIONS,
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
