"""Attestations of a version: SLSA provenance, CycloneDX bill, DSSE envelopes.

Pure. Formats: https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md,
https://slsa.dev/spec/v1.1/provenance,
https://cyclonedx.org/docs/1.6/json/, https://github.com/secure-systems-lab/dsse/blob/master/protocol.md
"""

from __future__ import annotations

import base64
import binascii
import json
import uuid
from dataclasses import dataclass
from typing import Dict, List, Optional, Sequence, Tuple

from builder import digest
from builder.digest import Json
from builder.errors import StoreDamaged
from builder.platforms.platform import Tool
from builder.store.manifest import Entry, Manifest
from builder.store.provenance import Provenance, Revision, StepRecord
from builder.trust import minisign
from builder.trust.keyring import Trusted

# ------------------------------------------------------------------------------------------- materials


# The role in the version of a file that a step takes from outside.
_ROLES = {
    "calibration-data": "calibration",
    "reference": "parity",
    "sweep-reference": "parity",
    "task-cases": "task",
}


@dataclass(frozen=True)
class Material:
    """A file by digest.

    `role`: model (code, weights, an ONNX file), calibration, parity, task, or input.
    """

    name: str
    digest: str
    role: str


def material_files(provenance: Provenance) -> Tuple[Material, ...]:
    """Everything that came from outside, each digest once under each name."""
    made = {output.digest for step in provenance.steps for output in step.outputs}
    found: Dict[Tuple[str, str], Material] = {}
    for step in provenance.steps:
        for pinned in step.inputs:
            if pinned.digest not in made:
                photograph = pinned.name.startswith(("photographs/", "data/"))
                role = _ROLES.get(step.step, "input") if photograph else "model"
                found.setdefault((pinned.name, pinned.digest), Material(pinned.name, pinned.digest, role))
    return tuple(found[key] for key in sorted(found))


def material_tools(manifest: Manifest, provenance: Provenance) -> Tuple[Tool, ...]:
    """Every package that a step used.

    For a version of an older release: every package that was installed.
    """
    used: List[Tool] = [tool for step in provenance.steps for tool in step.tools]
    return tuple(sorted(set(used or manifest.builder.tools), key=lambda tool: (tool.name, tool.version)))


def purl(tool: Tool) -> str:
    """The package URL of a tool: https://github.com/package-url/purl-spec

    Names of PyPI are lower case with - for _; `+cpu` is escaped.
    """
    return f"pkg:pypi/{tool.name.lower().replace('_', '-')}@{tool.version.replace('+', '%2B')}"


# ------------------------------------------------------------------------------------------- provenance in SLSA


STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "https://deploymatrix.dev/build-types/matrix/v1"  # a name; docs/reference/attestations.md explains it
BUILDER = "https://deploymatrix.dev/builders/local/v1"

Object = Dict[str, Json]


def slsa_statement(manifest: Manifest, manifest_digest: str, provenance: Provenance, builder: str = BUILDER) -> Object:
    """`builder`: a URI that names the build platform, whom a verifier believes or not."""
    return {
        "_type": STATEMENT,
        "subject": _subjects(manifest, manifest_digest),
        "predicateType": PREDICATE,
        "predicate": {
            "buildDefinition": _definition(manifest, provenance),
            "runDetails": _details(manifest, provenance, builder),
        },
    }


def _subjects(manifest: Manifest, manifest_digest: str) -> List[Json]:
    """manifest.json, and of each artifact its OCI manifest and its files."""
    found: List[Json] = [_named("manifest.json", manifest_digest)]
    for entry in manifest.entries:
        if entry.artifact is not None:
            found.append(_named(entry.cell, entry.artifact.digest))
            found += [_named(f"{entry.cell}/{blob.name}", blob.digest) for blob in entry.artifact.files]
    return found


def _definition(manifest: Manifest, provenance: Provenance) -> Object:
    model = manifest.model
    weights: Object = {"weights": model.weights}
    return {
        "buildType": BUILD_TYPE,
        "externalParameters": {
            "matrix": {"digest": _sha256(manifest.matrix)},
            "model": {"name": model.name, "source": model.source, **weights},
            "cells": [entry.cell for entry in manifest.entries if entry.artifact is not None],
        },
        "internalParameters": {"version": manifest.version, "deploymatrix": manifest.builder.deploymatrix},
        "resolvedDependencies": _dependencies(manifest, provenance),
    }


def _dependencies(manifest: Manifest, provenance: Provenance) -> List[Json]:
    found: List[Json] = [_commit(provenance.revision)] if provenance.revision else []
    for it in material_files(provenance):
        found.append({**_named(it.name, it.digest), "annotations": {"role": it.role}})
    for tool in material_tools(manifest, provenance):
        found.append({"uri": purl(tool), "name": tool.name, "annotations": {"version": tool.version}})
    return found


def _details(manifest: Manifest, provenance: Provenance, builder: str) -> Object:
    made_by: Object = {
        "id": builder,
        "version": {"deploymatrix": manifest.builder.deploymatrix, "python": manifest.builder.python},
    }
    byproducts: List[Json] = [_named("provenance.json", manifest.provenance)] if manifest.provenance else []
    return {
        "builder": made_by,
        "metadata": {
            "invocationId": f"{manifest.model.name}/v{manifest.version}",
            "finishedOn": manifest.created.replace("+00:00", "Z"),
        },
        "byproducts": [*byproducts, *(_action(step) for step in provenance.steps if step.done)],
    }


def _action(step: StepRecord) -> Object:
    """An action by its key, the digest of its inputs, and where it was performed."""
    notes: Object = {}
    if step.site is not None:
        told = {"machine": step.site.machine, "kernel": step.site.kernel, "python": step.site.python}
        notes = {name: value for name, value in {**told, "driver": step.site.driver}.items() if value}
    return {**_named(f"action/{step.step}", step.key), **({"annotations": notes} if notes else {})}


def _commit(revision: Revision) -> Object:
    notes: Object = {} if revision.changed is None else {"changed": revision.changed}
    kind = "gitCommit" if len(revision.commit) == 40 else "sha256"
    return {
        "name": "project",
        "uri": f"git+file://project{f'@{revision.ref}' if revision.ref else ''}",
        "digest": {kind: revision.commit},
        **({"annotations": notes} if notes else {}),
    }


def _named(name: str, named: str) -> Object:
    return {"name": name, "digest": _sha256(named)}


def _sha256(named: str) -> Object:
    return {"sha256": digest.hex_part(named)}


def slsa_problems(found: Json, manifest: Manifest, manifest_digest: str) -> Optional[str]:
    """Why a statement is not about this version; None when it is."""
    subjects = found.get("subject") if isinstance(found, dict) else None
    if subjects != _subjects(manifest, manifest_digest):
        return "its subjects are not what the manifest names"
    return None


# ------------------------------------------------------------------------------------------- bill of materials


BILL_KIND = "application/vnd.cyclonedx+json"
_SPACE = uuid.UUID("8c0ea2c2-8a0b-5a5e-9d3c-5b7c0c0f4f0e")  # of serial numbers: one manifest, one number


def bill_of_materials(manifest: Manifest, manifest_digest: str, provenance: Provenance) -> Object:
    files, tools = material_files(provenance), material_tools(manifest, provenance)
    artifacts = [entry for entry in manifest.entries if entry.artifact is not None]
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(_SPACE, manifest_digest)}",
        "version": 1,
        "metadata": {
            "timestamp": manifest.created,
            "tools": {
                "components": [
                    {"type": "application", "name": "deploymatrix", "version": manifest.builder.deploymatrix}
                ]
            },
            "component": _model(manifest, files),
        },
        "components": _components(artifacts, manifest, files, tools),
        "dependencies": _bill_dependencies(artifacts, files, tools),
    }


def _components(
    artifacts: Sequence[Entry], manifest: Manifest, files: Sequence[Material], tools: Sequence[Tool]
) -> List[Json]:
    found: List[Json] = [*(_artifact(entry, manifest) for entry in artifacts), *map(_file, files)]
    for tool in tools:
        named = purl(tool)
        found.append({"type": "library", "bom-ref": named, "name": tool.name, "version": tool.version, "purl": named})
    return found


def _bill_dependencies(artifacts: Sequence[Entry], files: Sequence[Material], tools: Sequence[Tool]) -> List[Json]:
    needed: List[Json] = [*map(_ref, files), *map(purl, tools)]
    found: List[Json] = [{"ref": "model", "dependsOn": needed}]
    for entry in artifacts:
        found.append({"ref": f"artifact:{entry.cell}", "dependsOn": ["model"]})
    return found


def _ref(it: Material) -> str:
    return f"file:{it.digest}/{it.name}"


def _model(manifest: Manifest, files: Sequence[Material]) -> Object:
    model, weights = manifest.model, manifest.model.weights
    outputs = [output.name for head in model.heads for output in head.outputs]
    return {
        "type": "machine-learning-model",
        "bom-ref": "model",
        "name": model.name,
        "version": f"v{manifest.version}",
        "description": f"from {model.source}, weights: {weights}",
        **({"hashes": [_hash(weights)]} if weights.startswith("sha256:") else {}),
        "modelCard": {
            "modelParameters": {
                "datasets": [{"ref": _ref(it)} for it in files if it.role not in ("model", "input")],
                "inputs": [{"format": f"{one.name} (tensor)"} for one in model.inputs],
                "outputs": [{"format": f"{name} (tensor)"} for name in dict.fromkeys(outputs)],
            }
        },
    }


def _artifact(entry: Entry, manifest: Manifest) -> Object:
    artifact, platform = entry.artifact, entry.platform
    assert artifact is not None
    notes = {
        "target": entry.target,
        "precision": entry.precision,
        "verdict": entry.verdict.status,
        "runtime": f"{platform.runtime} {platform.version}" if platform else "",
        "action": artifact.action,
        "onnx": artifact.onnx,
    }
    return {
        "type": "machine-learning-model",
        "bom-ref": f"artifact:{entry.cell}",
        "name": entry.cell,
        "version": f"v{manifest.version}",
        "hashes": [_hash(artifact.digest)],
        "properties": [{"name": f"deploymatrix:{name}", "value": value} for name, value in notes.items() if value],
        "components": [
            {
                "type": "file",
                "bom-ref": f"artifact:{entry.cell}/{blob.name}",
                "name": blob.name,
                "hashes": [_hash(blob.digest)],
            }
            for blob in artifact.files
        ],
        "modelCard": {"quantitativeAnalysis": {"performanceMetrics": _metrics(entry)}},
    }


def _metrics(entry: Entry) -> List[Json]:
    """Judged checks, task scores and speed; `slice` names the subject."""
    found: List[Json] = [
        {"type": f"{check.level} {check.metric}", "value": f"{check.found:.6g}", "slice": check.subject or "all"}
        for check in entry.verdict.checks
        if check.found is not None and check.level != "task"
    ]
    found += [
        {"type": result.metric, "value": f"{result.value:.6g}", "slice": f"task {result.task}"}
        for result in entry.tasks
        if result.value is not None
    ]
    if entry.latency is not None:
        time = entry.latency.artifact.p50
        found.append({"type": "latency p50 ms", "value": f"{time:.6g}", "slice": entry.latency.machine})
    return found


def _file(it: Material) -> Object:
    found: Object = {
        "type": "file" if it.role in ("model", "input") else "data",
        "bom-ref": _ref(it),
        "name": it.name,
        "hashes": [_hash(it.digest)],
        "properties": [{"name": "deploymatrix:role", "value": it.role}],
    }
    if found["type"] == "data":
        found["data"] = [{"type": "dataset", "name": it.role}]
    return found


def _hash(named: str) -> Object:
    return {"alg": "SHA-256", "content": digest.hex_part(named)}


# ------------------------------------------------------------------------------------------- envelopes


IN_TOTO = "application/vnd.in-toto+json"
ENVELOPE_KIND = "application/vnd.dsse.envelope.v1+json"


def sign_envelope(payload: Json, kind: str, keys: Sequence[minisign.SecretKey]) -> bytes:
    """The envelope, signed by each of `keys`.

    DSSE has no envelope without a signature; with no `keys`, this one has none.
    """
    body = digest.canonical(payload)
    signed = _what_is_signed(kind, body)
    signatures: List[Json] = [{"keyid": key.public.name, "sig": _encoded(key.sign_bytes(signed))} for key in keys]
    whole: Json = {"payloadType": kind, "payload": _encoded(body), "signatures": signatures}
    return (json.dumps(whole, indent=1) + "\n").encode()


def open_envelope(data: bytes, keys: Sequence[Trusted], where: str) -> Tuple[Json, str, Tuple[Trusted, ...]]:
    """(payload, its type, those of `keys` that signed it). Raises StoreDamaged."""
    try:
        whole = digest.loads(data)
        listed = whole.get("signatures") if isinstance(whole, dict) else None
        if not isinstance(whole, dict) or not isinstance(listed, list):
            raise StoreDamaged("this is no envelope of DSSE", where=where)
        kind, body = str(whole.get("payloadType")), base64.b64decode(str(whole.get("payload")), validate=True)
        texts = [str(one.get("sig")) for one in listed if isinstance(one, dict)]
        found = [base64.b64decode(text, validate=True) for text in texts[:8]]
        signed = _what_is_signed(kind, body)
        by = tuple(one for one in keys if any(one.key.verify_bytes(signed, text) for text in found))
        return digest.loads(body), kind, by
    except (ValueError, binascii.Error) as problem:
        raise StoreDamaged(f"this is no envelope of DSSE: {problem}", where=where) from None


def _what_is_signed(kind: str, body: bytes) -> bytes:
    """PAE of the specification.

    Each part with its length, so that no byte moves between them. The bytes begin with `DSSEv1`. Minisign signs a
    digest of 64 bytes, or a signature with its comment. So a signature of one kind is never valid as one of the other.
    """
    return b"DSSEv1 %d %s %d %s" % (len(kind.encode()), kind.encode(), len(body), body)


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()
