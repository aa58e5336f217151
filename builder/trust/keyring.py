"""Trusted keys, and whether enough of them signed some bytes.

Pure: no file, no store, no clock. Keys come in groups; a group counts once `needed` of its keys have signed. All pinned
keys are one group that needs a single signature. Keys of a key statement are another group
(`builder/trust/key_statements.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, Iterable, Iterator, Sequence, Tuple

from builder.errors import Untrusted, UsageError
from builder.trust import minisign

MOST_SIGNATURES = 64  # that are looked at; verifying one takes some ten milliseconds


@dataclass(frozen=True)
class Trusted:
    """A public key and the name of its owner."""

    name: str
    key: minisign.PublicKey

    def __str__(self) -> str:
        return f"{self.name} ({self.key.name})"


@dataclass(frozen=True)
class KeyGroup:
    """Keys of which `needed` must sign together."""

    keys: Tuple[Trusted, ...]
    needed: int = 1

    def __str__(self) -> str:
        if self.needed == 1:
            return " or ".join(map(str, self.keys))
        return f"{self.needed} of {', '.join(map(str, self.keys))}"


@dataclass(frozen=True)
class RevokedKey:
    """A key that is known here and counts no more, and why."""

    owner: Trusted
    why: str


@dataclass(frozen=True)
class Keyring:
    """The trusted keys. `notes`: for the user.

    False when no key is trusted, and nothing is checked. A keyring whose keys are all revoked is true: nothing is
    accepted.
    """

    groups: Tuple[KeyGroup, ...] = ()
    dropped: Tuple[RevokedKey, ...] = ()
    notes: Tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.groups or self.dropped)

    @property
    def keys(self) -> Tuple[Trusted, ...]:
        return tuple(dict.fromkeys(one for group in self.groups for one in group.keys))

    def __str__(self) -> str:
        return "; or ".join(map(str, self.groups)) or "nobody"


@dataclass(frozen=True)
class SignatureProof:
    """Verified `data`.

    `by`: its signers, each once; `comment`: the signed comment of the first signature.
    """

    by: Tuple[Trusted, ...]
    comment: str
    data: bytes

    def __str__(self) -> str:
        return f"signed by {' and '.join(map(str, self.by))}: {self.comment}"


def proven(
    data: bytes, texts: Iterable[str], ring: Keyring, *, what: str, where: str, hint: str, least: int = 1
) -> SignatureProof:
    """Prove that a group of `ring` signed `data`, with at least `least` signatures.

    Parses nothing of `data`. `texts` are minisign files; an unreadable one is ignored. `what` (v3) and `where` are for
    the message of Untrusted; `hint` is how to sign.
    """
    read = tuple(_read(texts, where))
    comments = dict(signers(data, read, ring.keys))
    short = ""
    for group in ring.groups:
        by, needed = _each_once(one for one in group.keys if one in comments), max(group.needed, least)
        if len(by) >= needed:
            return SignatureProof(by, comments[by[0]], data)
        if by:
            short = f"only {' and '.join(map(str, by))} signed {what}; {needed} signatures are needed"
    if short:
        raise Untrusted(short, where=where, hint=hint)
    if not read:
        raise Untrusted(f"{what} is not signed, and this machine takes only what {ring} signed", where=where, hint=hint)
    named = sorted({minisign.key_name(found.key_id) for found in read})
    told = [f"{gone.owner}: {gone.why}" for gone in ring.dropped if gone.owner.key.name in named]
    raise Untrusted(
        f"{what} has no valid signature by {ring}; it names the key {', '.join(named)}",
        where=where,
        hint="; ".join(told)
        or "if its owner told you by another way that this key is theirs: build keys trust NAME KEY",
    )


def signers(
    data: bytes, signatures: Sequence[minisign.Signature], keys: Sequence[Trusted]
) -> Tuple[Tuple[Trusted, str], ...]:
    """The keys that signed `data`, under each of their names, with the signed comment of each."""
    found: Dict[Trusted, str] = {}
    for one in keys:
        for signature in signatures[:MOST_SIGNATURES]:
            if minisign.verifies(one.key, data, signature):
                found[one] = signature.comment
                break
    return tuple(found.items())


def signed_by(data: bytes, texts: Iterable[str], keys: Sequence[Trusted]) -> Tuple[Trusted, ...]:
    """Those of `keys` that have signed `data`, each key once."""
    return _each_once(one for one, _ in signers(data, tuple(_read(texts, "")), keys))


def _read(texts: Iterable[str], where: str) -> Iterator[minisign.Signature]:
    for text in texts:
        try:
            yield minisign.signature(text, where)
        except UsageError:
            continue


def _each_once(owners: Iterable[Trusted]) -> Tuple[Trusted, ...]:
    """One key under two names, or with two ids, is one signer."""
    found: Dict[bytes, Trusted] = {}
    for one in owners:
        found.setdefault(one.key.key, one)
    return tuple(found.values())
