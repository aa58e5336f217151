"""Which measurement records of a version hold on a machine: those of its class, by someone who is trusted there if anyone is.

A record that proves nothing takes nothing from the others, and never stands in the way of a pull.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, List, Tuple

from builder.choosing.choose import Timed
from builder.errors import StoreDamaged, Untrusted
from builder.platforms.machines import Machine
from builder.store import referrers, versions
from builder.store.layout import Layout
from builder.store.manifest import Manifest
from builder.store.referrers import Offered
from builder.trust.keyring import Keyring, proven

if TYPE_CHECKING:
    from builder.benchmark.bench_record import (
        BenchRecord,  # imported below where there is one to read: mostly there is none
    )


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
    from builder.benchmark import bench_record

    about = versions.manifest_digest(store, manifest.version)
    for one in offered:
        try:
            kept.append(believed(one, manifest, about, ring, str(store.root)))
        except (StoreDamaged, Untrusted) as problem:
            left_out.append(f"the measurement record {one.tag} is left out: {problem.what}")
    return bench_record.holding(kept, machine, head), tuple(left_out)


def believed(offered: Offered, manifest: Manifest, about: str, ring: Keyring, where: str) -> BenchRecord:
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
    from builder.benchmark import bench_record

    record = bench_record.parsed(offered.data, where)
    bench_record.check(record, manifest, about, where)
    return record
