"""Tags of an OCI image layout: names of objects in index.json. What a tag means is not known here.

The functions on an index are pure, for places that keep index.json elsewhere than in a folder; those on a store read and
replace the one in it.
"""

from __future__ import annotations

import re
from typing import Dict, Iterable, Optional

from builder import digest
from builder.descriptor import INDEX, Descriptor
from builder.errors import StoreDamaged
from builder.stores import oci
from builder.stores.layout import Layout

# What a registry takes: https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests
_FORM = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")

# ------------------------------------------------------------------ of an index


def parsed(data: Optional[bytes], where: str) -> oci.Object:
    """The index in these bytes; an empty one for None. Raises StoreDamaged, as of strangers' bytes."""
    if data is None:
        return {"schemaVersion": 2, "mediaType": INDEX, "manifests": []}
    try:
        index = oci.as_object(digest.loads(data))
        named(index)
    except (ValueError, RecursionError) as problem:
        raise StoreDamaged(f"not JSON: {problem}", where=where) from None
    except StoreDamaged as problem:
        raise StoreDamaged(problem.what, where=where) from None
    return index


def named(index: oci.Object) -> Dict[str, oci.Object]:
    """tag -> OCI descriptor, in the order of the index; objects without a tag are left out."""
    entries = oci.as_list(index.get("manifests"))
    return {oci.tag_of(entry): oci.as_object(entry) for entry in entries if oci.tag_of(entry)}


def with_tag(index: oci.Object, tag: str, about: oci.Object) -> oci.Object:
    """The index in which `tag` names this object, whatever it named before."""
    if not _FORM.fullmatch(tag):
        raise StoreDamaged(f"{tag!r} cannot be a tag")
    return _replaced(index, (tag,), [{**about, "annotations": {oci.REF: tag}}])


def entry(it: Descriptor) -> oci.Object:
    """An object as index.json names it. A registry resolves a tag without saying the kind."""
    kind: oci.Object = {"artifactType": it.kind} if it.kind else {}
    return {"mediaType": it.media, "digest": it.digest, "size": it.size, **kind}


def _replaced(index: oci.Object, gone: "tuple[str, ...]", new: "list[oci.Object]") -> oci.Object:
    kept = [item for item in oci.as_list(index.get("manifests")) if oci.tag_of(item) not in gone]
    return {**index, "manifests": [*kept, *oci.listed(new)]}  # type: ignore[misc]


# ------------------------------------------------------------------ of a store


def all_of(store: Layout) -> Dict[str, oci.Object]:
    return named(oci.as_object(store.index()))


def find(store: Layout, tag: str) -> Optional[oci.Object]:
    return all_of(store).get(tag)


def put(store: Layout, tag: str, descriptor: oci.Object) -> None:
    """Let `tag` name this object from now on, whatever it named before. The caller holds the store."""
    store.replace_index(with_tag(oci.as_object(store.index()), tag, descriptor))


def remove(store: Layout, tags: Iterable[str]) -> None:
    """These tags name nothing any more. What they named stays until it is collected."""
    store.replace_index(_replaced(oci.as_object(store.index()), tuple(tags), []))
