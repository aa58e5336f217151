"""What we push is what other tools of the OCI world read, and what they push we read: skopeo, both ways."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any, Iterator, List

import pytest

from builder import plugins
from builder.plugins import Repository
from builder.store import copying, oci, referrers, supply, versions
from builder.store.layout import Layout
from builder.store.remotes.folder import Folder
from tests.builder.store.remotes.contract import send
from tests.builder.store.test_copying import KEY
from tests.builder.store.test_versions import INDEX, MANIFEST, published
from tests.registries import needs, registry


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with registry(tmp_path_factory.mktemp("registry")) as where:
        yield where


def place(host: str, name: str) -> Repository:
    return plugins.repository(f"oci+http://{host}/{name}", {})


def skopeo(folder: Path, *words: str) -> str:
    policy = folder / "policy.json"
    policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    done = subprocess.run(
        [needs("skopeo", "skopeo"), "--policy", str(policy), *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_skopeo_reads_what_we_push(host: str, store: Layout, tmp_path: Path) -> None:
    made = published(store)
    referrers.attach_signature(store, 1, KEY.public.name, "signed")
    send(store, place(host, "pushed"))
    there = f"docker://{host}/pushed"
    tags: List[str] = json.loads(skopeo(tmp_path, "list-tags", "--tls-verify=false", there))["Tags"]
    assert sorted(tags) == ["v1", f"v1.{KEY.public.name}.minisig"]

    index: Any = json.loads(skopeo(tmp_path, "inspect", "--raw", "--tls-verify=false", f"{there}:v1"))
    assert (index["schemaVersion"], index["mediaType"]) == (2, INDEX)
    assert index["artifactType"] == oci.MANIFEST_TYPE
    assert index["annotations"] == {"dev.deploymatrix.model": "tiny", "dev.deploymatrix.version": "v1"}
    for child in index["manifests"]:
        assert (child["mediaType"], child["artifactType"] != "") == (MANIFEST, True)
        raw = skopeo(tmp_path, "inspect", "--raw", "--tls-verify=false", f"{there}@{child['digest']}")
        image: Any = json.loads(raw)
        assert (image["mediaType"], image["artifactType"]) == (MANIFEST, child["artifactType"])
        assert image["config"]["mediaType"] == "application/vnd.oci.empty.v1+json"
        assert all(layer["annotations"]["org.opencontainers.image.title"] for layer in image["layers"])
    signature = f"{there}:v1.{KEY.public.name}.minisig"
    about: Any = json.loads(skopeo(tmp_path, "inspect", "--raw", "--tls-verify=false", signature))
    assert about["subject"]["digest"] == index["manifests"][0]["digest"], (
        "what a registry with referrers lists it under"
    )

    for tag in tags:
        skopeo(tmp_path, "copy", "--all", "--src-tls-verify=false", f"{there}:{tag}", f"oci:{tmp_path}/copy:{tag}")
    copy = Layout(tmp_path / "copy")
    assert versions.read(copy, 1) == made, "also where the copy's index was written anew"
    assert referrers.signatures_of(copy, 1) == ("signed",)


def test_we_read_what_skopeo_pushes(host: str, store: Layout, tmp_path: Path) -> None:
    made = published(store)
    referrers.attach_signature(store, 1, KEY.public.name, "signed")
    for tag in ("v1", f"v1.{KEY.public.name}.minisig"):
        there = f"docker://{host}/copied:{tag}"
        skopeo(tmp_path, "copy", "--all", "--dest-tls-verify=false", f"oci:{store.root}:{tag}", there)
    supplied = supply.Supply(Layout(tmp_path / "cache"), place(host, "copied"))
    assert supplied.version(None, "") == 1
    assert versions.read(supplied.store, 1).entries == made.entries
    assert referrers.signatures_of(supplied.store, 1) == ("signed",)
    supplied.bring(blob for entry in made.entries if entry.artifact for blob in entry.artifact.files)
    assert send(store, place(host, "copied")) == 0, "the same version, whoever brought it"


def test_from_registry_to_registry_by_skopeo(host: str, store: Layout, tmp_path: Path) -> None:
    made = published(store)
    send(store, place(host, "here"))
    words = ["copy", "--all", "--src-tls-verify=false", "--dest-tls-verify=false"]
    skopeo(tmp_path, *words, f"docker://{host}/here:v1", f"docker://{host}/mirror/of/it:v1")
    copying.mirror(place(host, "mirror/of/it"), ("v1",), Layout(tmp_path / "cache"))
    assert versions.read(Layout(tmp_path / "cache"), 1).entries == made.entries


def test_what_is_known_of_a_version_is_known_in_the_copy_too(host: str, store: Layout, tmp_path: Path) -> None:
    """index.json of a host's own store is valid OCI: no empty artifactType for what a registry names without one."""
    published(store)
    send(store, place(host, "kinds"))
    cache = Layout(tmp_path / "cache")
    copying.mirror(place(host, "kinds"), ("v1",), cache)
    index: Any = cache.index()
    assert [set(it) for it in index["manifests"]] == [{"mediaType", "digest", "size", "annotations"}]
    assert Folder(str(cache.root), {}).tags() == ("v1",)
