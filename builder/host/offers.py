"""What a host is offered: a version by its number, the newest, or where a channel stands. Checked in this order:

the signature of the channel's record; that it is the record of this channel and has not expired; the signature of the
version; that it is the one that the record names; that nothing is older, or other, than what the host has had.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Mapping, Optional, Sequence, Tuple

from builder import clock, digest
from builder.errors import Untrusted, UsageError
from builder.host import bench_records, demands, install, rollback, selftest
from builder.host.choose import Asked, Timed
from builder.host.rollback import Memory, Offer, Pointer
from builder.platforms import machines
from builder.store import channels, trust, versions
from builder.store.channels import Channel
from builder.store.manifest import Manifest
from builder.store.supply import Supply
from builder.trust import keyring
from builder.trust.keyring import Keyring

_NO_STORE = "name a store: build pull SOURCE, or make one: build matrix"


@dataclass(frozen=True)
class Pull:
    """What a person asks for.

    `source` is as it was typed, None for the default. `signatures` is how many trusted keys must have signed; `key` is
    the only one to trust. `self_test` is in seconds for each artifact; None skips the test.
    """

    source: Optional[str]
    dest: Path
    head: Optional[str] = None
    channel: Optional[str] = None
    version: Optional[int] = None
    signatures: int = 1
    key: Optional[str] = None
    allow_unsigned: bool = False
    allow_rollback: bool = False
    asked: Asked = Asked()
    self_test: Optional[float] = selftest.SECONDS
    keep: int = install.KEEP


@dataclass(frozen=True)
class Offered:
    """A version that the host may take, and what to decide from. `at`: the time; `told`: where the channel stands."""

    request: Pull
    supply: Supply
    manifest: Manifest
    offer: Offer
    at: clock.Time
    machine: machines.Machine
    times: Tuple[Timed, ...]
    told: str


def read_offer(request: Pull, supply: Supply, environ: Mapping[str, str], say: Callable[[str], None]) -> Offered:
    """`say` gets notes for the person. Raises UsageError, Untrusted, StoreDamaged, Unreachable."""

    def note(lines: Sequence[str]) -> None:
        for line in lines:
            say(f"note: {line}")

    memory, now = rollback.read(request.dest), clock.now()
    trusted = trust.at(request.key, environ, supply.repository)
    note(trusted.notes)  # now: they may say why nothing is taken
    ring = Keyring() if request.allow_unsigned else trusted
    record, pointer = _record(supply, request, memory, ring, now) if request.channel is not None else (None, None)
    version = supply.version(record.current.version if record else request.version, _NO_STORE)
    whole, named = _version(supply, version, ring, request.signatures)
    if record is not None:
        _check_stands(record, whole, named, supply.name)
        note(_went_back(record, memory))
    manifest, known = supply.offered(whole), [head.name for head in whole.model.heads]
    head = request.head or known[0]
    if head not in known:
        raise UsageError(f"the model has no head {head!r}", hint=f"heads: {', '.join(known)}")
    offer = Offer(manifest.model.name, head, version, named, asked=request.version is not None, pointer=pointer)
    rollback.check(memory, offer, supply.name, allowed=request.allow_rollback)
    machine = machines.here()
    demands.check(request.asked.accuracy, (entry for entry in manifest.entries if entry.head == head))
    times, left_out = bench_records.here(supply.store, manifest, machine, head, ring)
    note(left_out)
    return Offered(request, supply, manifest, offer, now, machine, times, _told(record) if record else "")


def _version(supply: Supply, version: int, ring: Keyring, least: int) -> Tuple[Manifest, str]:
    """The manifest, once it is known to be signed by those in `ring`, if anyone is, and its digest."""
    store = supply.store
    if not ring:
        return versions.read(store, version), versions.manifest_digest(store, version)
    data = trust.proof(store, version, ring, least, supply.name).data
    return versions.parsed(store, version, data), digest.of_bytes(data)


def _record(supply: Supply, request: Pull, memory: Memory, ring: Keyring, now: clock.Time) -> Tuple[Channel, Pointer]:
    name = channels.named(request.channel or "")
    place = supply.repository
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
            shown.data, shown.signatures, ring, what=what, where=place.name, hint=hint, least=request.signatures
        )
    record = channels.parsed(shown.data, place.name)
    if record.channel != name:
        raise Untrusted(
            f"what is shown as the channel {name} is a record of the channel {record.channel}", where=place.name
        )
    _check_in_time(record, memory, now, supply.name)
    current = record.current
    return record, Pointer(name, current.serial, digest.of_bytes(shown.data), current.issued, bool(ring))


def _check_in_time(record: Channel, memory: Memory, now: clock.Time, where: str) -> None:
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


def _check_stands(record: Channel, manifest: Manifest, named: str, where: str) -> None:
    """`named`: the digest of the manifest."""
    if named != record.current.manifest or manifest.model.name != record.model:
        raise Untrusted(
            f"v{record.current.version} there is not the one where {record.channel} stands",
            where=where,
            hint="publish that version there, or promote the one that is there",
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
