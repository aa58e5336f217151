"""Versions: a valid OCI image layout that other tools can copy, and manifests that are found again."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any, Dict, List

import pytest

from builder import digest
from builder.errors import StoreDamaged, UsageError
from builder.store import oci, versions
from builder.store.layout import Layout
from builder.store.manifest import Manifest, Verdict
from tests.fakes import entry, manifest, stored

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def published(store: Layout, version: int = 1) -> Manifest:
    """A version with two artifacts (one of two files) and a cell that waits."""
    entries = []
    for cell, names in (("tiny-dense-fp32-ort", ["model.onnx"]), ("tiny-dense-fp32-ov", ["model.xml", "model.bin"])):
        files = tuple(stored(store, name, f"{cell} {name}".encode()) for name in names)
        made = entry(cell, files=files)
        assert made.artifact is not None
        artifact = dataclasses.replace(made.artifact, digest=versions.put_artifact(store, cell, files).digest)
        entries.append(dataclasses.replace(made, artifact=artifact))
    entries.append(entry("tiny-dense-fp32-trt", status="waiting", artifact=False, p50=None))
    made_manifest = manifest(*entries, version=version)
    versions.publish(store, made_manifest)
    return made_manifest


def _object(store: Layout, descriptor: Dict[str, Any]) -> Dict[str, Any]:
    """The object behind a descriptor, whose digest and size must be right."""
    assert set(descriptor) >= {"mediaType", "digest", "size"}
    data = (store.root / "blobs" / "sha256" / descriptor["digest"][7:]).read_bytes()
    assert digest.of_bytes(data) == descriptor["digest"]
    assert len(data) == descriptor["size"]
    return json.loads(data) if descriptor["mediaType"].endswith("json") else {}


def test_the_layout_is_valid_oci_from_top_to_bottom(store: Layout) -> None:
    published(store)
    assert json.loads((store.root / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    top = json.loads((store.root / "index.json").read_bytes())
    assert (top["schemaVersion"], top["mediaType"]) == (2, INDEX)
    (tagged,) = top["manifests"]
    assert tagged["annotations"]["org.opencontainers.image.ref.name"] == "v1"
    assert tagged["mediaType"] == INDEX
    version = _object(store, tagged)
    assert (version["schemaVersion"], version["mediaType"]) == (2, INDEX)
    assert version["artifactType"] == oci.MANIFEST_TYPE
    kinds: List[str] = []
    for child in version["manifests"]:
        assert child["mediaType"] == MANIFEST
        image = _object(store, child)
        assert (image["schemaVersion"], image["mediaType"]) == (2, MANIFEST)
        assert image["artifactType"] == child["artifactType"]
        kinds.append(child["artifactType"])
        assert image["config"]["mediaType"] == "application/vnd.oci.empty.v1+json"
        assert _object(store, image["config"]) == {}
        assert image["layers"]
        for layer in image["layers"]:
            _object(store, layer)
            assert "/" not in layer["annotations"]["org.opencontainers.image.title"]
        assert all(isinstance(v, str) for v in child.get("annotations", {}).values()), "OCI annotations are text"
    assert kinds == [oci.MANIFEST_TYPE, oci.ARTIFACT_TYPE, oci.ARTIFACT_TYPE]


def test_every_blob_has_the_digest_it_is_named_after(store: Layout) -> None:
    published(store)
    for blob in (store.root / "blobs" / "sha256").iterdir():
        assert digest.of_file(blob) == f"sha256:{blob.name}"


@pytest.mark.skipif(shutil.which("skopeo") is None, reason="skopeo is not installed (Debian: apt install skopeo)")
def test_skopeo_copies_the_layout(store: Layout, tmp_path: Path) -> None:
    published(store)
    policy = tmp_path / "policy.json"
    policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    done = subprocess.run(
        ["skopeo", "--policy", str(policy), "copy", "--all", f"oci:{store.root}:v1", f"dir:{tmp_path / 'copy'}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    names = {path.name for path in (tmp_path / "copy").iterdir()}
    for blob in (store.root / "blobs" / "sha256").iterdir():
        assert {blob.name, f"{blob.name}.manifest.json", "manifest.json"} & names


def test_what_is_published_is_read_back(store: Layout) -> None:
    assert versions.latest(store) is None
    made = published(store)
    assert versions.latest(store) == made
    assert versions.read(store, 1) == made


def test_versions_are_numbered_and_immutable(store: Layout) -> None:
    first = published(store, 1)
    for number in (2, 10):
        published(store, number)
    latest = versions.latest(store)
    assert latest is not None
    assert latest.version == 10, "as a number, not as text"
    assert versions.read(store, 1) == first
    with pytest.raises(UsageError, match="there is no version 3"):
        versions.read(store, 3)


def test_other_tags_are_left_alone(store: Layout) -> None:
    published(store)
    index: Any = store.index()
    other = {**index["manifests"][0], "annotations": {"org.opencontainers.image.ref.name": "vnext"}}
    store.replace_index({**index, "manifests": [other, *index["manifests"]]})
    published(store, 2)
    tags = [
        m["annotations"]["org.opencontainers.image.ref.name"]
        for m in json.loads((store.root / "index.json").read_bytes())["manifests"]
    ]
    assert tags == ["vnext", "v1", "v2"]
    latest = versions.latest(store)
    assert latest is not None
    assert latest.version == 2


def test_nothing_is_visible_until_the_index_is_replaced(store: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    published(store)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Layout, "replace_index", killed)
    with pytest.raises(KeyboardInterrupt):
        published(store, 2)
    latest = versions.latest(store)
    assert latest is not None
    assert latest.version == 1


@pytest.mark.parametrize("damage", ["missing", "flipped", "no-json"])
def test_a_damaged_version_is_refused(store: Layout, damage: str) -> None:
    published(store)
    index: Any = store.index()
    path = store.fetch(index["manifests"][0]["digest"])
    path.chmod(0o644)
    if damage == "missing":
        path.unlink()
    elif damage == "flipped":
        path.write_bytes(path.read_bytes().replace(b"tiny", b"tinx"))
    else:
        path.write_bytes(b"{")
    with pytest.raises(StoreDamaged):
        versions.latest(store)


@pytest.mark.parametrize(
    "index",
    [
        [],
        {"manifests": [[]]},
        {"manifests": [{"annotations": {"org.opencontainers.image.ref.name": "v1"}}]},
        {"manifests": [{"digest": "no", "annotations": {"org.opencontainers.image.ref.name": "v1"}}]},
        {"manifests": [{"digest": "sha256:" + "0" * 64, "annotations": {"org.opencontainers.image.ref.name": "v1"}}]},
    ],
    ids=["list", "child", "no-digest", "bad-digest", "no-blob"],
)
def test_an_index_of_nonsense_is_a_damaged_store(store: Layout, index: Any) -> None:
    store.root.mkdir()
    (store.root / "index.json").write_text(json.dumps(index))
    with pytest.raises(StoreDamaged):
        versions.latest(store)


def test_a_manifest_of_a_newer_program_is_refused_with_advice(store: Layout) -> None:
    made = published(store)
    odd: Any = dataclasses.replace(made, schema=3, version=2)
    versions.publish(store, odd)
    with pytest.raises(StoreDamaged) as caught:
        versions.latest(store)
    assert "newer deploymatrix" in str(caught.value)


def test_says_the_same_as_ignores_number_date_and_comments() -> None:
    one = manifest(entry())
    assert one.says_the_same_as(dataclasses.replace(one, version=7, created="later", matrix="sha256:other"))
    assert not one.says_the_same_as(manifest(entry(p50=1.0)))
    assert not one.says_the_same_as(manifest(dataclasses.replace(entry(), verdict=Verdict("failed", "x"))))
    assert not one.says_the_same_as(manifest())
