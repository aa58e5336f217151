"""What a host takes from a source: a version by its number, the newest, or where a channel stands. Checked in this order:

the signature of the channel's record; that it is the record of this channel and has not expired; that the version there is the
one that the record names; the signature of the version; that nothing is older, or other, than what the host has had.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Tuple

from builder import clock, digest
from builder.errors import Untrusted, UsageError
from builder.host.rollback import Memory, Offer, Pointer
from builder.store import channels, trust, versions
from builder.store.channels import Channel
from builder.store.manifest import Manifest
from builder.store.supply import Supply
from builder.trust import keyring
from builder.trust.keyring import Keyring

_NO_STORE = "name a store: build pull SOURCE, or make one: build matrix"


@dataclass(frozen=True)
class Wanted:
    """`signatures` is how many trusted keys must have signed."""

    channel: Optional[str] = None
    version: Optional[int] = None
    signatures: int = 1
    allow_unsigned: bool = False


@dataclass(frozen=True)
class Found:
    """`offer` still lacks the head. `ring` is empty where nobody's signature is asked for. `told` says where the channel stands; `notes` are for the person."""

    manifest: Manifest
    offer: Offer
    ring: Keyring
    told: str = ""
    notes: Tuple[str, ...] = ()


def found(supplied: Supply, wanted: Wanted, ring: Keyring, memory: Memory, now: clock.Time) -> Found:
    """`ring`: whose signatures count here. Raises UsageError (there is no such thing), Untrusted, StoreDamaged, Unreachable."""
    ring = Keyring() if wanted.allow_unsigned else ring
    if wanted.channel is None:
        version = supplied.version(wanted.version, _NO_STORE)
        manifest, named = _version(supplied, version, ring, wanted.signatures)
        offer = Offer(manifest.model.name, "", version, named, asked=wanted.version is not None)
        return Found(manifest, offer, ring)
    record, pointer = _record(supplied, wanted, memory, ring)
    _in_time(record, memory, now, supplied.name)
    current = record.current
    manifest, named = _version(supplied, supplied.version(current.version, _NO_STORE), ring, wanted.signatures)
    if named != current.manifest or manifest.model.name != record.model:
        raise Untrusted(
            f"v{current.version} there is not the one where {record.channel} stands",
            where=supplied.name,
            hint="publish that version there, or promote the one that is there",
        )
    offer = Offer(record.model, "", current.version, named, pointer=pointer)
    return Found(manifest, offer, ring, _told(record), _went_back(record, memory))


def _version(supplied: Supply, version: int, ring: Keyring, least: int) -> Tuple[Manifest, str]:
    """The manifest, once it is known to be signed by those in `ring`, if anyone is, and its digest."""
    store = supplied.store
    if not ring:
        return versions.read(store, version), versions.manifest_digest(store, version)
    data = trust.proof(store, version, ring, least, supplied.name).data
    return versions.parsed(store, version, data), digest.of_bytes(data)


def _record(supplied: Supply, wanted: Wanted, memory: Memory, ring: Keyring) -> Tuple[Channel, Pointer]:
    name = channels.named(wanted.channel or "")
    place = supplied.repository
    shown = channels.offered(place, name)
    if shown is None:
        seen = memory.channel(name)
        if seen is not None:
            said = f"there is no channel {name}, and this host has followed it to the serial {seen.serial} (v{seen.version})"
            raise Untrusted(said, where=place.name, hint="see: build channels SOURCE")
        known = ", ".join(one.name for one in channels.all_of(place)) or "none"
        raise UsageError(f"there is no channel {name}", where=place.name, hint=f"channels: {known}")
    if ring:
        hint = f"where it is promoted: build promote VERSION --channel {name} --key FILE"
        what = f"the channel {name}"
        keyring.proven(
            shown.data, shown.signatures, ring, what=what, where=place.name, hint=hint, least=wanted.signatures
        )
    record = channels.parsed(shown.data, place.name)
    if record.channel != name:
        raise Untrusted(
            f"what is shown as the channel {name} is a record of the channel {record.channel}", where=place.name
        )
    current = record.current
    return record, Pointer(name, current.serial, digest.of_bytes(shown.data), current.issued, bool(ring))


def _in_time(record: Channel, memory: Memory, now: clock.Time, where: str) -> None:
    now = memory.now(now)
    if not record.expired(now):
        return
    since = clock.ago(now - clock.read(record.expires))
    version = record.current.version
    raise Untrusted(
        f"the channel {record.channel} (v{version}, serial {record.current.serial}) expired {since} ago, on {record.expires}: "
        "nobody renewed it, or someone holds back what is newer",
        where=where,
        hint=f"where it is promoted: build promote v{version} --channel {record.channel} --key FILE; "
        f"or, once, by hand: build pull --version {version}",
    )


def _told(record: Channel) -> str:
    current = record.current
    until = f"good until {record.expires}" if record.expires else "good without end"
    return f"{record.channel} stands at v{current.version} since {current.issued}, serial {current.serial}, {until}"


def _went_back(record: Channel, memory: Memory) -> Tuple[str, ...]:
    seen, current = memory.channel(record.channel), record.current
    if seen is None or current.version >= seen.version or current.serial <= seen.serial:
        return ()
    why = f": {current.reason}" if current.reason else ""
    return (f"{record.channel} went back from v{seen.version} to v{current.version}{why}",)
