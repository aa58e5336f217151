"""Versions in an OCI image layout: writing, finding and reading them.

    index.json -> image index `v3` -> OCI manifest of manifest.json
                                      and of provenance.json, which only the audit reads
                                   -> OCI manifest per artifact, its files as layers with titles
                                   -> OCI manifest per golden sample, with which hosts prove artifacts

Every object has an `artifactType` and annotations, since OCI's `platform` has no field for a GPU.
"""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Dict, Iterable, List, Optional, Tuple

from builder import digest
from builder.errors import StoreDamaged, UsageError
from builder.platforms.platform import Blob
from builder.records import RecordError, from_json, to_json
from builder.release import HOW_TO_MAKE_IT
from builder.store import manifest, oci
from builder.store.layout import Layout
from builder.store.manifest import Entry, Manifest

if TYPE_CHECKING:
    from builder.store.provenance import Provenance  # where it is needed it is imported below: a host never reads one


def put_artifact(store: Layout, cell: str, files: Tuple[Blob, ...]) -> Blob:
    """The OCI manifest over an artifact's files."""
    return oci.put_manifest(store, oci.ARTIFACT_TYPE, files, {"dev.deploymatrix.cell": cell})


def publish(store: Layout, manifest: Manifest, made_of: Optional[Provenance] = None) -> None:
    """Write `manifest` as the newest version, with the digest of its provenance `made_of`.

    Nothing is visible until index.json is replaced.
    """
    from builder.store import provenance

    beside = (store.put_bytes(oci.PROVENANCE_FILE, provenance.text(made_of)),) if made_of else ()
    manifest = dataclasses.replace(manifest, provenance=beside[0].digest if beside else "")
    body = store.put_bytes("manifest.json", json.dumps(to_json(manifest), indent=1, ensure_ascii=False).encode())
    children = [
        oci.descriptor(oci.put_manifest(store, oci.MANIFEST_TYPE, (body, *beside), {}), oci.MANIFEST, oci.MANIFEST_TYPE)
    ]
    for entry in manifest.entries:
        if entry.artifact is not None:
            children.append(_artifact_descriptor(store, entry))
    children += _golden_descriptors(store, manifest)
    tag = f"v{manifest.version}"
    notes: oci.Object = {"dev.deploymatrix.model": manifest.model.name, "dev.deploymatrix.version": tag}
    version = oci.put_json(
        store,
        {
            "schemaVersion": 2,
            "mediaType": oci.INDEX,
            "artifactType": oci.MANIFEST_TYPE,
            "manifests": oci.listed(children),
            "annotations": notes,
        },
    )
    oci.put(store, tag, oci.descriptor(version, oci.INDEX, oci.MANIFEST_TYPE))


def latest(store: Layout) -> Optional[Manifest]:
    """The newest version, verified against its digests; None for a store without one."""
    numbers = sorted(_versions(store))
    return read(store, numbers[-1]) if numbers else None


def read(store: Layout, version: int) -> Manifest:
    """Version `version`.

    Raises UsageError when there is none, StoreDamaged when it cannot be read.
    """
    return parsed(store, version, store.read(manifest_digest(store, version)))


def parsed(store: Layout, version: int, data: bytes) -> Manifest:
    """The manifest of `version` in these bytes. Raises StoreDamaged."""
    try:
        found = in_bytes(data)
    except StoreDamaged as problem:
        raise StoreDamaged(problem.what, where=str(store.root), hint=problem.hint) from None
    if found.version != version:
        raise StoreDamaged(f"what is tagged v{version} says that it is v{found.version}", where=str(store.root))
    return found


def in_bytes(data: bytes) -> Manifest:
    """The manifest of any version in these bytes. Raises StoreDamaged."""
    try:
        return from_json(Manifest, manifest.upgraded(digest.loads(data)))
    except (ValueError, RecordError) as problem:
        raise _unreadable("the manifest", problem) from None


def numbered(tags: Iterable[str]) -> List[int]:
    """The numbers of versions among the tags: 3 of `v3`, nothing of `v3.KEY.minisig`."""
    return [int(tag[1:]) for tag in tags if tag[:1] == "v" and tag[1:].isascii() and tag[1:].isdigit()]


def numbers(store: Layout) -> Tuple[int, ...]:
    """Every version's number, ascending."""
    return tuple(sorted(_versions(store)))


def chosen(store: Layout, number: Optional[int], hint: str) -> int:
    """`number`, or the newest for None.

    Raises UsageError with `hint` for a store without versions.
    """
    known = numbers(store)
    if not known:
        raise UsageError(f"{store.root} holds no version", hint=hint)
    return number if number is not None else known[-1]


def read_provenance(store: Layout, manifest: Manifest) -> Optional[Provenance]:
    """The provenance of a version; None for a version of an older release.

    Raises StoreDamaged when it is missing or cannot be read.
    """
    if not manifest.provenance:
        return None
    from builder.store.provenance import Provenance

    try:
        return from_json(Provenance, digest.loads(store.read(manifest.provenance)))
    except (ValueError, RecordError) as problem:
        raise _unreadable(f"the provenance of v{manifest.version}", problem, str(store.root)) from None


def manifest_object(store: Layout, version: int) -> oci.Object:
    """The descriptor of the OCI manifest over manifest.json, the subject of signatures."""
    known = _versions(store)
    if version not in known:
        listed = ", ".join(f"v{n}" for n in sorted(known)) or "none"
        raise UsageError(f"there is no version {version} in {store.root}", hint=f"versions: {listed}")
    index = oci.load(store, known[version])
    for child in oci.as_list(index.get("manifests")):
        if _kind(store, oci.as_object(child)) == oci.MANIFEST_TYPE:
            return oci.as_object(child)
    raise StoreDamaged(f"version {version} holds no manifest", where=str(store.root))


def _kind(store: Layout, child: oci.Object) -> digest.Json:
    """The kind of an object in an index.

    Copies may lack it there (skopeo before 1.14).
    """
    named = oci.digest_of(child)
    if "artifactType" in child or not store.holds(named):
        return child.get("artifactType")
    return oci.load(store, named).get("artifactType")


def manifest_digest(store: Layout, version: int) -> str:
    """The digest of a version's manifest.json. Errors as `read`."""
    layers = _layers(store, version)
    return oci.digest_of(layers[0] if layers else None)


def _layers(store: Layout, version: int) -> "list[digest.Json]":
    """The layers of `version`: manifest.json and the files beside it."""
    return oci.as_list(oci.load(store, oci.digest_of(manifest_object(store, version))).get("layers"))


def _unreadable(what: str, problem: Exception, where: Optional[str] = None) -> StoreDamaged:
    return StoreDamaged(
        f"{what} does not read: {problem}",
        where=where,
        hint=f"it may be from a newer deploymatrix; install its wheel: {HOW_TO_MAKE_IT}",
    )


def _versions(store: Layout) -> Dict[int, str]:
    """Version number -> digest of its image index."""
    return {number: oci.digest_of(it) for tag, it in oci.all_of(store).items() for number in numbered([tag])}


def _golden_descriptors(store: Layout, manifest: Manifest) -> List[oci.Object]:
    """One for each file: artifacts of a head share it where their profiles do."""
    samples = {entry.golden.sample.digest: entry.golden.sample for entry in manifest.entries if entry.golden}
    objects = (oci.put_manifest(store, oci.GOLDEN_TYPE, (sample,), {}) for sample in samples.values())
    return [oci.descriptor(it, oci.MANIFEST, oci.GOLDEN_TYPE) for it in objects]


def _artifact_descriptor(store: Layout, entry: Entry) -> oci.Object:
    artifact, platform = entry.artifact, entry.platform
    assert artifact is not None and platform is not None
    size = store.fetch(artifact.digest).stat().st_size
    facts = {"runtime": platform.runtime, "version": platform.version, "sm": platform.sm, "gpu": platform.gpu}
    facts["precision"] = entry.precision
    notes: oci.Object = {f"dev.deploymatrix.{k}": v for k, v in facts.items() if v is not None}
    notes.update({"dev.deploymatrix.cell": entry.cell, "dev.deploymatrix.verdict": entry.verdict.status})
    return {
        **oci.descriptor(Blob(entry.cell, artifact.digest, size), oci.MANIFEST, oci.ARTIFACT_TYPE),
        "annotations": notes,
    }
