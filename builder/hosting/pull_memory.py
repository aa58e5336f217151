"""DEST/.deploymatrix.json: what a folder of a host has had. builder/hosting/freshness.py says what it means.

It is replaced in one step. One that does not read is refused and never begun anew by itself: whoever could damage it would
make the host forget.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Optional

from builder import clock, digest, files
from builder.errors import StoreDamaged, Untrusted
from builder.hosting import freshness
from builder.hosting.freshness import Memory, Offer
from builder.records import RecordError, from_json, to_json

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
        return from_json(Memory, digest.loads(data))
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


def news(dest: Path, offer: Offer, now: clock.Time, where: str, *, allowed: bool) -> Optional[Memory]:
    """The memory of `dest` with `offer`; None when that changes nothing. Errors as `read` and `check`."""
    memory = read(dest)
    check(memory, offer, where, allowed=allowed)
    made = freshness.remembered(memory, offer, now)
    return None if made == memory else made


def write(dest: Path, memory: Memory) -> None:
    """Remember what is about to be placed. The caller holds the lock of `dest` from `news` until it is placed.

    A pull that is killed in between leaves a host that knows of more than it has, and goes on from there.
    """
    files.write(dest / FILE, (json.dumps(to_json(memory), indent=1, ensure_ascii=False) + "\n").encode())
