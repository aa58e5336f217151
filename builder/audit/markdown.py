"""A ledger as Markdown, and as annotations of a GitHub run.

It is for a pull request, a release note, or a step summary.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import IO, Iterable, List, Mapping, Sequence, Tuple

from builder import terminal
from builder.audit import text
from builder.audit.history import Ledger, MetricLine

MOST_ROWS = 200  # of one table: GitHub cuts a summary off at 1 MiB


def as_markdown(ledger: Ledger, *, every: bool = False) -> str:
    head, _, rest = text.headline(ledger).partition(": ")
    parts = [f"### {_safe(ledger.model)}: {head}", "", f"{_mark(ledger)} {rest or 'nothing to hold it against'}.", ""]
    parts += _groups(ledger)
    gone = [cell.cell for cell in ledger.cells if cell.verdict == "gone"]
    parts += [f"Not in v{ledger.candidate}: {_safe(text.listed(gone, 20))}.", ""] if gone else []
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


def _with(ledger: Ledger, state: str, every: bool) -> Tuple[MetricLine, ...]:
    return tuple(line for line in ledger.lines if line.state == state and (every or line.limit))


def _groups(ledger: Ledger) -> List[str]:
    header = ["precision", "target", "runtime", "cells", "farthest from the model"]
    header += [f"since v{ledger.against}"] if ledger.against is not None else []
    rows: List[Sequence[str]] = []
    for group in text.measured(ledger):
        row = [group.precision, group.target, group.runtime or "-", str(group.cells), text.farthest(group, ledger)]
        rows.append([*row, text.counted(group)] if ledger.against is not None else row)
    return _table(header, rows)


def _section(title: str, lines: Tuple[MetricLine, ...], ledger: Ledger) -> List[str]:
    if not lines:
        return []
    parts = [f"#### {title}", ""]
    for reasons, some in text.by_reason(lines, ledger):
        parts += [*(f"- {_safe(said)}" for said in reasons), ""]
        header = (
            "cell",
            "number",
            " ".join(f"v{r.version}" for r in text.shown_cells(ledger)),
            f"since v{ledger.against}",
        )
        rows = [(line.cell, line.metric, text.series(line, ledger), text.since(line, ledger)) for line in some]
        parts += _table(header, rows)
    return parts


def _changes(ledger: Ledger) -> List[str]:
    rows = [
        (f"v{old} -> v{new}", "; ".join(reasons), str(numbers), str(cells))
        for old, new, reasons, numbers, cells in text.history(ledger)
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
    """Escape markup: a target may be named `a|b`, a cause may contain `<` or `*`."""
    one_line = " ".join(words.split())
    return re.sub(r"([\\`*_\[\]|~])", r"\\\1", one_line.replace("&", "&amp;").replace("<", "&lt;"))


# ----------------------------------------------------------------------------------- annotations and the step's summary
#
# Annotations are workflow commands on standard error, so that standard output stays one document. GitHub shows ten
# errors and ten warnings of a step, so there is one per cause, and the last has the number of the others.


MOST = 10
_NAMED = 3  # numbers that an annotation names


def tell(ledger: Ledger, environ: Mapping[str, str], out: IO[str]) -> None:
    """Does nothing elsewhere. OSError when the summary cannot be written."""
    if environ.get("GITHUB_ACTIONS") == "true":
        for line in commands(ledger):
            print(line, file=out)
    summary = environ.get("GITHUB_STEP_SUMMARY")
    if summary:
        with Path(summary).open("a", encoding="utf-8") as file:
            file.write(as_markdown(ledger) + "\n")


def commands(ledger: Ledger) -> List[str]:
    worse = tuple(line for line in ledger.lines if line.state == "worse" and line.limit)
    lost = tuple(line for line in ledger.lines if line.state in ("gone", "unlike") and line.limit)
    return [
        *_commands("error", "Drift beyond its limit", ledger.beyond, ledger),
        *_commands("warning", "Drift within its limit", worse + lost, ledger),
    ]


def _commands(level: str, title: str, lines: Tuple[MetricLine, ...], ledger: Ledger) -> List[str]:
    found = text.by_reason(lines, ledger)
    shown = found if len(found) <= MOST else found[: MOST - 1]
    commands = [
        _command(level, f"{title}: {terminal.counted(len(some), 'number')}", _said(why, some, ledger))
        for why, some in shown
    ]
    if len(shown) < len(found):
        left = sum(len(some) for _, some in found[len(shown) :])
        commands.append(_command(level, f"{title}: {left} more numbers", "The step's summary and its log have them."))
    return commands


def _said(reasons: Tuple[str, ...], lines: List[MetricLine], ledger: Ledger) -> str:
    named = [f"{line.cell} {line.metric}: {text.since(line, ledger)}" for line in lines[:_NAMED]]
    more = [f"and {len(lines) - _NAMED} more"] if len(lines) > _NAMED else []
    return "\n".join((*reasons, *named, *more))


def _command(level: str, title: str, message: str) -> str:
    return f"::{level} title={_property(title)}::{_data(message)}"


def _data(words: str) -> str:
    return words.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(words: str) -> str:
    return _data(words).replace(":", "%3A").replace(",", "%2C")
