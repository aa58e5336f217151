"""Every error that this program raises on purpose, and its exit code.

    DeployError
    ├── UsageError      2   invalid input: matrix.yaml, a flag, a photograph
    ├── GateFailed      3   the run is complete, but an artifact missed its gate
    ├── DriftFound      4   an audit: a number got worse than its limit since the last release
    ├── StepFailed      5   a step (export, quantize, engine, ...) did not finish
    ├── NothingFits     6   no artifact may be used on this machine, or at this size
    ├── StoreDamaged    7   a stored file is missing, truncated or has another digest
    ├── StoreBusy       8   another process holds the store
    ├── SystemRefused   9   the operating system refused: disk full, no permission
    ├── Untrusted      10   not signed by a trusted key
    └── Unreachable    11   a registry, a server, a bucket or a machine does not answer, or refuses

An error has a problem, a place, and the next command. Exit code 1 is left to Python
itself (a bug of this program); 130 is an interrupt.
"""

from __future__ import annotations

from typing import Optional


class DeployError(Exception):
    """Base class. `what`: one sentence; `where`: a place; `hint`: the next action."""

    exit_code = 1

    def __init__(self, what: str, *, where: Optional[str] = None, hint: Optional[str] = None) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        hint = f"\n  {self.hint}" if self.hint else ""
        return f"{place}{self.what}{hint}"


class UsageError(DeployError):
    exit_code = 2


class GateFailed(DeployError):
    exit_code = 3


class DriftFound(DeployError):
    exit_code = 4


class StepFailed(DeployError):
    """A step did not finish.

    `killed`: its process was ended from outside, so a retry may succeed.
    """

    exit_code = 5

    def __init__(
        self, what: str, *, where: Optional[str] = None, hint: Optional[str] = None, killed: bool = False
    ) -> None:
        super().__init__(what, where=where, hint=hint)
        self.killed = killed


class NothingFits(DeployError):
    exit_code = 6


class StoreDamaged(DeployError):
    exit_code = 7


class StoreBusy(DeployError):
    exit_code = 8


class SystemRefused(DeployError):
    exit_code = 9


class Untrusted(DeployError):
    exit_code = 10


class Unreachable(DeployError):
    """A remote does not answer.

    `passing`: a temporary error (a cut connection, a busy server); retry it.
    """

    exit_code = 11

    def __init__(
        self, what: str, *, where: Optional[str] = None, hint: Optional[str] = None, passing: bool = False
    ) -> None:
        super().__init__(what, where=where, hint=hint)
        self.passing = passing


def first_line(problem: BaseException) -> str:
    """The first line of another library's exception, or its type when it has no message."""
    said = str(problem).strip()
    return said.splitlines()[0] if said else type(problem).__name__
