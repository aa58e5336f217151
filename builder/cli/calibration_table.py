"""A study of int8 calibration as a table for a person, as Markdown, and as JSON. Judges nothing."""

from __future__ import annotations

import math
from typing import Dict, List, Optional, Sequence, Tuple

from builder import terminal
from builder.audit.calibration_study import CalibrationChoice, Measured, Study
from builder.digest import Json
from builder.records import to_json
from validation import verdict

_TENSOR = ("cosine", "snr_db")
Column = Tuple[str, str]


def as_text(study: Study) -> str:
    header, rows = _cells(study)
    parts = [f"{study.cell}: {_title(study)}", "", terminal.table(header, rows, status=3), ""]
    parts += [terminal.wrapped(line, "") for line in [*_conclusions(study), *_failures(study)]]
    return "\n".join(parts)


def as_markdown(study: Study) -> str:
    header, rows = _cells(study)
    lines = [f"### {study.cell}", "", f"{_title(study)[:1].upper()}{_title(study)[1:]}.", ""]
    lines += ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(word.replace("|", "\\|") for word in row) + " |" for row in rows]
    return "\n".join([*lines, "", *_conclusions(study), *_failures(study)])


def as_json(study: Study) -> Json:
    best = study.best()
    rows: List[Json] = []
    for choice in study.choices:
        for one in choice.measured:
            row: Dict[str, Json] = {
                "method": choice.method,
                "images": choice.count,
                "seed": one.variant.seed,
                "declared": study.is_declared(choice),
                "best": choice is best,
                "passed": one.passed,
                "outputs": [_of_output(one, output) for output in study.outputs],
                "tasks": [to_json(result) for result in one.tasks],
                "checks": [to_json(check) for check in one.checks],
            }
            if one.variant.files:
                row["files"] = list(one.variant.files)
            if one.problems or one.failed:
                row["problems"] = [*filter(None, [one.failed]), *one.problems]
            rows.append(row)
    return {"cell": study.cell, "there_are": study.there_are, "size": list(study.size), "measured": rows}


def _of_output(one: Measured, output: str) -> Json:
    return {"output": output, **{metric: one.worst(output, metric) for metric in _TENSOR}}


def _title(study: Study) -> str:
    height, width = study.size
    drawn_from = f"{study.there_are} photographs" if study.there_are else "images of a source"
    return (
        f"{drawn_from} at {height}x{width}; the worst sample of each output; of each task, what its worst metric lost"
    )


def _cells(study: Study) -> Tuple[List[str], List[List[str]]]:
    scored, best = _task_columns(study), study.best()
    names = [f"{output} {metric}" for output in study.outputs for metric in _TENSOR]
    header = ["method", "images", "draws", "verdict", *names, *(f"{task} {metric} lost" for task, metric in scored), ""]
    rows = []
    for choice in study.choices:
        numbers = [
            _spread([one.worst(output, metric) for one in choice.measured], 4 if metric == "cosine" else 1)
            for output in study.outputs
            for metric in _TENSOR
        ]
        lost = [_spread([_lost(one, column) for one in choice.measured], 3) for column in scored]
        marks = [word for word, is_so in (("declared", study.is_declared(choice)), ("best", choice is best)) if is_so]
        images = str(choice.count) if study.there_are else "all"
        draws = str(len(choice.measured))
        rows.append([choice.method, images, draws, _verdict(choice), *numbers, *lost, ", ".join(marks)])
    return header, rows


def _task_columns(study: Study) -> List[Column]:
    """Of each task the metric that lost most anywhere, in proportion; among those that gates limit, where they limit any."""
    everything = [one for choice in study.choices for one in choice.measured]
    results = [r for one in everything for r in one.tasks if r.lost is not None and r.reference]
    gated = {(c.subject, c.metric) for one in everything for c in one.checks if c.level == "task"}
    columns: List[Column] = []
    for task in dict.fromkeys(result.task for result in results):
        rows = [r for r in results if r.task == task]
        rows = [r for r in rows if (task, r.metric) in gated] or rows
        worst = max(rows, key=lambda r: (r.lost or 0.0) / abs(r.reference or 1.0))
        columns.append((task, worst.metric))
    return columns


def _lost(one: Measured, column: Column) -> Optional[float]:
    return next((result.lost for result in one.tasks if (result.task, result.metric) == column), None)


def _verdict(choice: CalibrationChoice) -> str:
    passed = sum(one.passed for one in choice.measured)
    if passed in (0, len(choice.measured)):
        return "passed" if passed else "failed"
    return f"{passed} of {len(choice.measured)} pass"


def _spread(values: Sequence[Optional[float]], digits: int) -> str:
    """One number, or the least and the greatest of several draws."""
    numbers = [value for value in values if value is not None]
    if len(numbers) < len(values) or not numbers:
        return "none"
    low, high = (f"{value:.{digits}f}" for value in (min(numbers), max(numbers)))
    low, high = (word[1:] if word.strip("-0.") == "" and word[0] == "-" else word for word in (low, high))
    return low if low == high else f"{low} .. {high}"


def _conclusions(study: Study) -> List[str]:
    declared = next(choice for choice in study.choices if study.is_declared(choice))
    best = study.best()
    said = f"Declared: {_named(study, declared)}: {_verdict(declared)}, {_decibels(declared)} of the worst output."
    if best is None:
        return [said, "No choice passes the gates with every draw: other photographs, or `keep:` for the worst layers."]
    if best is declared:
        return [said, "It is the best of those that pass."]
    to_set = [f"method: {best.method}"] if best.method != declared.method else []
    if best.count not in (0, study.there_are):
        to_set.append(f"count: {best.count}")
    elif best.count != declared.count:
        to_set.append("no count")
    words = f"Best of those that pass: {_named(study, best)}, {_decibels(best)} with its unluckiest draw."
    return [said, words, f"To take it: {', '.join(to_set)} below `calibration:` in matrix.yaml."]


def _named(study: Study, choice: CalibrationChoice) -> str:
    if not study.there_are:
        return choice.method
    return f"{choice.method}, {choice.count} photograph{'s' if choice.count != 1 else ''}"


def _decibels(choice: CalibrationChoice) -> str:
    found = choice.snr()
    return f"{found:.1f} dB" if math.isfinite(found) else "no finite number"


def _failures(study: Study) -> List[str]:
    """Each variant that does not pass, and why."""
    lines = []
    for choice in study.choices:
        for one in choice.measured:
            missed = [verdict.describe(check) for check in one.checks if not check.kept and not check.report_only]
            if not one.passed:
                seed = f", seed {one.variant.seed}" if len(choice.measured) > 1 else ""
                lines.append(
                    f"Failed: {_named(study, choice)}{seed}: {'; '.join([*filter(None, [one.failed]), *one.problems, *missed])}"
                )
    return lines
