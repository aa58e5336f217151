"""OCI objects as JSON in blobs: descriptors, manifests, indexes, tags.

Descriptors come from untrusted sources. A fetch of one yields `size` bytes with `digest`, or an error.
https://github.com/opencontainers/image-spec/blob/main/descriptor.md
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Dict, Iterable, List, Optional, Tuple, cast

from builder import digest
from builder.errors import StoreDamaged
from builder.platforms.platform import Blob
from builder.store.layout import Layout

# ------------------------------------------------------------------------------------------- descriptors


INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCTETS = "application/octet-stream"


@dataclass(frozen=True)
class Descriptor:
    """A reference to an object or a file.

    `kind`: the artifact type; `title`: the file's name; or empty.
    """

    media: str
    digest: str
    size: int
    kind: str = ""
    title: str = ""

    @property
    def is_object(self) -> bool:
        """A manifest or an index, which registries keep apart from files."""
        return self.media in (INDEX, MANIFEST)


def read(value: digest.Json) -> Descriptor:
    """Parse a descriptor. Raises StoreDamaged, also for a digest that could be a path."""
    if not isinstance(value, dict):
        raise StoreDamaged("an OCI descriptor is not a JSON object")
    named, size, notes = value.get("digest"), value.get("size"), value.get("annotations")
    if not isinstance(named, str):
        raise StoreDamaged("an OCI descriptor names no digest")
    digest.hex_part(named)
    if isinstance(size, bool) or not isinstance(size, int) or size < 0:
        raise StoreDamaged(f"the OCI descriptor of {named} has no size")
    title = notes.get("org.opencontainers.image.title", "") if isinstance(notes, dict) else ""
    return Descriptor(
        _text(value.get("mediaType")), named, size, kind=_text(value.get("artifactType")), title=_text(title)
    )


def _text(value: digest.Json) -> str:
    return value if isinstance(value, str) else ""


_EMPTY = "application/vnd.oci.empty.v1+json"
_TITLE = "org.opencontainers.image.title"
REF = "org.opencontainers.image.ref.name"
# The kinds of this program's objects, and the media types of files by name, else by suffix.
ARTIFACT_TYPE = "application/vnd.deploymatrix.artifact.v1"
GOLDEN_TYPE = "application/vnd.deploymatrix.golden.v1"
MANIFEST_TYPE = "application/vnd.deploymatrix.manifest.v1+json"
PROVENANCE_FILE = "provenance.json"
PROVENANCE_TYPE = "application/vnd.deploymatrix.provenance.v1+json"
SIGNATURE_TYPE = "application/vnd.deploymatrix.signature.v1+minisign"
KEYS_TYPE = "application/vnd.deploymatrix.keys.v1+json"
CHANNEL_TYPE = "application/vnd.deploymatrix.channel.v1+json"
FLAG_TYPE = "application/vnd.deploymatrix.flag.v1+json"
BENCH_TYPE = "application/vnd.deploymatrix.bench.v1+json"
_FILE_TYPES = {
    "manifest.json": MANIFEST_TYPE,
    PROVENANCE_FILE: PROVENANCE_TYPE,
    "channel.json": CHANNEL_TYPE,
    "bench.json": BENCH_TYPE,
    ".minisig": SIGNATURE_TYPE,
    "keys.json": KEYS_TYPE,
    ".onnx": "application/vnd.onnx",
    ".xml": "application/vnd.openvino.ir+xml",
}

Object = Dict[str, digest.Json]


def put_manifest(
    store: Layout, kind: str, files: Tuple[Blob, ...], notes: Object, about: Optional[Object] = None
) -> Blob:
    """The OCI manifest over `files`, named by their titles.

    `about` describes its subject.
    """
    empty = store.put_bytes("empty", b"{}")
    layers: List[digest.Json] = []
    for blob in files:
        suffix = "." + blob.name.rsplit(".", 1)[-1]
        media = _FILE_TYPES.get(blob.name) or _FILE_TYPES.get(suffix, "application/octet-stream")
        layers.append(
            {"mediaType": media, "digest": blob.digest, "size": blob.size, "annotations": {_TITLE: blob.name}}
        )
    body: Object = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": kind,
        "config": {"mediaType": _EMPTY, "digest": empty.digest, "size": empty.size},
        "layers": layers,
    }
    if about is not None:
        body["subject"] = {key: about[key] for key in ("mediaType", "digest", "size") if key in about}
    return put_json(store, {**body, "annotations": notes} if notes else body)


def put_json(store: Layout, value: digest.Json) -> Blob:
    return store.put_bytes("object", digest.canonical(value))


def descriptor(blob: Blob, media: str, kind: str) -> Object:
    return {"mediaType": media, "digest": blob.digest, "size": blob.size, "artifactType": kind}


def load(store: Layout, blob: str) -> Object:
    """The object in a blob, verified. Raises StoreDamaged."""
    try:
        return as_object(digest.loads(store.read(blob)))
    except ValueError as problem:
        raise StoreDamaged(f"{blob} is not JSON: {problem}", where=str(store.root)) from None


def listed(items: List[Object]) -> digest.Json:
    return cast(digest.Json, items)


def as_object(value: digest.Json) -> Object:
    if not isinstance(value, dict):
        raise StoreDamaged("an OCI object is not a JSON object")
    return value


def digest_of(descriptor: digest.Json) -> str:
    """The digest that an OCI descriptor names."""
    named = as_object(descriptor).get("digest")
    if not isinstance(named, str):
        raise StoreDamaged("an OCI descriptor names no digest")
    return named


def as_list(value: digest.Json) -> "list[digest.Json]":
    return value if isinstance(value, list) else []


def tag_of(descriptor: digest.Json) -> str:
    return str(as_object(as_object(descriptor).get("annotations", {})).get(REF, ""))


# ----------------------------------------------------------------------------------------- tags, as names in index.json


# The form of a tag: https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests
_FORM = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")

# An index is a value, so that repositories without a folder can use these functions too.


def parsed(data: Optional[bytes], where: str) -> Object:
    """The index in these bytes; an empty one for None. Raises StoreDamaged."""
    if data is None:
        return {"schemaVersion": 2, "mediaType": INDEX, "manifests": []}
    try:
        index = as_object(digest.loads(data))
        named(index)
    except (ValueError, RecursionError) as problem:
        raise StoreDamaged(f"not JSON: {problem}", where=where) from None
    except StoreDamaged as problem:
        raise StoreDamaged(problem.what, where=where) from None
    return index


def named(index: Object) -> Dict[str, Object]:
    """tag -> OCI descriptor, in the order of the index, without untagged objects."""
    entries = as_list(index.get("manifests"))
    return {tag_of(entry): as_object(entry) for entry in entries if tag_of(entry)}


def with_tag(index: Object, tag: str, about: Object) -> Object:
    """The index with `tag` set to this object."""
    if not _FORM.fullmatch(tag):
        raise StoreDamaged(f"{tag!r} cannot be a tag")
    return _replaced(index, (tag,), [{**about, "annotations": {REF: tag}}])


def entry(it: Descriptor) -> Object:
    """An object for index.json. A registry resolves a tag without its kind."""
    kind: Object = {"artifactType": it.kind} if it.kind else {}
    return {"mediaType": it.media, "digest": it.digest, "size": it.size, **kind}


def _replaced(index: Object, gone: "tuple[str, ...]", new: "list[Object]") -> Object:
    kept = [item for item in as_list(index.get("manifests")) if tag_of(item) not in gone]
    return {**index, "manifests": [*kept, *listed(new)]}  # type: ignore[misc]


# The index of a store, read and replaced in its folder.


def all_of(store: Layout) -> Dict[str, Object]:
    return named(as_object(store.index()))


def find(store: Layout, tag: str) -> Optional[Object]:
    return all_of(store).get(tag)


def put(store: Layout, tag: str, descriptor: Object) -> None:
    """Set `tag` to this object. The caller holds the store."""
    store.replace_index(with_tag(as_object(store.index()), tag, descriptor))


def remove(store: Layout, tags: Iterable[str]) -> None:
    """Remove these tags. Their objects stay until they are collected."""
    store.replace_index(_replaced(as_object(store.index()), tuple(tags), []))
