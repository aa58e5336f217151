"""The record of a channel: what a move makes of it, where a rollback goes, and what is no record."""

from __future__ import annotations

import datetime
import json
import sys
from typing import Any, Dict, List, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder import clock
from builder.errors import StoreDamaged, UsageError
from builder.store import channels
from builder.store.channels import Channel

NOON = datetime.datetime(2026, 11, 21, 12, tzinfo=datetime.timezone.utc)
DAY = datetime.timedelta(days=1)


# Python 3.8 aborts when something (here, what Hypothesis hangs into the garbage collector) runs at the edge of the recursion limit
DEEP = pytest.mark.skipif(sys.version_info < (3, 9), reason="Python 3.8 cannot be tested at its recursion limit")


def digest_of(version: int) -> str:
    return f"sha256:{version:064x}"


def stood(*versions: int, lifetime: Optional[datetime.timedelta] = None) -> Channel:
    """A channel that was promoted to these versions, one a day; a negative number is a rollback to it."""
    made: Optional[Channel] = None
    for day, version in enumerate(versions):
        to = (abs(version), digest_of(abs(version)))
        made = channels.moved(made, "stable", "tiny", to, NOON + day * DAY, lifetime=lifetime, back=version < 0)
    assert made is not None
    return made


def test_every_move_has_a_higher_serial_and_keeps_what_was() -> None:
    one, two = stood(1), stood(1, 2)
    assert (one.current.serial, two.current.serial) == (1, 2)
    assert [move.version for move in two.moves] == [2, 1]
    assert two.follows(one)
    assert not one.follows(two)
    assert not two.follows(stood(3)), "another first move"


def test_time_does_not_run_back() -> None:
    one = stood(1)
    late = channels.moved(one, "stable", "tiny", (2, digest_of(2)), NOON - DAY, lifetime=DAY)
    assert late.current.issued == one.current.issued
    assert late.expires == clock.text(NOON + DAY)


@pytest.mark.parametrize(
    ("versions", "expected"),
    [
        ([1], None),
        ([1, 1, 1], None),
        ([1, 2], 1),
        ([1, 2, 2], 1),
        ([1, 2, 3], 2),
        ([1, 2, 3, -2], 1),
        ([1, 2, 3, -2, -1], None),
        ([1, 2, 3, -1], None),
        ([1, 2, -1, 3], 1),
        ([1, 2, -1, 2], 1),
        ([1, 2, 3, -2, 4, -2], 1),
        ([5, -3], 0),
    ],
    ids=str,
)
def test_where_a_rollback_goes(versions: List[int], expected: Optional[int]) -> None:
    """Never to a version that was rolled back from; several rollbacks in a row go further back."""
    found = channels.previous(stood(*versions))
    assert (found.version if found else None) == (expected or None)


def test_renewals_do_not_push_out_the_version_before() -> None:
    record = stood(1, *[2] * 200)
    assert len(record.moves) == channels.MOST_MOVES
    found = channels.previous(record)
    assert found is not None
    assert found.version == 1
    assert record.current.serial == 201


def test_expiry() -> None:
    assert stood(1).lifetime is None
    assert not stood(1).expired(NOON + 10_000 * DAY)
    record = stood(1, lifetime=DAY)
    assert record.lifetime == DAY
    assert not record.expired(NOON + DAY)
    assert record.expired(NOON + DAY + datetime.timedelta(seconds=1))


@given(st.lists(st.tuples(st.integers(1, 9), st.booleans()), min_size=1, max_size=70))
def test_whatever_moves_are_made_the_record_holds(moves: Any) -> None:
    made: Optional[Channel] = None
    seen: List[int] = []
    for version, back in moves:
        made = channels.moved(made, "c", "m", (version, digest_of(version)), NOON, lifetime=None, back=back)
        seen.append(version)
        assert channels.parsed(channels.written(made), "here") == made
        assert made.current.serial == len(seen)
        target = channels.previous(made)
        assert target is None or (target.version != version and target.version in seen)


@pytest.mark.parametrize("name", ["stable", "canary", "a", "eu-west_2", "v", "v3x", "vnext"])
def test_names_of_channels(name: str) -> None:
    assert channels.named(name) == name


@pytest.mark.parametrize("name", ["", "v3", "v10", "3", "latest", "Stable", "a.b", "a/b", "../x", "a b", "a" * 64, "stable\n"])  # fmt: skip
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(UsageError, match="no name for a channel"):
        channels.named(name)


GOOD: Dict[str, Any] = json.loads(channels.written(stood(1, 2, lifetime=DAY)))


@pytest.mark.parametrize(
    "wrong",
    [
        {"schema": 2},
        {"channel": "v3"},
        {"channel": 3},
        {"moves": []},
        {"moves": list(reversed(GOOD["moves"]))},
        {"moves": [GOOD["moves"][0], GOOD["moves"][0]]},
        {"moves": [{**GOOD["moves"][0], "serial": 0}]},
        {"moves": [{**GOOD["moves"][0], "version": -1}]},
        {"moves": [{**GOOD["moves"][0], "serial": True}]},
        {"moves": [{**GOOD["moves"][0], "manifest": "sha256:../../x"}]},
        {"moves": [{**GOOD["moves"][0], "issued": "yesterday"}]},
        {"moves": [{**GOOD["moves"][0], "issued": "2026-11-21T12:00:00"}]},
        {"moves": [{**GOOD["moves"][0], "issued": "2026-11-21T12:00:00+01:00"}]},
        {"expires": "never"},
        {"more": 1},
    ],
    ids=str,
)
def test_what_is_no_record(wrong: Dict[str, Any]) -> None:
    assert channels.parsed(json.dumps(GOOD).encode(), "here")
    with pytest.raises(StoreDamaged) as caught:
        channels.parsed(json.dumps({**GOOD, **wrong}).encode(), "here")
    assert caught.value.where in ("here", None)


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"\xff", pytest.param(b"[" * 100_000, marks=DEEP), b"null"], ids=repr
)
def test_what_is_not_json(data: bytes) -> None:
    with pytest.raises(StoreDamaged):
        channels.parsed(data, "here")


@pytest.mark.parametrize(("said", "seconds"), [("1s", 1), ("5m", 300), ("12h", 43200), ("30d", 2592000), ("8w", 4838400)])  # fmt: skip
def test_lengths_of_time(said: str, seconds: int) -> None:
    assert clock.length(said, "--expires").total_seconds() == seconds


@pytest.mark.parametrize("said", ["", "30", "d", "0d", "-1d", "1.5d", "30 d", "1y", "9999999d", "30D"])
def test_what_is_no_length_of_time(said: str) -> None:
    with pytest.raises(UsageError, match="not a length of time"):
        clock.length(said, "--expires")


def test_no_length_leads_beyond_the_calendar() -> None:
    with pytest.raises(UsageError, match="more than ten years"):
        clock.length("999999w", "--expires")


def test_times_are_read_as_they_were_written() -> None:
    assert clock.read(clock.text(NOON)) == NOON
    assert clock.text(clock.now()).endswith("+00:00")


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 seconds"),
        (1, "1 second"),
        (119, "119 seconds"),
        (120, "2 minutes"),
        (7200, "2 hours"),
        (86400 * 3, "3 days"),
        (-5, "0 seconds"),
    ],
)
def test_how_long_ago(seconds: int, said: str) -> None:
    assert clock.ago(datetime.timedelta(seconds=seconds)) == said
