"""Channels and pins as objects of a store, and what several who move a channel at once do to each other."""

from __future__ import annotations

import datetime
import functools
import itertools
import threading
from typing import Any, Callable, Dict, Iterable, List, Optional, Tuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builder import digest
from builder.errors import StoreBusy, StoreDamaged, UsageError
from builder.store import channels, oci, versions
from builder.store.channels import Channel
from builder.store.layout import Layout
from builder.store.oci import MANIFEST, Descriptor
from builder.store.remotes.folder import Folder
from tests.builder.store.test_channel import NOON
from tests.builder.store.test_versions import published

WHO = "0" * 16


def stand(
    store: Layout, *numbers: int, name: str = "stable", signatures: "Tuple[Tuple[str, str], ...]" = ()
) -> Channel:
    """Let a channel go to these versions, one after the other, without asking anybody."""
    record: Optional[Channel] = None
    for number in numbers:
        to = (number, versions.manifest_digest(store, number))
        record = channels.moved(record, name, "tiny", to, NOON, lifetime=None)
    assert record is not None
    top = channels.put(
        store, channels.written(record), signatures, versions.manifest_object(store, record.current.version)
    )
    Folder(str(store.root), {}).tag(name, top)
    return record


def here(store: Layout) -> Folder:
    return Folder(str(store.root), {})


def test_a_channel_is_an_object_about_the_manifest(store: Layout) -> None:
    published(store)
    made = stand(store, 1, signatures=(("AB", "one"), ("CD", "two")))
    found = channels.offered(here(store), "stable")
    assert found is not None
    assert channels.parsed(found.data, "here") == made
    assert found.signatures == ("one", "two")
    assert [one.name for one in channels.all_of(here(store))] == ["stable"]
    assert versions.numbers(store) == (1,), "no version, and nothing that disturbs one"


def test_what_is_no_channel_is_passed_over(store: Layout) -> None:
    published(store)
    here(store).tag("other", Descriptor(MANIFEST, *_any_object(store)))
    oci.put(store, "index", oci.all_of(store)["v1"])
    assert channels.offered(here(store), "nothing") is None
    assert channels.offered(here(store), "other") is None
    assert channels.offered(here(store), "index") is None
    assert channels.all_of(here(store)) == ()


def _any_object(store: Layout) -> "Tuple[str, int]":
    about = versions.manifest_object(store, 1)
    assert isinstance(about["digest"], str)
    assert isinstance(about["size"], int)
    return about["digest"], about["size"]


@pytest.mark.parametrize("size", [64 << 10, (64 << 10) + 1])
def test_a_record_is_small(store: Layout, size: int) -> None:
    published(store)
    top = channels.put(store, b"x" * size, (), versions.manifest_object(store, 1))
    here(store).tag("stable", top)
    if size <= 64 << 10:
        found = channels.offered(here(store), "stable")
        assert found is not None
        assert len(found.data) == size
    else:
        with pytest.raises(StoreDamaged, match="at most 65,536 are taken"):
            channels.offered(here(store), "stable")


def test_of_many_signatures_only_some_are_looked_at(store: Layout) -> None:
    published(store)
    stand(store, 1, signatures=tuple((f"K{n}", str(n)) for n in range(40)))
    found = channels.offered(here(store), "stable")
    assert found is not None
    assert len(found.signatures) == 16


# ------------------------------------------------------------------------------------------- what must stay


def test_what_must_stay(store: Layout) -> None:
    for number in range(1, 7):
        published(store, number)
    assert channels.roots(store) == {}
    channels.pin(store, 4)
    channels.pin(store, 4)
    stand(store, 1, 2, 3)
    stand(store, 3, name="canary")
    assert channels.roots(store) == {
        2: ("rollback of stable",),
        3: ("channel canary", "channel stable"),
        4: ("pinned",),
    }
    assert channels.pinned(store) == (4,)
    channels.unpin(store, 4)
    assert channels.pinned(store) == ()
    with pytest.raises(UsageError, match="there is no version 9"):
        channels.pin(store, 9)


def test_what_a_damaged_channel_keeps_is_not_guessed(store: Layout) -> None:
    published(store)
    here(store).tag("stable", channels.put(store, b"{}", (), versions.manifest_object(store, 1)))
    with pytest.raises(StoreDamaged, match="the channel's record does not read"):
        channels.roots(store)


# ------------------------------------------------------------------------------------------- several at once


class Shared:
    """Tags alone, as a place keeps them. Of several threads that use it, the one whose turn it is makes one call."""

    name = "shared"

    def __init__(self) -> None:
        self.tagged: Dict[str, Descriptor] = {"v1": _object(0)}
        self.moves: List[str] = []
        self.at_call: Callable[[], None] = lambda: None

    def tags(self) -> Tuple[str, ...]:
        self.at_call()
        return tuple(self.tagged)

    def resolve(self, tag: str) -> Optional[Descriptor]:
        self.at_call()
        return self.tagged.get(tag)

    def tag(self, tag: str, it: Descriptor) -> None:
        self.at_call()
        self.tagged[tag] = it


def _object(number: int) -> Descriptor:
    return Descriptor(MANIFEST, digest.of_bytes(str(number).encode()), 1)


def in_turns(programs: "List[Callable[[], None]]", shared: Shared, schedule: Iterable[int]) -> None:
    """Run the programs in threads, of which only one runs at a time: until its next call, in the order of `schedule`."""
    mine = threading.local()
    go = [threading.Semaphore(0) for _ in programs]
    stopped = threading.Semaphore(0)
    done = [False] * len(programs)

    def call() -> None:
        stopped.release()
        go[mine.number].acquire()

    def run(number: int) -> None:
        mine.number = number
        go[number].acquire()
        programs[number]()
        done[number] = True
        stopped.release()

    shared.at_call = call
    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(programs))]
    for thread in threads:
        thread.start()
    for number in itertools.chain(schedule, *([n] * 20 for n in range(len(programs)))):
        if not done[number]:
            go[number].release()
            stopped.acquire()
    for thread in threads:
        thread.join()


def movers(
    shared: Shared, count: int, same: bool = False
) -> "Tuple[List[Callable[[], None]], List[Tuple[str, str]], List[int]]":
    """Programs that each look where the channel stands and move it on; what they moved (from, to); who was refused."""
    serials: Dict[str, int] = {}
    moved: List[Tuple[str, str]] = []
    refused: List[int] = []

    def program(number: int) -> None:
        top = _object(number // 2 + 1 if same else number + 1)
        base = shared.resolve("stable")
        begin = serials[base.digest] if base else 0
        serials[top.digest] = begin + 1
        try:
            channels.move_tag(
                shared, "stable", base, (begin, begin + 1), top, _object(0), NOON, f"{number:016x}", lambda: None
            )  # type: ignore[arg-type]
        except StoreBusy:
            refused.append(number)
        else:
            moved.append((base.digest if base else "", top.digest))

    return [functools.partial(program, number) for number in range(count)], moved, refused


def check(shared: Shared, moved: "List[Tuple[str, str]]", refused: List[int], count: int) -> None:
    assert len(moved) + len(refused) == count
    at = ""
    for start, end in moved:
        assert start == at, "a move began where the one before it ended: none was lost"
        at = end
    there = shared.tagged.get("stable")
    assert (there.digest if there else "") == at


def test_two_movers_in_every_order() -> None:
    for first in itertools.combinations(range(12), 6):
        shared = Shared()
        programs, moved, refused = movers(shared, 2)
        in_turns(programs, shared, [0 if step in first else 1 for step in range(12)])
        check(shared, moved, refused, 2)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 3), max_size=28))
def test_four_movers(schedule: List[int]) -> None:
    shared = Shared()
    programs, moved, refused = movers(shared, 4)
    in_turns(programs, shared, schedule)
    check(shared, moved, refused, 4)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 3), max_size=28))
def test_four_movers_of_whom_two_and_two_want_the_same(schedule: List[int]) -> None:
    """The same record, made twice in one second: nobody takes back the flag of the other."""
    shared = Shared()
    programs, moved, refused = movers(shared, 4, same=True)
    in_turns(programs, shared, schedule)
    check(shared, moved, refused, 4)


def test_one_after_the_other_nobody_is_refused() -> None:
    shared = Shared()
    programs, moved, refused = movers(shared, 4)
    in_turns(programs, shared, [])
    assert not refused
    check(shared, moved, refused, 4)


def test_a_flag_of_a_killed_program_does_not_count_for_ever() -> None:
    shared = Shared()
    shared.tagged[f"stable.1.{'a' * 16}.{int(NOON.timestamp())}"] = _object(0)
    later = NOON + channels.PATIENCE + datetime.timedelta(seconds=1)
    where: Any = shared
    with pytest.raises(StoreBusy, match="someone else is moving stable"):
        channels.move_tag(where, "stable", None, (0, 1), _object(1), _object(0), NOON, WHO, lambda: None)
    assert "stable" not in shared.tagged
    channels.move_tag(where, "stable", None, (0, 1), _object(1), _object(0), later, WHO, lambda: None)
    assert shared.tagged["stable"] == _object(1)


def test_what_is_moved_to_is_brought_before_and_not_in_vain() -> None:
    shared = Shared()
    where: Any = shared
    brought: List[bool] = []
    channels.move_tag(where, "stable", None, (0, 1), _object(1), _object(0), NOON, WHO, lambda: brought.append("stable" in shared.tagged))  # fmt: skip
    assert brought == [False]
    with pytest.raises(StoreBusy, match="has just moved stable"):
        channels.move_tag(
            where, "stable", None, (0, 1), _object(2), _object(0), NOON, WHO, lambda: brought.append(True)
        )
    assert brought == [False]
    assert shared.tagged["stable"] == _object(1)


def test_a_move_from_where_the_channel_stands_no_more() -> None:
    """Who looked long ago finds no flag of the other any more, but the tag elsewhere."""
    shared = Shared()
    where: Any = shared
    channels.move_tag(
        where, "stable", None, (0, 1), _object(1), _object(0), NOON - 2 * channels.PATIENCE, "b" * 16, lambda: None
    )
    with pytest.raises(StoreBusy, match="has just moved stable"):
        channels.move_tag(where, "stable", None, (0, 1), _object(2), _object(0), NOON, WHO, lambda: None)
    assert shared.tagged["stable"] == _object(1)
