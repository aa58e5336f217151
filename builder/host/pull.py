"""`build pull` in four phases: read what is offered, decide, fetch, test and install.

`builder/host/offers.py` is the first: it refuses what no trusted key has signed, and what is older than what the host has
had. The second is pure. The others verify each file. After a failed self-test the last three run again without that
artifact.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, ContextManager, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

from builder.errors import NothingFits
from builder.host import install, rollback, selftest, verify
from builder.host.choose import Asked, Choice, choose, covering
from builder.host.offers import Offered, Pull, read_offer
from builder.host.selftest import Proof
from builder.store.manifest import Entry
from builder.store.supply import Supply
from builder.store.transfers import Pace

Transfer = Callable[[], ContextManager[Pace]]


@dataclass(frozen=True)
class Pulled:
    """What was placed. `proofs` are of its artifacts, as far as they were tested."""

    offered: Offered
    choice: Choice
    chain: Tuple[Entry, ...]
    folder: Path
    proofs: Tuple[Proof, ...]


def pull(
    request: Pull, supply: Supply, environ: Mapping[str, str], say: Callable[[str], None], pace: Transfer
) -> Pulled:
    """Place the best artifacts for this host. `say` gets lines for a person.

    Raises UsageError, Untrusted, NothingFits, StoreDamaged, StoreBusy, Unreachable; then `current` is what it was.
    """
    offered = read_offer(request, supply, environ, say)
    failed: Dict[str, str] = {}
    while True:
        choice = decide(offered, failed)
        chain = covering(choice.ranked)
        placed = fetch(offered, chain, pace)
        folder, proofs = test_and_install(offered, chain, placed)
        wrong = {proof.cell: f"failed its self-test: {proof.answer.problem}" for proof in proofs if not proof.passed}
        if not wrong:
            return Pulled(offered, choice, chain, folder, proofs)
        for cell, reason in wrong.items():
            say(f"rejected: {cell} {reason}")
        failed.update(wrong)


def choices(offered: Offered, failed: Optional[Mapping[str, str]] = None) -> Choice:
    """What fits this host, best first, perhaps nothing. `failed`: by cell, why it did not pass its self-test."""
    return choose(offered.manifest, offered.machine, offered.offer.head, offered.request.asked, offered.times, failed)


def decide(offered: Offered, failed: Mapping[str, str]) -> Choice:
    """Phase 2, pure. Raises NothingFits."""
    choice, request = choices(offered, failed), offered.request
    if choice.ranked:
        return choice
    if failed:
        reasons = "; ".join(f"{cell}: {reason}" for cell, reason in failed.items())
        raise NothingFits(
            f"no artifact passed its self-test on this machine: {reasons}",
            hint="nothing was changed. To place one all the same: --no-self-test",
        )
    what = f"no artifact of head {offered.offer.head!r} in v{offered.manifest.version} may be used on this machine"
    source = f"{request.source} " if request.source else ""
    raise NothingFits(
        f"{what}{nothing(choice)}",
        where=offered.supply.name,
        hint=f"see why with: build pull {source}--explain{_flags(request.asked)}",
    )


def fetch(offered: Offered, chain: Sequence[Entry], pace: Transfer) -> Optional[Path]:
    """Phase 3: bring the files of `chain` to the store. Where all of it is placed and current, nothing: that folder."""
    placed = install.unchanged(offered.manifest, chain, offered.request.dest, offered.request.keep)
    if placed is None:
        with pace() as transfer:
            offered.supply.bring((blob for _, blob in install.contents(chain)), transfer)
    return placed


def test_and_install(
    offered: Offered, chain: Sequence[Entry], placed: Optional[Path]
) -> Tuple[Path, Tuple[Proof, ...]]:
    """Phase 4: place the files, test them, and install them if all pass. The folder, and what the artifacts answered.

    One lock is held from the last check for a rollback until `current` is right.
    """
    request, store, linked = offered.request, offered.supply.store, offered.supply.place is not None
    with _locked(offered, placed) as locked:
        if locked or placed is None:
            placed = install.lay(offered.manifest, chain, store, request.dest, linked=linked)
        proofs: List[Proof] = []
        if request.self_test is not None:
            answered = (selftest.proof(placed, entry, offered.machine, request.self_test) for entry in chain)
            proofs = [proof for proof in answered if proof is not None]
        if all(proof.passed for proof in proofs):
            if locked:  # else it was current, and another pull may have moved on
                install.point(placed, request.keep)
            verify.write(placed, store, offered.manifest.version)
        elif locked:
            install.discard(placed)
    return placed, tuple(proofs)


@contextlib.contextmanager
def _locked(offered: Offered, placed: Optional[Path]) -> Iterator[bool]:
    """Hold the lock of the folder, and remember there what is about to be placed.

    Yields False, without a lock, where nothing is to be written: the folder may be read-only.
    """
    request, where = offered.request, offered.supply.name

    def news() -> Optional[rollback.Memory]:
        return rollback.news(request.dest, offered.offer, offered.at, where, allowed=request.allow_rollback)

    if placed is not None and news() is None:
        yield False
        return
    with install.locked(request.dest):
        memory = news()
        if memory is not None:
            rollback.write(request.dest, memory)
        yield True


def nothing(choice: Choice) -> str:
    """What follows "no artifact may be used": the reason of the one for the GPU, where that is what was asked for."""
    return f"; {choice.fallback.cell}: {choice.fallback.reason}" if choice.fallback is not None else ""


def _flags(asked: Asked) -> str:
    """What was asked for, as flags behind a command."""
    flags = {"--unverified": asked.unverified, "--no-fallback": asked.no_fallback, "--require-gpu": asked.require_gpu}
    demanded = [f" --min-accuracy '{demand.said.replace(' ', '')}'" for demand in asked.accuracy]
    return "".join([*(f" {flag}" for flag, given in flags.items() if given), *demanded])
