"""What every place that versions are published to must do. Each place's test module imports these tests and gives them
`place`, and `fresh`: the same place again, as another program would open it.

A place that cannot be written to (a web server) is filled in another way and imports only the tests that fit.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Callable, List

import pytest

from builder import clock, digest
from builder.errors import DeployError
from builder.plugins import Repository
from builder.store import channels, copying, oci, promotion, referrers, supply, transfers, trust, versions
from builder.store.layout import Layout
from builder.store.oci import OCTETS, Descriptor
from builder.trust import key_statements
from builder.trust.keyring import Keyring
from tests.builder.store.test_copying import KEY, silent
from tests.builder.store.test_versions import published

Open = Callable[[], Repository]


def send(store: Layout, place: Repository, version: int = 1) -> int:
    return copying.publish(store, copying.belonging(version, oci.all_of(store)), place, silent)


def a_file(folder: Path, size: int) -> "tuple[Descriptor, Path]":
    path = folder / f"file-{size}"
    path.write_bytes(os.urandom(size))
    return Descriptor(OCTETS, digest.of_file(path), size, title=path.name), path


# ------------------------------------------------------------------------------------------- writing


def test_a_version_goes_there_and_comes_back(place: Repository, fresh: Open, store: Layout, tmp_path: Path) -> None:
    made = published(store)
    referrers.attach_signature(store, 1, KEY.public.name, "signed")
    assert place.tags() == ()
    assert place.resolve("v1") is None
    assert send(store, place) > 0
    assert set(fresh().tags()) == {"v1", f"v1.{KEY.public.name}.minisig"}
    assert send(store, fresh()) == 0, "nothing is sent twice"
    supplied = supply.Supply(Layout(tmp_path / "cache"), fresh())
    assert supplied.version(None, "") == 1
    assert versions.read(supplied.store, 1).entries == made.entries
    assert referrers.signatures_of(supplied.store, 1) == ("signed",)
    files = [blob for entry in made.entries if entry.artifact for blob in entry.artifact.files]
    supplied.bring(files)
    assert all(supplied.store.read(blob.digest) == store.read(blob.digest) for blob in files)


def _stated(store: Layout, serial: int) -> bytes:
    """Let the store have a key statement."""
    owner = key_statements.Owner("root", KEY.public.text)
    statement = key_statements.Statement(1, KEY.public.name, serial, "2026-11-21T12:00:00+00:00", (owner,))
    text = key_statements.History(1, (key_statements.new(statement),)).text
    with store.locked():
        trust.put(store, text)
    return text


def test_a_key_statement_goes_along_and_is_not_replaced_by_an_older_one(
    place: Repository, fresh: Open, store: Layout
) -> None:
    published(store)
    for serial in (1, 2):
        text = _stated(store, serial)
        send(store, fresh())
        assert trust.offered(fresh()) == text
    _stated(store, 1)
    send(store, fresh())
    assert trust.offered(fresh()) == text


def test_a_file_of_any_size(place: Repository, fresh: Open, tmp_path: Path) -> None:
    for size in (0, 1, 3_000_001):
        it, path = a_file(tmp_path, size)
        assert not place.has(it)
        place.put(it, path)
        place.put(it, path)
        assert fresh().has(it)
        assert transfers.read(fresh(), it) == path.read_bytes()


def test_from_the_middle(place: Repository, tmp_path: Path) -> None:
    it, path = a_file(tmp_path, 300_000)
    place.put(it, path)
    whole = path.read_bytes()
    for start in (0, 1, 299_999):
        with place.stream(it, start) as stream:
            assert stream.start <= start
            assert b"".join(stream.pieces) == whole[stream.start :]


def test_what_is_not_there(place: Repository, tmp_path: Path) -> None:
    it, _ = a_file(tmp_path, 10)
    assert not place.has(it)
    with pytest.raises(DeployError) as caught, place.stream(it) as stream:
        list(stream.pieces)
    assert it.digest in str(caught.value)


def test_a_tag_moves(place: Repository, fresh: Open, store: Layout) -> None:
    published(store)
    published(store, version=2)
    send(store, place)
    send(store, place, 2)
    for version in (1, 2, 1):
        top = place.resolve(f"v{version}")
        assert top is not None
        place.tag("stable", top)
        assert fresh().resolve("stable") == top


def test_a_channel_moves_there_and_back(place: Repository, fresh: Open, store: Layout, tmp_path: Path) -> None:
    """By what every place has: tags, of which some are flags."""
    for version in (1, 2):
        published(store, version=version)
        send(store, place, version)
    desk = promotion.Desk(supply.Supply(Layout(tmp_path / "cache"), fresh()), (), Keyring(), clock.now())
    for word in ("v1", "v2"):
        promotion.promote(desk, word, promotion.Wish("stable", reason=f"to {word}"))
    promotion.rollback(desk, None, promotion.Wish("stable"))
    found = channels.offered(fresh(), "stable")
    assert found is not None
    record = channels.parsed(found.data, "there")
    assert [(move.version, move.serial) for move in record.moves] == [(1, 3), (2, 2), (1, 1)]
    assert [one.name for one in channels.all_of(fresh())] == ["stable"]
    assert sorted(versions.numbered(fresh().tags())) == [1, 2], "a channel is no version"


def test_several_at_once(place: Repository, fresh: Open, tmp_path: Path) -> None:
    """Two programs that publish the same files, and some of their own, hinder nobody."""
    files = [a_file(tmp_path, 50_000 + n) for n in range(8)]
    problems: List[BaseException] = []

    def run(mine: "list[tuple[Descriptor, Path]]") -> None:
        try:
            there = fresh()
            for it, path in mine:
                there.put(it, path)
        except BaseException as problem:
            problems.append(problem)

    threads = [threading.Thread(target=run, args=(files[n:] + files[:2],)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems
    for it, path in files:
        assert transfers.read(place, it) == path.read_bytes()
