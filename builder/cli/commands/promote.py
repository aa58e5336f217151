"""`build promote VERSION --channel NAME`: let a channel stand at a version."""

from __future__ import annotations

import argparse

from builder.cli.commands import promoting
from builder.store import promotion


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("version", metavar="VERSION", help="v3, latest, or a channel: the version that stands there")
    promoting.arguments(parser)


def run(args: argparse.Namespace) -> int:
    with promoting.desk(args) as desk:
        promoting.say(promotion.promote(desk, args.version, promoting.wish(args)), desk, args.store)
    return 0
