"""What a manifest says of a cell, as one number per metric, so that versions can be laid side by side. Pure.

- `verdict`: 1 passed, 0 anything else; the word beside it
- `OUTPUT.STATISTIC`: scores.max_abs, descriptors.cosine; the worst sample, against the model itself
- `TASK.METRIC`: views.homography_3px; beside it the model's own value
- `latency.p50_ms`: milliseconds; only comparable on one machine
- `latency.speedup`: how many times as fast as the naive export that was timed in turns with it
- `size`: bytes of the artifact
- `sweep.OUTPUT.STATISTIC`: over all sizes of the sweep that the profile accepts
- `sweep.answered`: of these sizes, those that the model itself answers: the share at which the artifact does
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Dict, Iterator, List, Literal, Optional, Sequence

from builder.actions.measurements import AT_LEAST, OutputParity
from builder.store.manifest import Entry

Kind = Literal["verdict", "tensor", "task", "latency", "size"]
Better = Literal["less", "more"]

STATISTICS = tuple(f.name for f in dataclasses.fields(OutputParity) if f.name not in ("output", "sample", "problem"))


@dataclass(frozen=True)
class Metric:
    """`unit` is ms, dB, B or x, or empty."""

    name: str
    kind: Kind
    better: Better
    unit: str = ""


@dataclass(frozen=True)
class Reading:
    """One metric of one cell in one version. `reference` is the model's own value of a task metric; a tensor statistic
    is itself a difference from the model. `where` is the sample or case that was worst, `word` the verdict's. Readings
    compare only when their `context` is the same. `noise` is a share of the value, None where none was measured."""

    metric: Metric
    value: Optional[float]
    reference: Optional[float] = None
    where: str = ""
    word: str = ""
    context: str = ""
    noise: Optional[float] = None


def readings(entry: Entry) -> Dict[str, Reading]:
    """Every metric of a cell by name, the verdict first."""
    found = [_verdict(entry), *_tensors(entry.parity), *_tasks(entry), *_latency(entry), *_sweep(entry)]
    if entry.artifact is not None:
        found.append(Reading(Metric("size", "size", "less", "B"), float(entry.artifact.size)))
    return {reading.metric.name: reading for reading in found}


def _verdict(entry: Entry) -> Reading:
    verdict = entry.verdict
    return Reading(
        Metric("verdict", "verdict", "more"),
        1.0 if verdict.status == "passed" else 0.0,
        where=verdict.reason.partition("\n")[0],
        word=verdict.status,
    )


def _sweep(entry: Entry) -> Iterator[Reading]:
    if entry.sweep is None:
        return
    inside = [row for row in entry.sweep.rows if row.point.inside and not row.model_refused]
    refused = [row for row in inside if row.refused]
    if inside:
        share = (len(inside) - len(refused)) / len(inside)
        where = f"{refused[0].point.named}: {refused[0].refused}" if refused else ""
        yield Reading(Metric("sweep.answered", "tensor", "more"), share, where=where)
    yield from _tensors([parity for row in inside for parity in row.parity], "sweep.")


def _tensors(parity: Sequence[OutputParity], before: str = "") -> Iterator[Reading]:
    for output in dict.fromkeys(row.output for row in parity):
        rows = [row for row in parity if row.output == output]
        broken = next((row for row in rows if row.problem is not None), None)
        for statistic in STATISTICS:
            better: Better = "more" if statistic in AT_LEAST else "less"
            metric = Metric(
                f"{before}{output}.{statistic}", "tensor", better, "dB" if statistic.endswith("_db") else ""
            )
            known: List[OutputParity] = [row for row in rows if getattr(row, statistic) is not None]
            if broken is not None and known:
                yield Reading(metric, None, where=f"{broken.sample}: {broken.problem}")
            elif known:
                pick = min if better == "more" else max
                worst = pick(known, key=lambda row: float(getattr(row, statistic)))
                yield Reading(metric, float(getattr(worst, statistic)), where=worst.sample)


def _tasks(entry: Entry) -> Iterator[Reading]:
    for result in entry.tasks:
        better: Better = "less" if result.lower_is_better else "more"
        metric = Metric(f"{result.task}.{result.metric}", "task", better)
        yield Reading(metric, result.value, result.reference, result.worst)


def _latency(entry: Entry) -> Iterator[Reading]:
    timed = entry.latency
    if timed is None:
        return
    context = f"{timed.machine}, {'x'.join(map(str, timed.shape))}, threads {timed.threads or 'all'}"
    yield Reading(
        Metric("latency.p50_ms", "latency", "less", "ms"), timed.artifact.p50, context=context, noise=timed.noise
    )
    if timed.speedup is not None:
        yield Reading(
            Metric("latency.speedup", "latency", "more", "x"), timed.speedup, 1.0, context=context, noise=timed.noise
        )
