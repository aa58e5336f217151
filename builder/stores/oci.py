"""Objects of an OCI image layout: manifests, indexes and descriptors as JSON in blobs. What they mean is not known here."""

from __future__ import annotations

from typing import Dict, List, Optional, Tuple, cast

from builder import digest
from builder.descriptor import MANIFEST
from builder.errors import StoreDamaged
from builder.platforms.platform import Blob
from builder.stores.layout import Layout

_EMPTY = "application/vnd.oci.empty.v1+json"
_TITLE = "org.opencontainers.image.title"
REF = "org.opencontainers.image.ref.name"
# The kinds of our own objects, and the media types of files by name, else by suffix.
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
    """The OCI manifest over `files`, named by their titles; `about` describes the object that becomes its subject."""
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
