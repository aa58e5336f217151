"""Moving a channel: checks, the new record, its signatures, putting it.

Everything signed is checked first: the version, and the record that the new one continues. An unverified history is
dropped from the new record; an unverified version or channel is refused. Hosts check again: builder/host/offers.py.
"""

from __future__ import annotations

import datetime
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Optional, Tuple

from builder import clock
from builder.errors import GateFailed, StoreDamaged, Untrusted, UsageError
from builder.plugins import Repository
from builder.store import channels, copying, trust, versions
from builder.store.channels import Channel, OfferedChannel
from builder.store.layout import Layout
from builder.store.manifest import Manifest
from builder.store.oci import Descriptor
from builder.store.supply import Supply
from builder.store.transfers import Pace
from builder.trust import keyring, minisign
from builder.trust.keyring import Keyring

NEVER = "never"
_VERSION = re.compile(r"v?[0-9]{1,9}")


@dataclass(frozen=True)
class Desk:
    """Where channels are moved, with which keys, which signatures count (`ring`, own keys included), and when."""

    supplied: Supply
    keys: Tuple[minisign.SecretKey, ...]
    ring: Keyring
    now: clock.Time

    @property
    def place(self) -> Repository:
        return self.supplied.repository


@dataclass(frozen=True)
class Wish:
    """The new record beside its version.

    `expires`: a duration, 'never', or empty to keep the last one.
    """

    channel: str
    reason: str = ""
    expires: str = ""
    unverified: bool = False


@dataclass(frozen=True)
class Base:
    """The current channel. `believed`: whether a trusted key signed its record.

    When it is not believed, the new record has a higher serial and no history.
    """

    found: OfferedChannel
    record: Channel
    believed: bool


@dataclass(frozen=True)
class Moved:
    record: Channel
    base: Optional[Base]
    manifest: Manifest


def number(word: str) -> int:
    """3 of `v3` or `3`. Raises UsageError."""
    if not _VERSION.fullmatch(word):
        raise UsageError(f"{word!r} is no version", hint="write it as v3 or 3")
    return int(word.lstrip("v"))


# ------------------------------------------------------------------------------------------- promote and rollback


def promote(desk: Desk, word: str, wish: Wish) -> Moved:
    """Move the channel to the version of `word`: v3, 3, latest, or another channel's name.

    Raises UsageError, GateFailed (no cell passed), StoreDamaged (files are missing), Untrusted, StoreBusy.
    """
    base = _base(desk, wish.channel)
    manifest = _version(desk, _meant(desk, word))
    _offers_something(manifest, wish.unverified)
    return _move(desk, wish, base, manifest)


def rollback(desk: Desk, to: Optional[int], wish: Wish) -> Moved:
    """Move the channel back to version `to`, or to its previous one.

    Errors as `promote`.
    """
    base = _base(desk, wish.channel)
    if base is None:
        raise UsageError(f"there is no channel {wish.channel}", where=desk.place.name, hint="see: build channels")
    current = base.record.current.version
    if to is not None and to >= current:
        raise UsageError(
            f"{wish.channel} stands at v{current}; v{to} is not behind it",
            where=desk.place.name,
            hint=f"build promote v{to} --channel {wish.channel}",
        )
    target = to if to is not None else _behind(desk, base)
    manifest = _version(desk, target)
    stood = channels.standing(base.record, target) if base.believed else None
    if stood is None:
        _offers_something(manifest, wish.unverified)
    elif stood.manifest != versions.manifest_digest(desk.supplied.store, target):
        raise StoreDamaged(f"v{target} is another one than when {wish.channel} stood there", where=desk.place.name)
    return _move(desk, wish, base, manifest, back=True)


# ------------------------------------------------------------------------------------------- checks


def _base(desk: Desk, name: str) -> Optional[Base]:
    found = channels.offered(desk.place, channels.named(name))
    if found is None:
        if desk.place.resolve(name) is not None:
            raise UsageError(f"{name} is the tag of something else", where=desk.place.name, hint="choose another name")
        return None
    record = channels.parsed(found.data, desk.place.name)
    if not desk.keys and found.signatures:
        raise UsageError(
            f"{name} is signed so far, and without a signature hosts would follow it no further",
            where=desk.place.name,
            hint="add: --key FILE",
        )
    return Base(found, record, believed=record.channel == name and (not desk.keys or _proves(desk, found)))


def _behind(desk: Desk, base: Base) -> int:
    """The version of a rollback without an explicit version."""
    hint = "say where to go: --to VERSION"
    if not base.believed:
        said = f"where {base.found.name} stood before is not signed by anyone trusted here"
        raise Untrusted(said, where=desk.place.name, hint=hint)
    target = channels.previous(base.record)
    if target is None:
        said = f"{base.found.name} knows of no version before v{base.record.current.version}"
        raise UsageError(said, where=desk.place.name, hint=hint)
    return target.version


def _proves(desk: Desk, found: OfferedChannel) -> bool:
    try:
        _proven(desk, found)
        return True
    except Untrusted:
        return False


def _proven(desk: Desk, found: OfferedChannel) -> None:
    keyring.proven(
        found.data,
        found.signatures,
        desk.ring,
        what=f"the channel {found.name}",
        where=desk.place.name,
        hint=f"build promote VERSION --channel {found.name} --key FILE",
    )


def _meant(desk: Desk, word: str) -> Optional[int]:
    """The version of `word`.

    None for the newest. Raises UsageError, or Untrusted for a channel.
    """
    if word == "latest":
        return None
    if _VERSION.fullmatch(word):
        return number(word)
    found = channels.offered(desk.place, word) if channels.is_name(word) else None
    if found is None:
        raise UsageError(
            f"{word!r} is neither a version nor a channel of {desk.place.name}",
            hint="a version is v3, 3 or latest; what there is: build channels",
        )
    if desk.keys:
        _proven(desk, found)
    record = channels.parsed(found.data, desk.place.name)
    if record.channel != word:
        raise StoreDamaged(f"what is tagged {word} says that it is {record.channel}", where=desk.place.name)
    return record.current.version


def _version(desk: Desk, wanted: Optional[int]) -> Manifest:
    """The manifest of a complete version, with a trusted signature if this machine signs."""
    store = desk.supplied.store
    version = desk.supplied.version(wanted, "make one: build matrix")
    if desk.keys:
        manifest = versions.parsed(store, version, trust.proof(store, version, desk.ring).data)
    else:
        manifest = versions.read(store, version)
    top = desk.place.resolve(f"v{version}")
    assert top is not None
    remedy = f"build publish {desk.place.name} --version {version}" if desk.supplied.place else "build matrix"

    def check(it: Descriptor) -> None:
        if not desk.place.has(it):
            said = f"v{version} is not whole: {it.title or it.digest} is missing"
            raise StoreDamaged(said, where=desk.place.name, hint=remedy)

    Pace().each(copying.closure(desk.place, top), check)
    return manifest


def _offers_something(manifest: Manifest, unverified: bool) -> None:
    statuses = [entry.verdict.status for entry in manifest.entries if entry.artifact is not None]
    if "passed" in statuses or (unverified and "unverified" in statuses):
        return
    measured = "unverified" not in statuses
    raise GateFailed(
        f"no cell of v{manifest.version} passed, so no host would find anything in it",
        hint="see: build audit"
        if measured
        else "to let hosts with --unverified try what was never measured: --unverified",
    )


# ---------------------------------------------------------------------------------------- the record and its signatures


def _move(desk: Desk, wish: Wish, base: Optional[Base], manifest: Manifest, back: bool = False) -> Moved:
    stood = base.record if base else None
    if stood is not None and stood.model != manifest.model.name:
        said = f"{wish.channel} is a channel of {stood.model}; v{manifest.version} is of {manifest.model.name}"
        raise UsageError(said, where=desk.place.name, hint="choose another name, or another store")
    serial, store = stood.current.serial if stood else 0, desk.supplied.store
    record = channels.moved(
        stood if base and base.believed else None,
        wish.channel,
        manifest.model.name,
        (manifest.version, versions.manifest_digest(store, manifest.version)),
        desk.now,
        lifetime=_lifetime(wish.expires, stood),
        reason=wish.reason,
        back=back,
        serial=serial,
    )
    data = channels.written(record)
    comment = f"deploymatrix {record.model} {wish.channel} {record.current.serial} v{manifest.version}"
    signed = [(key.public.name, minisign.sign(key, data, comment).file) for key in desk.keys]
    with tempfile.TemporaryDirectory(prefix="deploymatrix-") as scratch:
        made = Layout(Path(scratch))
        top = channels.put(made, data, signed, versions.manifest_object(store, manifest.version))
        channels.put_channel(desk.place, base.found if base else None, (serial, record), top, made, desk.now)
    return Moved(record, base, manifest)


def _lifetime(said: str, before: Optional[Channel]) -> Optional[datetime.timedelta]:
    if said:
        return None if said == NEVER else clock.length(said, "--expires")
    return before.lifetime if before else None
