"""`build pull`: flags, and what is printed of the outcome. The flow is `builder/host/pull.py`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from builder.cli import choice_text as words
from builder.cli.flags import add_transfer, transfer
from builder.errors import NothingFits, UsageError
from builder.host import demands, install, selftest
from builder.host.choose import Asked
from builder.host.offers import Offered, Pull, read_offer
from builder.host.pull import Pulled, choices, pull
from builder.store import supply


def arguments(parser: argparse.ArgumentParser) -> None:
    where = "a store's folder, the address that it was published to, or a bundle (artifacts)"
    parser.add_argument("source", nargs="?", metavar="SOURCE", help=where)
    parser.add_argument("--from", dest="named", metavar="SOURCE", help="the same, as a flag")
    parser.add_argument("--to", type=Path, default=Path("pulled"), metavar="DIR", help="where to place it (pulled)")
    parser.add_argument("--head", metavar="NAME", help="head of the model (default: the first)")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--version", type=int, metavar="N", help="a version of the store (default: the newest)")
    which.add_argument("--channel", metavar="NAME", help="the version where this channel stands, such as stable")
    parser.add_argument("--unverified", action="store_true", help="also consider artifacts that were never measured")
    parser.add_argument(
        "--min-accuracy",
        action="append",
        default=[],
        metavar="METRIC>=N",
        help="only what states it: views.repeatability_1px>=0.95, parity.cosine>=0.999, scores.max_abs<=0.01",
    )
    parser.add_argument("--require-gpu", action="store_true", help="only what runs on a GPU")
    parser.add_argument(
        "--no-fallback", action="store_true", help="only what was made and proven for the best device of this host"
    )
    parser.add_argument("--key", metavar="KEY", help="trust this public key alone: a .pub file, or the key itself")
    parser.add_argument(
        "--signatures", type=int, default=1, metavar="N", help="so many trusted keys must have signed (1)"
    )
    parser.add_argument("--allow-unsigned", action="store_true", help="take what nobody trusted here has signed")
    parser.add_argument("--no-self-test", action="store_true", help="place it without running it here first")
    parser.add_argument(
        "--self-test-limit",
        type=_seconds,
        default=selftest.SECONDS,
        metavar="SECONDS",
        help="an artifact that does not answer within this is rejected (%(default)g)",
    )
    rollback = "take what is older, or other, than what was pulled into this folder before"
    parser.add_argument("--allow-rollback", action="store_true", help=rollback)
    parser.add_argument(
        "--explain", action="store_true", help="say why each other artifact was rejected; place nothing"
    )
    parser.add_argument(
        "--keep",
        type=_keep,
        default=install.KEEP,
        metavar="N",
        help=f"placed versions of the head that stay, the current one among them ({install.KEEP})",
    )
    add_transfer(parser)
    parser.add_argument("--format", choices=("text", "json"), default="text")


def run(args: argparse.Namespace) -> int:
    if args.source and args.named:
        raise UsageError("the source is named twice", hint=f"build pull {args.source}")
    request = _request(args)
    supplied = supply.opened(request.source or "artifacts", args.to, os.environ)
    with supplied.reading():
        if args.explain:
            return _explain(args, read_offer(request, supplied, os.environ, _say))
        pulled = pull(request, supplied, os.environ, _say, lambda: transfer(args, "fetched"))
        _print(args, pulled)
    supplied.tidy(install.versions(args.to))
    return 0


def _request(args: argparse.Namespace) -> Pull:
    return Pull(
        source=args.source or args.named,
        dest=args.to,
        head=args.head,
        channel=args.channel,
        version=args.version,
        signatures=args.signatures,
        key=args.key,
        allow_unsigned=args.allow_unsigned,
        allow_rollback=args.allow_rollback,
        asked=Asked(args.unverified, args.no_fallback, args.require_gpu, tuple(map(demands.read, args.min_accuracy))),
        self_test=None if args.no_self_test else args.self_test_limit,
        keep=args.keep,
    )


def _say(line: str) -> None:
    print(line, file=sys.stderr)


def _explain(args: argparse.Namespace, offered: Offered) -> int:
    choice = choices(offered)
    if args.format == "json":
        print(json.dumps(words.as_json(choice), indent=1))
    else:
        print(words.explained(choice, offered.manifest, offered.offer.head))
    return 0 if choice.ranked else NothingFits.exit_code


def _print(args: argparse.Namespace, pulled: Pulled) -> None:
    offered, choice, cells = pulled.offered, pulled.choice, [entry.cell for entry in pulled.chain]
    for note in words.notes(choice, offered.machine):
        _say(note)
    tested = selftest.said(pulled.chain, pulled.proofs, skipped=args.no_self_test)
    if args.format == "json":
        print(json.dumps({**words.placed_as_json(choice, str(pulled.folder), cells), "self_test": tested}))
        return
    first, version = choice.standings[0], offered.manifest.version
    print(f"{cells[0]} of v{version} -> {pulled.folder}  ({words.speed(first)}; {first.tier.name})")
    for cell in cells[1:]:
        print(f"{cell} beside it, for sizes outside the first one's profile")
    for cell, line in tested.items():
        print(f"self-test: {cell} {line}")
    if offered.told:
        print(offered.told)
    print(f"Next: build run PHOTO{'' if str(args.to) == 'pulled' else f' --from {args.to}'}")


def _keep(word: str) -> int:
    if not (word.isascii() and word.isdigit() and int(word) >= 1):
        raise argparse.ArgumentTypeError(f"{word!r} is not a number of versions; at least the current one stays")
    return int(word)


def _seconds(word: str) -> float:
    try:
        seconds = float(word)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 86_400:
        raise argparse.ArgumentTypeError(f"{word!r} is not a number of seconds")
    return seconds
