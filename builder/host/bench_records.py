"""What `build bench` found on a host: times of a version's artifacts on one class of machine, as a file that can be signed.

A time holds on machines of the same class with the same version of the runtime, and nowhere else. Data only;
`builder/host/bench.py` measures, `builder/host/choose.py` uses it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Iterable, List, Literal, Optional, Tuple

from builder import digest
from builder.actions.measurements import Latency
from builder.config.contract import PACKAGE
from builder.errors import StoreDamaged, Untrusted
from builder.host.choose import Timed
from builder.platforms.machines import Machine
from builder.records import KEYED, RecordError, from_json, to_json
from builder.store import referrers, versions
from builder.store.layout import Layout
from builder.store.manifest import Manifest
from builder.store.referrers import OfferedBench
from builder.trust.keyring import Keyring, proven

if TYPE_CHECKING:
    pass


_FILE = "bench.json"


@dataclass(frozen=True)
class MachineClass:
    """What times are comparable on. `gpus` are names with their compute capability."""

    os: str
    arch: str
    cpu: str
    cores: int
    features: Tuple[str, ...] = ()
    gpus: Tuple[str, ...] = ()


@dataclass(frozen=True)
class Benched:
    """An artifact (the digest of its OCI manifest) with the version of the runtime that ran it: its time, or why it did
    not run."""

    cell: str
    artifact: str
    runtime: str
    version: str
    latency: Optional[Latency] = None
    problem: str = ""


@dataclass(frozen=True)
class BenchRecord:
    """`manifest` is the digest of the version's manifest.json. `created` is UTC, ISO 8601."""

    schema: Literal[1]
    machine: MachineClass
    model: str
    head: str
    version: int
    manifest: str
    created: str
    deploymatrix: str
    python: str
    driver: str
    rows: Tuple[Benched, ...] = field(metadata=KEYED)

    @property
    def tag(self) -> str:
        """One record per version, class of machine and head; a newer one takes its place."""
        named = digest.of_json([to_json(self.machine), self.head])
        return f"v{self.version}.bench.{digest.hex_part(named)[:8]}"


def class_of(machine: Machine) -> MachineClass:
    gpus = tuple(sorted(gpu.described for gpu in machine.gpus))
    return MachineClass(machine.os, machine.arch, machine.cpu, machine.cores, machine.features, gpus)


def text(record: BenchRecord) -> bytes:
    return (json.dumps(to_json(record), indent=1, ensure_ascii=False) + "\n").encode()


def parsed(data: bytes, where: str) -> BenchRecord:
    """Raises StoreDamaged."""
    try:
        found = from_json(BenchRecord, digest.loads(data))
    except (ValueError, RecordError) as problem:
        raise StoreDamaged(f"{_FILE} does not read: {problem}", where=where) from None
    for row in found.rows:
        if (row.latency is None) != bool(row.problem) or (row.latency and row.latency.artifact.p50 <= 0):
            raise StoreDamaged(f"{_FILE} says no sensible time of {row.cell}", where=where)
    return found


def check(record: BenchRecord, manifest: Manifest, data_digest: str, where: str) -> None:
    """The record is about this version, whose manifest.json has `data_digest`. Raises StoreDamaged."""
    if (record.version, record.manifest) != (manifest.version, data_digest):
        raise StoreDamaged(
            f"it is of another v{record.version} of {record.model} than the one that is here", where=where
        )
    for row in record.rows:
        entry = manifest.entry(row.cell)
        if (
            entry is None
            or entry.artifact is None
            or entry.artifact.digest != row.artifact
            or entry.head != record.head
        ):
            raise StoreDamaged(f"it times an artifact of {row.cell} that v{record.version} does not have", where=where)


def holding(records: Iterable[BenchRecord], machine: Machine, head: str) -> Tuple[Timed, ...]:
    """The times that hold on `machine`, the newest of each artifact."""
    here, found = class_of(machine), {}
    for record in sorted(records, key=lambda one: one.created):
        if record.machine == here and record.head == head:
            for row in record.rows:
                if row.runtime in PACKAGE and machine.version(PACKAGE[row.runtime]) == row.version:
                    found[row.artifact] = Timed(row.artifact, row.latency, row.problem)
    return tuple(found.values())


@dataclass(frozen=True)
class Carried:
    """A record and its signature in one file, to be carried to where the store is."""

    bench: str
    signature: str = ""


def packed(data: bytes, signature: Optional[Tuple[str, str]]) -> bytes:
    """`signature` is (key's name, text)."""
    signed = signature[1] if signature is not None else ""
    return (json.dumps(to_json(Carried(data.decode(), signed)), indent=1, ensure_ascii=False) + "\n").encode()


def unpacked(data: bytes, where: str) -> Carried:
    """The inverse of `packed`. Raises StoreDamaged."""
    try:
        return from_json(Carried, digest.loads(data))
    except (ValueError, RecordError) as problem:
        raise StoreDamaged(f"not a measurement record: {problem}", where=where) from None


# Which measurement records of a version hold on a machine: those of its class, by someone who is trusted there if anyone is.
#
# A record that proves nothing takes nothing from the others, and never stands in the way of a pull.


def here(
    store: Layout, manifest: Manifest, machine: Machine, head: str, ring: Keyring
) -> Tuple[Tuple[Timed, ...], Tuple[str, ...]]:
    """(the times that hold on `machine`, a sentence for each record that is left out)."""
    kept: List[BenchRecord] = []
    left_out: List[str] = []
    try:
        offered = referrers.benches_of(store, manifest.version)
    except StoreDamaged as problem:
        return (), (f"the measurement records are left out: {problem.what}",)
    if not offered:
        return (), ()

    about = versions.manifest_digest(store, manifest.version)
    for one in offered:
        try:
            kept.append(believed(one, manifest, about, ring, str(store.root)))
        except (StoreDamaged, Untrusted) as problem:
            left_out.append(f"the measurement record {one.tag} is left out: {problem.what}")
    return holding(kept, machine, head), tuple(left_out)


def believed(offered: OfferedBench, manifest: Manifest, about: str, ring: Keyring, where: str) -> BenchRecord:
    """The record, once it is known to be by someone in `ring` (by anyone, when that is empty) and about `manifest`, whose
    bytes have the digest `about`. Raises Untrusted, StoreDamaged."""
    if ring:
        proven(
            offered.data,
            offered.signatures,
            ring,
            what=offered.tag,
            where=where,
            hint="on the host that measured: build bench --key FILE",
        )

    record = parsed(offered.data, where)
    check(record, manifest, about, where)
    return record
