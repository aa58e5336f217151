"""The bill of materials of a version as CycloneDX 1.6: the model with its weights, every artifact with what was measured of
it, the photographs, the tools. Pure. https://cyclonedx.org/docs/1.6/json/"""

from __future__ import annotations

import uuid
from typing import Dict, List, Sequence

from builder import digest
from builder.attest import materials
from builder.attest.materials import Material
from builder.digest import Json
from builder.manifest import Entry, Manifest
from builder.platforms.platform import Tool
from builder.provenance import Provenance

KIND = "application/vnd.cyclonedx+json"
_SPACE = uuid.UUID("8c0ea2c2-8a0b-5a5e-9d3c-5b7c0c0f4f0e")  # of serial numbers: one manifest, one number

Object = Dict[str, Json]


def document(manifest: Manifest, manifest_digest: str, provenance: Provenance) -> Object:
    files, tools = materials.files(provenance), materials.tools(manifest, provenance)
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
        "dependencies": _dependencies(artifacts, files, tools),
    }


def _components(
    artifacts: Sequence[Entry], manifest: Manifest, files: Sequence[Material], tools: Sequence[Tool]
) -> List[Json]:
    found: List[Json] = [*(_artifact(entry, manifest) for entry in artifacts), *map(_file, files)]
    for tool in tools:
        named = materials.purl(tool)
        found.append({"type": "library", "bom-ref": named, "name": tool.name, "version": tool.version, "purl": named})
    return found


def _dependencies(artifacts: Sequence[Entry], files: Sequence[Material], tools: Sequence[Tool]) -> List[Json]:
    needed: List[Json] = [*map(_ref, files), *map(materials.purl, tools)]
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
    """What was judged, task scores and speed; `slice` says of what."""
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


def _file(it: materials.Material) -> Object:
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
