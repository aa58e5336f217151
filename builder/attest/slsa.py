"""The provenance of a version as an in-toto Statement v1 with the predicate of SLSA. Pure.

https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md, https://slsa.dev/spec/v1.1/provenance
"""

from __future__ import annotations

from typing import Dict, List, Optional

from builder import digest
from builder.attest import materials
from builder.digest import Json
from builder.manifest import Manifest
from builder.provenance import Provenance, Revision, Step

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = (
    "https://deploymatrix.dev/build-types/matrix/v1"  # a name; docs/reference/attestations.md says what it means
)
BUILDER = "https://deploymatrix.dev/builders/local/v1"

Object = Dict[str, Json]


def statement(manifest: Manifest, manifest_digest: str, provenance: Provenance, builder: str = BUILDER) -> Object:
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
    for it in materials.files(provenance):
        found.append({**_named(it.name, it.digest), "annotations": {"role": it.role}})
    for tool in materials.tools(manifest, provenance):
        found.append({"uri": materials.purl(tool), "name": tool.name, "annotations": {"version": tool.version}})
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


def _action(step: Step) -> Object:
    """An action by its key, which is the digest of all that went into it, and where it was performed."""
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


def problems(found: Json, manifest: Manifest, manifest_digest: str) -> Optional[str]:
    """Where a statement is about something else than this version; None when it is about it."""
    subjects = found.get("subject") if isinstance(found, dict) else None
    if subjects != _subjects(manifest, manifest_digest):
        return "its subjects are not what the manifest names"
    return None
