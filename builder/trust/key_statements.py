"""Key statements: delegated, revoked and root keys, signed by root keys.

Modelled on the root role of The Update Framework (https://theupdateframework.github.io/specification/latest/, 5.3),
kept
small. A statement is complete in itself; the newest one that a host accepted is in force:

- the first needs the signature of a root that was pinned by hand;
- each later one a higher serial, and the signatures of `threshold` of the roots before it *and* of its own;
- a revoked key stays revoked.

Statements travel as a history, so that a host that missed several changes of the roots can verify them one by one.
Pure: no file, no clock.
"""

from __future__ import annotations

import dataclasses
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Dict, Iterable, List, Literal, Optional, Sequence, Tuple

from builder import clock, digest
from builder.errors import StoreDamaged, Untrusted, UsageError
from builder.records import KEYED, RecordError, from_json, to_json
from builder.trust import keyring, minisign
from builder.trust.keyring import Trusted

MOST_BYTES = 1 << 20
_MOST_STATEMENTS, _MOST_KEYS, _MOST_SERIAL = 64, 256, 1 << 53
_RING = re.compile(r"[0-9A-F]{16}")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True)
class Owner:
    """A public key (`RW...`, as minisign prints it) under the name of its owner."""

    name: str
    key: str

    @property
    def trusted(self) -> Trusted:
        return Trusted(self.name, minisign.public_key(self.key, self.name))


@dataclass(frozen=True)
class Statement:
    """One statement.

    `ring`: id of the first root; statements of one ring follow each other. `threshold`: roots that must sign a
    statement. `signatures`: keys that must sign a version. `keys` count until `expires`, or without it until a later
    statement.
    """

    schema: Literal[1]
    ring: str
    serial: int
    issued: str
    roots: Tuple[Owner, ...] = field(metadata=KEYED)
    keys: Tuple[Owner, ...] = field(default=(), metadata=KEYED)
    revoked: Tuple[Owner, ...] = field(default=(), metadata=KEYED)
    expires: str = ""
    threshold: int = 1
    signatures: int = 1

    def __post_init__(self) -> None:
        """Raises ValueError for a contradiction, or for a statement that no later one could replace."""
        if not _RING.fullmatch(self.ring):
            raise ValueError(f"{self.ring!r} is no id of a key")
        if not 0 < self.serial < _MOST_SERIAL:
            raise ValueError(f"the serial {self.serial} is no number of a statement")
        _check_owners([*self.roots, *self.keys, *self.revoked])
        if not 0 < self.threshold <= len(self.roots):
            raise ValueError(f"{self.threshold} of {len(self.roots)} roots cannot sign a statement")
        if not 0 < self.signatures <= len(self.roots) + len(self.keys):
            raise ValueError(f"{self.signatures} of {len(self.roots) + len(self.keys)} keys cannot sign a version")
        for text in (self.issued, *([self.expires] if self.expires else ())):
            clock.read(text)

    def expired(self, now: clock.Time) -> bool:
        return bool(self.expires) and clock.read(self.expires) <= now


@dataclass(frozen=True)
class Signed:
    """The text of a statement as it was signed, and files of minisign over it."""

    statement: str
    signatures: Tuple[str, ...] = ()

    @property
    def read(self) -> Statement:
        """Raises ValueError, RecordError."""
        return from_json(Statement, digest.loads(self.statement))

    def by(self, keys: Sequence[Trusted]) -> Tuple[Trusted, ...]:
        return keyring.signed_by(self.statement.encode(), self.signatures, keys)


@dataclass(frozen=True)
class History:
    """Statements of one ring, oldest first. It may begin in the middle."""

    schema: Literal[1]
    statements: Tuple[Signed, ...] = ()

    @property
    def text(self) -> bytes:
        return (json.dumps(to_json(self), indent=1, ensure_ascii=False) + "\n").encode()


@dataclass(frozen=True)
class VerifiedHistory:
    """The result of verifying a history.

    `newest`: in force, None for none. `accepted`: the statements that lead there. `refused`: why the last refused one
    was refused.
    """

    newest: Optional[Statement] = None
    accepted: Tuple[Signed, ...] = ()
    refused: str = ""


def _check_owners(everyone: Sequence[Owner]) -> None:
    if len(everyone) > _MOST_KEYS:
        raise ValueError(f"{len(everyone)} keys; at most {_MOST_KEYS} are taken")
    for one in everyone:
        if not _NAME.fullmatch(one.name):
            raise ValueError(f"{one.name!r} is no name for a key")
    try:
        keys = {one.trusted.key.key for one in everyone}
    except UsageError as problem:
        raise ValueError(str(problem)) from None
    if len(keys) < len(everyone) or len({one.name for one in everyone}) < len(everyone):
        raise ValueError("a key or a name stands twice among the roots, the keys and what is revoked")


def new(statement: Statement) -> Signed:
    """An unsigned statement."""
    return Signed(json.dumps(to_json(statement), indent=1, ensure_ascii=False) + "\n")


def history(data: bytes, where: str) -> History:
    """A history of one ring in ascending order. Raises StoreDamaged."""
    try:
        if len(data) > MOST_BYTES:
            raise ValueError(f"{len(data):,} bytes; at most {MOST_BYTES:,} are taken")
        found = from_json(History, digest.loads(data))
        read = [one.read for one in found.statements]
        if not 0 < len(read) <= _MOST_STATEMENTS:
            raise ValueError(f"{len(read)} statements; 1 to {_MOST_STATEMENTS} are taken")
        if any(one.serial >= two.serial or one.ring != two.ring for one, two in zip(read, read[1:])):
            raise ValueError("its statements are not of one ring, each with a higher serial than the last")
    except (ValueError, RecordError) as problem:
        raise StoreDamaged(f"the key statement does not read: {problem}", where=where) from None
    return found


def followed(
    offered: History, pinned: Sequence[Trusted], known: VerifiedHistory = VerifiedHistory()
) -> VerifiedHistory:
    """Verify a history, starting from `known`.

    Invalid statements are skipped: a store that tampers with one could also have hidden it.
    """
    now, accepted, refused = known.newest, list(known.accepted), ""
    for signed in offered.statements:
        found = signed.read
        if now is not None and found.serial <= now.serial:
            if found.serial == now.serial and found != now:
                refused = f"there are two statements {found.serial}; the one that was accepted first stays"
            continue
        problem = _objection(signed, found, now, pinned)
        if problem:
            refused = f"statement {found.serial} is not accepted: {problem}"
            continue
        now, refused = found, ""
        accepted.append(signed)
    return VerifiedHistory(now, pruned(accepted), refused)


def _objection(signed: Signed, found: Statement, now: Optional[Statement], pinned: Sequence[Trusted]) -> str:
    own = tuple(root.trusted for root in found.roots)
    before, needed = own, 1
    if now is None:
        before = tuple(one for one in own if one.key in [pin.key for pin in pinned])
        if not before:
            return "none of its roots was pinned by hand here"
    else:
        before, needed = tuple(root.trusted for root in now.roots), now.threshold
        if found.ring != now.ring:
            return f"it is of another ring, {found.ring}"
        gone = {one.key for one in now.revoked} - {one.key for one in found.revoked}
        if gone:
            return "it takes back a revocation"
    for whose, keys, least in (("the roots before it", before, needed), ("its own roots", own, found.threshold)):
        by = len(signed.by(keys))
        if by < least:
            return f"{by} of {whose} signed it, {least} must"
    return ""


def pruned(accepted: Sequence[Signed]) -> Tuple[Signed, ...]:
    """Enough to follow them again: the first with each set of roots, and the newest."""
    kept: List[Signed] = []
    last: Optional[Tuple[Tuple[Owner, ...], int]] = None
    for number, signed in enumerate(accepted, 1):
        found = signed.read
        if (found.roots, found.threshold) != last or number == len(accepted):
            kept.append(signed)
        last = (found.roots, found.threshold)
    return tuple(kept)


def rings(
    pinned: Tuple[Trusted, ...], statements: Sequence[Statement], orphans: Iterable[Statement], now: clock.Time
) -> keyring.Keyring:
    """The keys whose signatures count.

    Pinned keys and those of the statements in force, without revoked ones. A revoked key counts nowhere, pinned or
    named; only a root of another ring cannot be revoked. `orphans`: statements without a pinned key behind them. Their
    keys do not count.
    """
    groups: List[keyring.KeyGroup] = []
    dropped: List[keyring.RevokedKey] = []
    revoked: Dict[bytes, str] = {}
    for one in statements:
        others = (other for other in statements if other.ring != one.ring)
        safe = {root.trusted.key.key for other in others for root in other.roots}
        for gone in one.revoked:
            if gone.trusted.key.key not in safe:
                why = f"revoked by statement {one.serial} of {one.ring}"
                revoked[gone.trusted.key.key] = why  # by the key itself: its owner can choose the id
                dropped.append(keyring.RevokedKey(gone.trusted, why))
    for one in statements:
        delegated = tuple(owner.trusted for owner in one.keys)
        if one.expired(now):
            why = f"it was named until {one.expires}; its owner renews that with: build keys renew"
            dropped += [keyring.RevokedKey(owner, why) for owner in delegated]
            delegated = ()
        members = (*(root.trusted for root in one.roots), *delegated)
        kept = tuple(owner for owner in members if owner.key.key not in revoked)
        groups += [keyring.KeyGroup(kept, one.signatures)] if kept else []
    for one in orphans:
        why = f"no key that is pinned here speaks for the ring {one.ring} any more"
        dropped += [keyring.RevokedKey(owner.trusted, why) for owner in (*one.roots, *one.keys)]
    governed = {root.trusted.key.key for one in statements for root in one.roots}
    free = tuple(one for one in pinned if one.key.key not in {*revoked, *governed})
    return keyring.Keyring((*([keyring.KeyGroup(free)] if free else ()), *groups), tuple(dropped))


# ------------------------------------------------------------------------ the next statement, for `build keys` to sign


NEVER = "never"


def last(history: Optional[History], roots: Sequence[Trusted], where: str) -> Optional[Statement]:
    """The statement in force for `roots`; None before the first one. Raises Untrusted.

    A history whose newest statement is not in force is refused: signing its successor would sign foreign content.
    """
    if history is None:
        return None
    newest = history.statements[-1].read
    found = followed(history, roots)
    if found.newest != newest:
        raise Untrusted(
            f"statement {newest.serial} in the store is not in force: {found.refused}",
            where=where,
            hint="another root has to sign it: build keys cosign --root FILE; "
            "if a stranger put it there, use a clean store",
        )
    return newest


def begun(roots: Sequence[Trusted], now: clock.Time) -> Statement:
    """The first statement of a ring, with its roots only."""
    owners = tuple(Owner(one.name, one.key.text) for one in roots)
    return Statement(1, roots[0].key.name, 1, clock.text(now), owners)


def after(old: Optional[Statement], roots: Sequence[Trusted], now: clock.Time, expires: Optional[str]) -> Statement:
    """The next statement, with the same content.

    It expires like the last one, or after `expires` (90d, never).
    """
    new = begun(roots, now)
    until = ""
    if old is not None:
        new = dataclasses.replace(old, serial=old.serial + 1, issued=clock.text(now))
        until = clock.text(now + (clock.read(old.expires) - clock.read(old.issued))) if old.expires else ""
    if expires is not None:
        until = "" if expires == NEVER else clock.text(now + clock.length(expires, "--expires"))
    return dataclasses.replace(new, expires=until)


def named(words: Sequence[str]) -> Tuple[Owner, ...]:
    """`NAME=KEY`, the key as a .pub file or as it is. Raises UsageError."""
    found = []
    for word in words:
        name, there, key = word.partition("=")
        if not there:
            raise UsageError(
                f"{word!r} names no key", hint="write it as NAME=KEY, where KEY is a .pub file or begins with RW"
            )
        path = Path(key)
        text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else key
        found.append(Owner(name, minisign.public_key(text, key).text))
    return tuple(found)


def delegated(new: Statement, owners: Sequence[Owner]) -> Statement:
    """With these keys as well; a name that is there gets the new key."""
    names = {one.name for one in owners}
    return _checked(new, keys=(*(one for one in new.keys if one.name not in names), *owners))


def revoked(new: Statement, words: Sequence[str]) -> Statement:
    """Without these, by name, id or key, for ever."""
    gone = tuple(_one_of(new, word) for word in words)
    return _checked(
        new,
        roots=tuple(one for one in new.roots if one not in gone),
        keys=tuple(one for one in new.keys if one not in gone),
        revoked=(*new.revoked, *(_apart(new, one) for one in dict.fromkeys(gone))),
        threshold=min(new.threshold, sum(one not in gone for one in new.roots)),
    )


def rotated(new: Statement, owners: Sequence[Owner]) -> Statement:
    """With these roots and no others."""
    keys = {one.key for one in owners}
    return _checked(new, roots=tuple(owners), keys=tuple(one for one in new.keys if one.key not in keys))


def limited(new: Statement, threshold: Optional[int], signatures: Optional[int]) -> Statement:
    """With so many roots needed for a statement, and so many keys for a version."""
    return _checked(new, threshold=threshold or new.threshold, signatures=signatures or new.signatures)


def extended(history: Optional[History], signed: Signed) -> History:
    """The history with one more statement, and without those that are not needed for proof."""
    before = history.statements if history else ()
    return History(1, pruned((*before, signed)))


def cosigned(history: History, text: str) -> History:
    """With one more signature of the newest statement."""
    newest = history.statements[-1]
    kept = tuple(one for one in newest.signatures if one != text)
    return History(1, (*history.statements[:-1], Signed(newest.statement, (*kept, text))))


def told(statement: Statement) -> str:
    """A statement as text for the user."""
    end = f"until {statement.expires}" if statement.expires else "without end"
    lines = [f"statement {statement.serial} of {statement.ring}, {end}"]
    for what, owners in (("root", statement.roots), ("key", statement.keys), ("revoked", statement.revoked)):
        lines += [f"  {what:<8} {one.name}  {one.trusted.key.name}" for one in owners]
    if statement.threshold > 1:
        lines.append(f"  {statement.threshold} roots have to sign a statement")
    if statement.signatures > 1:
        lines.append(f"  {statement.signatures} keys have to sign a version")
    return "\n".join(lines)


def _one_of(new: Statement, word: str) -> Owner:
    for one in (*new.roots, *new.keys):
        if word in (one.name, one.key, one.trusted.key.name):
            return one
    if word.startswith("RW") or Path(word).is_file():
        (given,) = named([f"_={word}"])
        return Owner(given.trusted.key.name, given.key)  # it was only pinned by hand, or is named no longer
    known = ", ".join(one.name for one in (*new.roots, *new.keys))
    raise UsageError(f"no key {word!r} is named", hint=f"named: {known}; or give a .pub file, or the key itself")


def _apart(new: Statement, gone: Owner) -> Owner:
    """Under another name where one of the same name was revoked before."""
    taken = {one.name for one in new.revoked}
    return gone if gone.name not in taken else Owner(f"{gone.name}.{gone.trusted.key.name}", gone.key)


def _checked(new: Statement, **changes: object) -> Statement:
    try:
        return dataclasses.replace(new, **changes)  # type: ignore[arg-type]
    except ValueError as problem:
        raise UsageError(f"that cannot be: {problem}") from None
