"""Judging measurements against the gates of matrix.yaml. Pure: the same numbers and gates, the same verdict."""

from __future__ import annotations

import dataclasses
from typing import Dict, Iterable, List, Optional, Sequence, Tuple

from builder.cells import Cell, selects
from builder.manifest import Miss
from builder.matrix import Gate, OutputGate
from builder.measurements import OutputParity

# Metrics of which more is better; of all others, less.
_AT_LEAST = frozenset({"cosine", "snr_db", "matched"})
METRICS = tuple(f.name for f in dataclasses.fields(OutputGate) if f.name != "output")


def limits(gates: Iterable[Gate], cell: Cell, outputs: Sequence[str]) -> Dict[Tuple[str, str], float]:
    """(output, metric) -> limit: every matching gate laid over the earlier ones, `*` over every output."""
    resolved: Dict[Tuple[str, str], float] = {}
    for gate in gates:
        if not selects(gate.select, cell):
            continue
        for wanted in gate.outputs:
            names = outputs if wanted.output == "*" else [o for o in outputs if o == wanted.output]
            for name in names:
                for metric in METRICS:
                    limit: Optional[float] = getattr(wanted, metric)
                    if limit is not None:
                        resolved[name, metric] = limit
    return resolved


def misses(measured: Sequence[OutputParity], limit_of: Dict[Tuple[str, str], float]) -> Tuple[Miss, ...]:
    """One Miss per broken limit, at the sample where it is broken worst. A number that is missing is a miss."""
    found: List[Miss] = []
    for (output, metric), limit in limit_of.items():
        rows = [row for row in measured if row.output == output and row.problem is None]
        if not rows:  # nothing was measured: `problems` names why, or the output was never compared
            found.append(Miss(output, metric, None, limit, "no sample"))
            continue
        worst = _worst([row for row in rows if metric == "matched" or not _was_empty(row)], metric)
        if worst is None:  # every sample was rightly empty
            continue
        value: Optional[float] = getattr(worst, metric)
        if value is None or (value < limit if metric in _AT_LEAST else value > limit):
            found.append(Miss(output, metric, value, limit, worst.sample))
    return tuple(found)


def problems(measured: Sequence[OutputParity]) -> Tuple[str, ...]:
    """What kept tensors from being compared at all; any of these fails the cell, gates or not."""
    return tuple(f"{row.output} on {row.sample}: {row.problem}" for row in measured if row.problem is not None)


def _was_empty(row: OutputParity) -> bool:
    """An aligned set that is empty on both sides: there was nothing to compare, and that is right."""
    return row.max_abs is None and row.matched == 1.0


def _worst(rows: Sequence[OutputParity], metric: str) -> Optional[OutputParity]:
    """The row with the worst value of `metric`; one without a number is worse than any."""
    sign = 1 if metric in _AT_LEAST else -1

    def badness(row: OutputParity) -> Tuple[bool, float]:
        value: Optional[float] = getattr(row, metric)
        return (value is not None, 0.0 if value is None else sign * value)

    return min(rows, key=badness, default=None)


def describe(miss: Miss) -> str:
    """'scores max_abs 0.031 > 0.02 on camera-480x640'."""
    sign = "<" if miss.metric in _AT_LEAST else ">"
    if miss.found is None:
        return f"{miss.output} {miss.metric} has no number (limit {miss.limit:g}) on {miss.sample}"
    digits = next((d for d in (4, 7) if float(f"{miss.found:.{d}g}") != float(f"{miss.limit:.{d}g}")), 12)
    return f"{miss.output} {miss.metric} {miss.found:.{digits}g} {sign} {miss.limit:.{digits}g} on {miss.sample}"
