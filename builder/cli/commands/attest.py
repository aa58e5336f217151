"""`build attest`: what a version was made of, as an in-toto statement or a CycloneDX bill of materials."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Tuple

from builder import files
from builder.audit.history import number
from builder.errors import UsageError
from builder.store import attestations, referrers, versions
from builder.store.layout import Layout
from builder.store.trust import secret_key

_TAGS = {"in-toto": ("intoto", "attestation.intoto.json"), "cyclonedx": ("sbom", "bom.cdx.json")}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("version", nargs="?", metavar="VERSION", help="v3 or 3 (default: the newest)")
    parser.add_argument("--format", choices=tuple(_TAGS), default="in-toto", help="default: in-toto")
    parser.add_argument("--store", type=Path, default=Path("artifacts"), metavar="DIR", help="default: artifacts")
    key = "in-toto: sign it, as a DSSE envelope; may be repeated"
    parser.add_argument("--key", type=Path, action="append", default=[], metavar="FILE", help=key)
    parser.add_argument("--builder-id", default=attestations.BUILDER, metavar="URI", help="names the build platform")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--out", type=Path, metavar="FILE", help="write it there (default: print it)")
    where.add_argument("--attach", action="store_true", help="put it beside the version; build publish carries it")


def run(args: argparse.Namespace) -> int:
    if args.key and args.format != "in-toto":
        raise UsageError(
            "a bill of materials has no signature of its own", hint="build attest --format in-toto --key FILE"
        )
    if args.attach and args.format == "in-toto" and not args.key:
        raise UsageError("what is attached is signed, so that a host can verify it", hint="add: --key FILE")
    store = Layout(args.store)
    known = versions.numbers(store)
    newest = versions.chosen(store, None, "make one: build matrix")
    version = number(args.version, "VERSION", known) if args.version else newest
    text, kind = _text(args, store, version)
    if args.attach:
        tag, name = _TAGS[args.format]
        with store.locked():
            made = referrers.attach_statement(store, version, tag, kind, name, text)
        print(f"{made} is beside v{version} in {args.store}/\nNext: build publish DEST")
    elif args.out:
        _write(args.out, text)
        print(f"{args.out}: {args.format} of v{version}{', signed' if args.key else ''}")
    else:
        print(text.decode(), end="")
    return 0


def _text(args: argparse.Namespace, store: Layout, version: int) -> Tuple[bytes, str]:
    manifest = versions.read(store, version)
    made_of = versions.read_provenance(store, manifest)
    if made_of is None:
        raise UsageError(
            f"v{version} was published without its provenance, by an older release",
            hint="build the version again: build matrix",
        )
    named = versions.manifest_digest(store, version)
    if args.format == "cyclonedx":
        return _json(attestations.bill_of_materials(manifest, named, made_of)), attestations.BILL_KIND
    statement = attestations.slsa_statement(manifest, named, made_of, args.builder_id)
    if not args.key:
        return _json(statement), attestations.IN_TOTO
    keys = [secret_key(path) for path in args.key]
    return attestations.sign_envelope(statement, attestations.IN_TOTO, keys), attestations.ENVELOPE_KIND


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()


def _write(path: Path, text: bytes) -> None:
    """Whole or not at all."""
    if not path.parent.is_dir():
        raise UsageError("there is no such folder", where=str(path.parent))
    files.write(path, text)
