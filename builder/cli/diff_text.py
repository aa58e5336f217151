"""The difference of two versions as text for a terminal and as Markdown: only what changed, each cell in a few lines."""

from __future__ import annotations

from typing import List, Optional

from builder import terminal
from builder.audit.diff import CellDifference, Difference, MetricDifference

_TENSORS = 3  # statistics of outputs that are shown; the rest is counted
_LAYERS = 4


def as_text(found: Difference) -> str:
    lines = [headline(found)]
    for cell in found.of("added"):
        lines.append(f"+ {cell.cell}  {_alone(cell, cell.after, new=True)}")
    for cell in found.of("removed"):
        lines.append(f"- {cell.cell}  {_alone(cell, cell.before, new=False)}")
    for cell in found.of("changed"):
        lines.append(f"~ {cell.cell}")
        rows = _rows(cell)
        width = max(len(name) for name, _ in rows)
        lines += [terminal.wrapped(said, f"    {name.ljust(width)}  ", hanging=width + 6) for name, said in rows]
    return "\n".join([*lines, *_notes(found)])


def as_markdown(found: Difference) -> str:
    lines = [f"**{headline(found)}**", ""]
    if any(found.of(how) for how in ("added", "removed", "changed")):
        lines += ["| cell | | what changed |", "|---|---|---|"]
    for sign, how, new in (("+", "added", True), ("-", "removed", False)):
        for cell in found.of("added" if how == "added" else "removed"):
            lines.append(
                f"| `{cell.cell}` | {sign} | {_escaped(_alone(cell, cell.after if new else cell.before, new))} |"
            )
    for cell in found.of("changed"):
        said = "<br>".join(f"{_escaped(name)}: {_escaped(words)}" for name, words in _rows(cell))
        lines.append(f"| `{cell.cell}` | ~ | {said} |")
    return "\n".join([*lines, *(f"\n{note}" for note in _notes(found))])


def headline(found: Difference) -> str:
    words = {"added": "added", "removed": "removed", "changed": "changed", "same": "as before"}
    counts = [f"{len(found.of(how))} {word}" for how, word in words.items() if found.of(how)]  # type: ignore[arg-type]
    return f"{found.model} v{found.old} -> v{found.new}: {', '.join(counts)}"


def _rows(cell: CellDifference) -> "list[tuple[str, str]]":
    """(what, how it changed), the most important first. Latency is always told, also when it stayed within its noise."""
    rows = []
    if cell.before != cell.after:
        rows.append(("verdict", f"{cell.before} -> {cell.after}{f': {cell.reason}' if cell.reason else ''}"))
    if cell.artifact not in ("same", "none"):
        rows.append(
            ("artifact", {"changed": "other files", "new": "built now", "gone": "not built now"}[cell.artifact])
        )
    rows += [("size", _change(n)) for n in cell.numbers if n.kind == "size" and n.moved]
    rows += [(n.metric, _latency(n)) for n in cell.numbers if n.metric == "latency.p50_ms"]
    rows += [(n.metric, _change(n)) for n in cell.numbers if n.kind == "task" and n.moved]
    moved = [n for n in cell.numbers if n.kind == "tensor" and n.moved]
    ratios = [n for n in moved if n.metric.endswith(".snr_db")]
    shown = sorted(ratios or moved, key=lambda n: -abs(n.worse or 0.0))[:_TENSORS]
    rows += [(n.metric, _change(n)) for n in shown]
    if len(moved) > len(shown):
        rows.append(
            (
                "",
                f"and {terminal.counted(len(moved) - len(shown), 'more number')} of its outputs; --format json has all",
            )
        )
    if cell.kept:
        rows.append(("kept in float32", _some(cell.kept)))
    if cell.lowered:
        rows.append(("lowered again", _some(cell.lowered)))
    rows.append(("why", "; ".join(cell.reasons)))
    return rows


def _alone(cell: CellDifference, verdict: str, new: bool) -> str:
    """A cell that only one version has."""
    found = {number.metric: number.after if new else number.before for number in cell.numbers}
    size, latency = found.get("size"), found.get("latency.p50_ms")
    parts = [
        verdict,
        terminal.size(int(size)) if size is not None else "",
        f"{latency:.4g} ms" if latency is not None else "",
    ]
    return ", ".join(part for part in parts if part)


def _latency(number: MetricDifference) -> str:
    if number.said:
        return number.said
    if number.moved or number.before is None or number.after is None:
        return _change(number)
    return f"{_value(number, number.before)} -> {_value(number, number.after)}, within its noise of {_value(number, number.noise)}"


def _change(number: MetricDifference) -> str:
    """`12.1 ms -> 10.0 ms, 17% less, better`"""
    said = f"{_value(number, number.before)} -> {_value(number, number.after)}"
    if number.before is None or number.after is None or number.worse is None:
        return said
    percent = f"{abs(number.after / number.before - 1) * 100:.1f}%" if number.before else ""
    way = "more" if number.after > number.before else "less"
    judged = "worse" if number.worse > 0 else "better"
    return f"{said}, {judged}" + (f" ({percent} {way})" if percent and number.unit != "dB" else "")


def _value(number: MetricDifference, value: Optional[float]) -> str:
    if value is None:
        return "none"
    if number.unit == "B":
        return terminal.size(int(value))
    return f"{value:.4g}{f' {number.unit}' if number.unit else ''}"


def _notes(found: Difference) -> List[str]:
    if found.recorded or not found.of("changed"):
        return []
    return ["The reasons come from the manifests alone, which know less: one of them has no record of its steps here."]


def _some(names: "tuple[str, ...]") -> str:
    return ", ".join(names[:_LAYERS]) + (f" and {len(names) - _LAYERS} more" if len(names) > _LAYERS else "")


def _escaped(words: str) -> str:
    return words.replace("|", "\\|").replace("<", "&lt;")
