"""What a host remembers of a folder, and what it therefore refuses: by table, and by law over whatever is offered."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, Dict, List, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder import clock
from builder.errors import StoreDamaged, Untrusted
from builder.host import rollback
from builder.host.rollback import Memory, Offer, Pointer
from builder.records import from_json, to_json
from tests.builder.store.test_channel import DAY, DEEP, NOON


def offer(version: int, content: str = "", *, asked: bool = False, model: str = "m", head: str = "h") -> Offer:
    return Offer(model, head, version, f"{version}{content}", asked=asked)


def at(serial: int, version: int, content: str = "", *, name: str = "stable", model: str = "m") -> Offer:
    issued = clock.text(NOON + serial * DAY)
    return Offer(
        model, "h", version, f"{version}", pointer=Pointer(name, serial, f"{serial}{content}", issued, proven=True)
    )


@pytest.mark.parametrize(
    ("had", "now", "said"),
    [
        ([], offer(1), ""),
        ([offer(2)], offer(2), ""),
        ([offer(2)], offer(3), ""),
        ([offer(2)], offer(1), "the newest version there is v1, and this host has had v2"),
        ([offer(2)], offer(1, asked=True), "v1 is older than v2, which this host has had"),
        ([offer(2)], offer(2, "x"), "v2 there is another one than the v2 that this host has had"),
        ([offer(2)], offer(1, model="n", head="other"), ""),
        ([offer(2)], offer(3, model="n"), "the head h here is of the model m, and what is offered is of n"),
        ([offer(5)], at(1, 2), ""),
        ([at(3, 5)], offer(1), ""),
        ([at(3, 5)], at(3, 5), ""),
        ([at(3, 5)], at(4, 6), ""),
        ([at(3, 5)], at(4, 2), ""),
        ([at(3, 5)], at(2, 6), "stable has the serial 2 there, and this host has seen 3 (v5)"),
        ([at(3, 5)], at(3, 5, "x"), "there are two records of stable with the serial 3"),
        ([at(3, 5)], at(1, 5, name="canary"), ""),
        ([at(3, 5), at(9, 6, name="canary")], at(3, 5), ""),
    ],
)
def test_what_is_refused(had: List[Offer], now: Offer, said: str) -> None:
    memory = Memory()
    for one in had:
        memory = rollback.remembered(memory, one, NOON)
    assert rollback.refusal(memory, now)[: len(said) or None] == said
    assert len(rollback.remembered(memory, now, NOON).allowed) == bool(said), "what was taken all the same is on record"


def test_a_channel_does_not_change_its_model() -> None:
    memory = rollback.remembered(Memory(), at(3, 5), NOON)
    other = dataclasses.replace(at(9, 5, model="n"), head="other")
    assert rollback.refusal(memory, other) == "stable was a channel of m, and is one of n"


offers = st.one_of(
    st.builds(offer, st.integers(1, 5), st.sampled_from(["", "x"]), asked=st.booleans(), model=st.sampled_from("mn")),
    st.builds(at, st.integers(1, 5), st.integers(1, 5), st.sampled_from(["", "x"]), name=st.sampled_from(["a", "b"])),
)


@given(st.lists(offers, max_size=20))
def test_nothing_falls_and_nothing_means_two_things(all_offers: List[Offer]) -> None:
    memory = Memory()
    versions: Dict[str, Offer] = {}
    serials: Dict[str, Offer] = {}
    head: Optional[str] = None
    for one in all_offers:
        if rollback.refusal(memory, one):
            continue
        memory = rollback.remembered(memory, one, NOON)
        assert rollback.refusal(memory, one) == "", "what was taken is taken again"
        assert rollback.remembered(memory, one, NOON) == memory, "and nothing new is remembered"
        assert from_json(Memory, json.loads(json.dumps(to_json(memory)))) == memory
        assert head in (None, one.model)
        head = one.model
        if one.pointer is None:
            last = versions.setdefault(one.model, one)
            assert one.version > last.version or (one.version, one.manifest) == (last.version, last.manifest)
            versions[one.model] = one
        else:
            before = serials.setdefault(one.pointer.channel, one)
            assert before.pointer is not None
            assert one.pointer.serial > before.pointer.serial or one.pointer.record == before.pointer.record
            serials[one.pointer.channel] = one
    assert memory.allowed == ()


def test_time_does_not_run_back_below_what_was_signed() -> None:
    memory = rollback.remembered(Memory(), at(3, 5), NOON)
    assert memory.now(NOON) == NOON + 3 * DAY
    assert memory.now(NOON + 4 * DAY) == NOON + 4 * DAY
    assert Memory().now(NOON) == NOON
    earlier = rollback.remembered(memory, at(1, 5, name="canary"), NOON)
    assert earlier.latest == memory.latest


def test_an_unsigned_record_moves_no_clock() -> None:
    """Else whoever can write to a store makes all that is signed look expired."""
    pointer = Pointer("stable", 1, "x", clock.text(NOON + 9999 * DAY), proven=False)
    memory = rollback.remembered(Memory(), dataclasses.replace(at(1, 1), pointer=pointer), NOON)
    assert memory.now(NOON) == NOON


# ------------------------------------------------------------------------------------------- the file


def admit(dest: Path, offered: Offer, *, allowed: bool = False) -> None:
    memory = rollback.news(dest, offered, NOON, "there", allowed=allowed)
    if memory is not None:
        rollback.write(dest, memory)


def test_what_is_admitted_is_remembered(tmp_path: Path) -> None:
    admit(tmp_path, offer(2))
    before = (tmp_path / rollback.FILE).stat().st_mtime_ns
    admit(tmp_path, offer(2))
    assert (tmp_path / rollback.FILE).stat().st_mtime_ns == before, "nothing new, nothing written"
    with pytest.raises(Untrusted) as caught:
        admit(tmp_path, offer(1))
    assert "--allow-rollback" in str(caught.value)
    admit(tmp_path, offer(1), allowed=True)
    memory = rollback.read(tmp_path)
    assert [one.version for one in memory.models] == [1]
    assert [(one.at, one.refused[:19]) for one in memory.allowed] == [(clock.text(NOON), "the newest version ")]
    admit(tmp_path, offer(1))


GOOD: Dict[str, Any] = {"schema": 1, "models": {"m": {"version": 1, "manifest": "x"}}}


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"schema": 2}', '{"latest": "soon"}', '{"models": {"m": {"version": "1", "manifest": "x"}}}', '{"more": 1}', pytest.param("[" * 100_000, marks=DEEP), "x" * 2_000_000],
    ids=lambda text: text[:20],
)  # fmt: skip
def test_a_memory_that_does_not_read_is_not_begun_anew(tmp_path: Path, text: str) -> None:
    path = tmp_path / rollback.FILE
    path.write_text(json.dumps(GOOD))
    assert rollback.read(tmp_path).models[0].version == 1
    path.write_text(text)
    with pytest.raises(StoreDamaged, match="what this host has had does not read"):
        admit(tmp_path, offer(9), allowed=True)
    assert path.read_text() == text
