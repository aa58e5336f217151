"""DEST/.deploymatrix.json: what a folder of a host has had. builder/hosting/freshness.py says what it means.

It is replaced in one step. One that does not read is refused and never begun anew by itself: whoever could damage it would
make the host forget.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Optional

from builder import atomic, clock, strict_json
from builder.errors import StoreDamaged, Untrusted
from builder.hosting import freshness, placed
from builder.hosting.freshness import Memory, Offer
from builder.record import RecordError, from_json, to_json

FILE = ".deploymatrix.json"
_MOST = 1 << 20  # bytes


def read(dest: Path) -> Memory:
    """Raises StoreDamaged."""
    path = dest / FILE
    try:
        with path.open("rb") as file:
            data = file.read(_MOST + 1)
    except (FileNotFoundError, NotADirectoryError):
        return Memory()
    if len(data) > _MOST:
        raise _unreadable(path, "it is too large")
    try:
        return from_json(Memory, strict_json.loads(data))
    except (ValueError, RecordError) as problem:
        raise _unreadable(path, str(problem)) from None


def _unreadable(path: Path, why: str) -> StoreDamaged:
    return StoreDamaged(
        f"what this host has had does not read: {why}",
        where=str(path),
        hint="restore it, or pull into another folder; without it nobody notices that an old version is offered again",
    )


def check(memory: Memory, offer: Offer, where: str, *, allowed: bool) -> None:
    """Raises Untrusted for what the host must not take, unless that is `allowed`."""
    refused = freshness.refusal(memory, offer)
    if refused and not allowed:
        hint = "if that is meant, for a store that was made anew or to go back by hand: add --allow-rollback"
        raise Untrusted(refused, where=where, hint=hint)


def admit(dest: Path, offer: Offer, now: clock.Time, where: str, *, allowed: bool) -> None:
    """Check `offer` once more, since another pull may have been faster, and remember it. Before it is placed: a pull that is
    killed in between leaves a host that knows of more than it has, and goes on from there. Errors as `read` and `check`."""
    if _admitted(dest, offer, now, where, allowed) is None:
        return  # nothing to write: the folder may be one that cannot be written to
    with placed.locked(dest):
        made = _admitted(dest, offer, now, where, allowed)
        if made is None:
            return
        atomic.write(dest / FILE, (json.dumps(to_json(made), indent=1, ensure_ascii=False) + "\n").encode())


def _admitted(dest: Path, offer: Offer, now: clock.Time, where: str, allowed: bool) -> Optional[Memory]:
    """What is to be remembered from now on; None when that is nothing new."""
    memory = read(dest)
    check(memory, offer, where, allowed=allowed)
    made = freshness.remembered(memory, offer, now)
    return None if made == memory else made
