"""`build matrix`: run the plan, judge what was measured, publish a version, say what happened."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from pathlib import Path
from typing import FrozenSet, Optional, Tuple

from builder.cli import flags, summary
from builder.cli.commands import plan as plan_verb
from builder.cli.flags import add_matrix, add_selectors, load_matrix, selectors
from builder.config.loader import load
from builder.errors import GateFailed, StepFailed, UsageError
from builder.execution import orders
from builder.execution.build import Build
from builder.execution.local import Local
from builder.execution.precision_search import Healed
from builder.execution.scheduler import Lines, Reporter, Silent
from builder.platforms import machines
from builder.store.layout import Layout
from builder.store.manifest import Manifest


def arguments(parser: argparse.ArgumentParser) -> None:
    add_matrix(parser)
    add_selectors(parser)
    parser.add_argument("--dry-run", action="store_true", help="show what would be done, as `build plan` does")
    parser.add_argument("--force", action="store_true", help="perform every step again, recalled or not")
    parser.add_argument(
        "--jobs", type=_jobs, default=1, metavar="N", help="steps at once (default 1; timing always runs alone)"
    )
    parser.add_argument(
        "--gate",
        action="append",
        default=[],
        metavar="[CELLS:]PATH=NUMBER",
        help="one more limit, over those of the matrix: '*-int8-*:outputs.scores.cosine=0.99'; may be repeated",
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on with the run that was interrupted here, with its flags"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress, only the summary")
    parser.add_argument("--format", choices=("text", "json"), default="text", help="of the summary")


def run(args: argparse.Namespace) -> int:
    if args.dry_run:
        args.print_ids, args.facts = False, None
        return plan_verb.run(args)
    if args.resume:
        _as_interrupted(args)
    loaded, place = load_matrix(args)
    if args.gate:
        loaded = flags.with_gates(loaded, tuple(args.gate))
    only, skip = selectors(args, loaded.matrix)
    store = Layout(place)
    build = Build(loaded, machines.here(), store)
    planned = build.plan(only, skip)
    build.pinner.check(planned.jobs)  # before anything is written
    reporter = _reporter(args)
    with store.locked():
        run_id, done = _begin(args, store)
        with build.elsewhere(planned, run_id, os.environ) as at, contextlib.closing(reporter):
            healed = build.perform(planned, Local(), reporter, at, jobs=args.jobs, force=args.force, done=done)
        orders.keep(healed.plan, healed.outcome, build.pinner, store)
        manifest, fresh = build.publish(healed, partly=bool(only or skip))
        orders.end(store)
    if args.format == "json":
        said = summary.as_json(manifest, healed.outcome, healed.plan, fresh)
        print(json.dumps(said, indent=1, ensure_ascii=False))
    else:
        print(summary.as_text(manifest, healed.outcome, healed.plan, fresh, place))
    return _exit_code(manifest, healed)


def _as_interrupted(args: argparse.Namespace) -> None:
    """Put the flags of the interrupted run into `args`. Raises UsageError when there is none, or flags of another one."""
    place = args.store if args.store is not None else load(args.matrix).store
    found = orders.find(Layout(place))
    if found is None:
        raise UsageError(f"no run was interrupted in {place}", hint="build matrix")
    if args.only or args.skip or args.gate or args.force or args.machines:
        raise UsageError(
            "--resume takes --only, --skip, --gate, --force and --machines from the run that it goes on with",
            hint="leave them out, or leave --resume out",
        )
    args.only, args.skip, args.gate, args.force = list(found.only), list(found.skip), list(found.gates), found.force
    args.machines = Path(found.machines) if found.machines else None


def _begin(args: argparse.Namespace, store: Layout) -> Tuple[str, FrozenSet[str]]:
    """The id of this run, and the keys of what it has done already, when it goes on with an interrupted one."""
    found = orders.find(store) if args.resume else None
    machines = str(args.machines.absolute()) if args.machines else None
    given = (tuple(args.only), tuple(args.skip), tuple(args.gate))
    begun = orders.Ongoing(found.id if found else orders.new_id(), *given, args.force, machines)
    orders.begin(store, begun)
    return begun.id, orders.made_since(store) if found and args.force else frozenset()


def _reporter(args: argparse.Namespace) -> Reporter:
    if args.quiet:
        return Silent()
    live: Optional[Reporter] = None
    if sys.stderr.isatty() and args.format == "text":
        from builder.cli import live as live_table

        live = live_table.reporter()
    return live or Lines()


def _exit_code(manifest: Manifest, healed: Healed) -> int:
    if healed.outcome.failures:
        return StepFailed.exit_code
    ids = {cell.id for cell in healed.plan.cells}
    failed = any(e.verdict.status == "failed" for e in manifest.entries if e.cell in ids)
    return GateFailed.exit_code if failed else 0


def _jobs(word: str) -> int:
    if not word.isdigit() or int(word) < 1:
        raise argparse.ArgumentTypeError(f"{word!r} is not a number of jobs")
    return int(word)
