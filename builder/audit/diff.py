"""Comparison of two versions, cell by cell.

Pure. Numbers, noise and causes are those of the ledger (`builder/audit/ledger.py`), without limits.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Dict, List, Literal, Optional, Tuple

from builder.audit import causes
from builder.audit import ledger as drift
from builder.audit.history import Kind, Ledger, MetricLine, Version
from builder.records import KEYED
from builder.store.manifest import Entry

How = Literal["added", "removed", "changed", "same"]
Artifact = Literal["same", "changed", "new", "gone", "none"]


@dataclass(frozen=True)
class MetricDifference:
    """A metric in both versions.

    `worse`: positive is worse, in its unit; None where the two do not compare (`said` has the reason). `noise`: the
    largest change that does not count. `moved`: it changed by more, or one side has no number.
    """

    metric: str
    kind: Kind
    unit: str
    before: Optional[float]
    after: Optional[float]
    worse: Optional[float]
    noise: float
    moved: bool
    said: str = ""


@dataclass(frozen=True)
class CellDifference:
    """A cell in both versions.

    `before` and `after`: verdicts, empty where the version lacks the cell. `kept` and `lowered`: layers that a search
    newly keeps in float32, or no longer keeps. `reasons`: changes of its chain of steps.
    """

    cell: str
    how: How
    before: str
    after: str
    artifact: Artifact
    reason: str = ""
    numbers: Tuple[MetricDifference, ...] = field(default=(), metadata=KEYED)
    kept: Tuple[str, ...] = ()
    lowered: Tuple[str, ...] = ()
    reasons: Tuple[str, ...] = ()


@dataclass(frozen=True)
class Difference:
    """`recorded`: both versions have provenance; otherwise the causes come from the manifests, which show less."""

    schema: Literal[1]
    model: str
    old: int
    new: int
    recorded: bool
    cells: Tuple[CellDifference, ...] = field(metadata=KEYED)

    def of(self, how: How) -> Tuple[CellDifference, ...]:
        return tuple(cell for cell in self.cells if cell.how == how)


def between(old: Version, new: Version) -> Difference:
    """`old` and `new` are two versions of one store, in either order."""
    ledger = drift.ledger((old, new), lambda cell, metric, timed: None, against=old.number)
    lines: Dict[str, List[MetricLine]] = {}
    for line in ledger.lines:
        lines.setdefault(line.cell, []).append(line)
    names = dict.fromkeys(entry.cell for version in (new, old) for entry in version.manifest.entries)
    return Difference(
        schema=1,
        model=new.manifest.model.name,
        old=old.number,
        new=new.number,
        recorded=old.provenance is not None and new.provenance is not None,
        cells=tuple(_cell(old, new, name, lines.get(name, []), ledger) for name in names),
    )


def _cell(old: Version, new: Version, name: str, lines: List[MetricLine], ledger: Ledger) -> CellDifference:
    one, two = old.manifest.entry(name), new.manifest.entry(name)
    numbers = tuple(_number(line, old.number, new.number) for line in lines if line.kind != "verdict")
    before, after = _layers(one), _layers(two)
    artifact = _artifact(one, two)
    how: How = "added" if one is None else "removed" if two is None else "same"
    words = (one.verdict.status if one else "", two.verdict.status if two else "")
    if one and two and (words[0] != words[1] or artifact != _still(two) or any(n.moved for n in numbers)):
        how = "changed"
    moves = [ledger.changes[move.change] for line in lines for move in line.moves] if how == "changed" else []
    reasons = dict.fromkeys(said for change in moves for said in causes.in_words(change))
    if how == "changed" and not reasons:
        reasons = dict.fromkeys(causes.in_words(causes.between(old, new, name, "size")))
    return CellDifference(
        cell=name,
        how=how,
        before=words[0],
        after=words[1],
        artifact=artifact,
        reason=two.verdict.reason.partition("\n")[0] if two and words[0] != words[1] else "",
        numbers=numbers if how == "changed" else tuple(n for n in numbers if n.kind in ("size", "latency")),
        kept=tuple(layer for layer in after if layer not in before),
        lowered=tuple(layer for layer in before if layer not in after),
        reasons=tuple(reasons),
    )


def _still(entry: Entry) -> Artifact:
    return "same" if entry.artifact is not None else "none"


def _artifact(one: Optional[Entry], two: Optional[Entry]) -> Artifact:
    """By the files that a host opens."""
    before = {blob.digest for blob in one.artifact.files} if one and one.artifact else None
    after = {blob.digest for blob in two.artifact.files} if two and two.artifact else None
    if before is None or after is None:
        return "none" if before == after else "new" if before is None else "gone"
    return "same" if before == after else "changed"


def _layers(entry: Optional[Entry]) -> Tuple[str, ...]:
    return entry.search.kept if entry is not None and entry.search is not None else ()


def _number(line: MetricLine, old: int, new: int) -> MetricDifference:
    before, after = line.at(old), line.at(new)
    one, two = before.value if before else None, after.value if after else None
    moved = line.state not in ("same", "unlike") and one != two
    said = line.said if line.state == "unlike" else ""
    return MetricDifference(line.metric, line.kind, line.unit, one, two, line.worse, line.noise, moved, said)
