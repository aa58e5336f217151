"""Publishing to another place and pulling from it: what is copied, in which order, and what is refused."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import List

import pytest

from builder.errors import StoreDamaged, UsageError
from builder.store import copying, oci, referrers, supply, versions
from builder.store.layout import Layout
from builder.store.manifest import Manifest
from builder.store.oci import INDEX
from builder.store.remotes.folder import Folder
from builder.trust import minisign
from tests import fakes
from tests.builder.store.test_versions import published

KEY = minisign.SecretKey(bytes([1] * 8), bytes([1] * 32))


def silent(line: str) -> None:
    """Nobody listens."""


def send(store: Layout, place: Folder, version: int = 1) -> int:
    return copying.publish(store, copying.belonging(version, oci.all_of(store)), place, silent)


@pytest.fixture
def there(tmp_path: Path) -> Folder:
    return Folder(f"file://{tmp_path}/there", {})


def test_what_is_published_is_the_same_version(store: Layout, there: Folder) -> None:
    made = published(store)
    referrers.attach_signature(store, 1, KEY.public.name, "signed")
    assert send(store, there) > 0
    assert versions.read(there.store, 1) == versions.read(store, 1)
    assert referrers.signatures_of(there.store, 1) == ("signed",)
    for entry in made.entries:
        for blob in entry.artifact.files if entry.artifact else ():
            assert there.store.fetch(blob.digest).read_bytes() == store.fetch(blob.digest).read_bytes()
    assert send(store, there) == 0, "nothing is sent twice"


def test_only_what_is_missing_is_sent(store: Layout, there: Folder) -> None:
    published(store)
    published(store, version=2)
    send(store, there)
    before = len(list(there.store.root.rglob("*")))
    copied = send(store, there, 2)
    assert 0 < copied < before, "the second version shares its artifacts with the first"


def test_a_version_never_changes(store: Layout, there: Folder, tmp_path: Path) -> None:
    published(store)
    send(store, there)
    other = Layout(tmp_path / "other")
    published(other, version=1)
    top = versions.read(other, 1)
    assert top == versions.read(store, 1), "the same version, made elsewhere, is the same bytes"
    versions.publish(other, dataclasses.replace(top, created="another day"))
    with pytest.raises(UsageError, match="a version never changes"):
        send(other, there)
    assert versions.read(there.store, 1) == top


def test_the_tag_comes_last(store: Layout, tmp_path: Path) -> None:
    """Whoever looks while it is copied sees no version, or a whole one."""
    published(store)
    referrers.attach_signature(store, 1, KEY.public.name, "signed")
    done: List[str] = []

    class Watched(Folder):
        def put(self, it, source) -> None:  # type: ignore[no-untyped-def]
            assert versions.numbers(self.store) == ()
            super().put(it, source)
            done.append(it.digest)

        def tag(self, tag, it) -> None:  # type: ignore[no-untyped-def]
            for below in copying.closure(self, it):
                assert self.has(below)
            super().tag(tag, it)
            done.append(tag)

    place = Watched(str(tmp_path / "there"), {})
    send(store, place)
    assert done[-1] == "v1"
    assert [name for name in done if name.endswith(".minisig")] == [f"v1.{KEY.public.name}.minisig"]


def test_a_host_brings_only_what_it_needs(store: Layout, there: Folder, tmp_path: Path) -> None:
    made = published(store)
    send(store, there)
    supplied = supply.Supply(Layout(tmp_path / "cache"), there)
    assert supplied.version(None, "") == 1
    manifest = versions.read(supplied.store, 1)
    assert manifest.entries == made.entries
    files = [blob for entry in manifest.entries if entry.artifact for blob in entry.artifact.files]
    assert not any(supplied.store.has(blob) for blob in files), "no artifact before it is chosen"
    supplied.bring(files[:1])
    assert [supplied.store.has(blob) for blob in files] == [True, *[False] * (len(files) - 1)]


def test_there_is_no_such_version(store: Layout, there: Folder, tmp_path: Path) -> None:
    supplied = supply.Supply(Layout(tmp_path / "cache"), there)
    with pytest.raises(UsageError, match="holds no version"):
        supplied.version(None, "")
    published(store)
    send(store, there)
    with pytest.raises(UsageError, match="there is no version 7"):
        supplied.version(7, "")


@pytest.mark.parametrize(
    "index",
    [
        {"manifests": [{"digest": "sha256:../../etc/passwd", "size": 1}]},
        {"manifests": [{"digest": "sha256:" + "0" * 64, "size": True}]},
        {"manifests": [{"size": 3}]},
        {"manifests": ["v1"]},
    ],
)
def test_an_index_that_names_nonsense(store: Layout, index: object) -> None:
    blob = store.put_bytes("index", json.dumps(index).encode())
    oci.put(store, "v1", {"mediaType": INDEX, "digest": blob.digest, "size": blob.size})
    place = Folder(str(store.root), {})
    top = place.resolve("v1")
    assert top is not None
    with pytest.raises(StoreDamaged):
        copying.closure(place, top)


def test_a_cache_forgets_what_no_placed_version_uses(store: Layout, there: Folder, tmp_path: Path) -> None:
    for number in (1, 2, 3):
        versions.publish(store, dataclasses.replace(offered_alone(store, f"of v{number}"), version=number))
        send(store, there, number)
    supplied = supply.Supply(Layout(tmp_path / "cache"), there)
    blobs = {}
    for number in (1, 2, 3):
        supplied.version(number, "")
        (entry,) = versions.read(supplied.store, number).entries
        assert entry.artifact is not None
        supplied.bring(entry.artifact.files)
        blobs[number] = entry.artifact.files[0]
    with supplied.reading():
        supplied.tidy(frozenset({2, 3}))
    assert versions.numbers(supplied.store) == (1, 2, 3), "not while somebody reads"
    supplied.tidy(frozenset({1, 3}))
    assert versions.numbers(supplied.store) == (1, 3)
    assert [supplied.store.has(blobs[number]) for number in (1, 2, 3)] == [True, False, True]
    assert supplied.version(2, "") == 2, "it can come back"
    supplied.bring([blobs[2]])


def offered_alone(store: Layout, text: str) -> Manifest:
    one = fakes.entry("tiny-dense-fp32-ort", files=(fakes.stored(store, "model.bin", text.encode()),))
    digest_ = versions.put_artifact(store, one.cell, one.artifact.files) if one.artifact else None
    assert one.artifact is not None
    assert digest_ is not None
    return fakes.manifest(dataclasses.replace(one, artifact=dataclasses.replace(one.artifact, digest=digest_.digest)))
