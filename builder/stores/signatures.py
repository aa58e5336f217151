"""Signatures beside the versions of a store: OCI objects whose subject is the version's manifest.

A version never changes, so its signatures are objects of their own in index.json, tagged `v3.KEY.minisig`. What they hold is
text here; what it is worth is decided in `builder/trust.py`.
"""

from __future__ import annotations

from typing import Tuple

from builder.stores import oci, versions
from builder.stores.layout import Layout

FILE = "manifest.json.minisig"


def attach(store: Layout, version: int, key_name: str, text: str) -> None:
    """Put a signature beside `version`, in the place of an earlier one by the same key."""
    file = store.put_bytes(FILE, text.encode())
    about = versions.manifest_object(store, version)
    subject: oci.Object = {key: about[key] for key in ("mediaType", "digest", "size") if key in about}
    made = oci.put_manifest(store, oci.SIGNATURE_TYPE, (file,), {"dev.deploymatrix.key": key_name}, subject)
    tag = f"v{version}.{key_name}.minisig"
    top = oci.as_object(store.index())
    others = [item for item in oci.as_list(top.get("manifests")) if oci.tag_of(item) != tag]
    entry: oci.Object = {**oci.descriptor(made, oci.MANIFEST, oci.SIGNATURE_TYPE), "annotations": {oci.REF: tag}}
    store.replace_index({**top, "manifests": [*others, entry]})


def of(store: Layout, version: int) -> Tuple[str, ...]:
    """The texts of the signatures that say they are about `version`. Errors as `versions.read`."""
    about = oci.digest_of(versions.manifest_object(store, version))
    found = []
    for item in oci.as_list(oci.as_object(store.index()).get("manifests")):
        if oci.as_object(item).get("artifactType") != oci.SIGNATURE_TYPE:
            continue
        signature = oci.load(store, oci.digest_of(item))
        layers = oci.as_list(signature.get("layers"))
        if layers and oci.digest_of(signature.get("subject")) == about:
            found.append(store.read(oci.digest_of(layers[0])).decode("utf-8", errors="replace"))
    return tuple(found)
