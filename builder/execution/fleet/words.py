"""What a run and the workers of the fleet say to each other. Data only; whatever does not read as one of these is refused.

An `Order` lies in a queue until a worker takes it. Everything else goes between mailboxes: a worker reports, the run answers
each report, and may say on its own that the work is to stop.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, Optional, Tuple, Union

from builder import digest
from builder.actions.action import Action
from builder.execution.messages import File

LONGEST = 24 * 3600.0  # seconds that an action may take: no broker takes a job back before
_HEX = re.compile(r"[0-9a-f]{1,64}")
_NAME = re.compile(r"[ -~]{1,200}")  # of a mailbox or a worker: brokers and logs take it as it is
_MOST = 1 << 62  # bytes, and tokens


@dataclass(frozen=True)
class Order:
    """`ticket` is of this one delivery: an action that is ordered again has another. `mailbox` is the run's."""

    ticket: str
    run: str
    mailbox: str
    action: Action
    files: Tuple[File, ...]
    seconds: float

    def __post_init__(self) -> None:
        if not _HEX.fullmatch(self.ticket) or not _HEX.fullmatch(self.run):
            raise ValueError("ticket and run are hexadecimal digits")
        if not _NAME.fullmatch(self.mailbox):
            raise ValueError(f"{self.mailbox[:200]!r} is no mailbox")
        if not all(digest.is_one(file.digest) and 0 <= file.size < _MOST for file in self.files):
            raise ValueError("a file has a digest and a size")
        if not 0 < self.seconds <= LONGEST:
            raise ValueError(f"an action takes more than 0 seconds, and at most {LONGEST:.0f}")


@dataclass(frozen=True)
class Who:
    """`name` is of the worker, `machine` of the machine that it is on, `mailbox` of this very process."""

    name: str
    machine: str
    mailbox: str

    def __post_init__(self) -> None:
        for word in (self.name, self.machine, self.mailbox):
            if not _NAME.fullmatch(word):
                raise ValueError(f"{word[:200]!r} is no name of a worker or a mailbox")


@dataclass(frozen=True)
class Claim:
    """May I begin? Nothing is done before the answer."""

    key: str
    ticket: str
    it: Literal["claim"] = "claim"


@dataclass(frozen=True)
class Beat:
    """I am at it; and what the step has printed since."""

    key: str
    token: int
    lines: Tuple[str, ...] = ()
    it: Literal["beat"] = "beat"


@dataclass(frozen=True)
class Done:
    """The outputs are in the store, and `result`, the record of it, too."""

    key: str
    token: int
    result: File
    it: Literal["done"] = "done"


@dataclass(frozen=True)
class Failed:
    """`away`: for the machine's state, such as a full disk, and not the action's fault."""

    key: str
    token: int
    what: str
    where: Optional[str] = None
    hint: Optional[str] = None
    away: bool = False
    it: Literal["failed"] = "failed"


@dataclass(frozen=True)
class Report:
    """From a worker to a run."""

    who: Who
    said: Union[Claim, Beat, Done, Failed]


@dataclass(frozen=True)
class Answer:
    """From a run to a worker, about one action. `go`: with `token`, go on; else stop, and why. Larger tokens are of later
    leases: whoever has a smaller one is no longer the one who does it. `to`: what it answers, `it` of a report, so that a
    late answer is not taken for that to a question that was lost; "" when nobody asked."""

    run: str
    key: str
    go: bool
    token: int = 0
    why: str = ""
    to: Literal["claim", "beat", "done", "failed", ""] = ""
