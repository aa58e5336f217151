"""Statements beside the versions of a store: OCI objects whose subject is the version's manifest, tagged `v3.intoto`, `v3.sbom`.
What they state is not known here."""

from __future__ import annotations

from typing import Optional

from builder import descriptor
from builder.errors import StoreDamaged
from builder.stores import oci, tags, versions
from builder.stores.layout import Layout
from builder.transfers import transfer


def attach(store: Layout, version: int, what: str, kind: str, name: str, data: bytes) -> str:
    """Put a file beside `version`, in the place of an earlier `what`. The tag. The caller holds the store."""
    about = versions.manifest_object(store, version)
    made = oci.put_manifest(store, kind, (store.put_bytes(name, data),), {}, about)
    tag = f"v{version}.{what}"
    tags.put(store, tag, oci.descriptor(made, descriptor.MANIFEST, kind))
    return tag


def of(store: Layout, version: int, what: str) -> Optional[bytes]:
    """What was attached; None when nothing was. Raises StoreDamaged, also when it is about something else."""
    tagged = tags.find(store, f"v{version}.{what}")
    if tagged is None:
        return None
    found = oci.load(store, oci.digest_of(tagged))
    if oci.digest_of(found.get("subject")) != oci.digest_of(versions.manifest_object(store, version)):
        raise StoreDamaged(f"v{version}.{what} is about something else", where=str(store.root))
    layers = oci.as_list(found.get("layers"))
    named = oci.digest_of(layers[0] if layers else None)
    if store.fetch(named).stat().st_size > transfer.MOST_OBJECT:
        raise StoreDamaged(f"v{version}.{what} is larger than {transfer.MOST_OBJECT:,} bytes", where=str(store.root))
    return store.read(named)
