"""`build verify`: is a version whole, and signed by someone who is trusted here? Of a store, an address, or a pulled folder."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import List, Tuple

from builder import plugins, terminal
from builder.digest import Json
from builder.errors import UsageError
from builder.host import install, verify
from builder.host.verify import Found, Judge
from builder.store import supply, trust
from builder.trust.keyring import Keyring


def arguments(parser: argparse.ArgumentParser) -> None:
    where = "a store's folder, an address, a bundle, or a folder that build pull placed into (artifacts)"
    parser.add_argument("source", nargs="?", metavar="SOURCE", help=where)
    parser.add_argument("--store", dest="named", metavar="DIR", help="the same, as a flag")
    parser.add_argument("--pulled", type=Path, metavar="DIR", help="what is placed there, without the store")
    parser.add_argument("--version", type=int, metavar="N", help="a version of the store (default: the newest)")
    parser.add_argument("--key", metavar="KEY", help="trust this public key alone: a .pub file, or the key itself")
    parser.add_argument(
        "--signatures", type=int, default=1, metavar="N", help="so many trusted keys must have signed (1)"
    )
    parser.add_argument("--format", choices=("text", "json"), default="text")


def run(args: argparse.Namespace) -> int:
    if sum(bool(one) for one in (args.source, args.named, args.pulled)) > 1:
        raise UsageError("what to verify is named twice", hint="build verify SOURCE, or build verify --pulled DIR")
    source = args.source or args.named or "artifacts"
    folder = args.pulled or (Path(source) if _is_pulled(source) else None)
    if folder is not None and args.version is not None:
        raise UsageError("a pulled folder holds one version", hint="leave --version out")
    found = _pulled(folder, args) if folder is not None else [_version(source, args)]
    if args.format == "json":
        print(json.dumps([_as_json(one) for one in found], indent=1))
    else:
        for one in found:
            _tell(one)
    return min((one.code for one in found if one.code), default=0)


def _version(source: str, args: argparse.Namespace) -> Found:
    with tempfile.TemporaryDirectory() as kept:
        supplied = supply.opened(source, Path(kept), os.environ)
        with supplied.reading():
            version = supplied.version(args.version, "make one: build matrix")
            ring, notes = _ring(args, supplied)
            read = verify.from_place(supplied.place) if supplied.place else None
            where = supplied.name if supplied.place else f"{source}/"
            found = verify.of_store(supplied.store, version, Judge(ring, args.signatures), where, read)
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    return found


def _ring(args: argparse.Namespace, supplied: supply.Supply) -> Tuple[Keyring, Tuple[str, ...]]:
    ring = trust.these(args.key, os.environ, supplied.store)
    return ring, ring.notes


def _pulled(folder: Path, args: argparse.Namespace) -> List[Found]:
    """Of each head what is current; or one placed folder itself."""
    ring = trust.these(args.key, os.environ)
    if (folder / "deploy.json").is_file():
        return [verify.of_folder(folder.resolve(), Judge(ring, args.signatures))]
    heads = sorted(path.parent.name for path in folder.glob("*/current"))
    install.find(folder, heads[0] if heads else None)  # says so when nothing was pulled
    return [verify.of_folder(install.find(folder, head), Judge(ring, args.signatures)) for head in heads]


def _is_pulled(source: str) -> bool:
    if "://" in source or plugins.is_bundle(source):
        return False
    path = Path(source)
    return not (path / "index.json").exists() and ((path / "deploy.json").exists() or any(path.glob("*/current")))


def _tell(found: Found) -> None:
    what = f"v{found.version} in {found.where}" if found.version else found.where
    if not found.problems:
        print(f"{what} is whole: {found.files} files have their digests. {'; '.join(found.said)}")
        return
    for line in found.said:
        print(f"{what}: {line}")
    for problem in found.problems:
        print(f"error: {problem}{f'{chr(10)}  {problem.hint}' if problem.hint else ''}", file=sys.stderr)
    count = len(found.problems)
    print(f"{what}: {terminal.counted(count, 'problem')} in {found.files} files", file=sys.stderr)


def _as_json(found: Found) -> Json:
    return {
        "version": found.version,
        "where": found.where,
        "files": found.files,
        "said": list(found.said),
        "problems": [
            {"what": one.what, "where": one.where, "hint": one.hint, "exit_code": one.code} for one in found.problems
        ],
    }
