"""The words that every form of an audit shares: numbers, changes, reasons, and what goes with what."""

from __future__ import annotations

from typing import Dict, List, Optional, Sequence, Tuple

from builder import terminal
from validation import causes
from validation.history import Change, Group, Ledger, Line, Move, Point, Release, State

MOST_VALUES = 5
NO_MOVE = "in no single version: every step was within the noise"


def number(line: Line, value: Optional[float]) -> str:
    """`0.857`, `12.3 ms`, `38.1 dB`, `2.51x`, `1.4 MiB`; `-` for none."""
    if value is None:
        return "-"
    if line.unit == "B":
        return terminal.size(int(value))
    return f"{value:.4g}" + {"": "", "x": "x"}.get(line.unit, f" {line.unit}")


def point(line: Line, at: Optional[Point]) -> str:
    """A verdict by its word, anything else by its number."""
    if at is None:
        return "-"
    return at.word or number(line, at.value)


def series(line: Line, ledger: Ledger) -> str:
    """The values over the versions that are shown, oldest first: `0.914 0.914 - 0.857`."""
    values = [point(line, line.at(release.version)) for release in shown(ledger)]
    return " ".join(word.replace(" ", "") for word in values)


def shown(ledger: Ledger) -> Tuple[Release, ...]:
    """The last five versions, and always the one that the candidate is held against."""
    last = ledger.releases[-MOST_VALUES:]
    held = tuple(r for r in ledger.releases if r.version == ledger.against and r not in last)
    return (*held, *(last[1:] if held else last))


def since(line: Line, ledger: Ledger) -> str:
    """`worse by 0.057 (limit 0.02)`: the candidate beside the version that it is held against."""
    if line.said:
        return line.said
    limit = f" (limit {line.limit})" if line.limit and line.kind != "verdict" else ""
    if line.worse is None:
        return "new" if line.state == "new" and ledger.against is not None else ""
    if line.state == "same":
        return "as before"
    if line.kind == "verdict":
        return f"{point(line, line.at(ledger.against))} -> {point(line, line.at(ledger.candidate))}"
    way = "worse" if line.worse > 0 else "better"
    percent = f", {abs(line.percent):.1f}%" if line.percent is not None and line.kind in ("latency", "size") else ""
    return f"{way} by {number(line, abs(line.worse))}{percent}{limit}"


def headline(ledger: Ledger) -> str:
    """`v4 against v3: 3 beyond the limit, 12 worse, 480 as before`."""
    states = [line.state for line in ledger.lines]
    words: Dict[State, str] = {
        "beyond": "beyond the limit", "worse": "worse", "gone": "gone", "unlike": "not comparable", "new": "new",
        "better": "better", "same": "as before",
    }  # fmt: skip
    said = [f"{states.count(state)} {word}" for state, word in words.items() if state in states]
    if ledger.against is None:
        return f"v{ledger.candidate} is the only version here: nothing to hold it against but the model"
    return f"v{ledger.candidate} against v{ledger.against}: {', '.join(said) or 'nothing measured'}"


def blamed(line: Line, ledger: Ledger) -> Tuple[Move, ...]:
    """The moves to explain: those after the version it is held against that made it worse, or all of these; for a line that
    drifted without one, none."""
    later = [move for move in line.moves if ledger.against is None or move.version > ledger.against]
    return tuple(move for move in later if move.worse is None or move.worse > 0) or tuple(later)


def by_reason(lines: Tuple[Line, ...], ledger: Ledger) -> List[Tuple[Tuple[str, ...], List[Line]]]:
    """The lines with the reasons that explain them in words, the same reasons once, in the order of the lines."""
    found: Dict[Tuple[str, ...], List[Line]] = {}
    for line in lines:
        found.setdefault(reasons(line, ledger), []).append(line)
    return list(found.items())


def reasons(line: Line, ledger: Ledger) -> Tuple[str, ...]:
    """Why it moved since the version that it is held against, version by version; nothing for one that did not."""
    said = tuple(dict.fromkeys(reason(ledger.changes[move.change]) for move in blamed(line, ledger)))
    return said or ((NO_MOVE,) if line.state in ("beyond", "worse", "better") else ())


def reason(change: Change) -> str:
    """`v3 -> v4: weights a1b2c3d4 -> 99887766; onnxruntime 1.23.2 -> 1.24.1`."""
    return f"v{change.since} -> v{change.version}: " + "; ".join(causes.in_words(change))


def history(ledger: Ledger) -> List[Tuple[int, int, List[str], int, int]]:
    """Per version that moved anything: (since, version, every reason, numbers that moved, cells)."""
    moved: Dict[Tuple[int, int], Tuple[Dict[str, None], List[str]]] = {}
    for line in ledger.lines:
        for move in line.moves:
            words, cells = moved.setdefault((move.since, move.version), ({}, []))
            words.update(dict.fromkeys(causes.in_words(ledger.changes[move.change])))
            cells.append(line.cell)
    return [(*pair, list(words), len(cells), len(set(cells))) for pair, (words, cells) in sorted(moved.items())]


def measured(ledger: Ledger) -> Tuple[Group, ...]:
    """The groups of which something is or was measured, or changed its verdict; the others always waited or were skipped."""
    numbers = {
        line.cell for line in ledger.lines if line.kind != "verdict" or line.state in ("beyond", "worse", "better")
    }
    told = {(c.precision, c.target, c.runtime) for c in ledger.cells if c.cell in numbers}
    return tuple(group for group in ledger.groups if (group.precision, group.target, group.runtime) in told)


def listed(names: Sequence[str], most: int = 4) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def farthest(group: Group, ledger: Ledger) -> str:
    """How far the group is from the model itself: the task metric that lost most, else the lowest signal-to-noise ratio."""
    lost = ledger.lines[group.lost] if group.lost is not None else None
    if lost is not None:
        return f"{lost.metric} lost {number(lost, lost.lost)}"
    own = {
        c.cell
        for c in ledger.cells
        if (c.precision, c.target, c.runtime) == (group.precision, group.target, group.runtime)
    }
    ratios: List[Tuple[float, Line]] = []
    for line in ledger.lines:
        at = line.at(ledger.candidate)
        if line.cell in own and line.metric.endswith(".snr_db") and at is not None and at.value is not None:
            ratios.append((at.value, line))
    if not ratios:
        return "-"
    value, line = min(ratios, key=lambda pair: pair[0])
    return f"{line.metric} {number(line, value)}"


def counted(group: Group) -> str:
    """`2 beyond, 4 worse`; `as before`."""
    counts = [f"{count.lines} {count.state}" for count in group.counts if count.state not in ("same", "new")]
    return ", ".join(counts) or ("as before" if group.count("same") else "new")
