"""The key statement of a store: one OCI object, tagged `keys`, that holds keys.json. What it is worth is decided in
`builder/trusting/trust.py`."""

from __future__ import annotations

from typing import Optional

from builder import descriptor, digest
from builder.errors import StoreDamaged
from builder.plugins import Repository
from builder.stores import oci, tags
from builder.stores.layout import Layout
from builder.transfers import transfer
from builder.trust.key_statements import MOST_BYTES, history

TAG, FILE = "keys", "keys.json"


def put(store: Layout, text: bytes) -> None:
    """In the place of an earlier one. The caller holds the store."""
    made = oci.put_manifest(store, oci.KEYS_TYPE, (store.put_bytes(FILE, text),), {})
    tags.put(store, TAG, oci.descriptor(made, descriptor.MANIFEST, oci.KEYS_TYPE))


def offered(place: Repository) -> Optional[bytes]:
    """The same from a place outside. Raises Unreachable, StoreDamaged."""
    top = place.resolve(TAG)
    if top is None:
        return None
    try:
        body = oci.as_object(digest.loads(transfer.read(place, top)))
    except ValueError as problem:
        raise StoreDamaged(f"what is tagged {TAG} does not read: {problem}", where=place.name) from None
    layers = oci.as_list(body.get("layers"))
    return transfer.read(place, descriptor.read(layers[0] if layers else None), MOST_BYTES)


def of(store: Layout) -> Optional[bytes]:
    """The bytes of keys.json; None for a store without. Raises StoreDamaged, also for one that is too large."""
    tagged = tags.find(store, TAG)
    if tagged is None:
        return None
    layers = oci.as_list(oci.load(store, oci.digest_of(tagged)).get("layers"))
    named = oci.digest_of(layers[0] if layers else None)
    if store.fetch(named).stat().st_size > MOST_BYTES:
        raise StoreDamaged(f"its key statement is larger than {MOST_BYTES:,} bytes", where=str(store.root))
    return store.read(named)


def newer(store: Layout, place: Repository) -> bool:
    """Does `store` have a later statement than `place`? Of what is there only the serial is looked at."""
    here, there = of(store), offered(place)
    if here is None or there is None:
        return here is not None
    ours, theirs = history(here, str(store.root)), history(there, place.name)
    return ours.statements[-1].read.serial > theirs.statements[-1].read.serial
