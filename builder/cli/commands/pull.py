"""`build pull`: choose for this machine, verify, place, say why."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Callable, List, Mapping, Optional, Sequence

from builder import clock
from builder.cli import choice_text as words
from builder.cli.flags import add_transfer, transfer
from builder.errors import NothingFits, UsageError
from builder.host import bench_records, install, offers, rollback, selftest, verify
from builder.host.choose import Asked, Choice, choose
from builder.host.demands import check, read
from builder.platforms import machines
from builder.store import supply, trust
from builder.store.manifest import Entry, Manifest


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
    source = args.source or args.named
    supplied = supply.opened(source or "artifacts", args.to, os.environ)
    with supplied.reading():
        code = _pulled(args, supplied, source)
    if code == 0 and not args.explain:
        supplied.tidy(install.versions(args.to))
    return code


def _pulled(args: argparse.Namespace, supplied: supply.Supply, source: Optional[str]) -> int:
    memory, now = rollback.read(args.to), clock.now()
    wanted = offers.Wanted(args.channel, args.version, args.signatures, args.allow_unsigned)
    ring = trust.at(args.key, os.environ, supplied.repository)
    for note in ring.notes:  # now: they may say why nothing is taken
        print(f"note: {note}", file=sys.stderr)
    found = offers.found(supplied, wanted, ring, memory, now)
    for note in found.notes:
        print(f"note: {note}", file=sys.stderr)
    manifest = supplied.offered(found.manifest)
    head = args.head or manifest.model.heads[0].name
    known = [h.name for h in manifest.model.heads]
    if head not in known:
        raise UsageError(f"the model has no head {head!r}", hint=f"heads: {', '.join(known)}")
    offer = offers.for_head(found, head)
    rollback.check(memory, offer, supplied.name, allowed=args.allow_rollback)
    machine = machines.here()
    asked = _asked(args, manifest, head)
    times, left_out = bench_records.here(supplied.store, manifest, machine, head, found.ring)
    for said in left_out:
        print(f"note: {said}", file=sys.stderr)
    choice = choose(manifest, machine, head, asked, times)
    if args.explain:
        as_json = args.format == "json"
        print(json.dumps(words.as_json(choice), indent=1) if as_json else words.explained(choice, manifest, head))
        return 0 if choice.ranked else NothingFits.exit_code
    if not choice.ranked:
        raise NothingFits(
            f"no artifact of head {head!r} in v{manifest.version} may be used on this machine{words.nothing(choice)}",
            where=supplied.name,
            hint=f"see why with: build pull {f'{source} ' if source else ''}--explain{words.flags(asked)}",
        )

    def news() -> Optional[rollback.Memory]:
        return rollback.news(args.to, offer, now, supplied.name, allowed=args.allow_rollback)

    settled = _settled(
        args, supplied, manifest, lambda failed: choose(manifest, machine, head, asked, times, failed), machine, news
    )
    return _told(args, manifest, machine, settled, found.told)


def _settled(
    args: argparse.Namespace,
    supplied: supply.Supply,
    manifest: Manifest,
    choose_without: Callable[[Mapping[str, str]], Choice],
    machine: machines.Machine,
    news: Callable[[], Optional[rollback.Memory]],
) -> selftest.Settled:
    """Fetch, lay and test, until a choice is proven. One lock is held from `news`, which refuses what is older than what
    the host has had, until `current` is right. A folder where nothing is to be written is not locked: it may be
    read-only."""
    with contextlib.ExitStack() as held:
        locked: List[Path] = []

        def lay(chain: Sequence[Entry]) -> Path:
            folder = install.unchanged(manifest, chain, args.to, args.keep)
            if folder is None:
                with transfer(args, "fetched") as pace:
                    supplied.bring((blob for _, blob in install.contents(chain)), pace)
            elif not locked and news() is None:
                return folder
            if not locked:
                held.enter_context(install.locked(args.to))
                locked.append(args.to)
                memory = news()
                if memory is not None:
                    rollback.write(args.to, memory)
            return install.lay(manifest, chain, supplied.store, args.to, linked=supplied.place is not None)

        def point(folder: Path) -> None:
            if locked:  # else it was current, and another pull may have moved on
                install.point(folder, args.keep)

        test = (
            None
            if args.no_self_test
            else selftest.SelfTest(machine, lambda: clock.text(clock.now()), args.self_test_limit)
        )
        settled = selftest.settled(choose_without, lay, test, lambda line: print(line, file=sys.stderr), point)
        verify.write(settled.folder, supplied.store, manifest.version)
        return settled


def _told(
    args: argparse.Namespace, manifest: Manifest, machine: machines.Machine, settled: selftest.Settled, channel: str
) -> int:
    for note in words.notes(settled.choice, machine):
        print(note, file=sys.stderr)
    tested = selftest.said(settled, skipped=args.no_self_test)
    if args.format == "json":
        cells = [entry.cell for entry in settled.chain]
        said = words.placed_as_json(settled.choice, str(settled.folder), cells)
        print(json.dumps({**said, "self_test": tested}))
        return 0
    first = settled.choice.standings[0]
    print(f"{first.entry.cell} of v{manifest.version} -> {settled.folder}  ({words.speed(first)}; {first.tier.name})")
    for entry in settled.chain[1:]:
        print(f"{entry.cell} beside it, for sizes outside the first one's profile")
    for cell, line in tested.items():
        print(f"self-test: {cell} {line}")
    if channel:
        print(channel)
    print(f"Next: build run PHOTO{'' if str(args.to) == 'pulled' else f' --from {args.to}'}")
    return 0


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


def _asked(args: argparse.Namespace, manifest: Manifest, head: str) -> Asked:
    """What the flags ask for. Raises UsageError for a metric that no artifact of the head states."""
    demands = tuple(map(read, args.min_accuracy))
    check(demands, (entry for entry in manifest.entries if entry.head == head))
    return Asked(args.unverified, args.no_fallback, args.require_gpu, demands)
