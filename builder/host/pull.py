"""`build pull` in four phases: read what is offered, decide, fetch, test and install.

The first phase refuses what no trusted key has signed, and what is older than what the host has had. The second is pure. The
third and fourth verify each file. When an artifact fails its self-test, the last three run again without it.
"""

from __future__ import annotations

import contextlib
import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, ContextManager, Dict, Iterator, Mapping, Optional, Sequence, Tuple

from builder import clock
from builder.errors import NothingFits, UsageError
from builder.host import bench_records, demands, install, offers, rollback, selftest, verify
from builder.host.choose import Asked, Choice, Timed, choose, covering
from builder.host.selftest import Proof
from builder.platforms import machines
from builder.platforms.machines import Machine
from builder.store import trust
from builder.store.manifest import Entry, Manifest
from builder.store.supply import Supply
from builder.store.transfers import Pace

Say = Callable[[str], None]


@dataclass(frozen=True)
class Pull:
    """What a person asks for.

    `source` is as it was typed, None for the default. `key` is the only one to trust. `self_test` is in seconds for each
    artifact; None skips the test.
    """

    source: Optional[str]
    dest: Path
    wanted: offers.Wanted
    asked: Asked
    head: Optional[str] = None
    key: Optional[str] = None
    allow_rollback: bool = False
    self_test: Optional[float] = selftest.SECONDS
    keep: int = install.KEEP


@dataclass(frozen=True)
class Offered:
    """A version that the host may take, and what to decide from. `at`: when it was read; `told`: where the channel stands."""

    manifest: Manifest
    head: str
    offer: rollback.Offer
    at: clock.Time
    machine: Machine
    times: Tuple[Timed, ...]
    told: str = ""


@dataclass(frozen=True)
class Pulled:
    """What was placed. `proofs` are of its artifacts, as far as they were tested."""

    offered: Offered
    choice: Choice
    chain: Tuple[Entry, ...]
    folder: Path
    proofs: Tuple[Proof, ...]


def pull(
    request: Pull, supply: Supply, environ: Mapping[str, str], say: Say, pace: Callable[[], ContextManager[Pace]]
) -> Pulled:
    """Place the best artifacts for this host. `say` gets lines for a person, `pace` opens a transfer.

    Raises UsageError, Untrusted, NothingFits, StoreDamaged, StoreBusy, Unreachable; then `current` is what it was.
    """
    offered = read_offer(request, supply, environ, say)
    failed: Dict[str, str] = {}
    while True:
        choice, chain = decide(request, offered, supply.name, failed)
        placed = fetch(request, offered, chain, supply, pace)
        folder, proofs = test_and_install(request, offered, chain, supply, placed)
        wrong = {proof.cell: f"failed its self-test: {proof.answer.problem}" for proof in proofs if not proof.passed}
        if not wrong:
            return Pulled(offered, choice, chain, folder, proofs)
        for cell, reason in wrong.items():
            say(f"rejected: {cell} {reason}")
        failed.update(wrong)


def read_offer(request: Pull, supply: Supply, environ: Mapping[str, str], say: Say) -> Offered:
    """Phase 1. Raises UsageError, Untrusted, StoreDamaged, Unreachable."""
    memory, now = rollback.read(request.dest), clock.now()
    ring = trust.at(request.key, environ, supply.repository)
    _note(ring.notes, say)  # now: they may say why nothing is taken
    found = offers.found(supply, request.wanted, ring, memory, now)
    _note(found.notes, say)
    manifest = supply.offered(found.manifest)
    head, known = request.head or manifest.model.heads[0].name, [head.name for head in manifest.model.heads]
    if head not in known:
        raise UsageError(f"the model has no head {head!r}", hint=f"heads: {', '.join(known)}")
    offer = dataclasses.replace(found.offer, head=head)
    rollback.check(memory, offer, supply.name, allowed=request.allow_rollback)
    machine = machines.here()
    demands.check(request.asked.accuracy, (entry for entry in manifest.entries if entry.head == head))
    times, left_out = bench_records.here(supply.store, manifest, machine, head, found.ring)
    _note(left_out, say)
    return Offered(manifest, head, offer, now, machine, times, found.told)


def considered(request: Pull, offered: Offered, failed: Optional[Mapping[str, str]] = None) -> Choice:
    """`failed`: by cell, why it did not pass its self-test."""
    return choose(offered.manifest, offered.machine, offered.head, request.asked, offered.times, failed)


def decide(request: Pull, offered: Offered, where: str, failed: Mapping[str, str]) -> Tuple[Choice, Tuple[Entry, ...]]:
    """Phase 2, pure: the choice, and the artifacts to place. Raises NothingFits."""
    choice = considered(request, offered, failed)
    if choice.ranked:
        return choice, covering(choice.ranked)
    if failed:
        reasons = "; ".join(f"{cell}: {reason}" for cell, reason in failed.items())
        raise NothingFits(
            f"no artifact passed its self-test on this machine: {reasons}",
            hint="nothing was changed. To place one all the same: --no-self-test",
        )
    version, source = offered.manifest.version, f"{request.source} " if request.source else ""
    raise NothingFits(
        f"no artifact of head {offered.head!r} in v{version} may be used on this machine{nothing(choice)}",
        where=where,
        hint=f"see why with: build pull {source}--explain{_flags(request.asked)}",
    )


def fetch(
    request: Pull, offered: Offered, chain: Sequence[Entry], supply: Supply, pace: Callable[[], ContextManager[Pace]]
) -> Optional[Path]:
    """Phase 3: bring the files of `chain` to the store. Where all of it is placed and current, nothing: that folder."""
    placed = install.unchanged(offered.manifest, chain, request.dest, request.keep)
    if placed is None:
        with pace() as transfer:
            supply.bring((blob for _, blob in install.contents(chain)), transfer)
    return placed


def test_and_install(
    request: Pull, offered: Offered, chain: Sequence[Entry], supply: Supply, placed: Optional[Path]
) -> Tuple[Path, Tuple[Proof, ...]]:
    """Phase 4: place the files, test them, and install them if all pass: (the folder, what each artifact answered).

    One lock is held from the last check for a rollback until `current` is right.
    """
    with _locked(request, offered, supply, placed) as locked:
        folder = placed
        if locked or folder is None:
            folder = install.lay(offered.manifest, chain, supply.store, request.dest, linked=supply.place is not None)
        proofs = () if request.self_test is None else _tested(folder, chain, offered.machine, request.self_test)
        if all(proof.passed for proof in proofs):
            if locked:  # else it was current, and another pull may have moved on
                install.point(folder, request.keep)
            verify.write(folder, supply.store, offered.manifest.version)
        elif locked:
            install.discard(folder)
    return folder, proofs


@contextlib.contextmanager
def _locked(request: Pull, offered: Offered, supply: Supply, placed: Optional[Path]) -> Iterator[bool]:
    """Hold the lock of the folder, and remember there what is about to be placed.

    Yields False, without a lock, where nothing is to be written: the folder may be read-only.
    """

    def news() -> Optional[rollback.Memory]:
        return rollback.news(request.dest, offered.offer, offered.at, supply.name, allowed=request.allow_rollback)

    if placed is not None and news() is None:
        yield False
        return
    with install.locked(request.dest):
        memory = news()
        if memory is not None:
            rollback.write(request.dest, memory)
        yield True


def _tested(folder: Path, chain: Sequence[Entry], machine: Machine, seconds: float) -> Tuple[Proof, ...]:
    proofs = (selftest.proof(folder, entry, machine, seconds) for entry in chain)
    return tuple(proof for proof in proofs if proof is not None)


def _note(lines: Sequence[str], say: Say) -> None:
    for line in lines:
        say(f"note: {line}")


def nothing(choice: Choice) -> str:
    """What follows "no artifact may be used": the reason of the one for the GPU, where that is what was asked for."""
    return f"; {choice.fallback.cell}: {choice.fallback.reason}" if choice.fallback is not None else ""


def _flags(asked: Asked) -> str:
    """What was asked for, as flags behind a command."""
    flags = {"--unverified": asked.unverified, "--no-fallback": asked.no_fallback, "--require-gpu": asked.require_gpu}
    demanded = [f" --min-accuracy '{demand.said.replace(' ', '')}'" for demand in asked.accuracy]
    return "".join([*(f" {flag}" for flag, given in flags.items() if given), *demanded])
