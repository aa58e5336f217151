"""Accepted key statements of this machine: `RING.keys.json` files.

They are beside the pinned keys. A file holds the newest accepted statement with its signatures, and the earlier ones
that prove it. So it counts without a network, and a store that hides a statement reverts nothing. The keyring is
computed anew each time from pinned keys and these files. `builder/trust/key_statements.py` judges statements; nothing
is fetched here.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Dict, List, Optional, Tuple

from builder import clock, files
from builder.errors import StoreDamaged, UsageError
from builder.trust import key_statements
from builder.trust.key_statements import History, Statement, VerifiedHistory
from builder.trust.keyring import Keyring, Trusted

_END = ".keys.json"
_WAIT = 10.0  # seconds for another pull that writes


@dataclasses.dataclass(frozen=True)
class Ring:
    """A remembered history.

    `followed.newest`: None when no pinned key supports it; `last`: its last content.
    """

    history: History
    followed: VerifiedHistory
    last: Statement


def keyring(place: Path, pinned: Tuple[Trusted, ...], offered: Optional[History], now: clock.Time) -> Keyring:
    """The keys whose signatures count, after reading the `offered` statements, if any.

    Raises UsageError for a damaged file: it is never ignored.
    """
    notes: Tuple[str, ...] = ()
    found = remembered(place, pinned)
    if offered is not None and pinned:
        found, notes = _learned(place, pinned, offered)
    in_force = [ring.followed.newest for ring in found.values() if ring.followed.newest]
    orphans = [ring.last for ring in found.values() if not ring.followed.newest]
    return dataclasses.replace(key_statements.rings(pinned, in_force, orphans, now), notes=notes)


def remembered(place: Path, pinned: Tuple[Trusted, ...]) -> Dict[str, Ring]:
    """By ring. Raises UsageError."""
    found = {}
    for path in sorted(place.glob(f"*{_END}")):
        try:
            if path.stat().st_size > key_statements.MOST_BYTES:
                raise StoreDamaged("too large", where=str(path))
            history = key_statements.history(path.read_bytes(), str(path))
            last = history.statements[-1].read
            if path.name != last.ring + _END:
                raise StoreDamaged(f"it is about the ring {last.ring}", where=str(path))
        except StoreDamaged as problem:
            name = path.name[: -len(_END)]
            raise UsageError(
                problem.what,
                where=problem.where,
                hint=f"build keys forget {name}   and, to learn it again from a store: build keys update SOURCE",
            ) from None
        found[last.ring] = Ring(history, key_statements.followed(history, pinned), last)
    return found


def forget(place: Path, name: str) -> None:
    """Delete the history of a ring. Raises UsageError when there is none."""
    path = place / f"{name}{_END}"
    if not path.is_file():
        known = ", ".join(sorted(path.name[: -len(_END)] for path in place.glob(f"*{_END}"))) or "none"
        raise UsageError(f"no key statement of {name!r} is remembered here", where=str(place), hint=f"known: {known}")
    path.unlink()


def _learned(place: Path, pinned: Tuple[Trusted, ...], offered: History) -> Tuple[Dict[str, Ring], Tuple[str, ...]]:
    """The histories after reading the offered statements, and notes for the user."""
    try:
        with (place / ".lock").open("a") as lock:
            files.take(lock, wait=_WAIT)
            return _merged(place, pinned, offered)
    except OSError:  # a folder that may not be written, or a file system without locks
        return _merged(place, pinned, offered)


def _merged(place: Path, pinned: Tuple[Trusted, ...], offered: History) -> Tuple[Dict[str, Ring], Tuple[str, ...]]:
    found, notes = remembered(place, pinned), []
    ring = offered.statements[0].read.ring
    known = found[ring].followed if ring in found else VerifiedHistory()
    if ring in found and known.newest is None:
        return found, (f"no key that is pinned here speaks for the ring {ring} any more",)
    after = key_statements.followed(offered, pinned, known)
    if after.refused:
        notes.append(f"of the key statements on offer: {after.refused}")
    if after.newest is None or after.accepted == known.accepted:
        return found, tuple(notes)
    history = History(1, after.accepted)
    notes += _written(place / f"{ring}{_END}", history.text)
    notes.append(f"key statement {after.newest.serial} of {ring} is accepted; see it with: build keys list")
    return {**found, ring: Ring(history, after, after.newest)}, tuple(notes)


def _written(path: Path, text: bytes) -> List[str]:
    try:
        files.write(path, text)
    except OSError as problem:
        said = problem.strerror or "it may not be written"
        return [f"{path} cannot be written ({said}): the statement counts this time, and is not remembered"]
    return []
