"""Versions in an OCI image layout: writing a manifest and its artifacts as standard OCI objects, and finding them.

    index.json -> image index `v3` -> OCI manifest of our manifest.json
                                      and of provenance.json, which only the audit reads
                                   -> OCI manifest per artifact, its files as layers with titles

Every object has an `artifactType` and annotations, since OCI's `platform` has no field for a GPU.
"""

from __future__ import annotations

import json
from typing import Dict, List, Optional, Tuple, cast

from builder import digest, manifest_upgrade, provenance
from builder.action import Blob
from builder.errors import StoreDamaged, UsageError
from builder.manifest import Entry, Manifest
from builder.provenance import Provenance
from builder.record import RecordError, from_json, to_json
from builder.stores.layout import Layout

_INDEX = "application/vnd.oci.image.index.v1+json"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_EMPTY = "application/vnd.oci.empty.v1+json"
_TITLE = "org.opencontainers.image.title"
_REF = "org.opencontainers.image.ref.name"
ARTIFACT_TYPE = "application/vnd.deploymatrix.artifact.v1"
MANIFEST_TYPE = "application/vnd.deploymatrix.manifest.v1+json"
PROVENANCE_TYPE = "application/vnd.deploymatrix.provenance.v1+json"
_FILE_TYPES = {".onnx": "application/vnd.onnx", ".xml": "application/vnd.openvino.ir+xml"}

Object = Dict[str, digest.Json]


def put_artifact(store: Layout, cell: str, files: Tuple[Blob, ...]) -> Blob:
    """The OCI manifest over an artifact's files."""
    return _put_manifest(store, ARTIFACT_TYPE, files, {"dev.deploymatrix.cell": cell})


def publish(store: Layout, manifest: Manifest, made_of: Optional[Provenance] = None) -> None:
    """Write `manifest` as the store's newest version. Nothing is visible until index.json is replaced."""
    body = store.put_bytes("manifest.json", json.dumps(to_json(manifest), indent=1, ensure_ascii=False).encode())
    beside = (store.put_bytes(provenance.FILE, provenance.text(made_of)),) if made_of else ()
    children = [_descriptor(_put_manifest(store, MANIFEST_TYPE, (body, *beside), {}), _MANIFEST, MANIFEST_TYPE)]
    for entry in manifest.entries:
        if entry.artifact is not None:
            children.append(_artifact_descriptor(store, entry))
    tag = f"v{manifest.version}"
    notes: Object = {"dev.deploymatrix.model": manifest.model.name, "dev.deploymatrix.version": tag}
    version = _put_json(
        store,
        {
            "schemaVersion": 2,
            "mediaType": _INDEX,
            "artifactType": MANIFEST_TYPE,
            "manifests": _json(children),
            "annotations": notes,
        },
    )
    top = _object(store.index())
    listed = _list(top.get("manifests"))
    entry_: Object = {**_descriptor(version, _INDEX, MANIFEST_TYPE), "annotations": {_REF: tag}}
    store.replace_index({**top, "manifests": [*listed, entry_]})


def latest(store: Layout) -> Optional[Manifest]:
    """The newest version, verified against its digests; None for a store without one."""
    numbers = sorted(_versions(store))
    return read(store, numbers[-1]) if numbers else None


def read(store: Layout, version: int) -> Manifest:
    """Version `version`. UsageError when there is none, StoreDamaged when it does not read."""
    layers = _layers(store, version)
    return _manifest(store, _digest(layers[0] if layers else None))


def numbers(store: Layout) -> Tuple[int, ...]:
    """Every version's number, ascending."""
    return tuple(sorted(_versions(store)))


def read_provenance(store: Layout, version: int) -> Optional[Provenance]:
    """What `version` was made of; None when it was published without (by an older release). Errors as `read`."""
    for layer in _layers(store, version):
        if _object(layer).get("mediaType") == PROVENANCE_TYPE:
            try:
                return from_json(Provenance, json.loads(store.read(_digest(layer))))
            except (ValueError, RecordError) as problem:
                raise _unreadable(store, f"the provenance of v{version}", problem) from None
    return None


def _layers(store: Layout, version: int) -> "list[digest.Json]":
    """The manifest of `version`, and what lies beside it."""
    known = _versions(store)
    if version not in known:
        listed = ", ".join(f"v{n}" for n in sorted(known)) or "none"
        raise UsageError(f"there is no version {version} in {store.root}", hint=f"versions: {listed}")
    index = _load(store, known[version])
    for child in _list(index.get("manifests")):
        if _object(child).get("artifactType") == MANIFEST_TYPE:
            return _list(_load(store, _digest(child)).get("layers"))
    raise StoreDamaged(f"version {version} holds no manifest", where=str(store.root))


def _manifest(store: Layout, blob: str) -> Manifest:
    try:
        return from_json(Manifest, manifest_upgrade.upgraded(json.loads(store.read(blob))))
    except (ValueError, RecordError) as problem:
        raise _unreadable(store, "the manifest", problem) from None


def _unreadable(store: Layout, what: str, problem: Exception) -> StoreDamaged:
    return StoreDamaged(
        f"{what} does not read: {problem}",
        where=str(store.root),
        hint="it may be from a newer deploymatrix: pip install --upgrade deploymatrix",
    )


def _versions(store: Layout) -> Dict[int, str]:
    """Version number -> digest of its image index."""
    found: Dict[int, str] = {}
    for item in _list(_object(store.index()).get("manifests")):
        tag = str(_object(_object(item).get("annotations", {})).get(_REF, ""))
        if tag[:1] == "v" and tag[1:].isdigit():
            found[int(tag[1:])] = _digest(item)
    return found


def _artifact_descriptor(store: Layout, entry: Entry) -> Object:
    artifact, platform = entry.artifact, entry.platform
    assert artifact is not None and platform is not None
    size = store.fetch(artifact.digest).stat().st_size
    facts = {"runtime": platform.runtime, "version": platform.version, "sm": platform.sm, "precision": entry.precision}
    notes: Object = {f"dev.deploymatrix.{k}": v for k, v in facts.items() if v is not None}
    notes.update({"dev.deploymatrix.cell": entry.cell, "dev.deploymatrix.verdict": entry.verdict.status})
    return {**_descriptor(Blob(entry.cell, artifact.digest, size), _MANIFEST, ARTIFACT_TYPE), "annotations": notes}


def _put_manifest(store: Layout, kind: str, files: Tuple[Blob, ...], notes: Object) -> Blob:
    empty = store.put_bytes("empty", b"{}")
    layers: List[digest.Json] = []
    for blob in files:
        suffix = "." + blob.name.rsplit(".", 1)[-1]
        media = _FILE_TYPES.get(suffix, "application/octet-stream")
        if kind == MANIFEST_TYPE:
            media = PROVENANCE_TYPE if blob.name == provenance.FILE else MANIFEST_TYPE
        layers.append(
            {"mediaType": media, "digest": blob.digest, "size": blob.size, "annotations": {_TITLE: blob.name}}
        )
    body: Object = {
        "schemaVersion": 2,
        "mediaType": _MANIFEST,
        "artifactType": kind,
        "config": {"mediaType": _EMPTY, "digest": empty.digest, "size": empty.size},
        "layers": layers,
    }
    return _put_json(store, {**body, "annotations": notes} if notes else body)


def _put_json(store: Layout, value: digest.Json) -> Blob:
    return store.put_bytes("object", digest.canonical(value))


def _descriptor(blob: Blob, media: str, kind: str) -> Object:
    return {"mediaType": media, "digest": blob.digest, "size": blob.size, "artifactType": kind}


def _load(store: Layout, blob: str) -> Object:
    try:
        return _object(json.loads(store.read(blob)))
    except ValueError as problem:
        raise StoreDamaged(f"{blob} is not JSON: {problem}", where=str(store.root)) from None


def _json(items: List[Object]) -> digest.Json:
    return cast(digest.Json, items)


def _object(value: digest.Json) -> Object:
    if not isinstance(value, dict):
        raise StoreDamaged("an OCI object is not a JSON object")
    return value


def _digest(descriptor: digest.Json) -> str:
    """The digest that an OCI descriptor names."""
    named = _object(descriptor).get("digest")
    if not isinstance(named, str):
        raise StoreDamaged("an OCI descriptor names no digest")
    return named


def _list(value: digest.Json) -> "list[digest.Json]":
    return value if isinstance(value, list) else []
