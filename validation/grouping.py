"""A ledger's cells, and its lines counted per precision, target and runtime. Pure."""

from __future__ import annotations

from typing import Dict, List, Literal, Optional, Sequence, Tuple

from builder.store.manifest import Entry
from validation.history import STATES, CellLine, Count, Group, Line, Version


def cell_line(cell: str, versions: Sequence[Version], against: Optional[int]) -> Optional[CellLine]:
    """None for a cell that is neither in the candidate nor in what it is held against."""
    now = versions[-1].manifest.entry(cell)
    then = next((v.manifest.entry(cell) for v in versions if v.number == against), None)
    entry = now or then
    if entry is None:
        return None
    return CellLine(
        cell=cell,
        head=entry.head,
        precision=entry.precision,
        target=entry.target,
        runtime=f"{entry.platform.runtime} {entry.platform.version}" if entry.platform else "",
        verdict=now.verdict.status if now else "gone",
        artifact=_artifact(then, now),
    )


def _artifact(then: Optional[Entry], now: Optional[Entry]) -> Literal["same", "changed", "new", "none"]:
    before, after = (entry.artifact if entry else None for entry in (then, now))
    if after is None:
        return "none"
    if before is None:
        return "new"
    return "same" if before.files == after.files else "changed"


def groups(cells: Sequence[CellLine], lines: Sequence[Line]) -> Tuple[Group, ...]:
    """Precision x target x runtime, in the order of the cells."""
    keys: Dict[Tuple[str, str, str], List[str]] = {}
    for cell in cells:
        keys.setdefault((cell.precision, cell.target, cell.runtime), []).append(cell.cell)
    return tuple(_group(key, names, lines) for key, names in keys.items())


def _group(key: Tuple[str, str, str], cells: Sequence[str], lines: Sequence[Line]) -> Group:
    own = [(number, line) for number, line in enumerate(lines) if line.cell in cells]
    drifted = [(number, line) for number, line in own if line.state in ("beyond", "worse") and line.worse is not None]
    lost = [(number, line) for number, line in own if line.lost is not None and line.lost > 0]
    counts = [Count(state, sum(line.state == state for _, line in own)) for state in STATES]
    return Group(
        *key,
        cells=len(cells),
        counts=tuple(count for count in counts if count.lines),
        drifted=max(drifted, key=lambda pair: _weight(pair[1]))[0] if drifted else None,
        lost=max(lost, key=lambda pair: pair[1].lost or 0.0)[0] if lost else None,
    )


def _weight(line: Line) -> Tuple[bool, float]:
    """How far it drifted, for comparing unlike metrics: beyond first, then in percent."""
    return line.state == "beyond", abs(line.percent if line.percent is not None else 100.0)
