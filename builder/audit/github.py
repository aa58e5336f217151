"""What an audit tells GitHub when it runs there: annotations on the run, and the step's summary.

Annotations are workflow commands on standard error, so that standard output stays one document. GitHub shows ten errors and
ten warnings of a step, so there is one per reason, and the last says how many more there are.
"""

from __future__ import annotations

from pathlib import Path
from typing import IO, List, Mapping, Tuple

from builder import terminal
from builder.audit import markdown, phrases
from validation.history import Ledger, Line

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
            file.write(markdown.as_markdown(ledger) + "\n")


def commands(ledger: Ledger) -> List[str]:
    worse = tuple(line for line in ledger.lines if line.state == "worse" and line.limit)
    lost = tuple(line for line in ledger.lines if line.state in ("gone", "unlike") and line.limit)
    return [
        *_commands("error", "Drift beyond its limit", ledger.beyond, ledger),
        *_commands("warning", "Drift within its limit", worse + lost, ledger),
    ]


def _commands(level: str, title: str, lines: Tuple[Line, ...], ledger: Ledger) -> List[str]:
    found = phrases.by_reason(lines, ledger)
    shown = found if len(found) <= MOST else found[: MOST - 1]
    commands = [
        _command(level, f"{title}: {terminal.counted(len(some), 'number')}", _said(why, some, ledger))
        for why, some in shown
    ]
    if len(shown) < len(found):
        left = sum(len(some) for _, some in found[len(shown) :])
        commands.append(_command(level, f"{title}: {left} more numbers", "The step's summary and its log have them."))
    return commands


def _said(reasons: Tuple[str, ...], lines: List[Line], ledger: Ledger) -> str:
    named = [f"{line.cell} {line.metric}: {phrases.since(line, ledger)}" for line in lines[:_NAMED]]
    more = [f"and {len(lines) - _NAMED} more"] if len(lines) > _NAMED else []
    return "\n".join((*reasons, *named, *more))


def _command(level: str, title: str, message: str) -> str:
    return f"::{level} title={_property(title)}::{_data(message)}"


def _data(words: str) -> str:
    return words.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(words: str) -> str:
    return _data(words).replace(":", "%3A").replace(",", "%2C")
