"""`build rollback --channel NAME`: let a channel go back to the version where it stood before."""

from __future__ import annotations

import argparse

from builder.cli.commands import promoting
from builder.store import promotion


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--to", metavar="VERSION", help="not where it stood before, but here")
    promoting.arguments(parser)


def run(args: argparse.Namespace) -> int:
    with promoting.desk(args) as desk:
        to = promotion.number(args.to) if args.to else None
        promoting.say(promotion.rollback(desk, to, promoting.wish(args)), desk, args.store)
    return 0
