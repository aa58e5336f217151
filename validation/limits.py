"""Which limits a cell is held to: the gates of matrix.yaml that select it, later ones over earlier ones. Pure.

A gate that only reports does not take the place of one that decides: the two kinds are laid over each other apart, so a
limit that is being tried out never loosens the one in force.
"""

from __future__ import annotations

import dataclasses
from typing import Dict, Iterable, Iterator, Sequence, Tuple

from builder.config.cells import Cell, selects
from builder.config.gates import Bound, Gate, Level, Limit, MetricGate, OutputGate

METRICS = tuple(f.name for f in dataclasses.fields(OutputGate) if f.name != "output")
_BOUNDS: Tuple[Tuple[str, Bound], ...] = (
    ("threshold", "value"),
    ("max_degradation", "degradation"),
    ("percent_max_degradation", "percent degradation"),
)
LATENCY = "latency"  # the subject of every speed limit


def resolve(gates: Iterable[Gate], cell: Cell, outputs: Sequence[str], tasks: Sequence[str]) -> Tuple[Limit, ...]:
    """Every limit on the cell's `outputs`, on the `tasks` it is scored on, and on its speed."""
    laid: Dict[Tuple[bool, Level, str, str, Bound], Limit] = {}
    for gate in gates:
        if selects(gate.select, cell):
            for limit in _limits(gate, outputs, tasks):
                laid[limit.report_only, limit.level, limit.subject, limit.metric, limit.bound] = limit
    return tuple(laid.values())


def _limits(gate: Gate, outputs: Sequence[str], tasks: Sequence[str]) -> Iterator[Limit]:
    for wanted in gate.outputs:
        for name in outputs if wanted.output == "*" else [o for o in outputs if o == wanted.output]:
            for metric in METRICS:
                value = getattr(wanted, metric)
                if value is not None:
                    yield Limit("tensor", name, metric, "value", value, gate.select, gate.report_only)
    for gated in gate.tasks:
        if gated.task in tasks:
            yield from _bounds(gate, "task", gated.task, gated.metrics)
    yield from _bounds(gate, "speed", LATENCY, gate.speed)


def _bounds(gate: Gate, level: Level, subject: str, metrics: Sequence[MetricGate]) -> Iterator[Limit]:
    for limited in metrics:
        for name, bound in _BOUNDS:
            value = getattr(limited, name)
            if value is not None:
                yield Limit(level, subject, limited.metric, bound, value, gate.select, gate.report_only)
