"""The records of an audit: versions side by side, their numbers, changes and causes; and reading them from a store.

`builder/audit/ledger.py` fills them; renderers and reports read them. `to_json(Ledger)` is the output of
`build audit --format json`, so a change here is a change of a documented format.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Dict, Iterator, List, Literal, Optional, Sequence, Tuple

from builder.actions.measurements import AT_LEAST, OutputParity
from builder.errors import StoreDamaged, UsageError
from builder.records import KEYED
from builder.store import versions
from builder.store.layout import Layout
from builder.store.manifest import Entry, Manifest
from builder.store.provenance import Provenance

# ------------------------------------------ readings: one number per metric of a cell, so that versions can be compared
#
# - `verdict`: 1 passed, 0 anything else; the status beside it
# - `OUTPUT.STATISTIC`: scores.max_abs, descriptors.cosine; the worst sample, against the model itself
# - `TASK.METRIC`: views.homography_3px; beside it the model's own value
# - `latency.p50_ms`: milliseconds; only comparable on one machine
# - `latency.speedup`: how many times as fast as the naive export, timed in turns
# - `size`: bytes of the artifact
# - `sweep.OUTPUT.STATISTIC`: over all sizes of the sweep that the profile accepts
# - `sweep.answered`: the share of sizes with an answer, among those that the model itself answers


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
    """One metric of one cell in one version.

    `reference`: the model's own value of a task metric; a tensor statistic is already a difference from the model.
    `where`: the worst sample or case. `word`: the verdict's status. Readings compare only with the same `context`.
    `noise`: a share of the value, None where none was measured.
    """

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


# ------------------------------------------------------------------------------------------- the ledger


State = Literal["beyond", "worse", "better", "same", "new", "gone", "unlike"]
STATES: Tuple[State, ...] = ("beyond", "worse", "gone", "unlike", "new", "better", "same")
CauseKind = Literal[
    "weights", "model", "calibration", "data", "code", "setting", "gate", "runtime", "tool", "release", "step",
    "rebuilt", "measured again", "site",
]  # fmt: skip


@dataclass(frozen=True)
class Version:
    """One version of a store. `provenance` is None when it was published without."""

    manifest: Manifest
    provenance: Optional[Provenance] = None

    @property
    def number(self) -> int:
        return self.manifest.version


@dataclass(frozen=True)
class Cause:
    """One difference. `before` and `after`: digests, versions or values.

    `detail` describes it where a pair cannot (`+dusk.png -dawn.png`). `steps`: the steps that it entered.
    """

    kind: CauseKind
    what: str
    before: str = ""
    after: str = ""
    detail: str = ""
    steps: Tuple[str, ...] = ()


@dataclass(frozen=True)
class Change:
    """All differences behind some numbers from version `since` to `version`.

    `recorded`: they come from provenance; otherwise from the manifests, which show less.
    """

    since: int
    version: int
    causes: Tuple[Cause, ...]
    recorded: bool = True


@dataclass(frozen=True)
class Point:
    """A metric in one version; a version without the metric has no point. `where`: the worst sample or case."""

    version: int
    value: Optional[float]
    reference: Optional[float] = None
    where: str = ""
    word: str = ""


@dataclass(frozen=True)
class MetricMove:
    """A change beyond the noise between two versions.

    `worse`: positive is worse, None when the number was lost or found. `change`: index of the cause in
    `Ledger.changes`.
    """

    since: int
    version: int
    before: Optional[float]
    after: Optional[float]
    worse: Optional[float]
    change: int


@dataclass(frozen=True)
class MetricLine:
    """One metric of one cell over the versions.

    lost: how much worse than the model itself the candidate is (task metrics). worse, percent: against the base
    version; positive is worse. noise: the largest change that does not count, in the metric's unit. slope: least
    squares over the versions, per version, positive is worse. creep: the sum of steps that are each within the
    limit. moved: the first version after the base in which it had changed.
    """

    cell: str
    metric: str
    kind: Kind
    better: Better
    unit: str
    state: State
    points: Tuple[Point, ...]
    said: str = ""
    lost: Optional[float] = None
    worse: Optional[float] = None
    percent: Optional[float] = None
    noise: float = 0.0
    limit: str = ""
    slope: Optional[float] = None
    creep: Optional[float] = None
    moved: Optional[int] = None
    moves: Tuple[MetricMove, ...] = ()

    def at(self, version: Optional[int]) -> Optional[Point]:
        return next((point for point in self.points if point.version == version), None)


@dataclass(frozen=True)
class CellLine:
    """A cell in the candidate, or in its last version. `artifact`: whether its bytes are those of the base version."""

    cell: str
    head: str
    precision: str
    target: str
    runtime: str
    verdict: str
    artifact: Literal["same", "changed", "new", "none"]


@dataclass(frozen=True)
class StateCount:
    state: State
    lines: int


@dataclass(frozen=True)
class LineGroup:
    """A precision on a target with a runtime.

    `drifted`: the line that got worst in proportion to its limit. `lost`: the task metric farthest below the model
    itself. Both are indices of `Ledger.lines`.
    """

    precision: str
    target: str
    runtime: str
    cells: int
    counts: Tuple[StateCount, ...] = field(default=(), metadata=KEYED)
    drifted: Optional[int] = None
    lost: Optional[int] = None

    def count(self, *states: State) -> int:
        return sum(count.lines for count in self.counts if count.state in states)


@dataclass(frozen=True)
class Release:
    """A version that was read. `recorded`: it has its provenance."""

    version: int
    created: str
    recorded: bool


@dataclass(frozen=True)
class Ledger:
    """`against`: None when the candidate is the only version. `limits`: the source of the limits."""

    schema: Literal[1]
    model: str
    candidate: int
    against: Optional[int]
    releases: Tuple[Release, ...]
    limits: str
    groups: Tuple[LineGroup, ...]
    cells: Tuple[CellLine, ...] = field(metadata=KEYED)
    changes: Tuple[Change, ...]
    lines: Tuple[MetricLine, ...]

    @property
    def beyond(self) -> Tuple[MetricLine, ...]:
        return tuple(line for line in self.lines if line.state == "beyond")


# ---------------------------------------------------------------------------------------- reading versions from a store


USUAL = 10  # number of versions without --since


def number(word: str, flag: str, known: Tuple[int, ...]) -> int:
    """`v3` or `3`, one of `known`; UsageError otherwise."""
    digits = word[1:] if word[:1] in ("v", "V") else word
    if not digits.isdigit() or int(digits) not in known:
        listed = ", ".join(f"v{n}" for n in known)
        raise UsageError(f"{flag} {word}: there is no such version", hint=f"versions: {listed}")
    return int(digits)


def read(
    place: Path, candidate: Optional[str], against: Optional[str], since: Optional[str]
) -> Tuple[Tuple[Version, ...], Optional[int]]:
    """(the versions, ascending; the number of the base version, or None for one version only)."""
    store = Layout(place)
    known = versions.numbers(store)
    if not known:
        raise UsageError(f"{place} holds no version", hint="name a store with --store DIR, or make one: build matrix")
    last = number(candidate, "--version", known) if candidate else known[-1]
    earlier = tuple(n for n in known if n < last)
    held = number(against, "--against", known) if against else (earlier[-1] if earlier else None)
    if held is not None and held >= last:
        raise UsageError(
            f"--against v{held}: v{last} cannot be held against itself or a later version",
            hint="name the later one with --version N",
        )
    first = number(since, "--since", known) if since else None
    if first is not None and first > last:
        raise UsageError(f"--since v{first} is after v{last}")
    kept = [n for n in earlier if n >= first] if first is not None else list(earlier[1 - USUAL :])
    wanted = sorted({*kept, last, *((held,) if held is not None else ())})
    return tuple(_version(store, n) for n in wanted), held


def _version(store: Layout, number_: int) -> Version:
    try:
        manifest = versions.read(store, number_)
        return Version(manifest, versions.read_provenance(store, manifest))
    except StoreDamaged as problem:
        raise StoreDamaged(
            f"v{number_}: {problem.what}",
            where=problem.where,
            hint=f"{problem.hint}; --since leaves older versions out" if problem.hint else "--since leaves it out",
        ) from None
