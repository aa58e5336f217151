"""A measurement record in words: what is fastest here, what did not run, and what changes by it."""

from __future__ import annotations

from typing import List, Tuple

from builder.actions.measurements import Latency
from builder.host.bench_records import BenchRecord
from builder.host.choose import Choice


def as_text(record: BenchRecord, before: Choice, after: Choice) -> str:
    timed = sorted(
        ((row.latency, row) for row in record.rows if row.latency is not None), key=lambda p: p[0].artifact.p50
    )
    machine = f"{record.machine.cpu} x{record.machine.cores}{''.join(f', {gpu}' for gpu in record.machine.gpus)}"
    shape = "x".join(map(str, timed[0][0].shape)) if timed else ""
    lines: List[str] = [
        f"{record.model} v{record.version}, head {record.head}, on {machine}{f', at {shape}' if shape else ''}:"
    ]
    width = max((len(row.cell) for row in record.rows), default=0)
    for number, (latency, row) in enumerate(timed, 1):
        noise = f", noise {latency.noise:.1%}" if latency.noise is not None else ""
        times = f"p50 {latency.artifact.p50:.4g} ms, p90 {latency.artifact.p90:.4g} ms{noise}"
        lines.append(f"  {number}. {row.cell.ljust(width)}  {times}  ({row.runtime} {row.version})")
    lines += [f"  -  {row.cell.ljust(width)}  did not run: {row.problem}" for row in record.rows if row.problem]
    if len(timed) > 1 and timed[1][0].artifact.p50 - timed[0][0].artifact.p50 < _noise(timed[0][0]) + _noise(
        timed[1][0]
    ):
        lines.append(
            "  the first two differ by less than their noise: for a sure answer take --seconds 30 on a quiet machine"
        )
    return "\n".join([*lines, _effect(before, after)])


def _noise(latency: Latency) -> float:
    """Milliseconds."""
    return latency.artifact.p50 * (latency.noise or 0.0)


def _effect(before: Choice, after: Choice) -> str:
    first, then = _first(before), _first(after)
    if first == then:
        return f"build pull places {then} here, as before" if then else "Nothing may be placed here, as before"
    return f"build pull will place {then or 'nothing'} here; without this it was {first}"


def _first(choice: Choice) -> str:
    return choice.ranked[0].cell if choice.ranked else ""


def left_out(cells: Tuple[str, ...], shape: Tuple[int, ...]) -> str:
    named = ", ".join(cells)
    return f"note: not timed, since {'x'.join(map(str, shape))} is outside the profile: {named}"
