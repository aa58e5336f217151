"""Manifests that an older program wrote are read as today's."""

from __future__ import annotations

from typing import Any, Dict

import pytest

from builder.records import RecordError, from_json, to_json
from builder.store.manifest import Check, Manifest, upgraded
from tests.fakes import entry, manifest


def old(*misses: Dict[str, Any]) -> Any:
    """A manifest of schema 1, whose only cell has these misses."""
    data: Any = to_json(manifest(entry()))
    data["schema"] = 1
    data["entries"][0]["verdict"] = {"status": "failed" if misses else "passed", "misses": list(misses)}
    return data


@pytest.mark.parametrize(
    ("miss", "expected"),
    [
        (
            {"output": "scores", "metric": "max_abs", "found": 0.3, "limit": 0.1, "sample": "a-8x8"},
            Check("tensor", "scores", "max_abs", 0.3, 0.1, True, "not recorded", "a-8x8"),
        ),
        (
            {"output": "scores", "metric": "cosine", "found": 0.3, "limit": 0.9, "sample": "a-8x8"},
            Check("tensor", "scores", "cosine", 0.3, 0.9, False, "not recorded", "a-8x8"),
        ),
        (
            {"output": "scores", "metric": "cosine", "found": None, "limit": 0.9, "sample": "no sample"},
            Check("tensor", "scores", "cosine", None, 0.9, False, "not recorded", "no sample"),
        ),
        (
            {"output": "views", "metric": "m", "found": 0.3, "limit": 0.2, "sample": "c", "bound": "degradation"},
            Check("task", "views", "m", 0.3, 0.2, True, "not recorded", "c", "degradation"),
        ),
        (
            {"output": "views", "metric": "m", "found": 0.3, "limit": 0.6, "sample": ""},
            Check("task", "views", "m", 0.3, 0.6, False, "not recorded", ""),
        ),
    ],
)
def test_a_miss_becomes_a_check_that_was_not_kept(miss: Dict[str, Any], expected: Check) -> None:
    found = from_json(Manifest, upgraded(old(miss)))
    assert found.schema == 2
    (check,) = found.entries[0].verdict.misses
    assert check == expected


def test_a_manifest_without_misses() -> None:
    assert from_json(Manifest, upgraded(old())).entries[0].verdict.checks == ()


def test_todays_manifest_stays_as_it_is() -> None:
    data = to_json(manifest(entry()))
    assert upgraded(data) is data


@pytest.mark.parametrize("data", [None, [], {}, "x", {"schema": 3}, {"schema": "1"}, [{"schema": 1}]])
def test_what_is_no_manifest_stays_as_it_is(data: Any) -> None:
    assert upgraded(data) is data


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"schema": 1}, {"schema": 2, "entries": None}),
        ({"schema": 1, "entries": {"verdict": 1}}, {"schema": 2, "entries": {"verdict": 1}}),
        ({"schema": 1, "entries": [1, {}, {"verdict": [3]}]}, {"schema": 2, "entries": [1, {}, {"verdict": [3]}]}),
        (
            {"schema": 1, "entries": [{"verdict": {"misses": [3]}}]},
            {"schema": 2, "entries": [{"verdict": {"checks": [3]}}]},
        ),
        ({"schema": 1, "entries": [{"verdict": {"misses": 3}}]}, {"schema": 2, "entries": [{"verdict": {}}]}),
    ],
)
def test_what_is_a_manifest_in_part_is_left_to_the_reader(data: Any, expected: Any) -> None:
    assert upgraded(data) == expected
    with pytest.raises(RecordError):
        from_json(Manifest, expected)
