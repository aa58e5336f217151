"""What must hold of the gates of matrix.yaml, and of one given on the command line: what they name is there."""

from __future__ import annotations

from builder.gates import SPEED, Gate, MetricGate
from builder.matrix import Matrix
from builder.records import KeyPath, declared, expect


def check(matrix: Matrix) -> None:
    outputs = {o.name for head in matrix.model.heads for o in head.outputs}
    for agreed in matrix.parity.agreement:
        declared(agreed.output, sorted(outputs), ("parity", "agreement", agreed.output), "output", at_key=True)
    for i, gate in enumerate(matrix.gates):
        check_gate(matrix, gate, ("gates", i))


def check_gate(matrix: Matrix, gate: Gate, path: KeyPath) -> None:
    """What a gate names is there, and it limits something. Raises RecordError."""
    outputs = {o.name for head in matrix.model.heads for o in head.outputs}
    agreed = {a.output for a in matrix.parity.agreement}
    for limits in gate.outputs:
        at = (*path, "outputs", limits.output)
        declared(limits.output, sorted(outputs | {"*"}), at, "output", at_key=True)
        measured = limits.agreement is None or limits.output in agreed or (limits.output == "*" and agreed == outputs)
        expect(measured, (*at, "agreement"), "is measured where `parity.agreement` names the output and its axis")
    for gated in gate.tasks:
        at = (*path, "tasks", gated.task)
        declared(gated.task, (t.name for t in matrix.tasks), at, "task", at_key=True)
        for limit in gated.metrics:
            _limited(limit, (*at, limit.metric))
    for limit in gate.speed:
        at = (*path, "speed", limit.metric)
        declared(limit.metric, SPEED, at, "speed metric", at_key=True)
        _limited(limit, at)
        lost = limit.max_degradation is not None or limit.percent_max_degradation is not None
        expect(limit.metric != "speedup" or not lost, at, "is a comparison already: it takes only `threshold`")
    expect(bool(gate.outputs or gate.tasks or gate.speed), path, "a gate limits `outputs`, `tasks` or `speed`")


def _limited(limit: MetricGate, path: KeyPath) -> None:
    given = (limit.threshold, limit.max_degradation, limit.percent_max_degradation)
    expect(any(v is not None for v in given), path, "no limit is given")
