"""Channel: which version a name such as `stable` means, since when and until when, and where it stood before. Data only.

The law: of two records of a channel, the one with the higher serial counts. Going back to an older version is a move like
any other and has a higher serial, so that a host can tell it from an old record that someone shows again.
"""

from __future__ import annotations

import datetime
import json
import re
from dataclasses import dataclass
from typing import List, Literal, Optional, Tuple

from builder import clock, digest
from builder.errors import StoreDamaged, UsageError
from builder.records import RecordError, from_json, to_json
from builder.release import HOW_TO_MAKE_IT

MOST_MOVES = 50
_MOST_SERIAL = 1 << 53  # what every JSON reader takes
_LONGEST_REASON = 500
# A channel is a tag: nothing that could be read as a version, and no dot, which sets apart what belongs to a tag.
_NAME = re.compile(r"(?!v[0-9]+$)[a-z][a-z0-9_-]{0,62}")
_RESERVED = ("latest", "keys")  # the newest version; what the owners of keys say


@dataclass(frozen=True)
class Move:
    """One place where a channel stood. `manifest` is the digest of the version's manifest.json, `issued` when the record
    was made (UTC), `back` whether it was a rollback."""

    serial: int
    version: int
    manifest: str
    issued: str
    reason: str = ""
    back: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.serial < _MOST_SERIAL or self.version < 1:
            raise ValueError("a serial and a version are at least 1")
        if len(self.reason) > _LONGEST_REASON or not self.reason.isprintable():
            raise ValueError("a reason is one short line of text")
        clock.read(self.issued)


@dataclass(frozen=True)
class Channel:
    """`moves` newest first: the first is where the channel stands. `expires` (UTC) is empty when it never does."""

    schema: Literal[1]
    channel: str
    model: str
    moves: Tuple[Move, ...]
    expires: str = ""

    def __post_init__(self) -> None:
        if not is_name(self.channel):
            raise ValueError(f"{self.channel!r} is no name for a channel")
        if not self.model.isprintable():
            raise ValueError("a model's name is text")
        if not self.moves:
            raise ValueError("a channel stands somewhere")
        if any(newer.serial <= older.serial for newer, older in zip(self.moves, self.moves[1:])):
            raise ValueError("the serials of a channel's moves fall from the newest to the oldest")
        if self.expires:
            clock.read(self.expires)

    @property
    def current(self) -> Move:
        return self.moves[0]

    @property
    def lifetime(self) -> Optional[datetime.timedelta]:
        """How long the record is good for; None when it never expires."""
        return clock.read(self.expires) - clock.read(self.current.issued) if self.expires else None

    def expired(self, now: clock.Time) -> bool:
        return bool(self.expires) and now > clock.read(self.expires)

    def follows(self, other: "Channel") -> bool:
        """Was this record made from `other`, perhaps over several moves?"""
        return other.current in self.moves[1:]


def is_name(word: str) -> bool:
    return bool(_NAME.fullmatch(word)) and word not in _RESERVED


def named(word: str) -> str:
    """`word`, if a channel can be called so. Raises UsageError."""
    if not is_name(word):
        raise UsageError(
            f"{word!r} is no name for a channel",
            hint="a small letter, then small letters, digits, - and _; such as stable or canary",
        )
    return word


def moved(
    before: Optional[Channel],
    name: str,
    model: str,
    to: Tuple[int, str],
    now: clock.Time,
    *,
    lifetime: Optional[datetime.timedelta],
    reason: str = "",
    back: bool = False,
    serial: int = 0,
) -> Channel:
    """The record after a move `to` a version with this manifest digest. `serial` is the least that it must be above.

    Time does not run back between two records, whatever the clock says. Raises UsageError for a reason that is no line.
    """
    earlier = before.moves if before else ()
    issued = max([now, *(clock.read(move.issued) for move in earlier[:1])])
    above = max([serial, *(move.serial for move in earlier[:1])])
    if above + 1 >= _MOST_SERIAL:
        raise UsageError(f"no serial comes after {above}, which {name} has", hint="choose another name")
    if len(reason) > _LONGEST_REASON or not reason.isprintable():
        raise UsageError(f"a reason is one line of at most {_LONGEST_REASON} letters", where="--reason")
    move = Move(above + 1, to[0], to[1], clock.text(issued), reason, back)
    expires = clock.text(issued + lifetime) if lifetime is not None else ""
    return Channel(1, name, model, _kept((move, *earlier)), expires)


def _kept(moves: Tuple[Move, ...]) -> Tuple[Move, ...]:
    """The newest moves. Those that only renewed a version go first, so that weekly renewals do not push out the last
    version that was another."""
    kept = list(moves)
    while len(kept) > MOST_MOVES:
        renewals = [n for n in range(len(kept) - 2, 0, -1) if kept[n].version == kept[n + 1].version]
        del kept[renewals[0] if renewals else -1]
    return tuple(kept)


def previous(channel: Channel) -> Optional[Move]:
    """Where a rollback goes: the version that stood before this one and was not itself rolled back from. None when the
    record knows of none."""
    stack: List[Move] = []
    for move in reversed(channel.moves):
        while move.back and stack and stack[-1].version != move.version:
            stack.pop()
        if stack and stack[-1].version == move.version:
            stack.pop()
        stack.append(move)
    return stack[-2] if len(stack) > 1 else None


def standing(channel: Channel, version: int) -> Optional[Move]:
    """The last move to `version` that the record knows of."""
    return next((move for move in channel.moves if move.version == version), None)


def written(channel: Channel) -> bytes:
    """channel.json, which is what is signed."""
    return (json.dumps(to_json(channel), indent=1, ensure_ascii=False) + "\n").encode()


def parsed(data: bytes, where: str) -> Channel:
    """Raises StoreDamaged."""
    try:
        found = from_json(Channel, digest.loads(data))
        for move in found.moves:
            digest.hex_part(move.manifest)
        return found
    except (ValueError, RecordError) as problem:
        raise StoreDamaged(
            f"the channel's record does not read: {problem}",
            where=where,
            hint=f"it may be from a newer deploymatrix; install its wheel: {HOW_TO_MAKE_IT}",
        ) from None
