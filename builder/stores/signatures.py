"""Signatures beside the versions of a store: OCI objects whose subject is the version's manifest.

A version never changes, so its signatures are objects of their own in index.json, tagged `v3.KEY.minisig`. What they hold is
text here; what it is worth is decided in `builder/trusting/trust.py`.
"""

from __future__ import annotations

from typing import Tuple

from builder import descriptor
from builder.stores import oci, tags, versions
from builder.stores.layout import Layout

FILE = "manifest.json.minisig"
MOST_BYTES = 4096  # of a signature; a larger one is none


def attach(store: Layout, version: int, key_name: str, text: str) -> None:
    """Put a signature beside `version`, in the place of an earlier one by the same key."""
    file = store.put_bytes(FILE, text.encode())
    about = versions.manifest_object(store, version)
    made = oci.put_manifest(store, oci.SIGNATURE_TYPE, (file,), {"dev.deploymatrix.key": key_name}, about)
    tags.put(store, f"v{version}.{key_name}.minisig", oci.descriptor(made, descriptor.MANIFEST, oci.SIGNATURE_TYPE))


def of(store: Layout, version: int) -> Tuple[str, ...]:
    """The texts of the signatures that say they are about `version`. Errors as `versions.read`."""
    about = oci.digest_of(versions.manifest_object(store, version))
    found = []
    for tag, item in tags.all_of(store).items():
        if not (tag.startswith(f"v{version}.") and tag.endswith(".minisig")):
            continue  # by the tag: a copy that another program made need not tell what kind of object it is
        signature = oci.load(store, oci.digest_of(item))
        layers = oci.as_list(signature.get("layers"))
        if layers and oci.digest_of(signature.get("subject")) == about:
            named = oci.digest_of(layers[0])
            if store.fetch(named).stat().st_size <= MOST_BYTES:
                found.append(store.read(named).decode("utf-8", errors="replace"))
    return tuple(found)
