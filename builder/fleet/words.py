"""What a run and the workers of the fleet say to each other. Data only; whatever does not read as one of these is refused.

An `Order` lies in a queue until a worker takes it. Everything else goes between mailboxes: a worker reports, the run answers
each report, and may say on its own that the work is to stop.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Optional, Tuple, Union

from builder.action import Action
from builder.remote.messages import File


@dataclass(frozen=True)
class Order:
    """`ticket` is of this one delivery: an action that is ordered again has another. `mailbox` is the run's."""

    ticket: str
    run: str
    mailbox: str
    action: Action
    files: Tuple[File, ...]
    seconds: float


@dataclass(frozen=True)
class Who:
    """`name` is of the worker, `machine` of the machine that it is on, `mailbox` of this very process."""

    name: str
    machine: str
    mailbox: str


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
    leases: whoever has a smaller one is no longer the one who does it."""

    run: str
    key: str
    go: bool
    token: int = 0
    why: str = ""
