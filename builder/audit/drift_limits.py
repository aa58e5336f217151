"""The limit of each number: defaults, `drift:` of matrix.yaml, `--fail-on`.

Pure.
"""

from __future__ import annotations

import difflib
import fnmatch
from dataclasses import dataclass
from typing import Dict, Iterable, Optional, Sequence, Tuple

from builder.audit.history import Metric
from builder.config.cells import expand
from builder.config.gates import DriftLimit, DriftLimits, names_metric, parse_drift_limit
from builder.errors import UsageError

ANY, NOTHING, LIMITS = "any", "none", "limits"
_TENSORS = {"cosine": "0.001", "snr_db": "10", "matched": "0.02", "answered": "0"}


@dataclass(frozen=True)
class Allowances:
    """`declared`: `drift:` of a matrix; `fail_on`: the flags, checked by `check`."""

    declared: Tuple[DriftLimits, ...] = ()
    fail_on: Tuple[str, ...] = ()

    def of(self, cell: str, metric: Metric, timed_in_turns: bool) -> Optional[DriftLimit]:
        """How much worse `metric` of `cell` may be; None for as much as it likes."""
        usual = self._declared(cell, metric, timed_in_turns)
        if not self.fail_on:
            return usual
        held: Optional[DriftLimit] = None
        for word in self.fail_on:
            pattern, _, amount = word.partition(":")
            if pattern == NOTHING:
                held = None
            elif pattern == LIMITS:
                held = usual or held
            elif pattern == ANY or names_metric(pattern, metric.name, timed_in_turns=timed_in_turns):
                given = parse_drift_limit(amount, f"--fail-on {word}") if amount else None
                held = given or (DriftLimit(0.0) if pattern == ANY else usual or DriftLimit(0.0))
        return held

    def _declared(self, cell: str, metric: Metric, timed_in_turns: bool) -> Optional[DriftLimit]:
        found = usual_limit(metric, timed_in_turns)
        for section in self.declared:
            if any(fnmatch.fnmatchcase(cell, pattern) for pattern in expand(section.select)):
                for one in section.limits:
                    if any(names_metric(p, metric.name, timed_in_turns=timed_in_turns) for p in expand(one.metric)):
                        found = parse_drift_limit(one.limit, f"drift: {one.metric}")
        return found


def usual_limit(metric: Metric, timed_in_turns: bool) -> Optional[DriftLimit]:
    """The default limit.

    Most statistics of tensors have none: they are shown, and users limit those that matter.
    """
    if metric.kind == "verdict":
        return DriftLimit(0.0)
    if metric.kind == "tensor":
        word = _TENSORS.get(metric.name.rpartition(".")[2])
        return parse_drift_limit(word, "default") if word else None
    if metric.kind == "task":
        return DriftLimit(0.02) if metric.better == "more" else DriftLimit(10.0, percent=True)
    if metric.kind == "latency":
        return (
            DriftLimit(15.0, percent=True)
            if names_metric("latency", metric.name, timed_in_turns=timed_in_turns)
            else None
        )
    return DriftLimit(25.0, percent=True)


def check(fail_on: Sequence[str], known: Iterable[str]) -> None:
    """Raises UsageError for a flag without a metric of the store, or with an invalid limit."""
    metrics = tuple(dict.fromkeys(known))
    for word in fail_on:
        pattern, colon, amount = word.partition(":")
        if colon:
            parse_drift_limit(amount, f"--fail-on {word}")
        if pattern not in (ANY, NOTHING, LIMITS):
            matching(pattern, metrics, f"--fail-on {word}")


def matching(pattern: str, metrics: Sequence[str], flag: str) -> Tuple[str, ...]:
    """The metrics that match `pattern`.

    Raises UsageError with the nearest names for none.
    """
    found = tuple(
        name for name in metrics
        if any(names_metric(one, name, timed_in_turns=turn) for one in expand(pattern) for turn in (True, False))
    )  # fmt: skip
    if not found:
        firsts: Dict[str, None] = dict.fromkeys(name.partition(".")[0] for name in metrics)
        near = difflib.get_close_matches(pattern, [*metrics, *firsts, ANY, NOTHING, LIMITS], n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"metrics here: {', '.join(firsts)}, each as NAME.*"
        raise UsageError(f"{pattern!r} is no metric of this store", where=flag, hint=hint)
    return found
