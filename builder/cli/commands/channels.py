"""`build channels`: which version each channel means, since when, until when, and who says so."""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import List

from builder import clock, plugins
from builder.digest import Json
from builder.errors import StoreDamaged, Untrusted, UsageError
from builder.store import channels, trust
from builder.store.channels import Channel, OfferedChannel
from builder.terminal import table
from builder.trust import keyring, minisign
from builder.trust.keyring import Keyring


def arguments(parser: argparse.ArgumentParser) -> None:
    where = "a store's folder, or the address that it was published to (artifacts)"
    parser.add_argument("source", nargs="?", default="artifacts", metavar="SOURCE", help=where)
    parser.add_argument("--format", choices=("text", "json"), default="text")


def run(args: argparse.Namespace) -> int:
    place = plugins.repository(args.source, os.environ)
    ring, now, code = trust.at(None, os.environ, place), clock.now(), 0
    if not place.tags():
        raise UsageError(f"{place.name} holds no version", hint="name a store: build channels SOURCE")
    rows: List[List[str]] = []
    records: List[Json] = []
    for found in channels.all_of(place):
        try:
            record = channels.parsed(found.data, place.name)
        except StoreDamaged as problem:
            print(f"{found.name}: {problem}", file=sys.stderr)
            code = StoreDamaged.exit_code
            continue
        signed = _signed(found, ring, place.name)
        records.append(_as_json(found.name, record, signed, now))
        rows.append(_row(found.name, record, signed, now))
    if args.format == "json":
        print(json.dumps(records, indent=1))
    elif rows:
        print(table(("channel", "version", "serial", "since", "expires", "signed by", "reason"), rows, status=0))
    elif not code:
        print(f"{place.name} has no channel. Next: build promote VERSION --channel NAME")
    return code


def _signed(found: OfferedChannel, ring: Keyring, where: str) -> str:
    """Names of those trusted here who signed it, or who says that they did."""
    try:
        proof = keyring.proven(found.data, found.signatures, ring, what=found.name, where=where, hint="")
        return " and ".join(map(str, proof.by))
    except Untrusted:
        pass
    names = []
    for text in found.signatures:
        try:
            names.append(minisign.key_name(minisign.signature(text, where).key_id))
        except UsageError:
            continue
    return f"{', '.join(names)}, not trusted here" if names else "nobody"


def _row(name: str, record: Channel, signed: str, now: clock.Time) -> List[str]:
    current = record.current
    expires = "never"
    if record.expires:
        left = clock.read(record.expires) - now
        expires = f"in {clock.ago(left)}" if left.total_seconds() >= 0 else f"{clock.ago(-left)} ago"
    reason = f"rolled back: {current.reason}".rstrip(": ") if current.back else current.reason
    called = name if record.channel == name else f"{name} (says {record.channel})"
    return [called, f"v{current.version}", str(current.serial), current.issued, expires, signed, reason]


def _as_json(name: str, record: Channel, signed: str, now: clock.Time) -> Json:
    current = record.current
    return {
        "channel": name,
        "model": record.model,
        "version": current.version,
        "serial": current.serial,
        "since": current.issued,
        "expires": record.expires,
        "expired": record.expired(now),
        "signed_by": signed,
        "back": current.back,
        "reason": current.reason,
    }
