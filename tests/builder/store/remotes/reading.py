"""What every place that can be read must do, however its content came there. Each place's test module imports these tests
and gives them `filled`: the place, after it got all that a store has."""

from __future__ import annotations

from pathlib import Path
from typing import Callable

import pytest

from builder.errors import DeployError, UsageError
from builder.plugins import Repository
from builder.store import copying, referrers, supply, transfers, versions
from builder.store.layout import Layout
from builder.store.oci import OCTETS, Descriptor
from builder.store.remotes.folder import Folder
from tests.builder.store.test_copying import KEY
from tests.builder.store.test_versions import published

Filled = Callable[[Layout], Repository]
ABSENT = Descriptor(OCTETS, "sha256:" + "ab" * 32, 10)


def test_all_of_a_version_is_read(filled: Filled, store: Layout) -> None:
    published(store)
    referrers.attach_signature(store, 1, KEY.public.name, "signed")
    place, here = filled(store), Folder(str(store.root), {})
    assert sorted(place.tags()) == sorted(here.tags())
    for tag in here.tags():
        top = place.resolve(tag)
        assert top is not None and top == here.resolve(tag)
        for it in copying.closure(place, top):
            assert place.has(it)
            assert transfers.read(place, it) == store.read(it.digest)
    assert place.resolve("v2") is None


def test_a_host_gets_from_it_what_it_needs(filled: Filled, store: Layout, tmp_path: Path) -> None:
    made = published(store)
    supplied = supply.Supply(Layout(tmp_path / "cache"), filled(store))
    assert supplied.version(None, "") == 1
    assert supplied.offered(versions.read(supplied.store, 1)).entries == made.entries
    files = [blob for entry in made.entries if entry.artifact for blob in entry.artifact.files]
    supplied.bring(files)
    assert all(supplied.store.read(blob.digest) == store.read(blob.digest) for blob in files)
    with pytest.raises(UsageError, match="there is no version 7"):
        supplied.version(7, "")


def test_reading_from_the_middle(filled: Filled, store: Layout) -> None:
    made = published(store)
    place = filled(store)
    for blob in (b for entry in made.entries if entry.artifact for b in entry.artifact.files):
        it, data = Descriptor(OCTETS, blob.digest, blob.size), store.read(blob.digest)
        for start in (0, 1, blob.size - 1, blob.size, blob.size + 1):
            with place.stream(it, start) as stream:
                assert stream.start <= start
                assert b"".join(stream.pieces) == data[stream.start :]


def test_a_fetch_that_was_cut_goes_on(filled: Filled, store: Layout, tmp_path: Path) -> None:
    made = published(store)
    place, cache = filled(store), Layout(tmp_path / "cache")
    blob = next(b for entry in made.entries if entry.artifact for b in entry.artifact.files)
    cache.incoming(blob.digest).write_bytes(store.read(blob.digest)[:-1])
    transfers.fetch(place, Descriptor(OCTETS, blob.digest, blob.size), cache)
    assert cache.read(blob.digest) == store.read(blob.digest)


def test_what_it_has_not(filled: Filled, store: Layout) -> None:
    published(store)
    place = filled(store)
    assert not place.has(ABSENT)
    with pytest.raises(DeployError) as caught, place.stream(ABSENT) as stream:
        list(stream.pieces)
    assert ABSENT.digest in str(caught.value)
    assert place.name in str(caught.value)
