"""What the two ends say to each other. Data only; whatever does not read as one of these is refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Optional, Tuple, Union

from builder.actions.action import Action, Result
from builder.platforms.machines import Machine


@dataclass(frozen=True)
class File:
    """`start`: how many of its bytes the asker has, or will not send."""

    digest: str
    size: int
    start: int = 0


@dataclass(frozen=True)
class AskFacts:
    ask: Literal["facts"] = "facts"


@dataclass(frozen=True)
class AskNeed:
    """Which of these files, and from which byte on, are to be sent?"""

    files: Tuple[File, ...]
    ask: Literal["need"] = "need"


@dataclass(frozen=True)
class Put:
    """The bytes of each file, from its `start` on, follow in order."""

    files: Tuple[File, ...]
    ask: Literal["put"] = "put"


@dataclass(frozen=True)
class Perform:
    action: Action
    ask: Literal["perform"] = "perform"


@dataclass(frozen=True)
class Get:
    files: Tuple[File, ...]
    ask: Literal["get"] = "get"


@dataclass(frozen=True)
class Alive:
    """Asks nothing, and is not answered: whoever hears it knows that the other end is there."""

    ask: Literal["alive"] = "alive"


@dataclass(frozen=True)
class Request:
    it: Union[AskFacts, AskNeed, Put, Perform, Get, Alive]


@dataclass(frozen=True)
class Facts:
    """`free`: bytes of disk space where files are kept, in `folder`."""

    machine: Machine
    folder: str
    free: int
    says: Literal["facts"] = "facts"


@dataclass(frozen=True)
class Needed:
    files: Tuple[File, ...]
    says: Literal["needed"] = "needed"


@dataclass(frozen=True)
class Taken:
    says: Literal["taken"] = "taken"


@dataclass(frozen=True)
class Line:
    """What the step printed; no answer yet."""

    text: str
    says: Literal["line"] = "line"


@dataclass(frozen=True)
class Made:
    result: Result
    says: Literal["made"] = "made"


@dataclass(frozen=True)
class Sending:
    """The bytes of the files that were asked for follow in order."""

    says: Literal["sending"] = "sending"


@dataclass(frozen=True)
class Refused:
    """It was not done; the connection goes on. `away`: that is the machine's state, and not the action's fault."""

    what: str
    where: Optional[str] = None
    hint: Optional[str] = None
    away: bool = False
    says: Literal["refused"] = "refused"


@dataclass(frozen=True)
class Answer:
    it: Union[Facts, Needed, Taken, Line, Made, Sending, Refused]


@dataclass(frozen=True)
class Terms:
    """Under which a session works: `folder` for files, seconds and bytes of memory that an action may take (0: no limit),
    bytes of disk space that stay free, and the run that it belongs to."""

    folder: str
    seconds: float
    memory: int
    free: int
    run: str
