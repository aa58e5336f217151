"""The next key statement after the last: keys added, revoked, renewed, roots changed. Pure.

`build keys` signs it. Nothing is taken from a history whose newest statement is not in force for those who sign the next:
what a stranger put there would be signed with it.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Optional, Sequence, Tuple

from builder import clock
from builder.errors import Untrusted, UsageError
from builder.signing import minisign
from builder.trusting import key_statement
from builder.trusting.key_statement import History, Owner, Signed, Statement
from builder.trusting.keyring import Trusted

NEVER = "never"


def last(history: Optional[History], roots: Sequence[Trusted], where: str) -> Optional[Statement]:
    """What is in force for the owners of `roots`; None before the first statement. Raises Untrusted."""
    if history is None:
        return None
    newest = history.statements[-1].read
    found = key_statement.followed(history, roots)
    if found.newest != newest:
        raise Untrusted(
            f"statement {newest.serial} in the store is not in force: {found.refused}",
            where=where,
            hint="another root has to sign it: build keys cosign --root FILE; if a stranger put it there, use a clean store",
        )
    return newest


def begun(roots: Sequence[Trusted], now: clock.Time) -> Statement:
    """The first statement of a ring, which names nobody but its roots."""
    owners = tuple(Owner(one.name, one.key.text) for one in roots)
    return Statement(1, roots[0].key.name, 1, clock.text(now), owners)


def after(old: Optional[Statement], roots: Sequence[Trusted], now: clock.Time, expires: Optional[str]) -> Statement:
    """The next statement, which says the same. It is valid as long as the last one was, or as `expires` says (90d, never)."""
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
    """With one more statement, and without those that nobody needs any more."""
    before = history.statements if history else ()
    return History(1, key_statement.pruned((*before, signed)))


def cosigned(history: History, text: str) -> History:
    """With one more signature of the newest statement."""
    newest = history.statements[-1]
    kept = tuple(one for one in newest.signatures if one != text)
    return History(1, (*history.statements[:-1], Signed(newest.statement, (*kept, text))))


def told(statement: Statement) -> str:
    """A statement for people, before and after it is signed."""
    lines = [
        f"statement {statement.serial} of {statement.ring}, {f'until {statement.expires}' if statement.expires else 'without end'}"
    ]
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
