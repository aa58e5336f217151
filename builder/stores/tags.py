"""Tags of an OCI image layout: names of objects in index.json. What a tag means is not known here."""

from __future__ import annotations

import re
from typing import Dict, Iterable, Optional

from builder.errors import StoreDamaged
from builder.stores import oci
from builder.stores.layout import Layout

# What a registry takes: https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests
_FORM = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")


def all_of(store: Layout) -> Dict[str, oci.Object]:
    """tag -> OCI descriptor, in the order of index.json; objects without a tag are left out."""
    entries = oci.as_list(oci.as_object(store.index()).get("manifests"))
    return {oci.tag_of(entry): oci.as_object(entry) for entry in entries if oci.tag_of(entry)}


def find(store: Layout, tag: str) -> Optional[oci.Object]:
    return all_of(store).get(tag)


def put(store: Layout, tag: str, descriptor: oci.Object) -> None:
    """Let `tag` name this object from now on, whatever it named before. The caller holds the store."""
    if not _FORM.fullmatch(tag):
        raise StoreDamaged(f"{tag!r} cannot be a tag")
    entry: oci.Object = {**descriptor, "annotations": {oci.REF: tag}}
    _replace(store, (tag,), [entry])


def remove(store: Layout, tags: Iterable[str]) -> None:
    """These tags name nothing any more. What they named stays until it is collected."""
    _replace(store, tuple(tags), [])


def _replace(store: Layout, gone: "tuple[str, ...]", new: "list[oci.Object]") -> None:
    top = oci.as_object(store.index())
    kept = [item for item in oci.as_list(top.get("manifests")) if oci.tag_of(item) not in gone]
    store.replace_index({**top, "manifests": [*kept, *oci.listed(new)]})  # type: ignore[misc]
