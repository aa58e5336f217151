"""`build diff OLD NEW`: what changed between two versions of a store, cell by cell, and why. Reads; judges nothing."""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import Optional

from builder import plugins
from builder.audit import diff
from builder.audit.history import Version
from builder.cli import diff_text
from builder.errors import UsageError
from builder.records import to_json
from builder.store import channels, supply, versions
from builder.store.remotes.folder import Folder
from builder.store.supply import Supply


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("old", nargs="?", metavar="OLD", help="v3, 3 or a channel (default: the one before NEW)")
    parser.add_argument("new", nargs="?", metavar="NEW", help="the same (default: the newest)")
    where = "a store's folder, or the address that it was published to (artifacts)"
    parser.add_argument("--store", default="artifacts", metavar="SOURCE", help=where)
    parser.add_argument("--format", choices=("text", "json", "markdown"), default="text")


def run(args: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory(prefix="deploymatrix-") as kept:
        supplied = supply.opened(args.store, Path(kept), os.environ)
        with supplied.reading():
            old, new = _chosen(supplied, args.old, args.new)
            found = diff.between(_version(supplied, old), _version(supplied, new))
    if args.format == "json":
        print(json.dumps(to_json(found), indent=1, ensure_ascii=False))
    elif args.format == "markdown":
        print(diff_text.as_markdown(found))
    else:
        print(diff_text.as_text(found))
    return 0


def _chosen(supplied: Supply, old: Optional[str], new: Optional[str]) -> "tuple[int, int]":
    """The two numbers. Raises UsageError."""
    place: plugins.Repository = supplied.place or Folder(str(supplied.store.root), {})
    known = sorted(versions.numbered(place.tags()))
    if not known:
        raise UsageError(
            f"{supplied.name} holds no version", hint="name a store with --store, or make one: build matrix"
        )
    last = _number(place, new, known) if new else known[-1]
    earlier = [number for number in known if number < last]
    if not old and not earlier:
        raise UsageError(f"v{last} is the first version in {supplied.name}", hint="name two: build diff OLD NEW")
    first = _number(place, old, known) if old else earlier[-1]
    if first == last:
        raise UsageError(f"both are v{first}", hint="name two versions: build diff OLD NEW")
    return first, last


def _number(place: plugins.Repository, word: str, known: "list[int]") -> int:
    digits = word[1:] if word[:1] == "v" else word
    if digits.isascii() and digits.isdigit() and len(digits) < 10:
        if int(digits) in known:
            return int(digits)
        raise UsageError(f"there is no version {word} in {place.name}", hint=f"versions: {_listed(known)}")
    found = channels.offered(place, word) if channels.is_name(word) else None
    if found is None:
        raise UsageError(f"{word!r} is no version and no channel of {place.name}", hint=f"versions: {_listed(known)}")
    return channels.parsed(found.data, place.name).current.version


def _listed(known: "list[int]") -> str:
    return ("... " if len(known) > 8 else "") + ", ".join(f"v{number}" for number in known[-8:])


def _version(supplied: Supply, number: int) -> Version:
    """A published version; a copy elsewhere is read without its provenance, which only builders need."""
    supplied.version(number, "")
    manifest = versions.read(supplied.store, number)
    recorded = bool(manifest.provenance) and supplied.store.holds(manifest.provenance)
    return Version(manifest, versions.read_provenance(supplied.store, manifest) if recorded else None)
