"""Judging a resolution sweep: sizes inside a profile are held to the gates on tensors, those outside are told. Pure.

Inside, a size that is beyond a gate, or gives no answer, fails the cell. Outside, no host sends an image: an answer that is
not the model's is a finding for the person, and fails nothing.
"""

from __future__ import annotations

import dataclasses
from typing import Iterable, List, Literal, Sequence, Tuple

from builder.actions.measurements import OutputParity, SweepRow, Swept
from builder.config.gates import Limit
from builder.store.manifest import Check
from validation import verdict

Word = Literal["passed", "failed", "answers", "refuses", "differs"]
_PLURAL = {"answers": "answer", "refuses": "refuse", "differs": "differ"}


def checks(limits: Iterable[Limit], swept: Swept) -> Tuple[Check, ...]:
    """Each limit on a tensor at the size where it is kept worst; `worst` is that size."""
    rows = [
        dataclasses.replace(parity, sample=row.point.named)
        for row in swept.rows
        if row.point.inside
        for parity in row.parity
    ]
    tensors = [limit for limit in limits if limit.level == "tensor"]
    return tuple(dataclasses.replace(check, level="sweep") for check in verdict.checks(tensors, rows, (), None))


def problems(swept: Swept) -> Tuple[str, ...]:
    """Sizes inside that could not be compared at all, and why."""
    return tuple(f"{row.point.named}: {said}" for row in swept.rows if row.point.inside for said in _no_answer(row))


def findings(swept: Swept, held_to: Sequence[Check]) -> Tuple[str, ...]:
    """Sizes outside at which it answers, and not as the model does."""
    outside = [row for row in swept.rows if not row.point.inside]
    told = [(row, told_of(row, held_to)) for row in outside]
    return tuple(f"{row.point.named} ({row.point.why}): {words}" for row, (word, words) in told if word == "differs")


def told_of(row: SweepRow, held_to: Sequence[Check]) -> Tuple[Word, str]:
    """(what became of this size, in which words). Inside: passed or failed; outside: answers (as the model
    does, as far as gates say), refuses or differs."""
    broken = [*_no_answer(row), *(verdict.describe(check) for check in _beyond(row.parity, held_to))]
    if row.point.inside:
        return ("failed", "; ".join(broken)) if broken else ("passed", "")
    if row.refused:
        also = "; the model itself does too" if row.model_refused else ""
        return "refuses", row.refused + also
    return ("differs", "; ".join(broken)) if broken else ("answers", "")


def in_a_line(swept: Swept, held_to: Sequence[Check]) -> str:
    """'12 sizes; outside 2 answer, 4 refuse; 240 to 310 ms per megapixel', and at which size it failed."""
    words = [(row, told_of(row, held_to)[0]) for row in swept.rows]
    inside = [row for row, _ in words if row.point.inside]
    failed = [row.point.named for row, word in words if word == "failed"]
    said = [f"{len(inside)} sizes" + (f", failed at {', '.join(failed)}" if failed else "")]
    told: Tuple[Word, ...] = ("answers", "refuses", "differs")
    counts = [(sum(w == word for _, w in words), word) for word in told]
    counted = [f"{count} {word if count == 1 else _PLURAL[word]}" for count, word in counts if count]
    if counted:
        said.append(f"outside {', '.join(counted)}")
    times = [row.ms_per_megapixel for row in inside if row.ms_per_megapixel is not None]
    if times:
        said.append(f"{min(times):.0f} to {max(times):.0f} ms per megapixel")
    return "; ".join(said)


def _no_answer(row: SweepRow) -> List[str]:
    if row.model_refused:
        return [f"the model itself refuses: {row.model_refused}"]
    if row.refused:
        return [f"refused: {row.refused}"]
    return [f"{parity.output}: {parity.problem}" for parity in row.parity if parity.problem is not None]


def _beyond(rows: Sequence[OutputParity], held_to: Sequence[Check]) -> List[Check]:
    """The limits that this one size does not keep."""
    limits = [
        Limit("tensor", c.subject, c.metric, c.bound, c.limit, c.gate, c.report_only)
        for c in held_to
        if not c.report_only
    ]
    compared = [row for row in rows if row.problem is None]
    named = {row.output for row in compared}
    found = verdict.checks([limit for limit in limits if limit.subject in named], compared, (), None)
    return [dataclasses.replace(check, worst="") for check in found if not check.kept]
