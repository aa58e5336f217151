"""What a folder of a host has had, and whether what is offered now may be older or other than that. Pure: no file, no clock.

The law: without leave (`--allow-rollback`), the version of a model that is taken without a channel never falls, the serial of a
channel never falls, and one serial, or one version, never means two things.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Optional, Tuple, TypeVar

from builder import clock, digest, files
from builder.errors import StoreDamaged, Untrusted
from builder.records import KEYED, RecordError, from_json, to_json

_MOST_ALLOWED = 50


@dataclass(frozen=True)
class Had:
    """The newest version of `model` that was taken without a channel; `manifest` is the digest of its manifest.json."""

    model: str
    version: int
    manifest: str


@dataclass(frozen=True)
class Followed:
    """Where a channel stood when it was followed last; `record` is the digest of its channel.json."""

    channel: str
    model: str
    serial: int
    record: str
    version: int


@dataclass(frozen=True)
class Placed:
    """Of which model the artifacts of a head are."""

    head: str
    model: str


@dataclass(frozen=True)
class Leave:
    """What was taken with --allow-rollback although it was refused, and when."""

    at: str
    refused: str


@dataclass(frozen=True)
class Memory:
    """`latest` is when the newest signed record of a channel was issued: it is not earlier than that now."""

    schema: Literal[1] = 1
    models: Tuple[Had, ...] = field(default=(), metadata=KEYED)
    channels: Tuple[Followed, ...] = field(default=(), metadata=KEYED)
    heads: Tuple[Placed, ...] = field(default=(), metadata=KEYED)
    latest: str = ""
    allowed: Tuple[Leave, ...] = ()

    def __post_init__(self) -> None:
        if self.latest:
            clock.read(self.latest)

    def channel(self, name: str) -> Optional[Followed]:
        return next((one for one in self.channels if one.channel == name), None)

    def model(self, name: str) -> Optional[Had]:
        return next((one for one in self.models if one.model == name), None)

    def now(self, now: clock.Time) -> clock.Time:
        """What time it is at least: a clock that was set back brings no expired record to life."""
        return max(now, clock.read(self.latest)) if self.latest else now


@dataclass(frozen=True)
class Pointer:
    """A channel's record. `proven`: signed by those trusted here."""

    channel: str
    serial: int
    record: str
    issued: str
    proven: bool


@dataclass(frozen=True)
class Offer:
    """A version as it is offered to a host for one head. `asked`: its number was typed; `pointer`: a channel stands at it."""

    model: str
    head: str
    version: int
    manifest: str
    asked: bool = False
    pointer: Optional[Pointer] = None


T = TypeVar("T", Had, Followed, Placed)


def refusal(memory: Memory, offer: Offer) -> str:
    """Why `offer` is not to be taken after all that `memory` holds; empty when it is."""
    for one in memory.heads:
        if one.head == offer.head and one.model != offer.model:
            return f"the head {offer.head} here is of the model {one.model}, and what is offered is of {offer.model}"
    if offer.pointer is not None:
        return _of_channel(memory, offer, offer.pointer)
    had = memory.model(offer.model)
    if had is None or offer.version > had.version:
        return ""
    if offer.version < had.version:
        if offer.asked:
            return f"v{offer.version} is older than v{had.version}, which this host has had"
        return f"the newest version there is v{offer.version}, and this host has had v{had.version}: newer ones are hidden or gone"
    if offer.manifest != had.manifest:
        return f"v{offer.version} there is another one than the v{had.version} that this host has had"
    return ""


def _of_channel(memory: Memory, offer: Offer, pointer: Pointer) -> str:
    seen, name = memory.channel(pointer.channel), pointer.channel
    if seen is None:
        return ""
    if seen.model != offer.model:
        return f"{name} was a channel of {seen.model}, and is one of {offer.model}"
    if pointer.serial < seen.serial:
        return f"{name} has the serial {pointer.serial} there, and this host has seen {seen.serial} (v{seen.version}): an old record is shown again"
    if pointer.serial == seen.serial and pointer.record != seen.record:
        return f"there are two records of {name} with the serial {seen.serial}: someone shows different hosts different things"
    return ""


def remembered(memory: Memory, offer: Offer, now: clock.Time) -> Memory:
    """The memory once `offer` was taken. When it was refused, that it was taken all the same is remembered too."""
    refused, pointer = refusal(memory, offer), offer.pointer
    heads = [one for one in memory.heads if one.head != offer.head]
    made = dataclasses.replace(memory, heads=_sorted(*heads, Placed(offer.head, offer.model)))
    if refused:
        made = dataclasses.replace(made, allowed=(*made.allowed, Leave(clock.text(now), refused))[-_MOST_ALLOWED:])
    if pointer is None:
        kept = [one for one in made.models if one.model != offer.model]
        return dataclasses.replace(made, models=_sorted(*kept, Had(offer.model, offer.version, offer.manifest)))
    others = [one for one in made.channels if one.channel != pointer.channel]
    followed = Followed(pointer.channel, offer.model, pointer.serial, pointer.record, offer.version)
    latest = made.latest
    if pointer.proven and (not latest or clock.read(pointer.issued) > clock.read(latest)):
        latest = pointer.issued
    return dataclasses.replace(made, channels=_sorted(*others, followed), latest=latest)


def _sorted(*items: T) -> Tuple[T, ...]:
    """By name, which comes first in each: the same memory is the same file."""
    return tuple(sorted(items, key=dataclasses.astuple))


# DEST/.deploymatrix.json: what a folder of a host has had. builder/host/rollback.py says what it means.
#
# It is replaced in one step. One that does not read is refused and never begun anew by itself: whoever could damage it would
# make the host forget.


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
    refused = refusal(memory, offer)
    if refused and not allowed:
        hint = "if that is meant, for a store that was made anew or to go back by hand: add --allow-rollback"
        raise Untrusted(refused, where=where, hint=hint)


def news(dest: Path, offer: Offer, now: clock.Time, where: str, *, allowed: bool) -> Optional[Memory]:
    """The memory of `dest` with `offer`; None when that changes nothing. Errors as `read` and `check`."""
    memory = read(dest)
    check(memory, offer, where, allowed=allowed)
    made = remembered(memory, offer, now)
    return None if made == memory else made


def write(dest: Path, memory: Memory) -> None:
    """Remember what is about to be placed. The caller holds the lock of `dest` from `news` until it is placed.

    A pull that is killed in between leaves a host that knows of more than it has, and goes on from there.
    """
    files.write(dest / FILE, (json.dumps(to_json(memory), indent=1, ensure_ascii=False) + "\n").encode())
