"""Manifests of older schemas, read as today's. Stores outlive the program that wrote them.

1 -> 2   a verdict held its misses; now it holds every check that was made, the kept ones too
"""

from __future__ import annotations

from typing import Dict, List

from builder.digest import Json

# Metrics whose larger values were better when misses did not say so themselves.
_AT_LEAST = frozenset({"cosine", "snr_db", "matched"})


def upgraded(data: Json) -> Json:
    """`data` as a manifest of schema 2 has it. What is no manifest comes back as it is: reading it says why."""
    if not isinstance(data, dict) or data.get("schema") != 1:
        return data
    entries = data.get("entries")
    made = [_entry(entry) for entry in entries] if isinstance(entries, list) else entries
    return {**data, "schema": 2, "entries": made}


def _entry(entry: Json) -> Json:
    if not isinstance(entry, dict) or not isinstance(entry.get("verdict"), dict):
        return entry
    verdict = entry["verdict"]
    assert isinstance(verdict, dict)
    misses = verdict.get("misses")
    rest: Dict[str, Json] = {name: value for name, value in verdict.items() if name != "misses"}
    if isinstance(misses, list) and misses:
        checks: List[Json] = [_check(miss) for miss in misses]
        rest["checks"] = checks
    return {**entry, "verdict": rest}


def _check(miss: Json) -> Json:
    """A miss named its output or task as `output` and its worst sample as `sample`; its gate it did not name."""
    if not isinstance(miss, dict):
        return miss
    bound = miss.get("bound", "value")
    metric, found, limit = miss.get("metric"), miss.get("found"), miss.get("limit")
    at_most = bound != "value" or metric not in _AT_LEAST
    if bound == "value" and isinstance(found, (int, float)) and isinstance(limit, (int, float)):
        at_most = found > limit  # it was missed, so this is the side it lies on
    return {
        "level": "tensor" if metric in _TENSOR else "task",
        "subject": miss.get("output"),
        "metric": metric,
        "found": found,
        "limit": limit,
        "at_most": at_most,
        "gate": "not recorded",
        "worst": miss.get("sample", ""),
        "bound": bound,
    }


_TENSOR = frozenset({"max_abs", "mean_abs", "p99_abs", "max_rel", *_AT_LEAST})
