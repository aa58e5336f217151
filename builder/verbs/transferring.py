"""The options of verbs that transfer files, and what they make. Not a verb."""

from __future__ import annotations

import argparse
import contextlib
import sys
from typing import Iterator

from builder.store import transfers
from builder.store.transfers import Pace
from builder.terminal import Meter


def add_transfer(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--jobs", type=_jobs, default=transfers.JOBS, metavar="N", help=f"files at once ({transfers.JOBS})"
    )
    parser.add_argument(
        "--timeout",
        type=_seconds,
        default=transfers.SECONDS,
        metavar="SECONDS",
        help=f"for all files together ({transfers.SECONDS:g}); the next try goes on from there",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress")


@contextlib.contextmanager
def transfer(args: argparse.Namespace, doing: str) -> Iterator[Pace]:
    """`doing` is for the line of progress: "fetched"."""
    meter = Meter(doing, None if args.quiet else sys.stderr)
    try:
        yield Pace(meter, jobs=args.jobs, seconds=args.timeout)
    finally:
        meter.close()


def _jobs(word: str) -> int:
    if not (word.isascii() and word.isdigit() and 1 <= int(word) <= 64):
        raise argparse.ArgumentTypeError(f"{word!r} is not a number of files at once (1 to 64)")
    return int(word)


def _seconds(word: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 < float(word) < 1e7:
            return float(word)
    raise argparse.ArgumentTypeError(f"{word!r} is not a number of seconds")
