"""A ledger as GitHub-flavoured Markdown: for a pull request, a release note, or a step summary."""

from __future__ import annotations

import re
from typing import Iterable, List, Sequence, Tuple

from builder.audit import phrases
from validation.history import Ledger, Line

MOST_ROWS = 200  # of one table: GitHub cuts a summary off at 1 MiB


def as_markdown(ledger: Ledger, *, every: bool = False) -> str:
    head, _, rest = phrases.headline(ledger).partition(": ")
    parts = [f"### {_safe(ledger.model)}: {head}", "", f"{_mark(ledger)} {rest or 'nothing to hold it against'}.", ""]
    parts += _groups(ledger)
    gone = [cell.cell for cell in ledger.cells if cell.verdict == "gone"]
    parts += [f"Not in v{ledger.candidate}: {_safe(phrases.listed(gone, 20))}.", ""] if gone else []
    if ledger.against is not None:
        for title, lines in (
            ("Beyond the limit", ledger.beyond),
            ("Worse, within the limit", _with(ledger, "worse", every)),
            ("No longer measured", tuple(n for n in _with(ledger, "gone", every) if n.cell not in gone)),
            ("Not comparable", _with(ledger, "unlike", True)),
            *(
                (("All other numbers", tuple(n for n in ledger.lines if n.state in ("new", "better", "same"))),)
                if every
                else ()
            ),
        ):
            parts += _section(title, lines, ledger)
        parts += _changes(ledger)
        parts += [f"Limits: {_safe(ledger.limits)}.", ""]
    return "\n".join(parts)


def _mark(ledger: Ledger) -> str:
    return "**Drift.**" if ledger.beyond else "**No drift beyond a limit.**"


def _with(ledger: Ledger, state: str, every: bool) -> Tuple[Line, ...]:
    return tuple(line for line in ledger.lines if line.state == state and (every or line.limit))


def _groups(ledger: Ledger) -> List[str]:
    header = ["precision", "target", "runtime", "cells", "farthest from the model"]
    header += [f"since v{ledger.against}"] if ledger.against is not None else []
    rows: List[Sequence[str]] = []
    for group in phrases.measured(ledger):
        row = [group.precision, group.target, group.runtime or "-", str(group.cells), phrases.farthest(group, ledger)]
        rows.append([*row, phrases.counted(group)] if ledger.against is not None else row)
    return _table(header, rows)


def _section(title: str, lines: Tuple[Line, ...], ledger: Ledger) -> List[str]:
    if not lines:
        return []
    parts = [f"#### {title}", ""]
    for reasons, some in phrases.by_reason(lines, ledger):
        parts += [*(f"- {_safe(said)}" for said in reasons), ""]
        header = (
            "cell",
            "number",
            " ".join(f"v{r.version}" for r in phrases.shown(ledger)),
            f"since v{ledger.against}",
        )
        rows = [(line.cell, line.metric, phrases.series(line, ledger), phrases.since(line, ledger)) for line in some]
        parts += _table(header, rows)
    return parts


def _changes(ledger: Ledger) -> List[str]:
    rows = [
        (f"v{old} -> v{new}", "; ".join(reasons), str(numbers), str(cells))
        for old, new, reasons, numbers, cells in phrases.history(ledger)
    ]
    title = ["#### What changed, where numbers moved", ""]
    return [*title, *_table(("versions", "what", "numbers", "cells"), rows)] if rows else []


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> List[str]:
    body = [tuple(row) for row in rows]
    if not body:
        return []
    lines = [header, ["---"] * len(header), *([_safe(word) for word in row] for row in body[:MOST_ROWS])]
    parts = ["| " + " | ".join(line) + " |" for line in lines]
    parts += [f"\n{len(body) - MOST_ROWS} more rows; `build audit` has them."] if len(body) > MOST_ROWS else []
    return [*parts, ""]


def _safe(words: str) -> str:
    """Nothing in it is markup: a target may be called `a|b`, a reason may hold `<` or `*`."""
    one_line = " ".join(words.split())
    return re.sub(r"([\\`*_\[\]|~])", r"\\\1", one_line.replace("&", "&amp;").replace("<", "&lt;"))
