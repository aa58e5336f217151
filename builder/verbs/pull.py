"""`build pull`: choose for this machine, verify, place, say why."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import List, Optional

from builder import facts, pull, trust
from builder.choose import Choice, choose, covering, other_version
from builder.digest import Json
from builder.errors import NothingFits, UsageError
from builder.manifest import Entry, Manifest
from builder.stores import supply, versions


def arguments(parser: argparse.ArgumentParser) -> None:
    where = "a store's folder, the address that it was published to, or a bundle (artifacts)"
    parser.add_argument("source", nargs="?", metavar="SOURCE", help=where)
    parser.add_argument("--from", dest="named", metavar="SOURCE", help="the same, as a flag")
    parser.add_argument("--to", type=Path, default=Path("pulled"), metavar="DIR", help="where to place it (pulled)")
    parser.add_argument("--head", metavar="NAME", help="head of the model (default: the first)")
    parser.add_argument("--version", type=int, metavar="N", help="a version of the store (default: the newest)")
    parser.add_argument("--unverified", action="store_true", help="also consider artifacts that were never measured")
    parser.add_argument("--key", metavar="KEY", help="trust this public key alone: a .pub file, or the key itself")
    parser.add_argument("--allow-unsigned", action="store_true", help="take what nobody trusted here has signed")
    parser.add_argument(
        "--explain", action="store_true", help="say why each other artifact was rejected; place nothing"
    )
    parser.add_argument("--format", choices=("text", "json"), default="text")


def run(args: argparse.Namespace) -> int:
    if args.source and args.named:
        raise UsageError("the source is named twice", hint=f"build pull {args.source}")
    source = args.source or args.named
    supplied = supply.opened(source or "artifacts", args.to, os.environ)
    with supplied.reading():
        return _pulled(args, supplied, source)


def _pulled(args: argparse.Namespace, supplied: supply.Supply, source: Optional[str]) -> int:
    manifest = supplied.offered(_manifest(supplied, args))
    head = args.head or manifest.model.heads[0].name
    known = [h.name for h in manifest.model.heads]
    if head not in known:
        raise UsageError(f"the model has no head {head!r}", hint=f"heads: {', '.join(known)}")
    machine = facts.here()
    choice = choose(manifest, machine, head, unverified=args.unverified)
    if args.explain:
        print(json.dumps(_as_json(choice), indent=1) if args.format == "json" else _explained(choice, manifest, head))
        return 0 if choice.ranked else NothingFits.exit_code
    if not choice.ranked:
        raise NothingFits(
            f"no artifact of head {head!r} in v{manifest.version} may be used on this machine",
            where=supplied.name,
            hint=f"see why with: build pull {f'{source} ' if source else ''}--explain",
        )
    chain = covering(choice.ranked)
    supplied.bring(blob for _, blob in pull.contents(chain))
    folder = pull.place(manifest, chain, supplied.store, args.to)
    if args.format == "json":
        print(json.dumps({"placed": str(folder), "cells": [entry.cell for entry in chain]}))
        return 0
    print(f"{chain[0].cell} of v{manifest.version} -> {folder}  ({_speed(chain[0])})")
    unlike = other_version(chain[0], machine)
    if unlike and chain[0].platform is not None:
        proven = f"{chain[0].platform.runtime} {chain[0].platform.version}"
        print(f"note: it was proven with {proven}; this host has {unlike}", file=sys.stderr)
    for entry in chain[1:]:
        print(f"{entry.cell} beside it, for sizes outside the first one's profile")
    print(f"Next: build run PHOTO{'' if str(args.to) == 'pulled' else f' --from {args.to}'}")
    return 0


def _manifest(supplied: supply.Supply, args: argparse.Namespace) -> Manifest:
    """The version that is asked for, once it is known to be signed by someone who is trusted here, if anyone is."""
    store = supplied.store
    version = supplied.version(args.version, "name a store: build pull SOURCE, or make one: build matrix")
    trusted = trust.these(args.key, os.environ)
    if trusted and not args.allow_unsigned:
        return versions.parsed(store, version, trust.proof(store, version, trusted).data)
    return versions.read(store, version)


def _explained(choice: Choice, manifest: Manifest, head: str) -> str:
    lines: List[str] = [f"Head {head} of {manifest.model.name} v{manifest.version}, on this machine:"]
    for number, entry in enumerate(choice.ranked, 1):
        lines.append(f"  {number}. {entry.cell}  {_speed(entry)}")
    if not choice.ranked:
        lines.append("  no artifact may be used")
    lines.append("Rejected:")
    lines += [f"  {rejected.cell}: {rejected.reason}" for rejected in choice.rejected]
    return "\n".join(lines)


def _as_json(choice: Choice) -> Json:
    return {
        "ranked": [entry.cell for entry in choice.ranked],
        "rejected": [{"cell": rejected.cell, "reason": rejected.reason} for rejected in choice.rejected],
    }


def _speed(entry: Entry) -> str:
    if entry.latency is None:
        return "never timed"
    ratio = f", {entry.latency.speedup:.2f} times as fast as the naive export" if entry.latency.speedup else ""
    return f"p50 {entry.latency.artifact.p50:.1f} ms on {entry.latency.machine}{ratio}"
