"""What an artifact answered to its golden sample on this host, and what the answer is held to. Data only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Tuple

from builder.config.gates import Limit
from builder.store.manifest import Check, Entry


@dataclass(frozen=True)
class Answer:
    """`problem` is empty when every limit was kept."""

    problem: str = ""
    checks: Tuple[Check, ...] = ()


@dataclass(frozen=True)
class Proof:
    """What `cell`, the artifact of that digest, answered to `sample` on this host, when, and in how many seconds, with
    opening. `asked` is the digest of all that the answer depends on."""

    cell: str
    artifact: str
    sample: str
    asked: str
    at: str
    seconds: float
    answer: Answer

    @property
    def passed(self) -> bool:
        return not self.answer.problem


def limits(entry: Entry) -> Tuple[Limit, ...]:
    """What the answer is held to: the gates on tensors that were judged when it was made, else those it carries."""
    judged = tuple(
        Limit("tensor", check.subject, check.metric, check.bound, check.limit, check.gate)
        for check in entry.verdict.checks
        if check.level == "tensor" and not check.report_only
    )
    return judged or (entry.golden.limits if entry.golden else ())
