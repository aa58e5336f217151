"""`build matrix`: run the plan, judge what was measured, publish a version, say what happened."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import Callable, FrozenSet, Mapping, Optional, Set, Tuple

from builder import clock
from builder.cli import flags, summary
from builder.cli.commands import plan as plan_verb
from builder.cli.flags import add_matrix, add_selectors, load_matrix, selectors
from builder.config.loader import Loaded, load
from builder.config.remote_machines import Reached
from builder.errors import GateFailed, StepFailed, UsageError
from builder.execution import orders, publish, scheduler
from builder.execution.local import Local
from builder.execution.precision_search import Healed, heal, recalled
from builder.execution.scheduler import Lines, Outcome, Reporter, Silent, prospect
from builder.execution.scheduler import run as perform
from builder.execution.search_trials import Attempt
from builder.planning.planner import Plan, plan
from builder.planning.resolver import Pinner
from builder.platforms import machines
from builder.platforms.machines import Machine
from builder.plugins import Executor
from builder.release import VERSION
from builder.store import versions
from builder.store.layout import Layout
from builder.store.manifest import Manifest, Searched


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
    machine, store = machines.here(), Layout(place)
    wanted = plan(loaded.matrix, machine, only=only, skip=skip, store=str(place))
    pinner = Pinner(loaded.root, machine, store)
    pinner.check(wanted.jobs)  # before anything is written
    reporter = _reporter(args)
    with contextlib.ExitStack() as stack:
        stack.enter_context(store.locked())
        run_id, spared = _begun(args, store)
        attempt = _attempt(args, pinner, store, reporter, _machines(loaded, wanted, run_id, stack), spared)
        wanted, known = _as_found(args, loaded, wanted, pinner, store, machine)
        try:
            healed = heal(loaded.matrix, machine, wanted, attempt(wanted, ""), attempt, reporter.told, known=known)
        finally:
            reporter.close()
        wanted, outcome = healed.plan, healed.outcome
        orders.keep(wanted, outcome, pinner, store)
        manifest, fresh = _publish(loaded, healed, pinner, store, machine, partly=bool(only or skip))
        orders.end(store)
    ids = frozenset(cell.id for cell in wanted.cells)
    if args.format == "json":
        print(json.dumps(summary.as_json(manifest, outcome, wanted, fresh), indent=1, ensure_ascii=False))
    else:
        print(summary.as_text(manifest, outcome, wanted, fresh, place))
    return _exit_code(manifest, outcome, ids)


def _as_found(
    args: argparse.Namespace, loaded: Loaded, wanted: Plan, pinner: Pinner, store: Layout, machine: Machine
) -> Tuple[Plan, Mapping[str, Searched]]:
    """The plan with the layers that an earlier run found, so that nothing is done for artifacts that are not used."""
    if args.force or not any(cell.search for cell in wanted.cells):
        return wanted, {}
    found = recalled(loaded.matrix, machine, wanted, pinner, store)
    return found.plan, {cell: searched for cell, searched in found.searched.items() if searched.kept}


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


def _begun(args: argparse.Namespace, store: Layout) -> Tuple[str, FrozenSet[str]]:
    """The id of this run, and the keys of what it has done already, when it goes on with an interrupted one."""
    found = orders.find(store) if args.resume else None
    machines = str(args.machines.absolute()) if args.machines else None
    begun = orders.Ongoing(
        found.id if found else orders.new_id(),
        tuple(args.only),
        tuple(args.skip),
        tuple(args.gate),
        args.force,
        machines,
    )
    orders.begin(store, begun)
    return begun.id, orders.made_since(store) if found and args.force else frozenset()


def _machines(
    loaded: Loaded, wanted: Plan, run_id: str, stack: contextlib.ExitStack
) -> Optional[Callable[[Reached], Executor]]:
    """The executors of the machines that the matrix says to work on, until `stack` ends; None without any."""
    if not any(job.reached for job in wanted.jobs):
        return None
    from builder.execution.executors import (
        Campaign,  # here, so that a run without other machines does not pay for it
        Crew,
    )

    fleet = loaded.matrix.fleet.beside(loaded.root) if loaded.matrix.fleet else None
    campaign = Campaign(run_id, os.environ, scheduler.shared(wanted.jobs), fleet)
    return stack.enter_context(Crew(campaign)).at


def _attempt(
    args: argparse.Namespace,
    pinner: Pinner,
    store: Layout,
    reporter: Reporter,
    at: Optional[Callable[[Reached], Executor]],
    spared: FrozenSet[str],
) -> Attempt:
    """Runs plans one after the other; with --force, each step once, but for those that are `spared`."""
    executor = Local()
    done: Set[str] = set(spared)

    def attempt(some: Plan, said: str) -> Outcome:
        found = prospect(some, pinner, store) if said else Outcome()
        afresh = args.force and not all(
            found.results[job.id].key in done for job in some.jobs if job.id in found.results
        )
        if said and not afresh and all(job.id in found.results for job in some.jobs):
            return found  # nothing to do, and nothing to say
        if said:
            reporter.told(said)
        outcome = perform(some, pinner, store, executor, reporter, jobs=args.jobs, force=args.force, spared=done, at=at)
        done.update(outcome.results[job].key for job in outcome.performed)
        return outcome

    return attempt


def _publish(
    loaded: Loaded, healed: Healed, pinner: Pinner, store: Layout, machine: Machine, *, partly: bool
) -> Tuple[Manifest, bool]:
    """The manifest of what is now known, published when it says something new. Cells outside the selection keep
    their place when nothing they depend on has changed."""
    whole = _with_the_rest(loaded, healed, pinner, store, machine) if partly else healed
    last = versions.latest(store)
    made = publish.manifest(
        loaded,
        whole.plan,
        whole.outcome,
        store,
        machine,
        version=last.version + 1 if last else 1,
        created=clock.text(clock.now()),
        release=VERSION,
        searched=whole.searched,
    )
    if last is not None and last.says_the_same_as(made):
        return last, False
    # here, so that a run with nothing to say does not pay for it
    from builder.store import provenance  # here, so that a run with nothing to say does not pay for it

    traced = publish.trace(whole.plan, whole.outcome, made.version)
    versions.publish(store, made, dataclasses.replace(traced, revision=provenance.of(loaded.root)))
    return made, True


def _with_the_rest(loaded: Loaded, healed: Healed, pinner: Pinner, store: Layout, machine: Machine) -> Healed:
    """What was selected, and the cells outside the selection as far as they are done."""
    whole = plan(loaded.matrix, machine, store=str(store.root))
    found = recalled(loaded.matrix, machine, whole, pinner, store)
    outcome = dataclasses.replace(
        healed.outcome,
        results={**found.outcome.results, **healed.outcome.results},
        actions={**found.outcome.actions, **healed.outcome.actions},
    )
    chosen = {cell.id: cell for cell in healed.plan.cells}
    cells = [chosen.get(cell.id, cell) for cell in found.plan.cells]
    kept = tuple(c for c in cells if c.id in chosen or c.fate != "build" or plan_verb.fate(c, outcome) == "recalled")
    jobs = {job.id: job for job in (*found.plan.jobs, *healed.plan.jobs)}
    return Healed(Plan(kept, tuple(jobs.values())), outcome, {**found.searched, **healed.searched})


def _reporter(args: argparse.Namespace) -> Reporter:
    if args.quiet:
        return Silent()
    live: Optional[Reporter] = None
    if sys.stderr.isatty() and args.format == "text":
        from builder.cli import live as live_table

        live = live_table.reporter()
    return live or Lines()


def _exit_code(manifest: Manifest, outcome: Outcome, ids: "frozenset[str]") -> int:
    if outcome.failures:
        return StepFailed.exit_code
    failed = any(e.verdict.status == "failed" for e in manifest.entries if e.cell in ids)
    return GateFailed.exit_code if failed else 0


def _jobs(word: str) -> int:
    if not word.isdigit() or int(word) < 1:
        raise argparse.ArgumentTypeError(f"{word!r} is not a number of jobs")
    return int(word)
